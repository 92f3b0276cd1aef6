#include "keystore/crypto/secret_bytes.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>
#include <new>

#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

constexpr std::size_t kSmallestBlock = 64;
constexpr std::size_t kLargestBlock = 2048;
constexpr std::size_t kClasses = 6;  // 64, 128, … 2048
constexpr std::size_t kRegionSize = 64 * 1024;
constexpr std::size_t kPage = 4096;

/// Pages that the kernel itself has not mapped: not even root reads them from outside
/// (memfd_secret(2), Linux 5.14; often off before 6.5). Locked and not dumped by nature.
void* map_secret(std::size_t size) {
#ifdef SYS_memfd_secret
  const UniqueFd file(static_cast<int>(::syscall(SYS_memfd_secret, O_CLOEXEC)));
  if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return MAP_FAILED;
  return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
#else
  return MAP_FAILED;
#endif
}

void* map_ordinary(std::size_t size) {
  void* const region =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED || ::mlock(region, size) == 0) return region;
  ::munmap(region, size);
  return MAP_FAILED;
}

std::size_t page_rounded(std::size_t size) { return (size + kPage - 1) / kPage * kPage; }

std::size_t class_of(std::size_t size) {
  return static_cast<std::size_t>(std::bit_width((size - 1) / kSmallestBlock));
}

/// Blocks of six sizes carved from the pages of 64 KiB regions that are kept for the life of the
/// process; larger ones get their own pages. One for the process, as malloc is. A child by fork has
/// none of it, and begins anew: it would share secret pages with its parent, and have copies of the
/// others unlocked.
class LockedHeap {
 public:
  void* allocate(std::size_t size) {
    if (size == 0) size = 1;
    MutexLock lock(mutex_);
    if (size > kLargestBlock) {
      void* block = map_locked(page_rounded(size));
      use_.used += page_rounded(size);
      return block;
    }
    const std::size_t which = class_of(size);
    const std::size_t block_size = kSmallestBlock << which;
    if (free_[which] == nullptr) carve(which, block_size);
    FreeBlock* block = free_[which];
    free_[which] = block->next;
    block->next = nullptr;
    use_.used += block_size;
    return block;
  }

  void free(void* block, std::size_t size) noexcept {
    if (size == 0) size = 1;
    wipe({static_cast<std::uint8_t*>(block), size});
    MutexLock lock(mutex_);
    if (size > kLargestBlock) {
      ::munmap(block, page_rounded(size));
      use_.locked -= page_rounded(size);
      use_.used -= page_rounded(size);
      return;
    }
    const std::size_t which = class_of(size);
    free_[which] = ::new (block) FreeBlock{free_[which]};
    use_.used -= kSmallestBlock << which;
  }

  LockedMemoryUse use() {
    MutexLock lock(mutex_);
    return use_;
  }

  /// Around a fork.
  void before_fork() NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void after_fork() NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void begin_anew() NO_THREAD_SAFETY_ANALYSIS {
    free_ = {};
    rest_ = {};
    use_ = {};
    mutex_.unlock();
  }

 private:
  struct FreeBlock {
    FreeBlock* next;
  };

  std::uint8_t* map_locked(std::size_t size) REQUIRES(mutex_) {
    void* region = use_.secret ? map_secret(size) : MAP_FAILED;
    if (region == MAP_FAILED) {
      region = map_ordinary(size);
      if (region == MAP_FAILED) throw std::bad_alloc();
      use_.secret = false;
    }
    ::madvise(region, size, MADV_DONTDUMP);
    ::madvise(region, size, MADV_DONTFORK);
    use_.locked += size;
    return static_cast<std::uint8_t*>(region);
  }

  /// A page at a time: the first touch of a secret one takes the kernel tens of microseconds, and
  /// nobody should wait for those of a whole region.
  void carve(std::size_t which, std::size_t block_size) REQUIRES(mutex_) {
    if (rest_.empty()) rest_ = {map_locked(kRegionSize), kRegionSize};
    for (std::size_t offset = 0; offset < kPage; offset += block_size) {
      free_[which] = ::new (rest_.data() + offset) FreeBlock{free_[which]};
    }
    rest_ = rest_.subspan(kPage);
  }

  Mutex mutex_;
  std::array<FreeBlock*, kClasses> free_ GUARDED_BY(mutex_){};
  MutableBytes rest_ GUARDED_BY(mutex_);  // of the newest region
  LockedMemoryUse use_ GUARDED_BY(mutex_);
};

LockedHeap& heap() {
  // Never destroyed: secrets in statics of other files may outlive any order of destruction.
  static auto* const instance = [] {
    auto* const made = new LockedHeap();
    ::pthread_atfork([] { heap().before_fork(); }, [] { heap().after_fork(); },
                     [] { heap().begin_anew(); });
    return made;
  }();
  return *instance;
}

}  // namespace

void wipe(MutableBytes memory) { OPENSSL_cleanse(memory.data(), memory.size()); }

bool constant_time_equal(Bytes a, Bytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void* locked_allocate(std::size_t size) { return heap().allocate(size); }
void locked_free(void* block, std::size_t size) noexcept { heap().free(block, size); }
LockedMemoryUse locked_memory_use() { return heap().use(); }

Result<void> prepare_locked_memory() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
  }
  try {
    const SecretBytes probe(32);
  } catch (const std::bad_alloc&) {
    return Error{Code::kExhausted, 0,
                 "no memory can be locked for keys; raise the limit (ulimit -l, LimitMEMLOCK=)"};
  }
  return {};
}

SecretBytes::SecretBytes(std::size_t size)
    : data_(static_cast<std::uint8_t*>(locked_allocate(size))), size_(size) {}

SecretBytes SecretBytes::copy_of(Bytes source) {
  SecretBytes copy(source.size());
  if (!source.empty()) std::memcpy(copy.data_, source.data(), source.size());
  return copy;
}

SecretBytes SecretBytes::random(std::size_t size) {
  SecretBytes secret(size);
  random_key_bytes(secret.expose());
  return secret;
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void SecretBytes::reset() noexcept {
  if (data_ != nullptr) locked_free(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace coffer

#include "keystore/crypto/secret_bytes.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <array>
#include <bit>
#include <new>

#include "keystore/base/mutex.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

constexpr std::size_t kSmallestBlock = 64;
constexpr std::size_t kLargestBlock = 2048;
constexpr std::size_t kClasses = 6;  // 64, 128, … 2048
constexpr std::size_t kRegionSize = 64 * 1024;
constexpr std::size_t kPage = 4096;

std::uint8_t* map_locked(std::size_t size) {
  void* region = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) throw std::bad_alloc();
  if (::mlock(region, size) != 0) {
    ::munmap(region, size);
    throw std::bad_alloc();
  }
  ::madvise(region, size, MADV_DONTDUMP);
  return static_cast<std::uint8_t*>(region);
}

std::size_t page_rounded(std::size_t size) { return (size + kPage - 1) / kPage * kPage; }

std::size_t class_of(std::size_t size) {
  return static_cast<std::size_t>(std::bit_width((size - 1) / kSmallestBlock));
}

/// Blocks of six sizes carved from 64 KiB regions that are kept for the life of the process; larger
/// ones get their own pages. One for the process, as malloc is.
class LockedHeap {
 public:
  void* allocate(std::size_t size) {
    if (size == 0) size = 1;
    MutexLock lock(mutex_);
    if (size > kLargestBlock) {
      void* block = map_locked(page_rounded(size));
      use_.locked += page_rounded(size);
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

 private:
  struct FreeBlock {
    FreeBlock* next;
  };

  void carve(std::size_t which, std::size_t block_size) REQUIRES(mutex_) {
    std::uint8_t* region = map_locked(kRegionSize);
    use_.locked += kRegionSize;
    for (std::size_t offset = 0; offset < kRegionSize; offset += block_size) {
      free_[which] = ::new (region + offset) FreeBlock{free_[which]};
    }
  }

  Mutex mutex_;
  std::array<FreeBlock*, kClasses> free_ GUARDED_BY(mutex_){};
  LockedMemoryUse use_ GUARDED_BY(mutex_);
};

LockedHeap& heap() {
  // Never destroyed: secrets in statics of other files may outlive any order of destruction.
  static auto* const instance = new LockedHeap();
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

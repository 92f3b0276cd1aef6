// A file's content through EncryptedFile. Its backing is a file without a name on the
// kernel's own tmpfs.

#include <benchmark/benchmark.h>

#include <memory>

#include "fs/content/encrypted_file.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/fs_content.h"
#include "tests/support/keystore_store.h"

namespace coffer::testing {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kFileSize = 64 * kMiB;
constexpr std::size_t kPage = 4096;
/// All nodes of such a file have room in it.
constexpr std::size_t kCacheSize = 16 * kMiB;

/// A file as a program finds it that opens it, with the content it should have.
class FilledFile {
 public:
  explicit FilledFile(unsigned chunk_log2) : plain_(Chooser(chunk_log2).bytes(kFileSize)) {
    const auto keys = world_.keys();
    {
      const auto made = world_.create(backing_, chunk_log2, keys);
      if (must_be(made->append(plain_)) != plain_.size()) std::abort();
      must_be(made->sync(false));
    }
    file_ = must_be(world_.open(backing_, keys));
  }

  EncryptedFile& file() { return *file_; }
  [[nodiscard]] bool is_at(std::uint64_t offset, Bytes read) const {
    return equal(read, Bytes(plain_).subspan(offset, read.size()));
  }
  /// Has every node in memory, if what was read is right.
  [[nodiscard]] bool read_all() {
    ByteVector out(kFileSize);
    return file_->read(0, out).ok() && is_at(0, out);
  }

 private:
  ContentWorld world_{AeadEngine::Choice::kFastest, kCacheSize};
  MemoryFile backing_;
  ByteVector plain_;
  std::unique_ptr<EncryptedFile> file_;
};

unsigned chunk_log2(const benchmark::State& state) { return static_cast<unsigned>(state.range(0)); }

/// `length` bytes from any multiple of it on.
void read_at_random(benchmark::State& state, std::size_t length) {
  FilledFile filled(chunk_log2(state));
  require(state, filled.read_all(), "the file is not what was written");
  auto pieces = random_numbers(kFileSize / length);
  ByteVector out(length);
  std::size_t bytes = 0;
  for (auto _ : state) {
    const auto read = filled.file().read(pieces.next() * length, out);
    if (read) bytes += *read;
    benchmark::ClobberMemory();
  }
  const auto iterations = static_cast<std::size_t>(state.iterations());
  require(state, bytes == iterations * length, "a read failed or was short");
  require(state, filled.is_at(pieces.last() * length, out), "a read gave other bytes");
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

void file_read_4k_random(benchmark::State& state) { read_at_random(state, kPage); }
BENCHMARK(file_read_4k_random)->ArgName("chunk_log2")->Arg(12)->Arg(14)->Arg(16);

void file_read_1m_sequential(benchmark::State& state) {
  FilledFile filled(chunk_log2(state));
  require(state, filled.read_all(), "the file is not what was written");
  ByteVector out(kMiB);
  std::size_t bytes = 0;
  std::uint64_t offset = 0;
  for (auto _ : state) {
    offset = (offset + kMiB) % kFileSize;
    const auto read = filled.file().read(offset, out);
    if (read) bytes += *read;
    benchmark::ClobberMemory();
  }
  const auto iterations = static_cast<std::size_t>(state.iterations());
  require(state, bytes == iterations * kMiB, "a read failed or was short");
  require(state, filled.is_at(offset, out), "a read gave other bytes");
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK(file_read_1m_sequential)->ArgName("chunk_log2")->Arg(12)->Arg(14)->Arg(16);

/// A new file of 64 MiB each time, appended to by 1 MiB, and its one commit.
void file_append_1m(benchmark::State& state) {
  const ByteVector data = Chooser(5).bytes(kMiB);
  ContentWorld world(AeadEngine::Choice::kFastest, kCacheSize);
  const auto keys = world.keys();
  MemoryFile backing;
  std::unique_ptr<EncryptedFile> file;
  bool held = true;
  for (auto _ : state) {
    state.PauseTiming();
    file.reset();
    backing.resize(0);
    file = world.create(backing, chunk_log2(state), keys);
    state.ResumeTiming();
    for (std::size_t size = 0; size < kFileSize; size += kMiB) {
      const auto appended = file->append(data);
      held &= appended && *appended == kMiB;
    }
    held &= file->commit().ok();
  }
  require(state, held, "an append failed or was short");
  file.reset();
  const auto again = world.open(backing, keys);
  require(state, again && (*again)->size() == kFileSize, "the file has another size");
  ByteVector out(kMiB);
  for (std::uint64_t offset = 0; again && offset < kFileSize; offset += kMiB) {
    require(state, (*again)->read(offset, out).ok() && equal(out, data),
            "the file is not what was appended");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kFileSize));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kFileSize / kMiB));
}
BENCHMARK(file_append_1m)
    ->ArgName("chunk_log2")
    ->Arg(12)
    ->Arg(14)
    ->Arg(16)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace coffer::testing

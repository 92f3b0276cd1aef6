// Where things lie in a file's body, and what the hash tree takes to vouch for a chunk.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <vector>

#include "fs/content/hash_tree.h"
#include "fs/format/geometry.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/fs_content.h"
#include "tests/support/keystore_store.h"

namespace coffer::testing {
namespace {

constexpr unsigned kChunkLog2 = 12;
constexpr Geometry kGeometry(kChunkLog2);

/// Sizes of files of up to 2^N bytes, for a benchmark whose argument is N.
Rounds<std::uint64_t> file_sizes(const benchmark::State& state) {
  return random_numbers(std::uint64_t{1} << state.range(0));
}

void largest_files(benchmark::internal::Benchmark* registered) {
  registered->ArgName("size_log2")->Arg(20)->Arg(30)->Arg(40);
}

void geometry_backing_size(benchmark::State& state) {
  auto sizes = file_sizes(state);
  for (auto _ : state) benchmark::DoNotOptimize(kGeometry.backing_size(sizes.next()));
  for (const std::uint64_t size : sizes.all()) {
    if (size == 0) continue;
    const std::uint64_t last = kGeometry.chunk_of(size - 1);
    const std::uint64_t end = kGeometry.chunk_offset(last) + kGeometry.chunk_length(last, size);
    require(state, kGeometry.backing_size(size) == end, "the last chunk ends elsewhere");
  }
}
BENCHMARK(geometry_backing_size)->Apply(largest_files);

void geometry_plain_size(benchmark::State& state) {
  const auto plain = file_sizes(state);
  std::vector<std::uint64_t> backing;
  for (const std::uint64_t size : plain.all()) {
    backing.push_back(kGeometry.backing_size(size));
    require(state, kGeometry.plain_size(backing.back()) == size, "it is not the inverse");
  }
  Rounds<std::uint64_t> sizes(std::move(backing));
  for (auto _ : state) benchmark::DoNotOptimize(kGeometry.plain_size(sizes.next()));
}
BENCHMARK(geometry_plain_size)->Apply(largest_files);

void geometry_chunk_place(benchmark::State& state) {
  auto offsets = file_sizes(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(kGeometry.chunk_offset(kGeometry.chunk_of(offsets.next())));
  }
  for (const std::uint64_t offset : offsets.all()) {
    const std::uint64_t chunk = kGeometry.chunk_of(offset);
    require(state,
            kGeometry.backing_size(kGeometry.chunk_start(chunk) + 1) ==
                kGeometry.chunk_offset(chunk) + 1,
            "the chunk is not where the file would end with it");
  }
}
BENCHMARK(geometry_chunk_place)->Apply(largest_files);

/// The tree of a file of `chunks` chunks, in a body in memory that holds nothing else.
class WrittenTree {
 public:
  using Entry = std::array<std::uint8_t, kEntrySize>;

  /// `cache_bytes` 1: there is room for eight nodes.
  WrittenTree(std::uint64_t chunks, std::size_t cache_bytes)
      : chunks_(chunks), cache_(cache_bytes), entries_(Chooser(6).bytes(chunks * kEntrySize)) {
    HashTree made(body_, kGeometry, cache_, Hash{}, 0);
    must_be(made.resize(chunks << kChunkLog2));
    for (std::uint64_t chunk = 0; chunk < chunks; chunk = Geometry::next_leaf(chunk)) {
      const auto leaf = Bytes(entries_).subspan(chunk * kEntrySize);
      must_be(made.write_entries(chunk, leaf.first(std::min(leaf.size(), sizeof(Block)))));
    }
    must_be(made.flush());
    root_ = made.root();
  }

  /// With nothing of it in the cache.
  HashTree open() { return {body_, kGeometry, cache_, root_, chunks_ << kChunkLog2}; }
  [[nodiscard]] bool is_at(std::uint64_t chunk, const Entry& entry) const {
    return equal(entry, Bytes(entries_).subspan(chunk * kEntrySize, kEntrySize));
  }
  void alter_leaf_of(std::uint64_t chunk) {
    file_.flip(kGeometry.node_offset(Geometry::leaf_of(chunk)), 0);
  }
  void alter_top() {
    file_.flip(kGeometry.node_offset({kGeometry.depth(chunks_ << kChunkLog2), 0}), 0);
  }

 private:
  std::uint64_t chunks_;
  MemoryFile file_;
  BackingFile backing_ = file_.open();
  ContentWorld world_;
  Body body_{backing_, Journal(world_.context().journals, world_.store(), world_.keys()), 0};
  NodeCache cache_;
  ByteVector entries_;
  Hash root_{};
};

std::uint64_t chunk_count(const benchmark::State& state) {
  return (std::uint64_t{1} << state.range(0)) >> kChunkLog2;
}

/// Files with none, one and two levels above the leaves.
void tree_sizes(benchmark::internal::Benchmark* registered) {
  registered->ArgName("size_log2")->Arg(19)->Arg(26)->Arg(30);
}

/// The entry of one chunk, every node in memory.
void tree_entry_cached(benchmark::State& state) {
  WrittenTree written(chunk_count(state), std::size_t{64} << 20);
  const HashTree tree = written.open();
  auto chunks = random_numbers(chunk_count(state));
  WrittenTree::Entry entry;
  for (const std::uint64_t chunk : chunks.all()) must_be(tree.read_entries(chunk, entry));
  bool held = true;
  for (auto _ : state) {
    benchmark::DoNotOptimize(held &= tree.read_entries(chunks.next(), entry).ok());
    benchmark::ClobberMemory();
  }
  require(state, held && written.is_at(chunks.last(), entry), "an entry is not what was written");
  written.alter_leaf_of(chunks.last());
  require(state, tree.read_entries(chunks.last(), entry).ok(), "the node was not in memory");
}
BENCHMARK(tree_entry_cached)->Apply(tree_sizes);

/// The entry of one chunk, its leaf read and checked against the parent, which is in memory.
void tree_entry_leaf_uncached(benchmark::State& state) {
  WrittenTree written(chunk_count(state), 1);
  const HashTree tree = written.open();
  WrittenTree::Entry entry;
  std::uint64_t chunk = 0;
  // Eight leaves of the same parent later, a leaf is gone and the parent is not.
  const auto next = [&] { return chunk = (chunk + kFanOut) % (kFanOut * kFanOut); };
  for (std::uint64_t i = 0; i < kFanOut; ++i) must_be(tree.read_entries(next(), entry));
  bool held = true;
  for (auto _ : state) {
    benchmark::DoNotOptimize(held &= tree.read_entries(next(), entry).ok());
    benchmark::ClobberMemory();
  }
  require(state, held && written.is_at(chunk, entry), "an entry is not what was written");
  written.alter_top();
  require(state, tree.read_entries(next(), entry).ok(), "the parent was not in memory");
  written.alter_leaf_of(next());
  require(state, !tree.read_entries(chunk, entry).ok(), "an altered leaf was believed");
}
BENCHMARK(tree_entry_leaf_uncached)->ArgName("size_log2")->Arg(26)->Arg(30);

/// The entry of one chunk, every node from the top down read and checked.
void tree_entry_uncached(benchmark::State& state) {
  WrittenTree written(chunk_count(state), 1);
  auto chunks = random_numbers(chunk_count(state));
  WrittenTree::Entry entry;
  bool held = true;
  for (auto _ : state) {
    benchmark::DoNotOptimize(held &= written.open().read_entries(chunks.next(), entry).ok());
    benchmark::ClobberMemory();
  }
  require(state, held && written.is_at(chunks.last(), entry), "an entry is not what was written");
  written.alter_top();
  require(state, !written.open().read_entries(chunks.last(), entry).ok(),
          "an altered top was believed");
}
BENCHMARK(tree_entry_uncached)->Apply(tree_sizes);

}  // namespace
}  // namespace coffer::testing

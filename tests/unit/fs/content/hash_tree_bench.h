#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>

#include "fs/content/hash_tree.h"
#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer::testing {

inline constexpr std::uint64_t kLeaf = 128;              ///< chunks of a leaf
inline constexpr std::uint64_t kLevel1 = kLeaf * 128;    ///< of a node of level 1
inline constexpr std::uint64_t kLevel2 = kLevel1 * 128;  ///< of level 2

/// A hash tree over a backing file in memory, beside a map of what its entries should be. Chunks
/// are 4 KiB.
class HashTreeBench {
 public:
  using Entry = std::array<std::uint8_t, 32>;

  explicit HashTreeBench(std::uint64_t seed, std::size_t cache_bytes = std::size_t{4} << 20)
      : choose_(seed), cache_(cache_bytes) {
    reopen(Hash{}, 0);
  }

  /// Forgets all that is in memory, as if the file had been closed; the cache stays.
  void reopen(const Hash& root, std::uint64_t plain_size) {
    tree_ = std::make_unique<HashTree>(body_, geometry_, cache_, root, plain_size);
    chunks_ = geometry_.chunk_count(plain_size);
  }
  void flush_and_reopen() {
    ASSERT_TRUE(tree_->flush().ok());
    reopen(tree_->root(), chunks_ * 4096);
  }

  Result<void> resize(std::uint64_t chunks) {
    if (auto done = tree_->resize(chunks * 4096); !done) return done;
    chunks_ = chunks;
    expected_.erase(expected_.lower_bound(chunks), expected_.end());
    return {};
  }
  /// New entries for chunks `first` … `first` + `count` - 1, of one leaf.
  Result<void> write(std::uint64_t first, std::uint64_t count = 1) {
    ByteVector entries = choose_.bytes(count * 32);
    if (auto done = tree_->write_entries(first, entries); !done) return done;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(i * 32), 32,
                  expected_[first + i].begin());
    }
    return {};
  }
  /// The entry as it should be.
  [[nodiscard]] Entry expected(std::uint64_t chunk) const {
    const auto found = expected_.find(chunk);
    return found == expected_.end() ? Entry{} : found->second;
  }
  void expect(std::uint64_t chunk) {
    Entry entry;
    entry.fill(0xee);
    const auto read = tree_->read_entries(chunk, entry);
    ASSERT_TRUE(read.ok()) << "chunk " << chunk << ": " << read.error().message();
    ASSERT_EQ(to_hex(entry), to_hex(expected(chunk))) << "chunk " << chunk;
  }
  /// All that was ever written, its neighbours, and some in between.
  void expect_all() {
    std::set<std::uint64_t> chunks = {0, chunks_ - 1, chunks_ / 2};
    for (const auto& [chunk, entry] : expected_) {
      for (const std::uint64_t near : {chunk - 1, chunk, chunk + 1, chunk + 128})
        chunks.insert(near);
    }
    for (int i = 0; i < 10; ++i) chunks.insert(choose_.below(chunks_ + 1));
    for (const std::uint64_t chunk : chunks) {
      if (chunk >= chunks_) continue;
      expect(chunk);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  /// As expect_all, of another tree that begins with nothing in memory.
  void expect_all_on_disk() {
    NodeCache cache(1);
    HashTree other(body_, geometry_, cache, tree_->root(), chunks_ * 4096);
    for (const auto& [chunk, entry] : expected_) {
      Entry read;
      const auto done = other.read_entries(chunk, read);
      ASSERT_TRUE(done.ok()) << "chunk " << chunk << ": " << done.error().message();
      ASSERT_EQ(to_hex(read), to_hex(entry)) << "chunk " << chunk;
    }
    if (chunks_ == 0) return;
    for (int i = 0; i < 10; ++i) {
      const std::uint64_t chunk = choose_.below(chunks_);
      Entry read;
      ASSERT_TRUE(other.read_entries(chunk, read).ok()) << "chunk " << chunk;
      ASSERT_EQ(to_hex(read), to_hex(expected(chunk))) << "chunk " << chunk;
    }
  }

  Chooser& choose() { return choose_; }
  HashTree& tree() { return *tree_; }
  NodeCache& cache() { return cache_; }
  HookedSyscalls& calls() { return calls_; }
  [[nodiscard]] const MemoryFile& file() const { return file_; }
  [[nodiscard]] const Geometry& geometry() const { return geometry_; }
  [[nodiscard]] std::uint64_t chunks() const { return chunks_; }

 private:
  Chooser choose_;
  Geometry geometry_{12};
  MemoryFile file_;
  HookedSyscalls calls_;
  BackingFile backing_ = file_.open(calls_);
  ContentWorld world_;
  // Nothing is counted on: all goes straight to its place.
  Body body_{backing_, Journal(world_.context().journals, world_.store(), world_.keys()), 0};
  NodeCache cache_;
  std::unique_ptr<HashTree> tree_;
  std::uint64_t chunks_ = 0;
  std::map<std::uint64_t, Entry> expected_;
};

}  // namespace coffer::testing

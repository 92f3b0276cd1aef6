#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

#include "tests/support/fs_content.h"

namespace coffer::testing {

/// A form of file that is damaged in the tests; committed three times, so that both slots hold this
/// content.
struct Shape {
  const char* name;
  unsigned chunk_log2;
  Suite suite;
  /// Where something is written, and how much.
  std::vector<std::pair<std::uint64_t, std::size_t>> writes;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

inline const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {"one_byte", 12, Suite::kAes256Gcm, {{0, 1}}},
      {"one_chunk", 12, Suite::kChaCha20Poly1305, {{0, 4096}}},
      {"chunk_and_a_bit", 14, Suite::kAes256Gcm, {{0, 16'384 + 100}}},
      {"several_leaves", 12, Suite::kAes256Gcm, {{0, 2 * kLeafBytes + 5000}}},
      {"sparse",
       12,
       Suite::kAes256Gcm,
       {{10, 20}, {5 * kLeafBytes + 8192, 4096}, {129 * kLeafBytes + 4095, 2}}},
      {"large_chunks", 18, Suite::kAes256Gcm, {{0, 900'000}}},
  };
  return all;
}

/// What came of opening a damaged file and reading it.
struct Outcome {
  bool opened = false;
  Code refusal = Code::kIo;            ///< why it was not opened
  std::uint64_t generation = 0;        ///< of the header that was believed
  std::set<std::uint64_t> unreadable;  ///< chunks that gave an error
};

/// A file of a shape, whole in `whole`, and in `damaged` as a test leaves it.
class TamperBench {
 public:
  explicit TamperBench(const Shape& shape, unsigned file = 1)
      : geometry(shape.chunk_log2), keys(world.keys(shape.suite, file)) {
    Chooser choose(file * 100 + shape.chunk_log2);
    const auto made = world.create(whole, shape.chunk_log2, keys);
    for (const auto& [offset, length] : shape.writes) {
      const ByteVector data = choose.bytes(length);
      EXPECT_TRUE(made->write(offset, data).ok());
      model.write(offset, data);
    }
    EXPECT_TRUE(made->sync(false).ok());
    EXPECT_TRUE(made->add_binding(test_binding(1)).ok());
    generation = made->committed().generation;
    EXPECT_EQ(generation, 3U);
    restore();
    // Chunks to read back: those with data and, where there are holes, some of those.
    for (const std::uint64_t page : model.pages()) chunks.insert(geometry.chunk_of(page));
    data_chunks = chunks;
    const std::uint64_t count = geometry.chunk_count(model.size());
    for (const std::uint64_t chunk : {std::uint64_t{1}, std::uint64_t{127}, std::uint64_t{128},
                                      count / 2, count - 2, count - 1}) {
      if (chunk < count) chunks.insert(chunk);
    }
  }

  void restore() { damaged.copy_from(whole); }

  /// Opens the damaged file and reads it. What is read has to be right, as `expected` has it, or
  /// refused by kCorrupt and zeros.
  Outcome examine(const ContentModel& expected) {
    Outcome outcome;
    const auto opened = world.open(damaged, keys);
    if (!opened) {
      outcome.refusal = opened.error().code;
      return outcome;
    }
    outcome.opened = true;
    outcome.generation = (*opened)->committed().generation;
    EXPECT_EQ((*opened)->size(), expected.size());
    for (const std::uint64_t chunk : chunks) {
      ByteVector out(geometry.chunk_size(), 0xee);
      const auto done = (*opened)->read(geometry.chunk_start(chunk), out);
      const ByteVector right = expected.read(geometry.chunk_start(chunk), out.size());
      if (done) {
        EXPECT_EQ(*done, right.size()) << "chunk " << chunk;
        EXPECT_TRUE(equal(Bytes(out).first(*done), right)) << "WRONG BYTES in chunk " << chunk;
        continue;
      }
      EXPECT_EQ(done.error().code, Code::kCorrupt) << done.error().message();
      EXPECT_TRUE(all_zero(Bytes(out).first(right.size()))) << "bytes that were refused got out";
      outcome.unreadable.insert(chunk);
    }
    return outcome;
  }
  Outcome examine() { return examine(model); }

  /// Chunks to read that lie below a node.
  [[nodiscard]] std::set<std::uint64_t> below(NodeId node) const {
    std::set<std::uint64_t> found;
    for (const std::uint64_t chunk : chunks) {
      NodeId at = Geometry::leaf_of(chunk);
      while (at.level < node.level) at = at.parent();
      if (at == node) found.insert(chunk);
    }
    return found;
  }
  /// Nodes that have something below them, the top last.
  [[nodiscard]] std::vector<NodeId> used_nodes() const {
    std::set<std::pair<unsigned, std::uint64_t>> nodes;
    for (const std::uint64_t chunk : data_chunks) {
      NodeId at = Geometry::leaf_of(chunk);
      for (; at.level <= geometry.depth(model.size()); at = at.parent())
        nodes.emplace(at.level, at.index);
    }
    std::vector<NodeId> used;
    for (const auto& [level, index] : nodes) used.push_back({level, index});
    return used;
  }

  ContentWorld world;
  Geometry geometry;
  std::shared_ptr<const FileKeys> keys;
  MemoryFile whole;
  MemoryFile damaged;
  ContentModel model;
  std::uint64_t generation = 0;
  std::set<std::uint64_t> chunks;       ///< that examine reads
  std::set<std::uint64_t> data_chunks;  ///< those of them that are no holes
};

}  // namespace coffer::testing

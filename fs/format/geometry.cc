#include "fs/format/geometry.h"

#include <algorithm>

namespace coffer {
namespace {

constexpr unsigned kFanOutLog2 = 7;

/// Leaves below one node of `level`.
constexpr std::uint64_t leaves_below(unsigned level) {
  return std::uint64_t{1} << (kFanOutLog2 * level);
}

/// I(i) of fs/FORMAT.md 3.2: inner nodes that stand before leaf `leaf`, just before it included.
std::uint64_t inner_nodes_before(std::uint64_t leaf) {
  std::uint64_t count = 0;
  for (unsigned level = 1; leaves_below(level - 1) <= leaf; ++level) {
    count += leaf / leaves_below(level) + 1;
  }
  return count;
}

/// The leaf that an inner node stands before: its second child's first for the first of a level,
/// else its own first.
std::uint64_t leaf_behind(NodeId node) {
  return node.index == 0 ? leaves_below(node.level - 1) : node.index * leaves_below(node.level);
}

}  // namespace

std::uint64_t Geometry::chunk_count(std::uint64_t plain_size) const {
  return (plain_size + chunk_size() - 1) >> chunk_log2_;
}

std::uint64_t Geometry::chunk_length(std::uint64_t chunk, std::uint64_t plain_size) const {
  const std::uint64_t start = chunk_start(chunk);
  if (start >= plain_size) return 0;
  return std::min(chunk_size(), plain_size - start);
}

std::uint64_t Geometry::leaf_count(std::uint64_t plain_size) const {
  return (chunk_count(plain_size) + kFanOut - 1) / kFanOut;
}

unsigned Geometry::depth(std::uint64_t plain_size) const {
  const std::uint64_t leaves = leaf_count(plain_size);
  unsigned depth = 0;
  while (leaves_below(depth) < leaves) ++depth;
  return depth;
}

std::uint64_t Geometry::node_count(unsigned level, std::uint64_t plain_size) const {
  if (level > depth(plain_size)) return 0;
  return (leaf_count(plain_size) + leaves_below(level) - 1) / leaves_below(level);
}

std::uint64_t Geometry::leaf_offset(std::uint64_t leaf) const {
  return kBodyOffset + leaf * (kBlockSize + (kFanOut << chunk_log2_)) +
         kBlockSize * inner_nodes_before(leaf);
}

std::uint64_t Geometry::node_offset(NodeId node) const {
  if (node.level == 0) return leaf_offset(node.index);
  return leaf_offset(leaf_behind(node)) - kBlockSize * node.level;
}

std::uint64_t Geometry::chunk_offset(std::uint64_t chunk) const {
  return leaf_offset(chunk / kFanOut) + kBlockSize + ((chunk % kFanOut) << chunk_log2_);
}

std::uint64_t Geometry::backing_size(std::uint64_t plain_size) const {
  if (plain_size == 0) return kBodyOffset;
  const std::uint64_t last = chunk_count(plain_size) - 1;
  return chunk_offset(last) + chunk_length(last, plain_size);
}

std::optional<std::uint64_t> Geometry::plain_size(std::uint64_t backing_size) const {
  if (backing_size < kBodyOffset || backing_size > this->backing_size(kMaxPlainSize))
    return std::nullopt;
  if (backing_size == kBodyOffset) return 0;
  // The last leaf that begins before the end: nodes only push leaves back, so it is at most this
  // one.
  std::uint64_t low = 0;
  std::uint64_t high = (backing_size - kBodyOffset) / (kBlockSize + (kFanOut << chunk_log2_));
  while (low < high) {
    const std::uint64_t middle = low + (high - low + 1) / 2;
    if (leaf_offset(middle) < backing_size) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const std::uint64_t data_start = leaf_offset(low) + kBlockSize;
  if (backing_size <= data_start) return std::nullopt;  // ends within a node
  const std::uint64_t in_group = backing_size - data_start;
  if (in_group > (kFanOut << chunk_log2_))
    return std::nullopt;  // ends within the nodes behind the group
  return chunk_start(low * kFanOut) + in_group;
}

std::optional<std::uint64_t> Geometry::plain_size_below(std::uint64_t size) const {
  if (size < kBodyOffset) return std::nullopt;
  std::uint64_t fits = 0;
  std::uint64_t too_large = kMaxPlainSize + 1;
  while (too_large - fits > 1) {
    const std::uint64_t middle = fits + (too_large - fits) / 2;
    (backing_size(middle) <= size ? fits : too_large) = middle;
  }
  return fits;
}

}  // namespace coffer

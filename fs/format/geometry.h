#pragma once

#include <cstdint>
#include <optional>

namespace coffer {

/// Sizes that version 1 fixes (fs/FORMAT.md, 3).
inline constexpr std::uint64_t kBlockSize = 4096;             ///< header slot, tree node
inline constexpr std::uint64_t kBodyOffset = 2 * kBlockSize;  ///< behind the two header slots
inline constexpr std::uint64_t kFanOut = 128;                 ///< entries of a tree node
inline constexpr unsigned kMinChunkLog2 = 12;
inline constexpr unsigned kMaxChunkLog2 = 20;
inline constexpr std::uint64_t kMaxPlainSize = std::uint64_t{1} << 50;
inline constexpr unsigned kMaxDepth = 5;  ///< inner levels of the largest file

/// A node of the hash tree: level 0 are the leaves, one for 128 chunks.
struct NodeId {
  unsigned level = 0;
  std::uint64_t index = 0;

  [[nodiscard]] NodeId parent() const { return {level + 1, index / kFanOut}; }
  /// Which of its parent's entries it is.
  [[nodiscard]] unsigned slot() const { return static_cast<unsigned>(index % kFanOut); }
  bool operator==(const NodeId&) const = default;
};

/// Where things lie in a file's body, by chunk size alone (fs/FORMAT.md, 3.2). No position depends
/// on the file's size. Plaintext offsets and sizes are at most kMaxPlainSize. Pure.
class Geometry {
 public:
  /// `chunk_log2` within kMinChunkLog2 … kMaxChunkLog2.
  explicit constexpr Geometry(unsigned chunk_log2) : chunk_log2_(chunk_log2) {}

  [[nodiscard]] std::uint64_t chunk_size() const { return std::uint64_t{1} << chunk_log2_; }
  [[nodiscard]] unsigned chunk_log2() const { return chunk_log2_; }

  [[nodiscard]] std::uint64_t chunk_of(std::uint64_t plain_offset) const {
    return plain_offset >> chunk_log2_;
  }
  [[nodiscard]] std::uint64_t chunk_start(std::uint64_t chunk) const {
    return chunk << chunk_log2_;
  }
  /// Bytes of `chunk` in a file of `plain_size`; 0 past its end.
  [[nodiscard]] std::uint64_t chunk_length(std::uint64_t chunk, std::uint64_t plain_size) const;
  [[nodiscard]] std::uint64_t chunk_count(std::uint64_t plain_size) const;

  [[nodiscard]] static NodeId leaf_of(std::uint64_t chunk) { return {0, chunk / kFanOut}; }
  /// The first chunk behind the leaf of `chunk`.
  [[nodiscard]] static std::uint64_t next_leaf(std::uint64_t chunk) {
    return (chunk / kFanOut + 1) * kFanOut;
  }
  [[nodiscard]] std::uint64_t leaf_count(std::uint64_t plain_size) const;
  /// Inner levels above the leaves; the top node is {depth, 0}.
  [[nodiscard]] unsigned depth(std::uint64_t plain_size) const;
  /// Nodes of `level` in a file of `plain_size`; 0 above its depth.
  [[nodiscard]] std::uint64_t node_count(unsigned level, std::uint64_t plain_size) const;

  /// Backing offsets.
  [[nodiscard]] std::uint64_t chunk_offset(std::uint64_t chunk) const;
  [[nodiscard]] std::uint64_t node_offset(NodeId node) const;

  /// Backing size of a file of `plain_size`.
  [[nodiscard]] std::uint64_t backing_size(std::uint64_t plain_size) const;
  /// Its inverse; nothing if no file has that backing size.
  [[nodiscard]] std::optional<std::uint64_t> plain_size(std::uint64_t backing_size) const;
  /// The size of the largest file that fits into it; nothing if none does.
  [[nodiscard]] std::optional<std::uint64_t> plain_size_below(std::uint64_t backing_size) const;

 private:
  [[nodiscard]] std::uint64_t leaf_offset(std::uint64_t leaf) const;

  unsigned chunk_log2_;
};

}  // namespace coffer

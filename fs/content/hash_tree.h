#pragma once

#include <map>
#include <memory>

#include "fs/content/body.h"
#include "fs/content/node_cache.h"
#include "fs/format/geometry.h"
#include "fs/format/tree_node.h"

namespace coffer {

/// The hash tree of one file: verified entries in, changed entries out (fs/FORMAT.md, 3.4). Changes
/// stay in memory until `flush`. Calls of `read_entries` may run at once; everything else needs the
/// file to itself.
class HashTree {
 public:
  /// Of a file whose authenticated header says `root` and `plain_size`. `body` and `cache` outlive
  /// the tree.
  HashTree(Body& body, Geometry geometry, NodeCache& cache, const Hash& root,
           std::uint64_t plain_size);

  /// Entries of the chunks from `first_chunk` on, 32 bytes each; all in one leaf. kCorrupt if a
  /// node on the way does not have the hash its parent holds.
  Result<void> read_entries(std::uint64_t first_chunk, MutableBytes entries) const;
  Result<void> write_entries(std::uint64_t first_chunk, Bytes entries);
  /// Takes into memory all that `write_entries` to this chunk's leaf will need: it can't fail then,
  /// even if the tree is made larger before. For what must not be begun unless it can be ended.
  Result<void> hold(std::uint64_t chunk);

  enum class Kind { kData, kHole };
  /// The first chunk from `chunk` on that is of this kind; the number of chunks if there is none.
  /// Holes are passed by whole subtrees. Like `read_entries` in all else.
  Result<std::uint64_t> find(std::uint64_t chunk, Kind kind) const;

  /// Adapts to a new size: entries past it become holes. Growing can't fail; a failure to shrink
  /// leaves everything as it was.
  Result<void> resize(std::uint64_t plain_size);
  /// The same as `hold`, for shrinking to this size.
  Result<void> hold_edge(std::uint64_t plain_size);

  /// Becomes the tree of another state of the same file, with what `other`, which is not used any
  /// more, has in the cache. Nothing may be changed in either.
  void take_over(const HashTree& other);

  /// Writes the changed nodes into the body. After an error they are still held and can be
  /// flushed again.
  Result<void> flush();
  /// The content root; what it was at the last flush.
  [[nodiscard]] const Hash& root() const { return root_; }
  [[nodiscard]] std::size_t changed_nodes() const { return changed_.size(); }

 private:
  /// By level, then index: a flush goes up level by level.
  struct LevelOrder {
    bool operator()(const NodeId& a, const NodeId& b) const {
      return a.level != b.level ? a.level < b.level : a.index < b.index;
    }
  };

  [[nodiscard]] NodeId top() const { return {depth_, 0}; }
  /// Entries of any node, from memory or the backing.
  Result<void> entries_of(NodeId node, unsigned first, MutableBytes out) const;
  /// The verified node from the backing, zeros if it is a hole.
  Result<void> load(NodeId node, Block& out) const;
  /// How many chunks the largest hole has that begins with this chunk and is a whole subtree.
  Result<std::uint64_t> hole_at(std::uint64_t chunk) const;
  /// The hash that stands for the node: its parent's entry, or the root.
  Result<Hash> expected_hash(NodeId node) const;
  /// The node, held as changed.
  Result<Block*> edit(NodeId node);

  Body& body_;
  Geometry geometry_;
  NodeCache& cache_;
  std::uint64_t owner_;
  Hash root_;
  std::uint64_t plain_size_;
  unsigned depth_;
  std::map<NodeId, std::unique_ptr<Block>, LevelOrder> changed_;
};

}  // namespace coffer

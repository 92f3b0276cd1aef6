#include "fs/content/hash_tree.h"

#include <algorithm>

#include "keystore/crypto/digest.h"

namespace coffer {

HashTree::HashTree(Body& body, Geometry geometry, NodeCache& cache, const Hash& root,
                   std::uint64_t plain_size)
    : body_(body),
      geometry_(geometry),
      cache_(cache),
      owner_(cache.new_owner()),
      root_(root),
      plain_size_(plain_size),
      depth_(geometry.depth(plain_size)) {}

Result<void> HashTree::read_entries(std::uint64_t first_chunk, MutableBytes entries) const {
  return entries_of(Geometry::leaf_of(first_chunk), static_cast<unsigned>(first_chunk % kFanOut),
                    entries);
}

Result<void> HashTree::entries_of(NodeId node, unsigned first, MutableBytes out) const {
  if (!changed_.empty()) {
    if (const auto found = changed_.find(node); found != changed_.end()) {
      const Bytes entries = Bytes(*found->second).subspan(first * kEntrySize, out.size());
      std::copy(entries.begin(), entries.end(), out.begin());
      return {};
    }
  }
  if (cache_.copy_entries(owner_, node, first, out)) return {};
  Block block;
  TRY(load(node, block));
  const Bytes entries = Bytes(block).subspan(first * kEntrySize, out.size());
  std::copy(entries.begin(), entries.end(), out.begin());
  return {};
}

Result<Hash> HashTree::expected_hash(NodeId node) const {
  if (node == top()) return root_;
  Hash hash;
  TRY(entries_of(node.parent(), node.slot(), hash));
  return hash;
}

Result<void> HashTree::load(NodeId node, Block& out) const {
  const Hash expected = TRY(expected_hash(node));
  if (all_zero(expected)) {
    out.fill(0);
  } else {
    const std::size_t length = TRY(body_.read(geometry_.node_offset(node), out));
    if (length != out.size() || sha256(out) != expected) {
      return Error{Code::kCorrupt, EIO,
                   "hash tree node " + std::to_string(node.index) + " of level " +
                       std::to_string(node.level) +
                       (length != out.size() ? " is cut off" : " was altered")};
    }
  }
  cache_.put(owner_, node, out);
  return {};
}

Result<std::uint64_t> HashTree::find(std::uint64_t chunk, Kind kind) const {
  const std::uint64_t count = geometry_.chunk_count(plain_size_);
  while (chunk < count) {
    if (kind == Kind::kData) {
      if (const std::uint64_t hole = TRY(hole_at(chunk)); hole > 0) {
        chunk += hole;
        continue;
      }
    }
    Block entries;
    const std::uint64_t in_leaf = std::min(Geometry::next_leaf(chunk), count) - chunk;
    TRY(read_entries(chunk, MutableBytes(entries).first(in_leaf * kEntrySize)));
    for (std::uint64_t i = 0; i < in_leaf; ++i, ++chunk) {
      const bool is_hole = all_zero(node_entry(entries, static_cast<unsigned>(i)));
      if (is_hole == (kind == Kind::kHole)) return chunk;
    }
  }
  return count;
}

Result<std::uint64_t> HashTree::hole_at(std::uint64_t chunk) const {
  std::uint64_t hole = 0;
  NodeId node = Geometry::leaf_of(chunk);
  for (std::uint64_t span = kFanOut; node.level <= depth_ && chunk % span == 0; span *= kFanOut) {
    // Nodes above a changed leaf hear of it at the next flush.
    const auto changed = changed_.lower_bound({0, chunk / kFanOut});
    if (changed != changed_.end() && changed->first.level == 0 &&
        changed->first.index < (chunk + span) / kFanOut) {
      break;
    }
    if (!all_zero(TRY(expected_hash(node)))) break;
    hole = span;
    node = node.parent();
  }
  return hole;
}

Result<Block*> HashTree::edit(NodeId node) {
  if (const auto found = changed_.find(node); found != changed_.end()) return found->second.get();
  auto block = std::make_unique_for_overwrite<Block>();
  if (!cache_.copy_entries(owner_, node, 0, *block)) TRY(load(node, *block));
  return changed_.emplace(node, std::move(block)).first->second.get();
}

Result<void> HashTree::write_entries(std::uint64_t first_chunk, Bytes entries) {
  Block& leaf = *TRY(edit(Geometry::leaf_of(first_chunk)));
  std::copy(entries.begin(), entries.end(),
            node_entry(leaf, static_cast<unsigned>(first_chunk % kFanOut)).begin());
  return {};
}

Result<void> HashTree::hold(std::uint64_t chunk) {
  // A node that is not there yet will be made of zeros, once the lowest one above it that is there
  // says so.
  NodeId node = Geometry::leaf_of(chunk);
  while (node.level <= depth_ && node.index >= geometry_.node_count(node.level, plain_size_))
    node = node.parent();
  if (node.level <= depth_) TRY(edit(node));
  return {};
}

Result<void> HashTree::hold_edge(std::uint64_t plain_size) {
  const unsigned depth = geometry_.depth(plain_size);
  for (unsigned level = 0; level <= depth && plain_size > 0; ++level) {
    TRY(edit({level, geometry_.node_count(level, plain_size) - 1}));
  }
  return {};
}

Result<void> HashTree::resize(std::uint64_t plain_size) {
  const unsigned depth = geometry_.depth(plain_size);
  if (plain_size > plain_size_) {
    // Each new top stands above the old one. What its first entry is will be known when the old top
    // is flushed; a clean one's hash is the root.
    for (unsigned level = depth_ + 1; level <= depth; ++level) {
      auto block = std::make_unique<Block>();
      block->fill(0);
      if (level == depth_ + 1) std::copy(root_.begin(), root_.end(), node_entry(*block, 0).begin());
      changed_.insert_or_assign(NodeId{level, 0}, std::move(block));
    }
  } else if (plain_size < plain_size_) {
    // While the old top still vouches for them: the last node of each level loses its entries past
    // the end, and the new top is taken up. All are there before the first is changed.
    TRY(hold_edge(plain_size));
    for (unsigned level = 0; level <= depth && plain_size > 0; ++level) {
      const std::uint64_t last = geometry_.node_count(level, plain_size) - 1;
      const std::uint64_t children = level == 0 ? geometry_.chunk_count(plain_size)
                                                : geometry_.node_count(level - 1, plain_size);
      const std::uint64_t kept = children - last * kFanOut;
      Block& node = *TRY(edit({level, last}));
      const MutableBytes dropped = MutableBytes(node).subspan(kept * kEntrySize);
      std::fill(dropped.begin(), dropped.end(), std::uint8_t{0});
    }
    std::erase_if(changed_, [&](const auto& held) {
      return held.first.index >= geometry_.node_count(held.first.level, plain_size);
    });
    // Nodes that went must not come back from the cache when the file grows again.
    owner_ = cache_.new_owner();
    if (plain_size == 0) root_.fill(0);
  }
  plain_size_ = plain_size;
  depth_ = depth;
  return {};
}

void HashTree::take_over(const HashTree& other) {
  if (root_ == other.root_ && plain_size_ == other.plain_size_) return;
  owner_ = other.owner_;
  root_ = other.root_;
  plain_size_ = other.plain_size_;
  depth_ = other.depth_;
}

Result<void> HashTree::flush() {
  // Parents of what is flushed are added behind it, level by level, until the top.
  for (const auto& [node, block] : changed_) {
    Block* const parent = node == top() ? nullptr : TRY(edit(node.parent()));
    const MutableBytes vouched =
        parent == nullptr ? MutableBytes(root_) : node_entry(*parent, node.slot());
    Hash hash{};
    if (!all_zero(*block)) {
      hash = sha256(*block);
      Body::Holes hole;
      hole[0] = all_zero(vouched);
      TRY(body_.write(JournalKind::kNode, geometry_.node_offset(node), *block, kBlockSize, hole));
    }
    std::copy(hash.begin(), hash.end(), vouched.begin());
    cache_.put(owner_, node, *block);
  }
  changed_.clear();
  return {};
}

}  // namespace coffer

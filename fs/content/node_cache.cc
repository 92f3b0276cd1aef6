#include "fs/content/node_cache.h"

#include <algorithm>

namespace coffer {

NodeCache::NodeCache(std::size_t bytes)
    : set_count_(std::max<std::size_t>(1, bytes / (kWays * kBlockSize))),
      sets_(std::make_unique<Set[]>(set_count_)),
      // Left uninitialised: its pages are taken as they are used.
      blocks_(std::make_unique_for_overwrite<Block[]>(set_count_ * kWays)) {}

std::size_t NodeCache::set_of(std::uint64_t owner, NodeId node) const {
  std::uint64_t mixed = owner * 0x9E3779B97F4A7C15ULL;
  mixed ^= (node.index + (std::uint64_t{node.level} << 56U)) * 0xD6E8FEB86659FD93ULL;
  mixed ^= mixed >> 32U;
  return mixed % set_count_;
}

bool NodeCache::copy_entries(std::uint64_t owner, NodeId node, unsigned first, MutableBytes out) {
  const std::size_t index = set_of(owner, node);
  Set& set = sets_[index];
  MutexLock lock(set.mutex);
  for (std::size_t i = 0; i < kWays; ++i) {
    Way& way = set.ways[i];
    if (way.owner != owner || !(way.node == node)) continue;
    way.used = ++set.clock;
    const Bytes entries = Bytes(block(index, i)).subspan(first * kEntrySize, out.size());
    std::copy(entries.begin(), entries.end(), out.begin());
    return true;
  }
  return false;
}

void NodeCache::put(std::uint64_t owner, NodeId node, const Block& content) {
  const std::size_t index = set_of(owner, node);
  Set& set = sets_[index];
  MutexLock lock(set.mutex);
  std::size_t victim = 0;
  for (std::size_t i = 0; i < kWays; ++i) {
    const Way& way = set.ways[i];
    if (way.owner == owner && way.node == node) {
      victim = i;
      break;
    }
    if (way.used < set.ways[victim].used) victim = i;
  }
  set.ways[victim] = Way{.owner = owner, .node = node, .used = ++set.clock};
  block(index, victim) = content;
}

}  // namespace coffer

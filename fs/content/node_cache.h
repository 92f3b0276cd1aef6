#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "fs/format/tree_node.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// Verified tree nodes of all open files, in a fixed amount of memory: sets of eight, the one
/// unused longest gives way. Entries are copied out, so that nothing is pinned or allocated on the
/// way of a read. Thread-safe.
class NodeCache {
 public:
  /// `bytes` is rounded down to whole sets, at least one.
  explicit NodeCache(std::size_t bytes);

  /// A number that no other owner has, for the nodes of one file; taking a new one forgets all
  /// nodes under the old.
  std::uint64_t new_owner() { return next_owner_.fetch_add(1, std::memory_order_relaxed); }

  /// Copies entries [first, first + out.size() / 32) of the node; false if it is not here.
  bool copy_entries(std::uint64_t owner, NodeId node, unsigned first, MutableBytes out);
  void put(std::uint64_t owner, NodeId node, const Block& content);

  [[nodiscard]] std::size_t capacity_bytes() const { return set_count_ * kWays * kBlockSize; }

 private:
  static constexpr std::size_t kWays = 8;
  struct Way {
    std::uint64_t owner = 0;  // 0: empty
    NodeId node;
    std::uint64_t used = 0;
  };
  struct alignas(64) Set {
    Mutex mutex;
    std::array<Way, kWays> ways GUARDED_BY(mutex);
    std::uint64_t clock GUARDED_BY(mutex) = 0;
  };

  [[nodiscard]] std::size_t set_of(std::uint64_t owner, NodeId node) const;
  [[nodiscard]] Block& block(std::size_t set, std::size_t way) {
    return blocks_[set * kWays + way];
  }

  std::size_t set_count_;
  std::unique_ptr<Set[]> sets_;
  std::unique_ptr<Block[]> blocks_;  // of set i while its mutex is held
  std::atomic<std::uint64_t> next_owner_{1};
};

}  // namespace coffer

#include "fs/vfs/range_locks.h"

#include <algorithm>
#include <iterator>

namespace coffer {

/// The first one that ends at `first` or later.
RangeLocks::Ranges::const_iterator RangeLocks::first_in(const Ranges& ranges, std::uint64_t first) {
  auto at = ranges.upper_bound(first);
  if (at != ranges.begin() && std::prev(at)->second.last >= first) --at;
  return at;
}

std::optional<RangeLock> RangeLocks::conflict(const Owned& owned, const RangeLock& lock) {
  const Ranges& ranges = owned.ranges;
  auto at = first_in(ranges, lock.range.first);
  const auto in_the_way = [&](const Held& held) {
    return lock.type == LockType::kExclusive || held.type == LockType::kExclusive;
  };
  while (at != ranges.end() && at->first <= lock.range.last && !in_the_way(at->second)) ++at;
  if (at == ranges.end() || at->first > lock.range.last) return std::nullopt;
  // What was taken through several handles is one lock all the same.
  const auto goes_on = [](Ranges::const_iterator left, Ranges::const_iterator right) {
    return left->second.last + 1 == right->first && left->second.type == right->second.type;
  };
  auto first = at;
  while (first != ranges.begin() && goes_on(std::prev(first), first)) --first;
  auto last = at;
  while (std::next(last) != ranges.end() && goes_on(last, std::next(last))) ++last;
  const Held& held = at->second;
  return RangeLock{.owner = owned.owner,
                   .type = held.type,
                   .range = {.first = first->first, .last = last->second.last},
                   .by = held.by,
                   .pid = held.pid};
}

std::optional<RangeLock> RangeLocks::conflict(const RangeLock& lock) const {
  for (const Owned& owned : owners_) {
    if (owned.owner == lock.owner) continue;
    if (auto found = conflict(owned, lock)) return found;
  }
  return std::nullopt;
}

void RangeLocks::add_conflicting(const RangeLock& lock, std::vector<LockOwner>& owners) const {
  for (const Owned& owned : owners_) {
    if (owned.owner == lock.owner || !conflict(owned, lock).has_value()) continue;
    if (std::find(owners.begin(), owners.end(), owned.owner) == owners.end())
      owners.push_back(owned.owner);
  }
}

void RangeLocks::cut(Ranges& ranges, const LockRange& range) {
  const std::size_t before = ranges.size();
  auto at = ranges.lower_bound(range.first);
  if (at != ranges.begin() && std::prev(at)->second.last >= range.first) {
    Held& left = std::prev(at)->second;
    if (left.last > range.last) at = ranges.emplace_hint(at, range.last + 1, left);
    left.last = range.first - 1;
  }
  while (at != ranges.end() && at->first <= range.last) {
    if (at->second.last > range.last) {
      auto rest = ranges.extract(at);
      rest.key() = range.last + 1;
      ranges.insert(std::move(rest));
      break;
    }
    at = ranges.erase(at);
  }
  size_ = size_ - before + ranges.size();
}

RangeLocks::Ranges::iterator RangeLocks::join(Ranges& ranges, Ranges::iterator left,
                                              Ranges::iterator right) {
  const bool one = left->second.last + 1 == right->first &&
                   left->second.type == right->second.type && left->second.by == right->second.by;
  if (!one) return right;
  left->second.last = right->second.last;
  left->second.pid = right->second.pid;
  ranges.erase(right);
  return left;
}

void RangeLocks::set(const RangeLock& lock) {
  auto owned = std::find_if(owners_.begin(), owners_.end(),
                            [&](const Owned& one) { return one.owner == lock.owner; });
  if (owned == owners_.end())
    owned = owners_.insert(owned, Owned{.owner = lock.owner, .ranges = {}});
  Ranges& ranges = owned->ranges;
  cut(ranges, lock.range);
  const std::size_t before = ranges.size();
  auto at =
      ranges
          .emplace(lock.range.first,
                   Held{.last = lock.range.last, .type = lock.type, .by = lock.by, .pid = lock.pid})
          .first;
  if (at != ranges.begin()) at = join(ranges, std::prev(at), at);
  if (std::next(at) != ranges.end()) join(ranges, at, std::next(at));
  size_ = size_ - before + ranges.size();
}

void RangeLocks::clear(LockOwner owner, const LockRange& range) {
  const auto owned = std::find_if(owners_.begin(), owners_.end(),
                                  [&](const Owned& one) { return one.owner == owner; });
  if (owned == owners_.end()) return;
  cut(owned->ranges, range);
  if (owned->ranges.empty()) owners_.erase(owned);
}

void RangeLocks::drop(LockHandle handle) {
  for (Owned& owned : owners_) {
    size_ -=
        std::erase_if(owned.ranges, [&](const auto& range) { return range.second.by == handle; });
  }
  std::erase_if(owners_, [](const Owned& owned) { return owned.ranges.empty(); });
}

bool RangeLocks::splits(LockOwner owner, const LockRange& range) const {
  const auto owned = std::find_if(owners_.begin(), owners_.end(),
                                  [&](const Owned& one) { return one.owner == owner; });
  if (owned == owners_.end()) return false;
  const auto at = first_in(owned->ranges, range.first);
  return at != owned->ranges.end() && at->first < range.first && at->second.last > range.last;
}

}  // namespace coffer

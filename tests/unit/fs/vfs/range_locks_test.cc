#include "fs/vfs/range_locks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr std::uint64_t kBytes = 24;
constexpr std::uint64_t kOwners = 4;
constexpr int kSteps = 20000;

/// What is asked of both sides, one after another.
class Steps {
 public:
  explicit Steps(unsigned seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }
  LockRange range() {
    const std::uint64_t first = below(kBytes);
    if (below(8) == 0) return {.first = first};  // to the end, wherever that is
    return {.first = first, .last = first + below(std::min<std::uint64_t>(8, kBytes - first))};
  }
  RangeLock lock() {
    const std::uint64_t owner = below(kOwners);
    return {.owner = LockOwner{owner},
            .type = below(2) == 0 ? LockType::kShared : LockType::kExclusive,
            .range = range(),
            .by = LockHandle{owner * 2 + below(2)},
            .pid = static_cast<pid_t>(owner)};
  }

 private:
  std::mt19937 random_;
};

/// Who has what on each byte; the last one stands for all that follow.
class NaiveLocks {
 public:
  struct Cell {
    bool held = false;
    LockType type = LockType::kShared;
    std::uint64_t by = 0;
    bool operator==(const Cell&) const = default;
  };

  [[nodiscard]] bool conflicts(const RangeLock& lock) const {
    for (std::uint64_t owner = 0; owner < kOwners; ++owner) {
      if (owner == lock.owner.value) continue;
      for (std::uint64_t at = lock.range.first; at <= end(lock.range); ++at) {
        const Cell& cell = cells_[owner][at];
        if (cell.held && (cell.type == LockType::kExclusive || lock.type == LockType::kExclusive))
          return true;
      }
    }
    return false;
  }
  void fill(std::uint64_t owner, const LockRange& range, const Cell& cell) {
    for (std::uint64_t at = range.first; at <= end(range); ++at) cells_[owner][at] = cell;
  }
  void drop(std::uint64_t handle) {
    for (auto& row : cells_) {
      for (Cell& cell : row) {
        if (cell.held && cell.by == handle) cell = {};
      }
    }
  }
  [[nodiscard]] std::size_t runs() const {
    std::size_t runs = 0;
    for (const auto& row : cells_) {
      for (std::size_t at = 0; at < row.size(); ++at) {
        if (row[at].held && (at == 0 || row[at - 1] != row[at])) ++runs;
      }
    }
    return runs;
  }
  /// The widest range of one type around `at`.
  [[nodiscard]] LockRange around(std::uint64_t owner, std::uint64_t at) const {
    const auto& row = cells_[owner];
    const auto same = [&](std::uint64_t other) {
      return row[other].held && row[other].type == row[at].type;
    };
    LockRange range{.first = at, .last = at};
    while (range.first > 0 && same(range.first - 1)) --range.first;
    while (range.last < kBytes && same(range.last + 1)) ++range.last;
    if (range.last == kBytes) range.last = LockRange::kLast;
    return range;
  }

 private:
  static std::uint64_t end(const LockRange& range) { return std::min(range.last, kBytes); }
  std::array<std::array<Cell, kBytes + 1>, kOwners> cells_{};
};

TEST(RangeLocks, AreWhatEachByteSays) {
  Steps steps(1);
  RangeLocks locks;
  NaiveLocks naive;
  int refused = 0;
  for (int step = 0; step < kSteps; ++step) {
    const RangeLock wanted = steps.lock();
    switch (steps.below(8)) {
      case 0:
        locks.drop(wanted.by);
        naive.drop(wanted.by.value);
        break;
      case 1:
      case 2:
        locks.clear(wanted.owner, wanted.range);
        naive.fill(wanted.owner.value, wanted.range, {});
        break;
      default: {
        const auto found = locks.conflict(wanted);
        ASSERT_EQ(found.has_value(), naive.conflicts(wanted)) << step;
        std::vector<LockOwner> owners;
        locks.add_conflicting(wanted, owners);
        ASSERT_EQ(owners.empty(), !found.has_value());
        if (!found.has_value()) {
          locks.set(wanted);
          naive.fill(wanted.owner.value, wanted.range,
                     {.held = true, .type = wanted.type, .by = wanted.by.value});
        } else {
          ++refused;
          ASSERT_EQ(found->owner, owners.front());
          const std::uint64_t at = std::max(found->range.first, wanted.range.first);
          ASSERT_LE(at, std::min(found->range.last, wanted.range.last));
          ASSERT_EQ(found->range, naive.around(found->owner.value, at)) << step;
        }
      }
    }
    ASSERT_EQ(locks.size(), naive.runs()) << step;
    ASSERT_EQ(locks.empty(), naive.runs() == 0);
  }
  EXPECT_GT(refused, kSteps / 10);
}

/// The kernel's own, of as many open file descriptions of one file as there are owners.
class KernelLocks {
 public:
  KernelLocks() : file_(::memfd_create("locks", MFD_CLOEXEC)) {
    for (std::uint64_t owner = 0; owner < kOwners; ++owner) reopen(owner);
  }
  void reopen(std::uint64_t owner) {
    descriptions_[owner].reset();
    const std::string name = "/proc/self/fd/" + std::to_string(file_.get());
    descriptions_[owner] = UniqueFd(::open(name.c_str(), O_RDWR | O_CLOEXEC));
  }
  [[nodiscard]] bool valid() const {
    return std::all_of(descriptions_.begin(), descriptions_.end(),
                       [](const UniqueFd& one) { return one.valid(); });
  }
  bool set(std::uint64_t owner, int type, const LockRange& range) {
    struct flock lock = flock_of(type, range);
    return ::fcntl(descriptions_[owner].get(), F_OFD_SETLK, &lock) == 0;
  }
  std::tuple<int, off_t, off_t> in_the_way(std::uint64_t owner, int type, const LockRange& range) {
    struct flock lock = flock_of(type, range);
    EXPECT_EQ(::fcntl(descriptions_[owner].get(), F_OFD_GETLK, &lock), 0);
    if (lock.l_type == F_UNLCK) return {F_UNLCK, 0, 0};
    return {lock.l_type, lock.l_start, lock.l_len};
  }

 private:
  static struct flock flock_of(int type, const LockRange& range) {
    struct flock lock {};
    lock.l_type = static_cast<short>(type);
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(range.first);
    lock.l_len =
        range.last == LockRange::kLast ? 0 : static_cast<off_t>(range.last - range.first + 1);
    return lock;
  }
  UniqueFd file_;
  std::array<UniqueFd, kOwners> descriptions_;
};

int kernel_type(LockType type) { return type == LockType::kExclusive ? F_WRLCK : F_RDLCK; }

std::tuple<int, off_t, off_t> in_kernel_terms(const std::optional<RangeLock>& lock) {
  if (!lock.has_value()) return {F_UNLCK, 0, 0};
  const auto [first, last] = lock->range;
  const off_t length = last == LockRange::kLast ? 0 : static_cast<off_t>(last - first + 1);
  return {kernel_type(lock->type), static_cast<off_t>(first), length};
}

TEST(RangeLocks, AnswerAsTheKernelsOwn) {
  Steps steps(2);
  RangeLocks locks;
  KernelLocks kernel;
  ASSERT_TRUE(kernel.valid());
  for (int step = 0; step < kSteps; ++step) {
    RangeLock wanted = steps.lock();
    const std::uint64_t owner = wanted.owner.value;
    wanted.by = LockHandle{owner};
    switch (steps.below(8)) {
      case 0:
        locks.drop(wanted.by);
        kernel.reopen(owner);
        break;
      case 1:
      case 2:
        locks.clear(wanted.owner, wanted.range);
        ASSERT_TRUE(kernel.set(owner, F_UNLCK, wanted.range));
        break;
      default: {
        const auto found = locks.conflict(wanted);
        ASSERT_EQ(in_kernel_terms(found),
                  kernel.in_the_way(owner, kernel_type(wanted.type), wanted.range))
            << step;
        ASSERT_EQ(!found.has_value(), kernel.set(owner, kernel_type(wanted.type), wanted.range));
        if (!found.has_value()) locks.set(wanted);
      }
    }
  }
}

TEST(RangeLocks, WhatIsTakenAgainIsOfTheNewerHandle) {
  RangeLocks locks;
  const LockOwner owner{1};
  const LockHandle older{1};
  const LockHandle newer{2};
  locks.set({.owner = owner, .range = {.first = 0, .last = 9}, .by = older});
  locks.set({.owner = owner, .range = {.first = 5, .last = 14}, .by = newer});
  EXPECT_EQ(locks.size(), 2U);
  const RangeLock other{.owner = LockOwner{2}, .type = LockType::kExclusive};
  EXPECT_EQ(locks.conflict(other)->range, (LockRange{.first = 0, .last = 14}));
  locks.drop(older);
  EXPECT_EQ(locks.conflict(other)->range, (LockRange{.first = 5, .last = 14}));
}

TEST(RangeLocks, ReachTheLastByteThereCanBe) {
  RangeLocks locks;
  const LockOwner owner{1};
  locks.set({.owner = owner});
  EXPECT_TRUE(locks.splits(owner, {.first = 1, .last = LockRange::kLast - 1}));
  EXPECT_FALSE(locks.splits(owner, {.first = 1}));
  locks.clear(owner, {.first = 1, .last = LockRange::kLast - 1});
  EXPECT_EQ(locks.size(), 2U);
  locks.set({.owner = owner, .range = {.first = 1, .last = LockRange::kLast - 1}});
  EXPECT_EQ(locks.size(), 1U);
  locks.clear(owner, {});
  EXPECT_TRUE(locks.empty());
}

}  // namespace
}  // namespace coffer

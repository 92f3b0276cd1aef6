#include "fs/vfs/file_locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <future>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace coffer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Claim = FileLocks::Claim;
using Kind = FileLocks::Kind;
using Ticket = FileLocks::Ticket;

constexpr FileId kFile{.bytes = {1}};
constexpr FileId kOther{.bytes = {2}};
constexpr LockType kShared = LockType::kShared;
constexpr LockType kExclusive = LockType::kExclusive;

/// An owner of locks, with a handle of the same number.
Claim claim(std::uint64_t owner, LockType type, const LockRange& range = {}, FileId file = kFile) {
  return {.file = file,
          .kind = Kind::kRange,
          .lock = {.owner = LockOwner{owner},
                   .type = type,
                   .range = range,
                   .by = LockHandle{owner},
                   .pid = static_cast<pid_t>(owner)}};
}

Claim whole(std::uint64_t owner, LockType type) {
  Claim of_whole = claim(owner, type);
  of_whole.kind = Kind::kWhole;
  return of_whole;
}

int errno_of(const Result<void>& outcome) { return outcome ? 0 : outcome.error().errno_value; }

class FileLocksTest : public ::testing::Test {
 protected:
  int take(const Claim& wanted) { return errno_of(locks_.take(wanted)); }
  void release(const Claim& held) {
    ASSERT_TRUE(locks_.release(held.file, held.kind, held.lock.owner, held.lock.range).ok());
  }
  /// Its end is added to `ended_` as the owner's number, or as a negative errno.
  std::optional<Ticket> ask(
      const Claim& wanted, std::function<Result<void>()> may = [] { return Result<void>(); }) {
    const auto note = [this, owner = wanted.lock.owner](const Result<void>& outcome) {
      ended_.push_back(outcome ? static_cast<int>(owner.value) : -outcome.error().errno_value);
    };
    auto ticket = locks_.take_or_wait(wanted, {.may = std::move(may), .answer = note});
    if (ticket) return *ticket;
    ended_.push_back(-ticket.error().errno_value);
    return std::nullopt;
  }
  /// One that has to wait, and does.
  Ticket wait(const Claim& wanted) {
    const auto ticket = ask(wanted);
    EXPECT_TRUE(ticket.has_value());
    locks_.begin_waiting(*ticket);
    return *ticket;
  }

  FileLocks locks_;
  std::vector<int> ended_;
};

TEST_F(FileLocksTest, MeetOnOneFileAndByKind) {
  EXPECT_EQ(take(claim(1, kExclusive, {.first = 0, .last = 4})), 0);
  EXPECT_EQ(take(claim(2, kShared, {.first = 4, .last = 4})), EAGAIN);
  EXPECT_EQ(take(claim(2, kShared, {.first = 5, .last = 5})), 0);
  EXPECT_EQ(take(claim(2, kExclusive, {}, kOther)), 0);
  EXPECT_EQ(take(whole(2, kExclusive)), 0);
  EXPECT_EQ(take(whole(1, kShared)), EAGAIN);
  const auto found = locks_.conflict(claim(2, kShared));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->pid, 1);
  EXPECT_EQ(found->range, (LockRange{.first = 0, .last = 4}));
  EXPECT_FALSE(locks_.conflict(claim(1, kShared)).has_value());
}

TEST_F(FileLocksTest, AClosedDescriptorEndsAllRangesOfItsProcess) {
  EXPECT_EQ(take(claim(1, kExclusive, {.first = 0, .last = 4})), 0);
  EXPECT_EQ(take(claim(1, kShared, {.first = 10, .last = 14})), 0);
  EXPECT_EQ(take(whole(1, kExclusive)), 0);
  EXPECT_EQ(take(claim(1, kExclusive, {}, kOther)), 0);
  locks_.drop(kFile, LockOwner{1});
  EXPECT_EQ(take(claim(2, kExclusive)), 0);
  EXPECT_EQ(take(whole(2, kShared)), EAGAIN);
  EXPECT_EQ(take(claim(2, kShared, {}, kOther)), EAGAIN);
}

TEST_F(FileLocksTest, AHandleTakesAllThatCameByIt) {
  Claim by_another = claim(1, kExclusive, {.first = 10, .last = 14});
  by_another.lock.by = LockHandle{7};
  EXPECT_EQ(take(claim(1, kExclusive, {.first = 0, .last = 4})), 0);
  EXPECT_EQ(take(by_another), 0);
  EXPECT_EQ(take(whole(1, kExclusive)), 0);
  locks_.drop(LockHandle{1});
  EXPECT_EQ(take(whole(2, kExclusive)), 0);
  EXPECT_EQ(take(claim(2, kExclusive, {.first = 0, .last = 9})), 0);
  EXPECT_EQ(take(claim(2, kExclusive)), EAGAIN);
  locks_.drop(LockHandle{7});
  EXPECT_EQ(take(claim(2, kExclusive)), 0);
  locks_.drop(LockHandle{7});
}

TEST_F(FileLocksTest, FlockGivesUpWhatItHasForWhatItWants) {
  EXPECT_EQ(take(whole(1, kShared)), 0);
  EXPECT_EQ(take(whole(2, kShared)), 0);
  EXPECT_EQ(take(whole(1, kExclusive)), EAGAIN);
  EXPECT_EQ(take(whole(2, kExclusive)), 0) << "the first's is gone";
  EXPECT_EQ(take(whole(2, kShared)), 0);
  EXPECT_EQ(take(whole(1, kShared)), 0);
  wait(whole(1, kExclusive));
  EXPECT_FALSE(ask(whole(2, kExclusive)).has_value()) << "nor keeps it who waits";
  EXPECT_THAT(ended_, IsEmpty());
  release(whole(2, kExclusive));
  EXPECT_THAT(ended_, ElementsAre(1));
}

TEST_F(FileLocksTest, ThoseWhoWaitGetItInTheirOrder) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  for (const std::uint64_t owner : {2, 3}) wait(claim(owner, kExclusive));
  for (const std::uint64_t owner : {4, 5}) wait(claim(owner, kShared));
  EXPECT_THAT(ended_, IsEmpty());
  release(claim(1, kExclusive));
  EXPECT_THAT(ended_, ElementsAre(2));
  locks_.drop(kFile, LockOwner{2});
  EXPECT_THAT(ended_, ElementsAre(2, 3));
  locks_.drop(LockHandle{3});
  EXPECT_THAT(ended_, ElementsAre(2, 3, 4, 5));
}

TEST_F(FileLocksTest, LessThanBeforeLetsOthersIn) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  wait(claim(2, kShared, {.first = 0, .last = 4}));
  wait(claim(3, kShared));
  EXPECT_EQ(take(claim(1, kShared, {.first = 0, .last = 9})), 0);
  EXPECT_THAT(ended_, ElementsAre(2));
  release(claim(1, kShared, {.first = 8}));
  EXPECT_THAT(ended_, ElementsAre(2, 3));
}

TEST_F(FileLocksTest, OneWhoGetsLessThanHeHadLetsInThoseBeforeHim) {
  EXPECT_EQ(take(claim(1, kExclusive, {.first = 0, .last = 4})), 0);
  EXPECT_EQ(take(claim(2, kExclusive, {.first = 5, .last = 9})), 0);
  wait(claim(3, kShared, {.first = 0, .last = 4}));
  wait(claim(1, kShared, {.first = 0, .last = 9}));
  release(claim(2, kExclusive));
  EXPECT_THAT(ended_, ElementsAre(3, 1));
}

TEST_F(FileLocksTest, WhoIsInterruptedGetsNone) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  const Ticket second = wait(claim(2, kExclusive));
  const auto third = ask(claim(3, kExclusive));
  ASSERT_TRUE(third.has_value());
  locks_.interrupt(second);
  locks_.interrupt(second);
  EXPECT_THAT(ended_, ElementsAre(-EINTR));
  locks_.interrupt(*third);
  EXPECT_THAT(ended_, ElementsAre(-EINTR)) << "not before he waits";
  locks_.begin_waiting(*third);
  EXPECT_THAT(ended_, ElementsAre(-EINTR, -EINTR));
  release(claim(1, kExclusive));
  EXPECT_EQ(take(claim(4, kExclusive)), 0);
}

TEST_F(FileLocksTest, WhatIsGrantedFirstIsNotInterrupted) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  const auto ticket = ask(claim(2, kExclusive));
  release(claim(1, kExclusive));
  EXPECT_THAT(ended_, IsEmpty());
  EXPECT_EQ(take(claim(3, kShared)), EAGAIN) << "it is his already";
  locks_.interrupt(*ticket);
  locks_.begin_waiting(*ticket);
  EXPECT_THAT(ended_, ElementsAre(2));
  locks_.begin_waiting(*ticket);
  EXPECT_THAT(ended_, ElementsAre(2));
}

TEST_F(FileLocksTest, WhoWouldWaitForHimselfIsTold) {
  const LockRange first{.first = 0, .last = 0};
  EXPECT_EQ(take(claim(1, kExclusive, first)), 0);
  EXPECT_EQ(take(claim(2, kExclusive, {}, kOther)), 0);
  EXPECT_EQ(take(claim(3, kShared, {.first = 9, .last = 9})), 0);
  wait(claim(1, kExclusive, {}, kOther));
  wait(claim(2, kExclusive, {.first = 9, .last = 9}));
  EXPECT_THAT(ended_, IsEmpty());
  EXPECT_FALSE(ask(claim(3, kShared, first)).has_value());
  EXPECT_THAT(ended_, ElementsAre(-EDEADLK));
  EXPECT_EQ(take(claim(3, kShared, first)), EAGAIN) << "who does not wait is no part of it";
  wait(claim(4, kShared, first));
  release(claim(3, kShared));
  EXPECT_THAT(ended_, ElementsAre(-EDEADLK, 2));
}

TEST_F(FileLocksTest, FlocksAreNotLookedAtForDeadlocks) {
  // As the kernel: flock(2) knows no EDEADLK.
  EXPECT_EQ(take(whole(1, kExclusive)), 0);
  EXPECT_EQ(take(claim(2, kExclusive)), 0);
  wait(claim(1, kExclusive));
  wait(whole(2, kExclusive));
  EXPECT_THAT(ended_, IsEmpty());
}

TEST_F(FileLocksTest, WhoMayNoMoreIsAnsweredAtOnce) {
  const Error withdrawn{Code::kRevoked, EKEYREVOKED, "withdrawn"};
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  bool may_second = true;
  bool may_third = false;
  const auto second = ask(claim(2, kExclusive), [&]() -> Result<void> {
    if (may_second) return {};
    return withdrawn;
  });
  const auto third = ask(claim(3, kExclusive), [&]() -> Result<void> {
    if (may_third) return {};
    return withdrawn;
  });
  wait(claim(4, kExclusive));
  locks_.begin_waiting(*second);
  EXPECT_THAT(ended_, IsEmpty());
  locks_.begin_waiting(*third);
  EXPECT_THAT(ended_, ElementsAre(-EKEYREVOKED)) << "withdrawn before he waited";
  locks_.reconsider();
  EXPECT_THAT(ended_, ElementsAre(-EKEYREVOKED));
  may_second = false;
  locks_.reconsider();
  EXPECT_THAT(ended_, ElementsAre(-EKEYREVOKED, -EKEYREVOKED));
  release(claim(1, kExclusive));
  EXPECT_THAT(ended_, ElementsAre(-EKEYREVOKED, -EKEYREVOKED, 4));
}

TEST_F(FileLocksTest, WhoMayNoMoreIsPassedOver) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  bool may = true;
  const auto second = ask(claim(2, kExclusive), [&]() -> Result<void> {
    if (may) return {};
    return Error{Code::kRevoked, EKEYREVOKED, "withdrawn"};
  });
  locks_.begin_waiting(*second);
  wait(claim(3, kExclusive));
  may = false;
  release(claim(1, kExclusive));
  EXPECT_THAT(ended_, ElementsAre(-EKEYREVOKED, 3));
}

TEST_F(FileLocksTest, AtTheEndEveryoneIsLetGo) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  wait(claim(2, kExclusive));
  wait(claim(3, kShared));
  locks_.end();
  EXPECT_THAT(ended_, ElementsAre(-ENOTCONN, -ENOTCONN));
  EXPECT_FALSE(ask(claim(4, kShared)).has_value());
  EXPECT_EQ(ended_.back(), -ENOTCONN);
  locks_.drop(LockHandle{1});
  EXPECT_EQ(ended_.size(), 3U);
}

TEST_F(FileLocksTest, TheEndWaitsForAnswersUnderWay) {
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  std::promise<void> begun;
  std::promise<void> go_on;
  std::atomic<bool> answered = false;
  const auto ticket =
      locks_.take_or_wait(claim(2, kExclusive), {.may = [] { return Result<void>(); },
                                                 .answer =
                                                     [&](const Result<void>&) {
                                                       begun.set_value();
                                                       go_on.get_future().wait();
                                                       answered = true;
                                                     }});
  ASSERT_TRUE(ticket.ok());
  locks_.begin_waiting(**ticket);
  std::thread releases([&] { locks_.drop(LockHandle{1}); });
  begun.get_future().wait();
  std::thread ends([&] {
    locks_.end();
    EXPECT_TRUE(answered);
  });
  go_on.set_value();
  ends.join();
  releases.join();
}

TEST_F(FileLocksTest, ThereAreNoMoreThanAMountCanKeep) {
  const auto at = [](std::uint64_t byte) { return LockRange{.first = byte, .last = byte}; };
  std::uint64_t taken = 0;
  int refused = 0;
  while (refused == 0 && taken <= FileLocks::kMost) {
    refused = take(claim(1, kExclusive, at(2 * taken)));
    if (refused == 0) ++taken;
  }
  EXPECT_EQ(refused, ENOLCK);
  EXPECT_GT(taken, FileLocks::kMost / 2);
  EXPECT_EQ(take(claim(2, kShared, {}, kOther)), ENOLCK);
  release(claim(1, kExclusive, at(0)));
  release(claim(1, kExclusive, at(2)));
  EXPECT_EQ(take(claim(2, kShared, {}, kOther)), 0);
  locks_.drop(LockHandle{1});
  EXPECT_EQ(take(claim(1, kExclusive)), 0);
  EXPECT_EQ(take(claim(2, kExclusive, {}, kOther)), 0) << "all are counted out";
}

TEST_F(FileLocksTest, FilesWithoutLocksAreKnownToHaveNone) {
  EXPECT_FALSE(locks_.may_have_locks(kFile));
  EXPECT_EQ(take(claim(1, kShared)), 0);
  EXPECT_TRUE(locks_.may_have_locks(kFile));
  EXPECT_FALSE(locks_.may_have_locks(kOther));
}

TEST(FileLocksThreads, EachIsAnsweredOnceAndNoTwoHaveIt) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 3000;
  FileLocks locks;
  std::atomic<int> inside = 0;
  std::atomic<int> granted = 0;
  struct Answer {
    std::promise<int> errno_value;
    std::atomic<int> times = 0;
  };
  const auto work = [&](std::uint64_t me) {
    std::mt19937 random(static_cast<unsigned>(me));
    for (int round = 0; round < kRounds; ++round) {
      Claim mine = claim(me, kExclusive);
      mine.kind = random() % 2 == 0 ? Kind::kRange : Kind::kWhole;
      mine.file.bytes[0] = static_cast<std::uint8_t>(mine.kind);
      mine.lock.by.value = 2 * me + mine.file.bytes[0];  // each is of one file
      const auto answer = std::make_shared<Answer>();
      const auto ticket =
          locks.take_or_wait(mine, {.may = [] { return Result<void>(); },
                                    .answer =
                                        [answer](const Result<void>& outcome) {
                                          if (++answer->times == 1)
                                            answer->errno_value.set_value(errno_of(outcome));
                                        }});
      ASSERT_TRUE(ticket.ok());
      int got = 0;
      if (ticket->has_value()) {
        // Another thread interrupts it at any moment, as the kernel's thread would.
        std::optional<std::thread> interrupts;
        if (random() % 4 == 0) interrupts.emplace([&] { locks.interrupt(**ticket); });
        locks.begin_waiting(**ticket);
        got = answer->errno_value.get_future().get();
        if (interrupts.has_value()) interrupts->join();
        locks.interrupt(**ticket);
        EXPECT_EQ(answer->times, 1);
      }
      if (got == EINTR) continue;
      ASSERT_EQ(got, 0);
      if (mine.kind == Kind::kWhole) {
        EXPECT_EQ(++inside, 1);
        std::this_thread::yield();
        --inside;
      }
      ++granted;
      if (random() % 2 == 0) {
        locks.drop(mine.lock.by);
      } else {
        ASSERT_TRUE(locks.release(mine.file, mine.kind, mine.lock.owner, {}).ok());
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t me = 1; me <= kThreads; ++me) threads.emplace_back(work, me);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(granted, kRounds);
  locks.end();
  Claim last = claim(99, kExclusive);
  for (const Kind kind : {Kind::kRange, Kind::kWhole}) {
    last.kind = kind;
    last.file.bytes[0] = static_cast<std::uint8_t>(kind);
    EXPECT_FALSE(locks.conflict(last).has_value());
  }
}

}  // namespace
}  // namespace coffer

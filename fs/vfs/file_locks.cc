#include "fs/vfs/file_locks.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace coffer {
namespace {

/// Without words, which nobody would read: no log line is written of it.
Error refusal(int errno_value) { return {Code::kBusy, errno_value, {}}; }

}  // namespace

Result<void> FileLocks::take(const Claim& claim) {
  Waiters done;
  int refused = 0;
  {
    MutexLock lock(mutex_);
    refused = try_to_take(claim);
    // Even where it is refused: flock gives up what was there.
    settle(files_.find(claim.file), done);
  }
  answer(std::move(done));
  if (refused != 0) return refusal(refused);
  return {};
}

Result<std::optional<FileLocks::Ticket>> FileLocks::take_or_wait(const Claim& claim,
                                                                 Waiting waiting) {
  Waiters done;
  std::optional<Ticket> ticket;
  int refused = 0;
  {
    MutexLock lock(mutex_);
    refused = try_to_take(claim);
    const auto file = files_.find(claim.file);
    if (refused == EAGAIN && ended_) refused = ENOTCONN;
    if (refused == EAGAIN && would_deadlock(claim)) refused = EDEADLK;
    if (refused == EAGAIN) {
      ticket = Ticket{next_ticket_++};
      const auto at = file->second.waiters.emplace(
          *ticket, Waiter{.claim = claim, .waiting = std::move(waiting)});
      waiting_.emplace(*ticket, &at.first->second);
      ++waiting_count_;
      refused = 0;
    }
    settle(file, done);
  }
  answer(std::move(done));
  if (refused != 0) return refusal(refused);
  return ticket;
}

void FileLocks::begin_waiting(Ticket ticket) {
  Waiters done;
  {
    MutexLock lock(mutex_);
    const auto found = waiting_.find(ticket);
    if (found == waiting_.end()) return;
    Waiter& waiter = *found->second;
    waiter.begun = true;
    auto outcome = std::exchange(waiter.outcome, std::nullopt);
    // He was not found by who withdrew his leave before he waited.
    if (!outcome.has_value()) {
      if (auto may = waiter.waiting.may(); !may.ok()) outcome = std::move(may);
    }
    if (outcome.has_value()) finish(waiter, ticket, std::move(*outcome), done);
  }
  answer(std::move(done));
}

void FileLocks::interrupt(Ticket ticket) {
  Waiters done;
  {
    MutexLock lock(mutex_);
    const auto found = waiting_.find(ticket);
    if (found == waiting_.end() || found->second->outcome.has_value()) return;
    finish(*found->second, ticket, refusal(EINTR), done);
  }
  answer(std::move(done));
}

std::optional<RangeLock> FileLocks::conflict(const Claim& claim) {
  MutexLock lock(mutex_);
  const auto file = files_.find(claim.file);
  if (file == files_.end()) return std::nullopt;
  return file->second.of(claim.kind).conflict(claim.lock);
}

Result<void> FileLocks::release(FileId file, Kind kind, LockOwner owner, const LockRange& range) {
  bool too_many = false;
  give_back(file, [&](File& of) REQUIRES(mutex_) {
    RangeLocks& locks = of.of(kind);
    too_many = held_ >= kMost && locks.splits(owner, range);
    if (!too_many) locks.clear(owner, range);
  });
  if (too_many) return refusal(ENOLCK);
  return {};
}

void FileLocks::drop(FileId file, LockOwner owner) {
  if (handle_count_ == 0) return;
  give_back(file, [&](File& of) { of.of(Kind::kRange).clear(owner, {}); });
}

void FileLocks::drop(LockHandle handle) {
  if (handle_count_ == 0) return;
  FileId file;
  {
    MutexLock lock(mutex_);
    const auto known = handles_.find(handle);
    if (known == handles_.end()) return;
    file = known->second;
    handles_.erase(known);
    --handle_count_;
  }
  give_back(file, [&](File& of) {
    for (RangeLocks& locks : of.locks) locks.drop(handle);
  });
}

void FileLocks::reconsider() {
  if (waiting_count_ == 0) return;
  Waiters done;
  {
    MutexLock lock(mutex_);
    std::vector<std::pair<Ticket, Error>> refused;
    for (const auto& [ticket, waiter] : waiting_) {
      if (waiter->outcome.has_value()) continue;
      if (auto may = waiter->waiting.may(); !may)
        refused.emplace_back(ticket, std::move(may).error());
    }
    for (auto& [ticket, error] : refused)
      finish(*waiting_.at(ticket), ticket, std::move(error), done);
  }
  answer(std::move(done));
}

void FileLocks::end() {
  Waiters done;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    while (!waiting_.empty()) {
      const auto [ticket, waiter] = *waiting_.begin();
      waiter->begun = true;
      finish(*waiter, ticket, refusal(ENOTCONN), done);
    }
  }
  answer(std::move(done));
  MutexLock lock(mutex_);
  while (answering_ > 0) answered_.wait(mutex_);
}

bool FileLocks::may_have_locks(FileId file) {
  if (!any_file_) return false;
  MutexLock lock(mutex_);
  return files_.contains(file);
}

int FileLocks::try_to_take(const Claim& claim) {
  const auto [file, is_new] = files_.try_emplace(claim.file);
  if (is_new) any_file_ = true;
  if (handles_.emplace(claim.lock.by, claim.file).second) ++handle_count_;
  RangeLocks& locks = file->second.of(claim.kind);
  const std::size_t before = locks.size();
  // It is no use to keep it until the other is there: two who share a lock and both want it
  // for themselves would wait for each other.
  if (claim.kind == Kind::kWhole) locks.clear(claim.lock.owner, {});
  int refused = 0;
  if (locks.conflict(claim.lock).has_value()) {
    refused = EAGAIN;
  } else if (held_ + 2 > kMost) {
    refused = ENOLCK;
  } else {
    locks.set(claim.lock);
  }
  held_ = held_ - before + locks.size();
  return refused;
}

bool FileLocks::would_deadlock(const Claim& claim) const {
  if (claim.kind != Kind::kRange) return false;
  std::vector<LockOwner> owners;
  files_.at(claim.file).of(Kind::kRange).add_conflicting(claim.lock, owners);
  for (std::size_t at = 0; at < std::min(owners.size(), kMostLookedAt); ++at) {
    const LockOwner owner = owners[at];
    if (owner == claim.lock.owner) return true;
    for (const auto& [ticket, waiter] : waiting_) {
      const Claim& other = waiter->claim;
      if (other.lock.owner == owner && other.kind == Kind::kRange)
        files_.at(other.file).of(Kind::kRange).add_conflicting(other.lock, owners);
    }
  }
  return false;
}

template <typename Change>
void FileLocks::give_back(FileId file, const Change& change) {
  Waiters done;
  {
    MutexLock lock(mutex_);
    const auto known = files_.find(file);
    if (known == files_.end()) return;
    const auto count = [&] {
      return known->second.locks[0].size() + known->second.locks[1].size();
    };
    const std::size_t before = count();
    change(known->second);
    held_ = held_ - before + count();
    settle(known, done);
  }
  answer(std::move(done));
}

/// To one who waits. That there is no memory is his trouble, not that of who made room for him.
Result<void> FileLocks::give(const Claim& claim) {
  try {
    const int refused = try_to_take(claim);
    if (refused != 0) return refusal(refused);
    return {};
  } catch (const std::bad_alloc&) {
    return refusal(ENOMEM);
  }
}

void FileLocks::settle(Files::iterator file, Waiters& done) {
  auto& waiters = file->second.waiters;
  // Again after each that got his: it may be less than he had, and let in one before him.
  for (bool again = !waiters.empty(); again;) {
    again = false;
    for (auto next = waiters.begin(); next != waiters.end();) {
      const Ticket ticket = next->first;
      Waiter& waiter = next->second;
      ++next;
      const Claim& claim = waiter.claim;
      if (waiter.outcome.has_value() ||
          file->second.of(claim.kind).conflict(claim.lock).has_value())
        continue;
      Result<void> outcome = waiter.waiting.may();
      if (outcome) outcome = give(claim);
      again = again || outcome.ok();
      finish(waiter, ticket, std::move(outcome), done);
    }
  }
  const File& left = file->second;
  const bool empty = left.waiters.empty() && left.locks[0].empty() && left.locks[1].empty();
  if (empty && files_.size() > kMostKept) files_.erase(file);
}

void FileLocks::finish(Waiter& waiter, Ticket ticket, Result<void> outcome, Waiters& done) {
  waiter.outcome = std::move(outcome);
  if (!waiter.begun) return;
  ++answering_;
  --waiting_count_;
  waiting_.erase(ticket);
  done.insert(files_.at(waiter.claim.file).waiters.extract(ticket));
}

void FileLocks::answer(Waiters done) {
  if (done.empty()) return;
  for (const auto& [ticket, waiter] : done) waiter.waiting.answer(*waiter.outcome);
  MutexLock lock(mutex_);
  answering_ -= done.size();
  if (answering_ == 0) answered_.notify_all();
}

}  // namespace coffer

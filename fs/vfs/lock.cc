// A mount whose keys are dropped while it stays mounted, and given back to it: `coffer lock` and
// `coffer unlock` (fs/SEMANTICS.md, "Locked").

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// For each thing that has to be waited for, where keys are to go at once.
constexpr std::chrono::seconds kAtOnce{2};

Error not_in_time(const std::string& what) {
  return {Code::kBusy, 0, what + " (try again, or give --force)"};
}

/// Has `thread` do it. kBusy if that is not done at `deadline`: then it is done later.
Result<void> do_by(SteadyClock::time_point deadline, Background& thread,
                   std::function<Result<void>()> work) {
  struct Job {
    Mutex mutex;
    CondVar ended;
    std::optional<Result<void>> outcome GUARDED_BY(mutex);
  };
  const auto job = std::make_shared<Job>();
  const bool added = thread.add([job, work = std::move(work)] {
    auto outcome = work();
    MutexLock lock(job->mutex);
    job->outcome = std::move(outcome);
    job->ended.notify_all();
  });
  MutexLock lock(job->mutex);
  while (added && !job->outcome.has_value() && SteadyClock::now() < deadline)
    (void)job->ended.wait_for(job->mutex, deadline - SteadyClock::now());
  if (!job->outcome.has_value()) return not_in_time("the backing filesystem does not answer");
  return *job->outcome;
}

}  // namespace

Result<Gate::Pass> Vfs::enter(Gate::Way way) {
  if (auto pass = gate_.enter(way)) return std::move(*pass);
  if (way == Gate::Way::kOpened) return Error{Code::kRevoked, EKEYREVOKED, "the mount is locked"};
  return Error{Code::kKeyUnavailable, ENOKEY, "the mount is locked"};
}

Result<Vfs::LockedOut> Vfs::lock(const LockOptions& how) {
  MutexLock turn(locking_);
  LockedOut out{.was_locked = locked_, .under_way = ending_};
  if (locked_) return out;
  const auto in_the_end = SteadyClock::now() + how.patience;
  const auto deadline = [&] { return how.force ? SteadyClock::now() + kAtOnce : in_the_end; };

  gate_.set(Gate::State::kClosing);
  unwritten_ = 0;
  for (const auto& file : files_.all()) file->set_saved(false);
  const bool settled = gate_.wait_until_empty(Gate::Way::kNew, deadline());
  auto saved = settled ? do_by(deadline(), saving_, [this] { return save_open_files(); })
                       : not_in_time("operations on the mount do not end");
  if (!saved && !how.force) return open_again(std::move(saved).error(), out);

  // From here on nothing reaches the kernel's pages, and what was written to them before does us.
  out.withdrawn = admissions_.standing();
  for (const auto& admission : out.withdrawn) admission->withdraw(EKEYREVOKED);
  file_locks_.reconsider();
  const auto dropped = do_by(deadline(), dropping_, [this]() -> Result<void> {
    for (const InodeId inode : inodes_.all()) drop(inode, Kept::kCopies);
    for (const InodeId view : views_.all()) drop(view, Kept::kCopies);
    return {};
  });
  if (!dropped && !how.force)
    return open_again(not_in_time("the kernel does not give up its pages"), out);
  for (const auto& admission : out.withdrawn) admission->note_dropped();

  gate_.set(Gate::State::kShut);
  const auto left_by = deadline();
  if (!gate_.wait_until_empty(Gate::Way::kNew, left_by) ||
      !gate_.wait_until_empty(Gate::Way::kOpened, left_by)) {
    if (!how.force) return open_again(not_in_time("operations on what is open do not end"), out);
  } else {
    saved = do_by(deadline(), saving_, [this] { return settle_open_files(); });
    if (!saved && !how.force) return open_again(std::move(saved).error(), out);
  }

  ending_ = true;
  const auto unsaved = std::make_shared<std::vector<std::string>>();
  out.under_way = !do_by(deadline(), saving_, [this, unsaved] {
                     *unsaved = end_open_files();
                     return Result<void>();
                   }).ok();
  if (!out.under_way) out.unsaved = std::move(*unsaved);
  broker_.lock();
  locked_ = true;
  return out;
}

Error Vfs::open_again(Error why, const LockedOut& out) {
  gate_.set(Gate::State::kOpen);
  let_go_of_left();
  note_withdrawn(out);
  const std::string_view end = out.withdrawn.empty()
                                   ? "the mount is not locked"
                                   : "the mount is not locked, but what was open is withdrawn";
  return {why.code, 0, why.message() + "; " + std::string(end)};
}

void Vfs::note_withdrawn(const LockedOut& out) {
  for (const auto& admission : out.withdrawn) {
    const Admission::To& to = admission->to();
    const std::string path = inodes_.path(to.inode);
    broker_.note_locked_out({to.scope, admission->who(), to.rights, path}, to.key);
  }
}

Result<void> Vfs::save_open_files() {
  for (const auto& file : files_.all()) {
    drop(file->inode(), Kept::kPages);  // which writes those that were changed through a mapping
    auto committed = file->content().commit();
    if (!committed && !file->deleted())
      return at_path(std::move(committed).error(), inodes_.path(file->inode()));
  }
  return check_written();
}

Result<void> Vfs::check_written() const {
  const InodeId inode{unwritten_.load()};
  if (inode.value == 0) return {};
  return Error{Code::kIo, EIO, inodes_.path(inode) + ": not all that was written to a mapping"};
}

Result<void> Vfs::settle_open_files() {
  Result<void> outcome = check_written();
  settle_removed();
  for (const auto& file : files_.all()) {
    auto settled = file->content().commit();
    // What is committed is kept, should its journal have to wait for the next opening.
    file->set_saved(settled.ok() && file->inode().value != unwritten_.load());
    if (settled) settled = settle(*file);
    if (!settled && outcome)
      outcome = at_path(std::move(settled).error(), inodes_.path(file->inode()));
  }
  // Twice, for the states that come of dropping bindings after the first.
  for (int round = 0; round < 2 && recorder_ != nullptr && outcome; ++round)
    outcome = recorder_->flush();
  if (outcome && xattrs_.retired() > 0) outcome = sync_backing();
  return outcome;
}

std::vector<std::string> Vfs::end_open_files() {
  while (!gate_.wait_until_empty(Gate::Way::kNew, SteadyClock::now() + kAtOnce) ||
         !gate_.wait_until_empty(Gate::Way::kOpened, SteadyClock::now() + kAtOnce)) {
  }
  std::vector<std::string> unsaved;
  bool any_deleted = false;
  {
    MutexLock turn(settling_);
    for (const auto& admission : admissions_.all()) {
      if (!admission->withdrawn()) admission->withdraw(EKEYREVOKED);
      admission->drop_names();
    }
    (void)take_lingering();
    for (const auto& file : files_.take_all()) {
      if (file->deleted()) {
        file->content().abandon();
        retire_xattrs(file->content().keys().file.view(), file->content().xattrs());
        note_state(*file);
        any_deleted = true;
      } else if (!file->saved()) {
        unsaved.push_back(inodes_.path(file->inode()));
      }
      file->end();
    }
  }
  if (any_deleted && recorder_ != nullptr) {
    // What can't be recorded now is when the mount is unlocked.
    if (auto flushed = recorder_->flush(); !flushed) options_.report(flushed.error());
  }
  names_.clear();
  directories_.clear();
  xattr_cache_.clear();
  scratch_.wipe_idle();
  let_go_of_left();
  ending_ = false;
  return unsaved;
}

void Vfs::leave(std::unique_ptr<FileHandle> handle) {
  MutexLock lock(left_mutex_);
  left_.push_back(std::move(handle));
}

void Vfs::let_go_of_left() {
  std::vector<std::unique_ptr<FileHandle>> left;
  {
    MutexLock lock(left_mutex_);
    left = std::exchange(left_, {});
  }
  for (const auto& handle : left) {
    if (!handle->file->ended()) let_go(handle->file);
  }
}

Result<void> Vfs::unlock() {
  MutexLock turn(locking_);
  if (!locked_) return {};
  if (ending_)
    return Error{Code::kBusy, 0,
                 "operations from before the lock have not ended; see the backing filesystem"};
  TRY(broker_.unlock());
  locked_ = false;
  gate_.set(Gate::State::kOpen);
  let_go_of_left();
  return {};
}

}  // namespace coffer

#include "fs/fuse/lock_operations.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "fs/fuse/serve.h"

namespace coffer {
namespace {

using Claim = FileLocks::Claim;
using Kind = FileLocks::Kind;
using Ticket = FileLocks::Ticket;

/// libfuse gives ranges by their start and length, 0 for up to the end.
LockRange range_of(const struct flock& lock) {
  const auto first = static_cast<std::uint64_t>(lock.l_start);
  if (lock.l_len == 0) return {.first = first};
  return {.first = first, .last = first + static_cast<std::uint64_t>(lock.l_len) - 1};
}

Claim claim_of(const fuse_file_info& info, const struct flock& lock) {
  return {.file = handle_of<FileHandle>(&info).file->id(),
          .kind = Kind::kRange,
          .lock = {.owner = LockOwner{info.lock_owner},
                   .type = lock.l_type == F_WRLCK ? LockType::kExclusive : LockType::kShared,
                   .range = range_of(lock),
                   .by = LockHandle{info.fh},
                   .pid = lock.l_pid}};
}

/// As for any use of what is open. flock needs no more than a descriptor, however it was opened.
Result<void> decide_lock(fuse_req_t request, const FileHandle& handle, const Claim& claim) {
  TRY(handle.admission->check());
  const bool write = claim.kind == Kind::kWhole ? !handle.rights().contains(Right::kRead)
                                                : claim.lock.type == LockType::kExclusive;
  return context_of(request).vfs.decide_use(caller_of(request), *handle.admission,
                                            write ? Right::kWrite : Right::kRead);
}

/// By libfuse, from the thread that received the interrupt, or by fuse_req_interrupt_func itself.
/// All that is known of the request is its ticket, for it may be answered at this moment.
void interrupt(fuse_req_t request, void* ticket) {
  context_of(request).vfs.file_locks().interrupt(Ticket{reinterpret_cast<std::uintptr_t>(ticket)});
}

void lock(fuse_req_t request, fuse_ino_t inode, const FileHandle& handle, const Claim& claim,
          bool wait) noexcept {
  answer_once(request, through_handle("lock"), inode, [&](Vfs& vfs) -> Result<void> {
    TRY(decide_lock(request, handle, claim));
    FileLocks& locks = vfs.file_locks();
    std::optional<Ticket> ticket;
    if (wait) {
      ticket = TRY(locks.take_or_wait(
          claim, {.may = [admission = handle.admission] { return admission->check(); },
                  .answer =
                      [request](const Result<void>& outcome) {
                        fuse_reply_err(request, outcome ? 0 : to_errno(outcome.error()));
                      }}));
    } else {
      TRY(locks.take(claim));
    }
    if (ticket.has_value()) {
      // Nobody answers it, nor does an interrupt, before the last line.
      fuse_req_interrupt_func(request, interrupt, reinterpret_cast<void*>(ticket->value));
      locks.begin_waiting(*ticket);
    } else {
      fuse_reply_err(request, 0);
    }
    return {};
  });
}

void unlock(fuse_req_t request, fuse_ino_t inode, const Claim& claim) noexcept {
  serve_status(request, always("unlock"), inode, [&](Vfs& vfs) {
    return vfs.file_locks().release(claim.file, claim.kind, claim.lock.owner, claim.lock.range);
  });
}

void do_setlk(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info, struct flock* wanted,
              int sleep) noexcept {
  const Claim claim = claim_of(*info, *wanted);
  if (wanted->l_type == F_UNLCK) return unlock(request, inode, claim);
  lock(request, inode, handle_of<FileHandle>(info), claim, sleep != 0);
}

void do_flock(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info, int operation) noexcept {
  const auto& handle = handle_of<FileHandle>(info);
  Claim claim{.file = handle.file->id(),
              .kind = Kind::kWhole,
              .lock = {.owner = LockOwner{info->lock_owner}, .by = LockHandle{info->fh}}};
  if ((operation & LOCK_UN) != 0) return unlock(request, inode, claim);
  if ((operation & LOCK_EX) != 0) claim.lock.type = LockType::kExclusive;
  lock(request, inode, handle, claim, (operation & LOCK_NB) == 0);
}

void do_getlk(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info,
              struct flock* wanted) noexcept {
  serve(
      request, through_handle("getlk"), inode,
      [&](Vfs & vfs) -> Result<struct flock> {
        const Claim claim = claim_of(*info, *wanted);
        TRY(decide_lock(request, handle_of<FileHandle>(info), claim));
        struct flock found {};
        found.l_type = F_UNLCK;
        const auto in_the_way = vfs.file_locks().conflict(claim);
        if (!in_the_way.has_value()) return found;
        const auto [first, last] = in_the_way->range;
        found.l_type = in_the_way->type == LockType::kExclusive ? F_WRLCK : F_RDLCK;
        found.l_start = static_cast<off_t>(first);
        found.l_len = last == LockRange::kLast ? 0 : static_cast<off_t>(last - first + 1);
        found.l_pid = in_the_way->pid;
        return found;
      },
      [&](const struct flock& found) { return fuse_reply_lock(request, &found); });
}

}  // namespace

void add_lock_operations(fuse_lowlevel_ops& operations) {
  operations.getlk = do_getlk;
  operations.setlk = do_setlk;
  operations.flock = do_flock;
}

void end_locks(const fuse_buf& request, FileLocks& locks) noexcept {
  struct {
    fuse_in_header header;
    fuse_release_in release;
  } received;
  if (request.size < sizeof(received)) return;
  std::memcpy(&received, request.mem, sizeof(received));
  if (received.header.opcode == FUSE_RELEASE) locks.drop(LockHandle{received.release.fh});
}

}  // namespace coffer

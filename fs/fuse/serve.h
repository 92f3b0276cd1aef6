#pragma once

// Private to fs/fuse: the frame around every callback.

#include <cerrno>
#include <exception>
#include <new>
#include <optional>

#include "fs/fuse/errno_map.h"
#include "fs/fuse/operations.h"

namespace coffer {

inline FuseContext& context_of(fuse_req_t request) {
  return *static_cast<FuseContext*>(fuse_req_userdata(request));
}

template <typename Handle>
Handle& handle_of(const fuse_file_info* info) {
  return *reinterpret_cast<Handle*>(info->fh);
}

inline Who caller_of(fuse_req_t request) {
  const fuse_ctx* const context = fuse_req_ctx(request);
  const Caller caller{.uid = context->uid, .gid = context->gid, .tid = context->pid};
  return context_of(request).vfs.who(caller, context->umask);
}

/// Failures that are no answer to what the caller asked but trouble of the store or the machine.
inline bool worth_logging(const Error& error) {
  const bool limit_of_the_format = error.errno_value == EFBIG || error.errno_value == EMLINK;
  const bool asked_again = error.errno_value == ESTALE;  // the kernel looks the path up anew
  return !advice(error.code).empty() && !limit_of_the_format && !asked_again;
}

inline void log_failure(FuseContext& context, const char* operation, fuse_ino_t inode,
                        const Error& error) noexcept {
  if (!worth_logging(error)) return;
  try {
    const std::string path = context.vfs.path(InodeId{inode});
    const bool named = error.context.starts_with(path);
    context.logger.error("{} {}{}[{}]; {}", operation, named ? "" : path + ": ",
                         error.message() + " ", to_string(error.code), advice(error.code));
  } catch (const std::exception&) {
    // The answer matters more than its log line.
  }
}

/// What the logs call an operation, and what it needs to pass a lock.
struct Operation {
  // NOLINTNEXTLINE(google-explicit-constructor)
  Operation(const char* given_name, std::optional<Gate::Way> given_way = Gate::Way::kNew)
      : name(given_name), way(given_way) {}
  const char* name;
  std::optional<Gate::Way> way;  ///< none: it passes always
};

/// Of a file or directory that is open.
inline Operation through_handle(const char* name) { return {name, Gate::Way::kOpened}; }
inline Operation always(const char* name) { return {name, std::nullopt}; }

/// The frame: runs `attempt`, which answers the request itself if all goes well, and answers with
/// the error if not. Never throws, answers once.
template <typename Attempt>
void answer_once(fuse_req_t request, const Operation& operation, fuse_ino_t inode,
                 Attempt&& attempt) noexcept {
  FuseContext& context = context_of(request);
  int failure = EIO;
  try {
    std::optional<Gate::Pass> pass;
    if (operation.way.has_value()) {
      auto entered = context.vfs.enter(*operation.way);
      if (!entered) {
        // Nothing that each caller's log line would add to: the lock is on record.
        fuse_reply_err(request, to_errno(entered.error()));
        return;
      }
      pass.emplace(std::move(*entered));
    }
    const Result<void> outcome = attempt(context.vfs);
    if (outcome.ok()) return;
    failure = to_errno(outcome.error());
    log_failure(context, operation.name, inode, outcome.error());
  } catch (const std::bad_alloc&) {
    failure = ENOMEM;
    log_failure(context, operation.name, inode,
                Error{Code::kExhausted, ENOMEM, "no memory (of the locked kind, perhaps)"});
  } catch (const std::exception& bug) {
    log_failure(context, operation.name, inode, Error{Code::kIo, 0, bug.what()});
  }
  fuse_reply_err(request, failure);
}

/// Runs `work` and answers with what it gives through `reply`, or with its error. `reply` gives the
/// result of the fuse_reply call; a success that could not be delivered (the caller was
/// interrupted) goes to `undo`.
template <typename Work, typename Reply, typename Undo>
void serve(fuse_req_t request, const Operation& operation, fuse_ino_t inode, Work&& work,
           Reply&& reply, Undo&& undo) noexcept {
  answer_once(request, operation, inode, [&](Vfs& vfs) -> Result<void> {
    auto outcome = work(vfs);
    if (!outcome) return std::move(outcome).error();
    if (reply(*outcome) != 0) undo(vfs, *outcome);
    return {};
  });
}

template <typename Work, typename Reply>
void serve(fuse_req_t request, const Operation& operation, fuse_ino_t inode, Work&& work,
           Reply&& reply) noexcept {
  serve(request, operation, inode, work, reply, [](Vfs&, auto&) {});
}

/// For operations that answer with success alone.
template <typename Work>
void serve_status(fuse_req_t request, const Operation& operation, fuse_ino_t inode,
                  Work&& work) noexcept {
  answer_once(request, operation, inode, [&](Vfs& vfs) -> Result<void> {
    TRY(work(vfs));
    fuse_reply_err(request, 0);
    return {};
  });
}

}  // namespace coffer

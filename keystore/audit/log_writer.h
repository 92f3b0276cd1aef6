#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "keystore/audit/checkpoint.h"
#include "keystore/audit/log_files.h"
#include "keystore/audit/log_tail.h"
#include "keystore/base/clock.h"
#include "keystore/base/file_lock.h"
#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// The two keys of a store's audit logs (keystore/AUDIT.md, "Keys"), 32 bytes each.
struct AuditKeys {
  SecretBytes lines;
  SecretBytes seed;

  [[nodiscard]] AuditKeys clone() const { return {lines.clone(), seed.clone()}; }
};

/// Size and root of a log, signed.
struct SignedCheckpoint {
  LogId log;
  std::uint64_t size = 0;
  std::string note;
};

/// The name that checkpoints of a log are signed under.
std::string log_origin(StoreId store, LogId log);

/// Appends lines to the file of a log, each whole and chained to the one before it, whoever wrote
/// that; begins new files; signs what has been written. Thread-safe, and among processes by the
/// lock on the file.
class LogWriter {
 public:
  /// `fd`: the file at `path`, opened by `open_for_writing`. `clock` outlives the writer.
  LogWriter(std::string path, UniqueFd fd, StoreId store, const Clock& clock, AuditKeys keys,
            std::uint64_t rotate_at);

  /// Makes the file if it is missing. kInvalid if something else than a file lies there.
  static Result<UniqueFd> open_for_writing(const std::string& path);

  /// Writes the line that is the JSON object `fields`, the time put before and number and MAC after
  /// them. Waits for other processes up to `deadline`; kBusy then.
  Result<void> write(std::string_view fields, std::chrono::steady_clock::time_point deadline);

  /// Reads back and checks what was written since the last call, by anyone; syncs the file; signs
  /// it, and puts that into the side file. Nothing if no line was ever written. kCorrupt if lines
  /// do not hold: the next one then begins a new log. kRolledBack if there are fewer than were
  /// signed before.
  Result<std::optional<SignedCheckpoint>> checkpoint(
      std::chrono::steady_clock::time_point deadline);

  /// The log that this writer had to end, since it was last asked: for an admin to hear of.
  std::optional<EndedLog> take_ended();

 private:
  using Deadline = std::chrono::steady_clock::time_point;
  /// Of a file that others keep exchanging under this process.
  static constexpr int kMostAttempts = 16;

  /// The tree of a file's lines up to an offset.
  struct Grown {
    ino_t inode = 0;
    LogId id;
    std::uint64_t first = 0;
    std::uint64_t offset = 0;
    ChainValue chain{};
    MerkleTree tree;
  };

  /// Whether `fd_` is what lies at the path; that is `status` then.
  Result<bool> in_place(FileStatus& status) REQUIRES(mutex_);
  Result<void> reopen() REQUIRES(mutex_);
  /// Renames the file and opens a new one.
  Result<void> set_aside(const std::string& name) REQUIRES(mutex_);
  [[nodiscard]] std::string rotated_name() const REQUIRES(mutex_);

  Result<void> write_line(std::string_view fields, std::uint64_t size, Deadline deadline)
      REQUIRES(mutex_);
  /// Learns where the file ends, as it is now.
  Result<void> find_tail(std::uint64_t size) REQUIRES(mutex_);
  Result<void> find_tail_from_end(std::uint64_t size) REQUIRES(mutex_);

  // log_handover.cc
  /// The head of the empty file that lies at the path now.
  Result<LogHead> head_of_new_file(Deadline deadline) REQUIRES(mutex_);
  Result<std::optional<LogHead>> continued(const std::shared_ptr<UniqueFd>& before,
                                           Deadline deadline) REQUIRES(mutex_);
  Result<std::shared_ptr<UniqueFd>> file_before() REQUIRES(mutex_);
  [[nodiscard]] LogHead fresh_head() REQUIRES(mutex_);

  // log_signing.cc
  /// Puts `grown_` at a known place of the file that `fd` is.
  Result<void> place_tree(int fd) REQUIRES(tree_mutex_);
  /// Adds what has been written since. kCorrupt if it does not hold.
  Result<void> grow_tree(int fd) REQUIRES(tree_mutex_);
  /// The file that is written now, as far as this process can tell.
  Result<std::shared_ptr<UniqueFd>> newest_file();
  /// What the side file is to say of the file that `fd` is, but for the note. Nothing if others
  /// have begun another file meanwhile. kRolledBack if it holds less than was signed.
  Result<std::optional<SideFile>> grown_to_end(int fd);
  /// False if the file is not the one that is written any more.
  Result<bool> replace_side_file(const SideFile& side, int fd, Deadline deadline);

  const std::string path_;
  const StoreId store_;
  const Clock& clock_;
  const LineMac mac_;
  const Ed25519Key key_;
  const std::uint64_t rotate_at_;

  Mutex mutex_;  // threads share the descriptor, and with it the lock on the file
  std::shared_ptr<UniqueFd> fd_ GUARDED_BY(mutex_);
  std::shared_ptr<UniqueFd> before_ GUARDED_BY(mutex_);  // the file that was there before
  std::optional<LogTail> tail_ GUARDED_BY(mutex_);
  std::optional<LogTail> tail_before_ GUARDED_BY(mutex_);
  std::optional<EndedLog> broken_ GUARDED_BY(mutex_);  // why no line can be put into the file
  bool plain_ GUARDED_BY(mutex_) = false;              // it is none of a log
  std::optional<EndedLog> ended_ GUARDED_BY(mutex_);   // what the next file begins a new log after
  std::optional<EndedLog> untold_ GUARDED_BY(mutex_);  // the same, until take_ended
  std::atomic<ino_t> damaged_{0};                      // the file that a checkpoint found altered

  Mutex tree_mutex_;  // taken under mutex_, or alone
  std::optional<Grown> grown_ GUARDED_BY(tree_mutex_);
};

}  // namespace coffer

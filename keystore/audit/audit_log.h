#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/audit/log_writer.h"
#include "keystore/base/clock.h"
#include "keystore/base/ids.h"
#include "keystore/base/result.h"

namespace coffer {

/// One line of the log. Fields that are empty are left out.
struct AuditEvent {
  std::string_view event;  ///< release, refuse, close, withdraw, admin, key
  std::string_view scope;  ///< its path
  std::optional<FileId> file;
  std::string_view path;  ///< plaintext path in the store
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<pid_t> pid;
  std::vector<std::string_view> selectors;
  std::string_view right;
  std::string_view decision;  ///< allow, deny
  std::string_view reason;
  std::optional<GrantId> grant;
  std::optional<KeyVersion> key_version;
  std::optional<std::uint64_t> bytes_read;     ///< of a close
  std::optional<std::uint64_t> bytes_written;  ///< of a close
  std::string_view detail;                     ///< of an admin or key event
};

/// What becomes of an act whose line can't be written (keystore/AUDIT.md, "Modes").
enum class AuditMode { kRequired, kBestEffort };
std::string_view to_string(AuditMode mode);
Result<AuditMode> audit_mode_from_name(std::string_view name);

/// The append-only log of releases, refusals and admin verbs: JSON lines, each written whole under
/// a lock on the file, so that lines of several processes never mix and a killed process loses none
/// that it acted on. Each line holds the one before it, and all of them are signed
/// (keystore/AUDIT.md). A line that does not fit is taken back; one that a crash has torn is ended
/// by the next. The file is made 0600 and lies outside the store, since it names paths.
/// Thread-safe.
class AuditLog {
 public:
  struct Options {
    /// How long a line waits for other processes, so that a stopped one does not stop all.
    std::chrono::milliseconds lock_wait = std::chrono::seconds(5);
    /// The size at which the file is renamed and a new one begun.
    std::uint64_t rotate_at = 64 * 1024 * 1024;
  };
  /// Makes the file and its directory if they are missing. kInvalid if something else than a file
  /// lies there. `clock` outlives the log.
  static Result<std::unique_ptr<AuditLog>> open(const std::string& path, StoreId store,
                                                const Clock& clock, AuditKeys keys,
                                                const Options& options);
  static Result<std::unique_ptr<AuditLog>> open(const std::string& path, StoreId store,
                                                const Clock& clock, AuditKeys keys);

  /// Returns once the line is in the file. kNoSpace, kIo, or kBusy (another process sits on the
  /// lock) if it is not: then the act it records must not happen. In the mode kBestEffort that is
  /// counted instead, and no error.
  Result<void> append(const AuditEvent& event);
  void set_mode(AuditMode mode) { mode_.store(mode, std::memory_order_relaxed); }

  /// Signs what is in the log: LogWriter::checkpoint.
  Result<std::optional<SignedCheckpoint>> checkpoint();

  /// Why a log had to end and another was begun, if that happened since it was last asked:
  /// kCorrupt, with words for an admin.
  Result<void> take_ended();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] AuditMode mode() const { return mode_.load(std::memory_order_relaxed); }
  /// Written by this process.
  [[nodiscard]] std::uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }
  /// Lost by this process, in the mode kBestEffort.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock, AuditKeys keys,
           const Options& options);

  Result<void> write(std::string_view fields);
  /// Says how many lines were lost, if any were since this was last said.
  Result<void> write_dropped();

  const std::string path_;
  const std::string store_;
  const std::chrono::milliseconds lock_wait_;
  LogWriter writer_;
  std::atomic<AuditMode> mode_{AuditMode::kRequired};
  std::atomic<std::uint64_t> lines_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> unsaid_{0};  // of dropped_, those that no line tells of yet
};

}  // namespace coffer

#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/clock.h"
#include "keystore/base/ids.h"
#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// One line of the log. Fields that are empty are left out.
struct AuditEvent {
  std::string_view event;  ///< release, refuse, admin, key
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
  std::string_view detail;  ///< of an admin or key event
};

/// The append-only log of releases, refusals and admin verbs: JSON lines, each written whole under
/// a lock on the file, so that lines of several processes never mix and a killed process loses none
/// that it acted on. A line that does not fit is taken back; one that a crash has torn is ended by
/// the next. The file is made 0600 and lies outside the store, since it names paths. Thread-safe.
class AuditLog {
 public:
  /// Makes the file and its directory if they are missing. kInvalid if something else than a file
  /// lies there. `lock_wait`: how long a line waits for other processes, so that a stopped one does
  /// not stop all.
  static Result<std::unique_ptr<AuditLog>> open(
      const std::string& path, StoreId store, const Clock& clock,
      std::chrono::milliseconds lock_wait = std::chrono::seconds(5));

  /// Returns once the line is in the file. kNoSpace, kIo, or kBusy (another process sits on the
  /// lock) if it is not: then the act it records must not happen.
  Result<void> append(const AuditEvent& event);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }

 private:
  AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock,
           std::chrono::milliseconds lock_wait);

  /// Writes the line whose JSON object is `fields` and, before them, the time.
  Result<void> write_line(std::string_view fields);

  const std::string path_;
  const std::string store_;
  const Clock& clock_;
  const std::chrono::milliseconds lock_wait_;
  Mutex mutex_;  // threads share the descriptor, and with it the lock on the file
  const UniqueFd fd_;
  off_t whole_up_to_ GUARDED_BY(mutex_) = 0;  // the end of the last line written here
  std::atomic<std::uint64_t> lines_{0};
};

}  // namespace coffer

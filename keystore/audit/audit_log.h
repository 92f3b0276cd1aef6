#pragma once

#include <atomic>
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

/// The append-only log of releases, refusals and admin verbs: JSON lines, one write(2) each, so
/// that lines of several processes never mix and a killed process loses none that it acted on. The
/// file is 0600 and lies outside the store, since it names paths. Thread-safe.
class AuditLog {
 public:
  /// Makes the file and its directory if they are missing.
  static Result<std::unique_ptr<AuditLog>> open(const std::string& path, StoreId store,
                                                const Clock& clock);

  /// Returns once the line is in the file. kNoSpace or kIo if it is not: then the act it records
  /// must not happen.
  Result<void> append(const AuditEvent& event);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }

 private:
  AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock);

  std::string path_;
  UniqueFd fd_;
  std::string store_;
  const Clock& clock_;
  std::atomic<std::uint64_t> lines_{0};
};

}  // namespace coffer

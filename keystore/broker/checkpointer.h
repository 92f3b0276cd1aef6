#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "keystore/audit/audit_log.h"
#include "keystore/base/clock.h"
#include "keystore/base/mutex.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// Signs what a process writes to the audit log, and keeps the newest checkpoint in the keystore
/// where that can be written (keystore/AUDIT.md, "Tree and checkpoints"). Thread-safe.
class Checkpointer {
 public:
  /// All three outlive it. `report` hears of failures, once each in a row: it is tried again.
  Checkpointer(AuditLog& audit, Keyring& keyring, const Clock& clock,
               std::function<void(const Error&)> report);
  /// Signs what is left, and puts it into the keystore.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// Does so about once a second from now on; for a process that lives long.
  void start();

 private:
  enum class Keep { kWhenOthersWrite, kNow };

  void loop();
  /// Signs, if this process has written since it last did.
  void sign(Keep keep);
  Result<void> keep(const SignedCheckpoint& made, Keep keep) REQUIRES(signing_);

  AuditLog& audit_;
  Keyring& keyring_;
  const Clock& clock_;
  const std::string place_;
  const std::function<void(const Error&)> report_;

  Mutex signing_;                                        // taken before stop_mutex_, or alone
  std::uint64_t signed_lines_ GUARDED_BY(signing_) = 0;  // of audit_.lines()
  std::optional<SignedCheckpoint> newest_ GUARDED_BY(signing_);
  std::uint64_t kept_size_ GUARDED_BY(signing_) = 0;
  std::int64_t kept_at_ GUARDED_BY(signing_);  // or begun
  bool failed_ GUARDED_BY(signing_) = false;

  Mutex stop_mutex_;
  CondVar stop_changed_;
  bool stopping_ GUARDED_BY(stop_mutex_) = false;
  std::thread thread_;
};

/// Where a log lies, as the keystore has it: this host's name, and the path.
std::string log_place(const std::string& path);

}  // namespace coffer

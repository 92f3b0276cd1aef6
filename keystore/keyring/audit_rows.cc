#include "keystore/keyring/audit_rows.h"

#include <algorithm>

#include "keystore/keyring/keyring.h"
#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::string_view kAuditPrefix = "audit:";
constexpr std::string_view kModeRow = "audit_mode";
constexpr std::string_view kRequired = "required";
constexpr std::string_view kBestEffort = "best-effort";
constexpr std::size_t kHeader = 18;  // size, time, length of the place
constexpr std::size_t kLongestPlace = 4096;

std::string row_name(LogId log) { return std::string(kAuditPrefix) + log.hex(); }

Error malformed() { return {Code::kCorrupt, 0, "keystore: malformed checkpoint of an audit log"}; }

ByteVector encode(const LogCheckpoint& checkpoint) {
  const std::string place = checkpoint.place.substr(0, kLongestPlace);
  return ByteWriter()
      .le(checkpoint.size)
      .le(static_cast<std::uint64_t>(checkpoint.at))
      .le(static_cast<std::uint16_t>(place.size()))
      .text(place)
      .text(checkpoint.note)
      .take();
}

Result<LogCheckpoint> decode(std::string_view name, Bytes value) {
  LogCheckpoint checkpoint;
  const auto id = from_hex(name.substr(kAuditPrefix.size()));
  if (!id || id->size() != checkpoint.log.bytes.size() || value.size() < kHeader) {
    return malformed();
  }
  checkpoint.log = LogId::from(*id);
  checkpoint.size = load_le<std::uint64_t>(value, 0);
  checkpoint.at = static_cast<std::int64_t>(load_le<std::uint64_t>(value, 8));
  const std::size_t place = load_le<std::uint16_t>(value, 16);
  if (value.size() < kHeader + place) return malformed();
  checkpoint.place = as_text(value.subspan(kHeader, place));
  checkpoint.note = as_text(value.subspan(kHeader + place));
  return checkpoint;
}

}  // namespace

Result<bool> write_log_checkpoint(Database& database, const LogCheckpoint& checkpoint) {
  const std::string name = row_name(checkpoint.log);
  if (TRY(has_meta(database, name))) {
    const ByteVector value = TRY(read_meta(database, name));
    if (TRY(decode(name, value)).size >= checkpoint.size) return false;
  }
  TRY(write_meta(database, name, encode(checkpoint)));
  return true;
}

Result<std::vector<LogCheckpoint>> select_log_checkpoints(Database& database) {
  // ';' comes after ':'.
  Statement statement = TRY(database.prepare(
      "SELECT name, value FROM meta WHERE name >= 'audit:' AND name < 'audit;' ORDER BY name;"));
  Query row = statement.start();
  std::vector<LogCheckpoint> checkpoints;
  while (TRY(row.next())) checkpoints.push_back(TRY(decode(row.text(0), row.blob(1))));
  return checkpoints;
}

Result<bool> delete_log_checkpoint(Database& database, LogId log) {
  Statement statement = TRY(database.prepare("DELETE FROM meta WHERE name = ?1;"));
  TRY(statement.start(row_name(log)).run());
  return database.changes() > 0;
}

Result<bool> read_audit_required(Database& database) {
  if (!TRY(has_meta(database, kModeRow))) return true;
  const ByteVector mode = TRY(read_meta(database, kModeRow));
  if (as_text(mode) == kRequired) return true;
  if (as_text(mode) == kBestEffort) return false;
  return Error{Code::kCorrupt, 0, "keystore: malformed audit mode"};
}

Result<void> write_audit_required(Database& database, bool required) {
  return write_meta(database, kModeRow, as_bytes(required ? kRequired : kBestEffort));
}

Result<AuditSecrets> Keyring::audit_secrets() {
  const auto keys = TRY(policy_keys());
  return AuditSecrets{.lines = keys->audit.lines.clone(), .seed = keys->audit.seed.clone()};
}

Result<std::vector<LogCheckpoint>> Keyring::log_checkpoints() {
  std::vector<LogCheckpoint> checkpoints;
  TRY(read_verified([&](Database& database, const PolicyKeys&) -> Result<void> {
    checkpoints = TRY(select_log_checkpoints(database));
    return {};
  }));
  return checkpoints;
}

Result<void> Keyring::keep_checkpoint(const LogCheckpoint& checkpoint) {
  // One that was put back is not written to before it is accepted.
  if (takes_older_.load() && TRY(older()).has_value()) return {};
  return change_records([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<bool> {
    return write_log_checkpoint(database_, checkpoint);
  });
}

void Keyring::offer_checkpoint(const LogCheckpoint& checkpoint) {
  MutexLock lock(mutex_);
  offered_ = checkpoint;
}

Result<void> Keyring::write_offered() {
  if (offered_) TRY(write_log_checkpoint(database_, *offered_));
  return {};
}

Result<void> Keyring::forget_log(LogId log) {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (TRY(delete_log_checkpoint(database_, log))) return {};
    return Error{Code::kNotFound, 0, "the keystore knows of no audit log " + log.hex()};
  }));
  return {};
}

Result<void> Keyring::set_audit_required(bool required) {
  TRY(change_policy([&](const PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    return write_audit_required(database_, required);
  }));
  return {};
}

}  // namespace coffer

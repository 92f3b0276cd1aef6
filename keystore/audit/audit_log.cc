#include "keystore/audit/audit_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/base/atomic_file.h"

namespace coffer {
namespace {

/// In the mode kBestEffort nobody waits long for a log that does without his line.
constexpr auto kShortWait = std::chrono::milliseconds(100);

/// Ordered, so that every line begins alike: time (put before it by LogWriter), store, event.
using Json = nlohmann::ordered_json;

void put_text(Json& line, const char* key, std::string_view text) {
  if (!text.empty()) line[key] = text;
}

Json identity_json(const AuditEvent& event) {
  Json identity = Json::object();
  if (event.uid.has_value()) identity["uid"] = *event.uid;
  if (event.gid.has_value()) identity["gid"] = *event.gid;
  if (event.pid.has_value()) identity["pid"] = *event.pid;
  if (!event.selectors.empty()) identity["selectors"] = event.selectors;
  return identity;
}

Json event_json(const AuditEvent& event, const std::string& store) {
  Json line;
  line["store"] = store;
  line["event"] = event.event;
  put_text(line, "decision", event.decision);
  put_text(line, "right", event.right);
  put_text(line, "scope", event.scope);
  put_text(line, "path", event.path);
  if (event.file.has_value()) line["file"] = event.file->hex();
  if (Json identity = identity_json(event); !identity.empty())
    line["identity"] = std::move(identity);
  if (event.grant.has_value()) line["grant"] = event.grant->value;
  if (event.key_version.has_value()) line["key_version"] = event.key_version->value;
  if (event.bytes_read.has_value()) line["bytes_read"] = *event.bytes_read;
  if (event.bytes_written.has_value()) line["bytes_written"] = *event.bytes_written;
  put_text(line, "reason", event.reason);
  put_text(line, "detail", event.detail);
  return line;
}

/// Names are bytes; what is not UTF-8 is shown by the replacement character.
std::string text_of(const Json& line) {
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string_view to_string(AuditMode mode) {
  return mode == AuditMode::kRequired ? "required" : "best-effort";
}

Result<AuditMode> audit_mode_from_name(std::string_view name) {
  for (const AuditMode mode : {AuditMode::kRequired, AuditMode::kBestEffort}) {
    if (to_string(mode) == name) return mode;
  }
  return Error{Code::kInvalid, 0,
               "no audit mode: " + std::string(name) + " (required or best-effort)"};
}

AuditLog::AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock, AuditKeys keys,
                   const Options& options)
    : path_(std::move(path)),
      store_(store.hex()),
      lock_wait_(options.lock_wait),
      writer_(path_, std::move(fd), store, clock, std::move(keys), options.rotate_at) {}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, StoreId store,
                                                 const Clock& clock, AuditKeys keys) {
  return open(path, store, clock, std::move(keys), Options());
}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, StoreId store,
                                                 const Clock& clock, AuditKeys keys,
                                                 const Options& options) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) TRY(make_directories(path.substr(0, slash), 0700));
  UniqueFd fd = TRY(LogWriter::open_for_writing(path));
  return std::unique_ptr<AuditLog>(
      new AuditLog(path, std::move(fd), store, clock, std::move(keys), options));
}

Result<void> AuditLog::append(const AuditEvent& event) {
  const std::string fields = text_of(event_json(event, store_));
  auto written = write_dropped();
  if (written) written = write(fields);
  if (written) return {};
  if (mode() == AuditMode::kBestEffort) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    unsaid_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  return written;
}

Result<void> AuditLog::write_dropped() {
  const std::uint64_t lost = unsaid_.exchange(0, std::memory_order_relaxed);
  if (lost == 0) return {};
  const Json line = {{"store", store_}, {"event", "dropped"}, {"lost", lost}};
  auto written = write(text_of(line));
  if (!written) unsaid_.fetch_add(lost, std::memory_order_relaxed);
  return written;
}

Result<void> AuditLog::write(std::string_view fields) {
  // Counted from here, so that threads which wait in a row do not add up their waits.
  const std::chrono::milliseconds wait =
      mode() == AuditMode::kBestEffort ? std::min(lock_wait_, kShortWait) : lock_wait_;
  auto written = writer_.write(fields, std::chrono::steady_clock::now() + wait);
  if (!written) {
    Error error = std::move(written).error();
    error.context = "audit log " + path_ + (error.context.empty() ? "" : ": " + error.context);
    return error;
  }
  lines_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<void> AuditLog::take_ended() {
  const auto ended = writer_.take_ended();
  if (!ended) return {};
  return Error{Code::kCorrupt, 0,
               "audit log " + path_ + ": log " + ended->id.hex() + ", of " +
                   std::to_string(ended->lines) + " lines, can't go on: " + ended->why +
                   "; another was begun, see: coffer audit verify STORE"};
}

Result<std::optional<SignedCheckpoint>> AuditLog::checkpoint() {
  auto made = writer_.checkpoint(std::chrono::steady_clock::now() + lock_wait_);
  if (!made) {
    Error error = std::move(made).error();
    error.context =
        "audit log " + path_ + ": " + error.context + "; see: coffer audit verify STORE";
    return error;
  }
  return made;
}

}  // namespace coffer

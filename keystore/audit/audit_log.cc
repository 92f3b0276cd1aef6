#include "keystore/audit/audit_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "keystore/base/atomic_file.h"

namespace coffer {
namespace {

/// Ordered, so that every line begins alike: time, store, event.
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

}  // namespace

AuditLog::AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock)
    : path_(std::move(path)), fd_(std::move(fd)), store_(store.hex()), clock_(clock) {}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, StoreId store,
                                                 const Clock& clock) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) TRY(make_directories(path.substr(0, slash), 0700));
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno_error(errno, "audit log " + path);
  return std::unique_ptr<AuditLog>(new AuditLog(path, std::move(fd), store, clock));
}

Result<void> AuditLog::append(const AuditEvent& event) {
  Json line;
  line["time"] = format_time_us(clock_.now());
  line["store"] = store_;
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
  put_text(line, "reason", event.reason);
  put_text(line, "detail", event.detail);
  // Names are bytes; what is not UTF-8 is shown by the replacement character.
  std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.push_back('\n');

  ssize_t written = 0;
  do {
    written = ::write(fd_.get(), text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return errno_error(errno, "audit log " + path_);
  if (static_cast<std::size_t>(written) != text.size()) {
    return Error{Code::kNoSpace, ENOSPC, "audit log " + path_ + " took only part of a line"};
  }
  lines_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

}  // namespace coffer

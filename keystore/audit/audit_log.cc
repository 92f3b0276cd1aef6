#include "keystore/audit/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "keystore/base/atomic_file.h"
#include "keystore/base/file_lock.h"

namespace coffer {
namespace {

/// Ordered, so that every line begins alike: time (put before it by write_line), store, event.
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

AuditLog::AuditLog(std::string path, UniqueFd fd, StoreId store, const Clock& clock,
                   std::chrono::milliseconds lock_wait)
    : path_(std::move(path)),
      store_(store.hex()),
      clock_(clock),
      lock_wait_(lock_wait),
      fd_(std::move(fd)) {}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, StoreId store,
                                                 const Clock& clock,
                                                 std::chrono::milliseconds lock_wait) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) TRY(make_directories(path.substr(0, slash), 0700));
  // O_NONBLOCK: a FIFO put there must not hang the mount.
  UniqueFd fd(::open(path.c_str(),
                     O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd.valid()) return errno_error(errno, "audit log " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "audit log " + path);
  if (!S_ISREG(status.st_mode)) {
    return Error{Code::kInvalid, 0, "audit log " + path + " is no regular file"};
  }
  return std::unique_ptr<AuditLog>(new AuditLog(path, std::move(fd), store, clock, lock_wait));
}

Result<void> AuditLog::append(const AuditEvent& event) {
  Json line;
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
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (auto written = write_line(text); !written) {
    Error error = std::move(written).error();
    error.context = "audit log " + path_;
    return error;
  }
  lines_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<void> AuditLog::write_line(std::string_view fields) {
  // Counted from here, so that threads which wait in a row do not add up their waits.
  const auto deadline = std::chrono::steady_clock::now() + lock_wait_;
  MutexLock lock(mutex_);
  const FileLock file_lock = TRY(FileLock::take(fd_.get(), deadline));
  const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
  if (end < 0) return errno_error(errno);
  if (end != whole_up_to_ && end > 0) {
    // Another process wrote last. If it was killed within a line, that line ends here.
    std::uint8_t last = '\n';
    if (::pread(fd_.get(), &last, 1, end - 1) < 0) return errno_error(errno);
    if (last != '\n') TRY(write_all(fd_.get(), as_bytes("\n")));
  }
  // The time is taken under the locks, so that the lines of all writers stand in its order.
  const std::string line = R"({"time":")" + format_time_us(clock_.now()) + R"(",)" +
                           std::string(fields.substr(1)) + "\n";
  if (auto written = write_all(fd_.get(), as_bytes(line)); !written) {
    // Best effort (the file may be append-only): what stays is ended by the next line.
    if (::ftruncate(fd_.get(), end) != 0) whole_up_to_ = 0;
    return written;
  }
  whole_up_to_ = end + static_cast<off_t>(line.size());
  return {};
}

}  // namespace coffer

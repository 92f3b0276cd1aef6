#include "keystore/audit/audit_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "keystore/base/atomic_file.h"

namespace coffer {
namespace {

/// In the mode kBestEffort nobody waits long for a log that does without his line.
constexpr auto kShortWait = std::chrono::milliseconds(100);

/// A JSON object, put together member by member. Each opening of a file writes one, and a close
/// another: a tree of values would cost more than all else of it.
class ObjectText {
 public:
  void text(std::string_view name, std::string_view value) {
    begin(name);
    quote(value);
  }
  void text_unless_empty(std::string_view name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  template <typename Number>
  void number(std::string_view name, const std::optional<Number>& value) {
    if (!value.has_value()) return;
    begin(name);
    text_ += std::to_string(*value);
  }
  void texts(std::string_view name, std::span<const std::string_view> values) {
    begin(name);
    char before = '[';
    for (const std::string_view value : values) {
      text_ += before;
      before = ',';
      quote(value);
    }
    text_ += ']';
  }
  void object(std::string_view name, ObjectText value) {
    begin(name);
    text_ += std::move(value).done();
  }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] std::string done() && { return (empty() ? "{" : std::move(text_)) + "}"; }

 private:
  void begin(std::string_view name) {
    text_ += empty() ? '{' : ',';
    quote(name);
    text_ += ':';
  }
  /// Names are bytes; what is not UTF-8 is shown by the replacement character.
  void quote(std::string_view value) {
    const bool plain = std::all_of(value.begin(), value.end(), [](char byte) {
      return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
    });
    if (plain) {
      text_.append("\"").append(value).append("\"");
    } else {
      using Json = nlohmann::json;
      text_ += Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
    }
  }

  std::string text_;
};

ObjectText identity_text(const AuditEvent& event) {
  ObjectText identity;
  identity.number("uid", event.uid);
  identity.number("gid", event.gid);
  identity.number("pid", event.pid);
  if (!event.selectors.empty()) identity.texts("selectors", event.selectors);
  return identity;
}

template <typename Strong>
std::optional<decltype(Strong::value)> number_of(const std::optional<Strong>& strong) {
  return strong ? std::optional(strong->value) : std::nullopt;
}

/// Every line begins alike: time (put before it by LogWriter), store, event.
std::string event_text(const AuditEvent& event, const std::string& store) {
  ObjectText line;
  line.text("store", store);
  line.text("event", event.event);
  line.text_unless_empty("decision", event.decision);
  line.text_unless_empty("right", event.right);
  line.text_unless_empty("scope", event.scope);
  line.text_unless_empty("path", event.path);
  if (event.file.has_value()) line.text("file", event.file->hex());
  if (ObjectText identity = identity_text(event); !identity.empty())
    line.object("identity", std::move(identity));
  line.number("grant", number_of(event.grant));
  line.number("key_version", number_of(event.key_version));
  line.number("bytes_read", event.bytes_read);
  line.number("bytes_written", event.bytes_written);
  line.text_unless_empty("reason", event.reason);
  line.text_unless_empty("detail", event.detail);
  return std::move(line).done();
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
  const std::string fields = event_text(event, store_);
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
  ObjectText line;
  line.text("store", store_);
  line.text("event", "dropped");
  line.number("lost", std::optional(lost));
  auto written = write(std::move(line).done());
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

#include "fs/identity/identity_resolver.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

/// A process may have 65 536 groups of ten digits; whoever has more text than this gets no
/// selectors.
constexpr std::size_t kMaxStatus = std::size_t{1} << 20U;

struct ThreadStatus {
  pid_t tgid = 0;
  std::vector<gid_t> groups;
};

std::optional<std::string> read_status(pid_t tid) {
  const std::string path = "/proc/" + std::to_string(tid) + "/status";
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::string text(4096, '\0');
  std::size_t used = 0;
  while (true) {
    const auto part = read_up_to(
        fd.get(), {reinterpret_cast<std::uint8_t*>(text.data()) + used, text.size() - used});
    if (!part) return std::nullopt;
    used += *part;
    if (used < text.size()) break;
    if (text.size() >= kMaxStatus) return std::nullopt;
    text.resize(text.size() * 2);
  }
  text.resize(used);
  return text;
}

/// The text after `label` on its line; nothing if there is no such line.
std::optional<std::string_view> line_value(std::string_view text, std::string_view label) {
  std::size_t at = text.starts_with(label) ? 0 : text.find("\n" + std::string(label));
  if (at == std::string_view::npos) return std::nullopt;
  if (at != 0 || !text.starts_with(label)) ++at;
  const std::size_t start = at + label.size();
  return text.substr(start, text.find('\n', start) - start);
}

template <typename Number>
std::vector<Number> numbers_in(std::string_view text) {
  std::vector<Number> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    Number number{};
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc()) return {};
    numbers.push_back(number);
    at = parsed.ptr;
  }
  return numbers;
}

std::optional<ThreadStatus> thread_status(pid_t tid) {
  const auto text = read_status(tid);
  if (!text.has_value()) return std::nullopt;
  const auto tgid_text = line_value(*text, "Tgid:");
  const auto groups_text = line_value(*text, "Groups:");
  if (!tgid_text.has_value() || !groups_text.has_value()) return std::nullopt;
  const auto tgid = numbers_in<pid_t>(*tgid_text);
  if (tgid.size() != 1) return std::nullopt;
  return ThreadStatus{.tgid = tgid[0], .groups = numbers_in<gid_t>(*groups_text)};
}

}  // namespace

Caller Caller::self() {
  return {.uid = ::geteuid(), .gid = ::getegid(), .tid = static_cast<pid_t>(::syscall(SYS_gettid))};
}

Identity resolve_identity(const Caller& caller) {
  Identity identity;
  identity.uid = caller.uid;
  identity.gid = caller.gid;
  if (caller.tid <= 0) return identity;
  const auto status = thread_status(caller.tid);
  if (!status.has_value()) return identity;
  identity.pid = status->tgid;
  identity.selectors.push_back(Selector::unix_uid(caller.uid));
  identity.selectors.push_back(Selector::unix_gid(caller.gid));
  for (const gid_t group : status->groups) {
    identity.selectors.push_back(Selector::unix_supplementary_gid(group));
  }
  std::sort(identity.selectors.begin(), identity.selectors.end());
  return identity;
}

}  // namespace coffer

#include "keystore/kms/node_settings.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr std::size_t kMostOfFile = 64 * 1024;

/// Whoever may write to it chooses where this node's secrets go.
Result<std::string> read_config(const NodeSettingsSource& source, const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return Error{Code::kKeyUnavailable, errno, path};
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Error{Code::kKeyUnavailable, errno, path};
  const bool ours = status.st_uid == 0 || status.st_uid == ::geteuid();
  if (!S_ISREG(status.st_mode) || !ours || (status.st_mode & 022) != 0)
    return unusable(source,
                    path + " can be altered by others; it has to be root's, mode 0644 or less");
  std::string text(kMostOfFile, '\0');
  const auto length =
      read_up_to(fd.get(), {reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  if (!length) return Error{Code::kKeyUnavailable, length.error().errno_value, path};
  if (*length == kMostOfFile) return unusable(source, path + " is too long");
  text.resize(*length);
  return text;
}

Result<void> add_file(const NodeSettingsSource& source, NodeSettings& values,
                      const std::string& path) {
  const std::string text = TRY(read_config(source, path));
  std::size_t number = 0;
  std::set<std::string_view> set;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const std::size_t equals = line.find('=');
    const std::string_view name = trimmed(line.substr(0, equals));
    if (equals == std::string_view::npos || !source.names.contains(name)) {
      return unusable(
          source, path + ": line " + std::to_string(number) + " sets nothing that is known here");
    }
    if (!set.insert(name).second)
      return unusable(source, path + ": sets " + std::string(name) + " twice");
    values.try_emplace(std::string(name), trimmed(line.substr(equals + 1)));
  }
  return {};
}

}  // namespace

std::string environment(std::string_view name) {
  const char* const value = std::getenv(std::string(name).c_str());
  return value != nullptr ? value : "";
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::vector<std::string> listed(std::string_view text) {
  constexpr std::string_view kBetween = ", \t";
  std::vector<std::string> parts;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) return parts;
    const std::string_view part = text.substr(0, text.find_first_of(kBetween));
    parts.emplace_back(part);
    text.remove_prefix(part.size());
  }
}

bool lies_under(std::string_view name, const std::vector<std::string>& beginnings, char separator) {
  return std::ranges::any_of(beginnings, [&](const std::string& beginning) {
    return name == beginning || name.starts_with(beginning + separator);
  });
}

Error unusable(const NodeSettingsSource& source, const std::string& words) {
  return {Code::kKeyUnavailable, 0, words + " (see " + source.page + ", \"Settings\")"};
}

Result<NodeSettings> node_settings(const NodeSettingsSource& source) {
  NodeSettings values;
  for (const std::string_view name : source.names) {
    if (const std::string value = environment(name); !value.empty())
      values[std::string(name)] = value;
  }
  const std::string named = environment(source.file_variable);
  if (!named.empty()) {
    TRY(add_file(source, values, named));
  } else if (::access(source.default_file, F_OK) == 0) {
    TRY(add_file(source, values, source.default_file));
  }
  return values;
}

}  // namespace coffer

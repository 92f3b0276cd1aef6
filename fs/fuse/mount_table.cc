#include "fs/fuse/mount_table.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>
#include <vector>

namespace coffer {
namespace {

bool is_octal(std::string_view digits) {
  return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '7'; });
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text.substr(i + 1, 3))) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

/// At spaces alone: the kernel leaves other white space of a path as it is.
std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    fields.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

/// "rw,user_id=1000,group_id=1000,…"
std::optional<uid_t> user_of(std::string_view options) {
  constexpr std::string_view kName = "user_id=";
  const std::size_t at = options.find(kName);
  if (at == std::string_view::npos) return std::nullopt;
  const char* const begin = options.data() + at + kName.size();
  uid_t user = 0;
  const auto read = std::from_chars(begin, options.data() + options.size(), user);
  return read.ec == std::errc() ? std::optional(user) : std::nullopt;
}

}  // namespace

std::optional<MountedFilesystem> find_mount(std::istream& table, const std::string& mountpoint) {
  // id parent major:minor root mountpoint options [tags…] - type source super-options
  constexpr std::size_t kDevice = 2;
  constexpr std::size_t kMountpoint = 4;
  constexpr std::size_t kTags = 6;
  std::optional<MountedFilesystem> found;
  std::string line;
  while (std::getline(table, line)) {
    const std::vector<std::string_view> fields = split(line);
    if (fields.size() <= kTags || unescape(fields[kMountpoint]) != mountpoint) continue;
    const auto dash = std::find(fields.begin() + kTags, fields.end(), "-");
    if (dash == fields.end() || dash + 1 == fields.end()) continue;
    // The last one lies on top.
    found = {.device = std::string(fields[kDevice]), .type = std::string(dash[1])};
    if (fields.end() - dash > 3) found->user = user_of(dash[3]);
  }
  return found;
}

std::optional<MountedFilesystem> find_mount(const std::string& mountpoint) {
  std::ifstream table("/proc/self/mountinfo");
  return find_mount(table, mountpoint);
}

}  // namespace coffer

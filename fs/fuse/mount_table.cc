#include "fs/fuse/mount_table.h"

#include <fstream>
#include <sstream>

namespace coffer {
namespace {

/// The kernel writes space, tab, newline and backslash as three octal digits.
std::string unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

std::optional<MountedFilesystem> find_mount(const std::string& mountpoint) {
  std::optional<MountedFilesystem> found;
  std::ifstream table("/proc/self/mountinfo");
  std::string line;
  while (std::getline(table, line)) {
    // id parent major:minor root mountpoint options [tags…] - type source super-options
    std::istringstream fields(line);
    MountedFilesystem mount;
    std::string skipped;
    std::string at;
    fields >> skipped >> skipped >> mount.device >> skipped >> at;
    if (unescape(at) != mountpoint) continue;
    while (fields >> skipped && skipped != "-") {
    }
    fields >> mount.type;
    found = mount;  // the last one lies on top
  }
  return found;
}

}  // namespace coffer

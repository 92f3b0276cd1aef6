#include "fs/identity/machine.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include "fs/identity/attested_value.h"
#include "fs/identity/proc_files.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

std::optional<std::string> read_machine_id() {
  const UniqueFd file(::open("/etc/machine-id", O_RDONLY | O_CLOEXEC));
  std::string buffer;
  auto text = file.valid() ? read_record(file.get(), buffer) : std::nullopt;
  if (!text.has_value()) return std::nullopt;
  if (text->ends_with('\n')) text->remove_suffix(1);
  return attested_value("host:machine-id:", *text);
}

}  // namespace

std::optional<std::string> machine_name() {
  struct utsname names {};
  if (::uname(&names) != 0) return std::nullopt;
  std::string name(names.nodename);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return attested_value("host:name:", name);
}

const std::optional<std::string>& machine_id() {
  static const std::optional<std::string> id = read_machine_id();
  return id;
}

bool has_selinux() {
  static const bool mounted = [] {
    struct statfs status {};
    return ::statfs("/sys/fs/selinux", &status) == 0 && status.f_type == SELINUX_MAGIC;
  }();
  return mounted;
}

std::optional<std::string> parse_label(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\0')) text.remove_suffix(1);
  return attested_value("selinux:label:", text);
}

}  // namespace coffer

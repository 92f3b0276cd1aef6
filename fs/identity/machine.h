#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coffer {

// Facts of the machine that this process runs on; each in its selector's form, or nothing.

/// Its name, in lower case as names compare (RFC 4343); may change.
std::optional<std::string> machine_name();
/// What /etc/machine-id says (machine-id(5)); read once.
const std::optional<std::string>& machine_id();
/// True if labels are SELinux's: another security module writes into the same file.
bool has_selinux();

/// The label of what /proc/TID/attr/current says, which may end in a NUL.
std::optional<std::string> parse_label(std::string_view text);

}  // namespace coffer

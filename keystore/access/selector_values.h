#pragma once

// Private to keystore/access: the one form that a selector's value may have, kind by kind. What can
// be written in two ways would not compare equal, and what can't be shown safely in a listing or a
// log is no value.

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace coffer {

/// Decimal without leading zeros, below (uid_t)-1, which means "no id" to the kernel.
bool is_canonical_id(std::string_view value);

template <std::size_t kLength>
bool is_hex(std::string_view value) {
  return value.size() == kLength && std::all_of(value.begin(), value.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

/// 8-4-4-4-12 hexadecimal digits in lower case.
bool is_uuid(std::string_view value);
/// What a user or group may be called, directories of other systems included ("DOM\domain users"):
/// printable ASCII but ':' and '/', no blank at its ends, at most 255 bytes.
bool is_account_name(std::string_view value);
/// As the kernel writes a path: absolute, without empty, '.' and '..' components; UTF-8 without
/// control characters, at most 4095 bytes. "/" only where a cgroup's is.
bool is_cgroup_path(std::string_view value);
/// The same of a file; " (deleted)" at its end is what the kernel says of one that has no path.
bool is_executable_path(std::string_view value);
/// A systemd unit that processes are in, `*.service` or `*.scope`, with systemd's letters.
bool is_unit_name(std::string_view value);
/// A number, or a word in lower case, as Slurm calls its steps.
bool is_step_name(std::string_view value);
/// Letters, digits and "_.:,-" as in a SELinux context, at most 1023 bytes, of three parts or more.
bool is_label(std::string_view value);
/// Letters in lower case, digits and "-._", at most 253 bytes (RFC 1123; '_' occurs).
bool is_host_name(std::string_view value);

}  // namespace coffer

#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"

namespace coffer {

/// Where a node keeps what it knows of a KMS by itself: variables of the environment and, for those
/// that are not set there (or empty), a file of lines NAME=VALUE as in an EnvironmentFile of
/// systemd. None of it comes from a keystore, for whoever alters one would choose who is told the
/// node's secrets.
struct NodeSettingsSource {
  std::set<std::string_view> names;  ///< all that may be set
  const char* file_variable;         ///< "COFFER_VAULT_CONFIG": names another file
  const char* default_file;          ///< "/etc/coffer/vault.conf": read if it is there
  const char* page;                  ///< "keystore/VAULT.md", whose "Settings" explains them
};

using NodeSettings = std::map<std::string, std::string>;

/// What is set. kKeyUnavailable, with the remedy, for a file that others could alter, or one that
/// sets what is not known.
Result<NodeSettings> node_settings(const NodeSettingsSource& source);

/// A variable of the environment; empty if it is not set.
std::string environment(std::string_view name);
/// Without blanks, and the end of a line of DOS's, around it.
std::string_view trimmed(std::string_view text);

/// What stands between commas and blanks.
std::vector<std::string> listed(std::string_view text);
/// True if the name is one of these, or has one of them and `separator` before the rest of it.
bool lies_under(std::string_view name, const std::vector<std::string>& beginnings, char separator);

/// kKeyUnavailable, with a word on where it is explained.
Error unusable(const NodeSettingsSource& source, const std::string& words);

}  // namespace coffer

#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "keystore/keyring/rows.h"

namespace coffer {

/// "unix:uid:1000 unix:gid:7".
std::string joined(const std::vector<std::string>& texts);

/// The selectors of a grant, or "everyone".
std::string who_text(const GrantRow& grant);

/// "allow" or "deny".
std::string effect_text(const GrantRow& grant);

/// A grant as `coffer grant list --json` and `show --json` have it.
nlohmann::ordered_json grant_json(const GrantRow& grant, const PolicySnapshot& policy,
                                  std::int64_t now);

}  // namespace coffer

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "keystore/base/bytes.h"

namespace coffer {

// What servers and files say in JSON, which may be anything. Nothing secret goes through here: see
// take_secret_member.

/// An empty object unless `text` is a JSON object.
nlohmann::json json_object(Bytes text);
/// Null if `json` is no object, or has no such member.
nlohmann::json json_member(const nlohmann::json& json, const char* name);
/// Empty if there is no such member, or one that is no text.
std::string json_text(const nlohmann::json& json, const char* name);

}  // namespace coffer

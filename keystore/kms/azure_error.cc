#include "keystore/kms/azure_error.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

struct Status {
  std::string name;   ///< empty if it is no answer of Azure's
  std::string inner;  ///< of Key Vault's own
  std::string words;
};

std::string text_of(const nlohmann::json& object, const char* name) {
  return without_secrets(json_text(object, name));
}

Status status_of(const HttpResponse& response) {
  const auto error = json_member(json_object(response.body.expose()), "error");
  std::string inner = text_of(json_member(error, "innererror"), "code");
  if (inner.empty()) inner = text_of(json_member(error, "innerError"), "code");
  return {text_of(error, "code"), inner, text_of(error, "message")};
}

/// By Key Vault's name for it, or by its words where it has none.
bool is_key_disabled(const Status& status) {
  constexpr std::array kNames = {"KeyDisabled", "KeyNotYetValid", "KeyExpired",
                                 "KeyNotYetValidOrExpired"};
  constexpr std::array kWords = {"disabled key", "expired key", "not yet valid"};
  return std::ranges::find(kNames, status.inner) != kNames.end() ||
         std::ranges::any_of(kWords, [&status](const char* words) {
           return status.words.find(words) != std::string::npos;
         });
}

/// Of a 400 that says nothing of what is wrapped.
bool is_of_the_request(const Status& status) {
  return status.words.find("version") != std::string::npos;
}

/// The value of NAME="VALUE" or NAME=VALUE in a challenge (RFC 9110, 11.6.1).
std::string parameter(std::string_view challenge, std::string_view name) {
  for (std::size_t at = challenge.find(name); at != std::string_view::npos;
       at = challenge.find(name, at + 1)) {
    const bool begins = at == 0 || challenge[at - 1] == ' ' || challenge[at - 1] == ',';
    std::string_view rest = challenge.substr(at + name.size());
    if (!begins || !rest.starts_with('=')) continue;
    rest.remove_prefix(1);
    if (!rest.starts_with('"')) return std::string(rest.substr(0, rest.find_first_of(", ")));
    rest.remove_prefix(1);
    return std::string(rest.substr(0, rest.find('"')));
  }
  return {};
}

}  // namespace

Error azure_failure(const HttpResponse& response, const std::string& operation,
                    const std::string& what) {
  const Status status = status_of(response);
  const std::string said = " (" + std::to_string(response.status) +
                           (status.name.empty() ? "" : " " + status.name) +
                           (status.inner.empty() ? "" : " " + status.inner) + "): " + status.words;
  const auto error = [&](Code code, const std::string& why) {
    return Error{code, 0, what + ": " + why + said};
  };
  if (status.name.empty()) return error(Code::kKmsUnavailable, "no answer of Azure's");
  switch (response.status) {
    case 400:
      if (status.name != "BadParameter" || is_of_the_request(status)) break;
      if (operation == "decrypt") return {Code::kCorrupt, 0, "wrapped key does not authenticate"};
      if (operation == "encrypt" || operation == "sign")
        return error(Code::kKmsKeyDisabled,
                     "the key can't do that; see keystore/AZURE.md for its kind");
      break;
    case 401:
      return error(Code::kKmsDenied,
                   "Azure does not take our token; is the vault of AZURE_TENANT_ID?");
    case 403:
      if (is_key_disabled(status))
        return error(Code::kKmsKeyDisabled, "the key or this version of it may not be used now");
      if (status.name != "Forbidden") break;
      return error(Code::kKmsDenied,
                   "Azure refuses it; see keystore/AZURE.md for what a node needs");
    case 404:
      if (status.name == "KeyNotFound")
        return error(Code::kKmsKeyMissing, "no such key is there, or no such version of it");
      break;
    default:
      break;
  }
  return error(Code::kKmsUnavailable, "Azure can't answer now");
}

Result<void> check_azure_challenge(const HttpResponse& response, const std::string& resource) {
  const auto challenge = response.headers.find("www-authenticate");
  if (challenge == response.headers.end()) return {};
  std::string asked = parameter(challenge->second, "resource");
  if (asked.empty()) asked = parameter(challenge->second, "scope");
  constexpr std::string_view kDefault = "/.default";
  if (asked.ends_with(kDefault)) asked.resize(asked.size() - kDefault.size());
  if (asked.ends_with('/')) asked.pop_back();
  if (asked.empty() || asked == resource) return {};
  return Error{Code::kKmsDenied, 0,
               "who answers asks for a token that is not for " + resource + ": it gets none"};
}

}  // namespace coffer

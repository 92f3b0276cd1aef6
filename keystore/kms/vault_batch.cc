#include "keystore/kms/vault_batch.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

/// Older Vaults put no reference beside a result.
bool is_in_place(const nlohmann::json& result, std::size_t number) {
  if (!result.is_object()) return false;
  const auto reference = json_member(result, "reference");
  return reference.is_null() || reference == "" || reference == std::to_string(number);
}

/// Empty if it did not fail.
std::string failure_of(const nlohmann::json& result) {
  const auto error = json_member(result, "error");
  if (error.is_null() || error == "") return {};
  const std::string words = without_secrets(json_text(result, "error"));
  return words.empty() ? "an error without words" : words;
}

}  // namespace

SecretBytes vault_batch_request(std::span<const SecretBytes> items) {
  std::vector<std::string> references;
  for (std::size_t i = 0; i < items.size(); ++i)
    references.push_back((i == 0 ? R"({"reference":")" : R"(,{"reference":")") + std::to_string(i) +
                         R"(",)");
  std::vector<Bytes> parts = {as_bytes(R"({"batch_input":[)")};
  for (std::size_t i = 0; i < items.size(); ++i) {
    parts.push_back(as_bytes(references[i]));
    parts.push_back(items[i].expose().subspan(1));  // after its brace
  }
  parts.push_back(as_bytes("]}"));
  return secret_text(parts);
}

std::optional<VaultResults> VaultResults::from(MutableBytes body, std::size_t asked) {
  auto plaintexts = take_secret_members(body, "plaintext");
  if (!plaintexts) {
    std::ranges::fill(body, std::uint8_t{' '});
    return std::nullopt;
  }
  const auto results = json_member(json_member(json_object(body), "data"), "batch_results");
  if (!results.is_array() || results.size() != asked) return std::nullopt;
  VaultResults out{.plaintexts = *std::move(plaintexts), .ciphertexts = {}, .failure = {}};
  std::size_t with_plaintext = 0;
  bool empty = false;
  for (const auto& result : results) {
    if (!is_in_place(result, out.ciphertexts.size())) return std::nullopt;
    if (result.contains("plaintext")) {
      empty = empty || out.plaintexts.size() <= with_plaintext ||
              out.plaintexts[with_plaintext].empty();
      ++with_plaintext;
    }
    out.ciphertexts.push_back(json_text(result, "ciphertext"));
    if (out.failure.empty()) out.failure = failure_of(result);
  }
  // Else one of them was elsewhere, and they are not in the results' order.
  if (with_plaintext != out.plaintexts.size()) return std::nullopt;
  // Those that fail have an empty one, and no others.
  if (empty && out.failure.empty()) return std::nullopt;
  return out;
}

}  // namespace coffer

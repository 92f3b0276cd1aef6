#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "keystore/crypto/secret_bytes.h"

namespace coffer {

// Many items in one request to Transit ("batch_input"), and the results of them.

/// `items` are JSON objects without a member "reference": each gets its number there, which Vault
/// puts beside its result.
SecretBytes vault_batch_request(std::span<const SecretBytes> items);

/// What became of the items of a request, in their order.
struct VaultResults {
  std::vector<SecretBytes> plaintexts;   ///< base64, of those results that have one
  std::vector<std::string> ciphertexts;  ///< of each result, "" if it has none
  std::string failure;  ///< what Vault says of the first item that failed; empty if none did

  /// From an answer of whatever status, which may be 200 though items failed, and 400 though others
  /// did not. None unless it has as many results as were asked for, each in the place of its item.
  /// Plaintexts are taken out of `body` in any case.
  static std::optional<VaultResults> from(MutableBytes body, std::size_t asked);
};

}  // namespace coffer

#pragma once

#include <array>

#include "keystore/base/ids.h"

namespace coffer {

/// What a wrapped key is for and where it belongs; authenticated with it, so that a wrapped key
/// opens nowhere else (keystore/FORMAT.md, "AAD of a wrapped key").
struct KeyContext {
  enum class Purpose : std::uint32_t {
    kPolicyKey = 1,
    kKek = 2,
    kScopeSecret = 3,
    kDek = 4,
    kRecoveryKey = 5
  };

  Purpose purpose = Purpose::kPolicyKey;
  StoreId store;
  ScopeId scope;            ///< 0 for the policy key
  KeyVersion wrapping_kek;  ///< 0: wrapped by the master key
  FileId file;              ///< zeros unless a DEK
  KeyVersion version;       ///< of the wrapped key

  [[nodiscard]] std::array<std::uint8_t, 64> encode() const;

  /// Where a store's policy key belongs.
  static KeyContext of_policy_key(StoreId store) {
    return {.purpose = Purpose::kPolicyKey,
            .store = store,
            .scope = {},
            .wrapping_kek = {},
            .file = {},
            .version = KeyVersion{1}};
  }
  /// Where the private half of its recovery key does.
  static KeyContext of_recovery_key(StoreId store) {
    KeyContext context = of_policy_key(store);
    context.purpose = Purpose::kRecoveryKey;
    return context;
  }
};

}  // namespace coffer

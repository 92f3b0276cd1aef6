#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// What a store's master key is tried with.
struct KmsTrial {
  MasterKeyRecord record;
  StoreId store;
  ByteVector policy_key;  ///< as the keystore has it, wrapped by this master key
  bool may_wrap = true;   ///< false on a node that only reads: wrapping is not tried
};

/// One thing that was tried.
struct KmsCheck {
  std::string_view what;
  std::chrono::microseconds took{0};
  std::optional<Error> error;
};

struct KmsReport {
  std::vector<KmsFact> facts;  ///< what the KMS tells of itself
  std::vector<KmsCheck> checks;
};

/// Tries all that a store asks of its master key: to be reached, to wrap, to unwrap what was
/// wrapped now and what the keystore has, and to refuse both in another place than their own.
/// Nothing is kept. Each check that can be made is made, whatever became of those before it. Takes
/// as long as the KMS does, at most 10 s for each.
KmsReport check_master(const KmsTrial& trial, const PassphraseSource& passphrase);
/// The same but for reaching it.
void check_opened_master(MasterKms& master, const KmsTrial& trial, KmsReport& report);

}  // namespace coffer

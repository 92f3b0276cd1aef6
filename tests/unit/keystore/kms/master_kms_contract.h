#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// Two master keys of one provider, and what is needed to open them.
struct KmsSetting {
  MasterKeyRecord first;
  MasterKeyRecord second;
  PassphraseSource first_passphrase;
  PassphraseSource second_passphrase;
  std::shared_ptr<void> keep;  ///< what has to live as long (a directory, a server)
};

struct KmsProvider {
  std::string name;
  std::function<KmsSetting()> set_up;
  std::function<bool()> is_there = [] { return true; };  ///< what it is tried with
};

inline void PrintTo(const KmsProvider& provider, std::ostream* out) { *out << provider.name; }

/// What every MasterKms promises (keystore/kms/master_kms.h). A provider's own test instantiates
/// it: INSTANTIATE_TEST_SUITE_P(Vault, MasterKmsContract, ::testing::Values(vault_provider()),
/// kms_provider_name).
class MasterKmsContract : public ::testing::TestWithParam<KmsProvider> {
 protected:
  void SetUp() override;
  std::unique_ptr<MasterKms> open_first();

  KmsSetting setting_;
  std::unique_ptr<MasterKms> master_;  ///< the first
  SecretBytes key_ = SecretBytes::random(32);
  KeyContext context_;
};

inline std::string kms_provider_name(const ::testing::TestParamInfo<KmsProvider>& provider) {
  return provider.param.name;
}

/// For providers that need none: asking is a failure.
Result<SecretBytes> no_passphrase(bool confirm);

}  // namespace coffer

#pragma once

#include <memory>
#include <string>

#include "keystore/kms/bearer_token.h"
#include "keystore/kms/gcp_credentials.h"
#include "keystore/kms/gcp_key.h"
#include "keystore/kms/gcp_settings.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// The master key in Google Cloud KMS, which wraps with the context as additional authenticated
/// data (keystore/FORMAT.md, "Master keys"; keystore/GCP.md). A call takes no longer than 8 s,
/// logins included.
class GcpKms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there, and one that encrypts. `version`
  /// empty: whichever key it is, provided that it can be used now; otherwise it has to be that one
  /// (kWrongKey).
  static Result<std::unique_ptr<GcpKms>> open(const std::string& uri, const std::string& version);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  GcpKms(std::string uri, GcpKeyUri place, GcpSettings settings);
  Result<GcpKey> read_key(BearerTokens::Time until);
  /// The version to remember.
  Result<std::string> check_key(const std::string& version);
  /// POST KEY:OPERATION, or GET KEY if it is empty; the answer is one of 200.
  Result<HttpResponse> ask(const std::string& operation, const SecretBytes& body,
                           BearerTokens::Time until);

  const std::string uri_;
  const GcpKeyUri place_;
  const GcpSettings settings_;
  const GcpCredentials credentials_;
  const HttpClient http_;
  BearerTokens tokens_;
  std::string version_;
};

/// Google's logins need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_gcp_master(const std::string& uri,
                                                     const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_gcp_master(const MasterKeyRecord& record,
                                                   const PassphraseSource& passphrase);

}  // namespace coffer

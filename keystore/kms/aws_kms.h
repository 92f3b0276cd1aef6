#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "keystore/kms/aws_arn.h"
#include "keystore/kms/aws_key.h"
#include "keystore/kms/aws_session.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// The master key in AWS KMS: a symmetric key, with the place of each wrapped key in its encryption
/// context (keystore/FORMAT.md, "Master keys"; keystore/AWS.md). A call takes no longer than 8 s,
/// credentials included.
class AwsKms final : public MasterKms {
 public:
  /// Takes up the key that `uri` (`aws-kms://ARN`) names, an alias included. It has to be there,
  /// enabled, and of a kind that does.
  static Result<std::unique_ptr<AwsKms>> create(const std::string& uri);
  /// The key on record. kWrongKey if another one is in its place.
  static Result<std::unique_ptr<AwsKms>> open(const MasterKeyRecord& record);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  /// By ReEncrypt: the key does not come here.
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override;
  /// The id of the key material. KMS tells it of what it re-encrypts, not of what it encrypts.
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  using Time = AwsSession::Time;

  AwsKms(AwsKeyArn arn, AwsSettings settings);
  static Result<std::unique_ptr<AwsKms>> on_this_node(AwsKeyArn arn);
  Result<AwsKey> read_key(Time until);
  /// What an operation answers with 200, if it is an object.
  Result<HttpResponse> ask(const std::string& operation, const SecretBytes& body, Time until);
  Result<void> check_is_ours(const nlohmann::json& answer, const char* member) const;
  Result<AwsWrapped> wrapped_from(const nlohmann::json& answer, const char* material) const;
  [[nodiscard]] Error failure(const HttpResponse& response, const std::string& operation) const;
  [[nodiscard]] Error error(Code code, const std::string& words) const;

  AwsKeyArn arn_;
  std::string version_;
  AwsSession session_;
};

/// AWS's credentials need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_aws_master(const std::string& uri,
                                                     const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_aws_master(const MasterKeyRecord& record,
                                                   const PassphraseSource& passphrase);

}  // namespace coffer

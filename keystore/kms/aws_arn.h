#pragma once

#include <string>
#include <string_view>

#include "keystore/base/result.h"

namespace coffer {

/// The partition of a region ("aws" of "eu-west-1", "aws-cn", "aws-us-gov"); empty for what is no
/// region of these.
std::string_view aws_partition_of(std::string_view region);

/// "kms" and "eu-west-1" make "kms.eu-west-1.amazonaws.com": always a name of Amazon's own, or of
/// its operators in China.
std::string aws_host(std::string_view service, std::string_view region);

/// Of a key of KMS (`arn:aws:kms:eu-west-1:111122223333:key/UUID`) or an alias of one
/// (`…:alias/NAME`).
struct AwsKeyArn {
  std::string text;
  std::string partition;
  std::string region;
  std::string account;
  std::string key_id;  ///< a UUID, or "mrk-" and 32 hex digits; empty for an alias

  /// Of `aws-kms://ARN`. kInvalid, without words of what may be a secret, for anything else.
  static Result<AwsKeyArn> of_uri(std::string_view uri);
  /// Likewise of the ARN alone.
  static Result<AwsKeyArn> parse(std::string_view arn);
  [[nodiscard]] std::string uri() const;
  [[nodiscard]] bool is_alias() const { return key_id.empty(); }
};

}  // namespace coffer

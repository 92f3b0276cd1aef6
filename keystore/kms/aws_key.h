#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/kms/key_context.h"

namespace coffer {

/// A key as DescribeKey tells of it.
struct AwsKey {
  std::string arn;
  std::string id;
  std::string state;    ///< "Enabled"
  std::string manager;  ///< "CUSTOMER"; "AWS" for those of services
  std::string origin;
  std::string material;  ///< the id of what wraps now; empty if it does not tell
  bool symmetric = false;
  bool multi_region = false;
  std::uint64_t made_at = 0;  ///< Unix seconds

  /// None if `body` is no such answer.
  static std::optional<AwsKey> from(Bytes body);
  /// "KEY-ID:T", the version on record (keystore/FORMAT.md, "Master keys").
  [[nodiscard]] std::string fingerprint() const;
};

/// A wrapped key: what KMS gave, and by which material, if it said so.
struct AwsWrapped {
  std::string material;  ///< 64 hex digits, or empty
  ByteVector blob;

  /// kUnknownVersion for another format, kCorrupt for anything else that is none.
  static Result<AwsWrapped> parse(Bytes wrapped);
  [[nodiscard]] ByteVector encode() const;
};

/// 64 lower-case hex digits.
bool is_aws_material(std::string_view text);

/// The EncryptionContext that stands for `context`, as JSON (keystore/FORMAT.md, "Master keys").
std::string aws_encryption_context(const KeyContext& context);

}  // namespace coffer

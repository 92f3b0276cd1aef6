#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// A header that is signed: its name in lower case.
struct SigV4Header {
  std::string name;
  Bytes value;
};

/// A request for "/", without a query: those of KMS are.
struct SigV4Request {
  std::string_view method;
  std::vector<SigV4Header> headers;  ///< "host" and "x-amz-date" among them
  Bytes body;
};

/// What a signature holds for.
struct SigV4Scope {
  std::string_view timestamp;  ///< aws_timestamp, as in "x-amz-date"
  std::string_view region;
  std::string_view service;
};

/// The value of the header Authorization: AWS Signature Version 4 ("Create a signed AWS API
/// request", AWS General Reference). Nothing in it is secret. Thread-safe.
std::string sigv4_authorization(std::string_view access_key_id,
                                const SecretBytes& secret_access_key, const SigV4Scope& scope,
                                SigV4Request request);

}  // namespace coffer

#pragma once

#include <cstdint>
#include <string>

#include "keystore/base/bytes.h"

struct ssl_st;
struct x509_st;

namespace coffer {

/// What a connection knows of both ends, for people.
struct TlsFacts {
  std::string protocol;                ///< "TLSv1.3"
  std::string own_subject;             ///< "CN=node"; empty if we showed no certificate
  std::int64_t own_valid_until = 0;    ///< Unix seconds; 0 likewise
  std::string their_issuer;            ///< "CN=a CA"
  std::int64_t their_valid_until = 0;  ///< Unix seconds
  std::string their_pin_sha256;        ///< as pin_sha256 says it

  /// Of one that has shaken hands.
  static TlsFacts of(const ssl_st* connection);
};

/// Base64 of SHA-256 of the certificate's public key (SubjectPublicKeyInfo, as RFC 7469 has it).
std::string pin_sha256(x509_st* certificate);

}  // namespace coffer

#pragma once

#include <memory>
#include <string>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// An AES-256 key on a PKCS#11 token (OASIS PKCS #11 2.40), which never leaves it. Only the library
/// that talks to the token knows whether it answers: a call may hang as long as that does.
/// Thread-safe; calls wait for each other.
class Pkcs11Key {
 public:
  static constexpr std::size_t kNonceSize = 12;
  static constexpr std::size_t kTagSize = 16;

  /// Of the modules registered with p11-kit, or of the one that COFFER_PKCS11_MODULE names: which
  /// library runs in this process is the machine's affair and no keystore's. The PIN comes from the
  /// URI's `pin-source` (a file) or else from `pin`; it is tried once, for tokens lock themselves.
  /// kInvalid for a URI that can't be used, kKmsUnavailable if there is no such token,
  /// kKmsKeyMissing if there is no such key on it, kWrongKey for a wrong PIN, kUnsupported for a
  /// key that the token would give away.
  static Result<std::unique_ptr<Pkcs11Key>> open(const std::string& uri,
                                                 const PassphraseSource& pin);
  ~Pkcs11Key();
  Pkcs11Key(const Pkcs11Key&) = delete;
  Pkcs11Key& operator=(const Pkcs11Key&) = delete;

  /// Tells one key from another, and nothing of it. Each session is checked against the first:
  /// where another key stands, calls are kWrongKey.
  [[nodiscard]] std::string fingerprint() const;

  /// AES-GCM with a nonce of 12 bytes, by the token: the ciphertext with its tag of 16 bytes.
  /// kKmsUnavailable if the token does not do it, kKmsDenied if it may not.
  Result<ByteVector> encrypt(Bytes nonce, Bytes aad, Bytes plain);
  /// kCorrupt if it does not authenticate.
  Result<SecretBytes> decrypt(Bytes nonce, Bytes aad, Bytes ciphertext);
  /// Of the token and the library that talks to it.
  Result<std::vector<KmsFact>> inspect();

 private:
  class Session;
  explicit Pkcs11Key(std::unique_ptr<Session> session);
  std::unique_ptr<Session> session_;
};

}  // namespace coffer

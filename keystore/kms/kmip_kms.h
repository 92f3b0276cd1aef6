#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "keystore/kms/host_and_port.h"
#include "keystore/kms/kmip_client.h"
#include "keystore/kms/kmip_key.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// `kmip://HOST[:PORT]/UID`: where a key of a KMIP server is.
struct KmipKeyUri {
  HostAndPort host;
  std::string uid;

  /// kInvalid, without words of what may be a secret, for anything else.
  static Result<KmipKeyUri> parse(const std::string& uri);
};

/// The master key on a KMIP 1.4 server, which wraps by its Encrypt and Decrypt, AES-256-GCM with
/// the context as additional data (keystore/FORMAT.md, "Master keys"; keystore/KMIP.md). A call
/// takes no longer than 8 s.
class KmipKms final : public MasterKms {
 public:
  /// Takes up the key that the URI names; it has to be there, Active, and an AES key of 256 bits.
  /// `version` empty: whichever key it is, provided that its server does not give it away and heeds
  /// additional data; otherwise it has to be that one (kWrongKey).
  static Result<std::unique_ptr<KmipKms>> open(const std::string& uri, const std::string& version);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override;
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override;
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::size_t batch_size() const override { return takes_batches_ ? 64 : 1; }
  [[nodiscard]] MasterKeyRecord describe() const override { return {uri_, version_, ""}; }
  Result<std::vector<KmsFact>> inspect() override;

 private:
  using Time = KmipClient::Time;

  KmipKms(std::string uri, KmipKeyUri place, KmipSettings settings);
  Result<void> check_protocol(Time until);
  Result<void> take_up(Time until);
  Result<KmipKey> read_key(Time until);
  /// Whether the key is the one of `version_`.
  Result<void> check_fingerprint(Time until);
  Result<ByteVector> wrap_by(const SecretBytes& key, const KeyContext& context, Time until);
  template <typename T>
  Result<std::vector<T>> in_time(Result<std::vector<T>> done, std::size_t keys, Time until) const;
  Result<std::vector<ByteVector>> wrap_many(std::span<const KeyInPlace> keys, Time until);
  Result<std::vector<SecretBytes>> unwrap_many(std::span<const WrappedInPlace> keys, Time until);
  Result<std::vector<ByteVector>> wrap_one_by_one(std::span<const KeyInPlace> keys, Time until);
  Result<SecretBytes> unwrap_by(const WrappedInPlace& key, Time until);
  /// Of `keys`, which are well formed, as many from the first as one request has opened.
  Result<std::vector<SecretBytes>> unwrap_some(std::span<const WrappedInPlace> keys, Time until);
  /// Ciphertext and tag.
  Result<ByteVector> encrypt(Bytes nonce, Bytes aad, Bytes plain, Time until);
  /// The answer, which may be a failure.
  Result<KmipAnswer> ask_decrypt(Bytes nonce, Bytes aad, Bytes sealed, Time until);
  [[nodiscard]] Result<SecretBytes> decrypted(const KmipResult& result) const;
  [[nodiscard]] Result<ByteVector> encrypted(const KmipResult& result, Bytes nonce,
                                             std::size_t length) const;
  /// Of a failure, as far as its reason and the key's state tell; kKmsUnavailable if they do not.
  Error cause_of(const KmipResult& failed, KmipOperation operation, Time until);
  [[nodiscard]] Error error(Code code, const std::string& words) const;
  [[nodiscard]] Error not_understood() const;

  const std::string uri_;
  const KmipKeyUri place_;
  std::string version_;
  KmipClient client_;
  std::atomic<bool> takes_batches_{true};
};

/// KMIP's certificates need nobody: `passphrase` is not used.
Result<std::unique_ptr<MasterKms>> create_kmip_master(const std::string& uri,
                                                      const PassphraseSource& passphrase);
Result<std::unique_ptr<MasterKms>> open_kmip_master(const MasterKeyRecord& record,
                                                    const PassphraseSource& passphrase);

}  // namespace coffer

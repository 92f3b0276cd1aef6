#include "keystore/kms/tpm2_kms.h"

#include "keystore/crypto/kdf.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/tpm2_seal.h"

namespace coffer {
namespace {

constexpr std::size_t kKeySize = 32;

/// What the TPM is shown of the PIN; nothing without one. Ends in no 0: a TPM drops those.
Result<SecretBytes> authorization(const Tpm2Uri& uri, const PassphraseSource& source, bool is_new) {
  if (!uri.pin) return SecretBytes();
  const SecretBytes pin =
      uri.pin_source.empty() ? TRY(source(is_new)) : TRY(read_pin_file(uri.pin_source));
  if (pin.empty()) return Error{Code::kInvalid, 0, "an empty PIN protects nothing"};
  SecretBytes value = hkdf_sha256(pin.expose(), {}, "coffer/1/tpm2-pin", kKeySize);
  value.expose().back() |= 1;
  return value;
}

Result<std::unique_ptr<Tpm2Kms>> unseal(const Tpm2Uri& uri, const Tpm2Sealed& sealed,
                                        const SecretBytes& shown) {
  const SecretBytes key = TRY(tpm2_unseal(sealed, uri.pcrs, shown));
  if (key.size() != kKeySize) return Error{Code::kCorrupt, 0, "sealed key has a wrong length"};
  return std::make_unique<Tpm2Kms>(uri, sealed, key);
}

}  // namespace

Tpm2Kms::Tpm2Kms(const Tpm2Uri& uri, const Tpm2Sealed& sealed, const SecretBytes& key)
    : uri_(uri), unsealed_(uri.text(), sealed.text(), key) {}

Result<ByteVector> Tpm2Kms::wrap(const SecretBytes& key, const KeyContext& context) {
  return unsealed_.wrap(key, context);
}

Result<SecretBytes> Tpm2Kms::unwrap(Bytes wrapped, const KeyContext& context) {
  return unsealed_.unwrap(wrapped, context);
}

MasterKeyRecord Tpm2Kms::describe() const { return unsealed_.describe(); }

Result<std::vector<KmsFact>> Tpm2Kms::inspect() {
  const Tpm2Properties tpm = TRY(tpm2_properties());
  return std::vector<KmsFact>{{"made by", tpm.made_by},
                              {"firmware", tpm.firmware},
                              {"PCRs", uri_.pcrs.text()},
                              {"PIN", uri_.pin ? "yes" : "no"},
                              {"wrong PINs", std::to_string(tpm.wrong_pins) + " of " +
                                                 std::to_string(tpm.most_wrong_pins)}};
}

Result<std::unique_ptr<MasterKms>> create_tpm2_master(const std::string& uri,
                                                      const PassphraseSource& pin) {
  const Tpm2Uri parsed = TRY(Tpm2Uri::parse(uri));
  const SecretBytes shown = TRY(authorization(parsed, pin, true));
  const Tpm2Sealed sealed = TRY(tpm2_seal(SecretBytes::random(kKeySize), parsed.pcrs, shown));
  // From the TPM, and not what was given to it: what does not come back is not relied on.
  return std::unique_ptr<MasterKms>(TRY(unseal(parsed, sealed, shown)));
}

Result<std::unique_ptr<MasterKms>> open_tpm2_master(const MasterKeyRecord& record,
                                                    const PassphraseSource& pin) {
  const Tpm2Uri parsed = TRY(Tpm2Uri::parse(record.uri));
  const Tpm2Sealed sealed = TRY(Tpm2Sealed::parse(record.params));
  const SecretBytes shown = TRY(authorization(parsed, pin, false));
  auto master = TRY(unseal(parsed, sealed, shown));
  if (master->describe().version != record.version) {
    return Error{Code::kWrongKey, 0,
                 "the TPM unsealed another key (" + master->describe().version +
                     ") than this keystore's (" + record.version + ")"};
  }
  return std::unique_ptr<MasterKms>(std::move(master));
}

bool tpm2_may_ask(const std::string& uri) {
  const auto parsed = Tpm2Uri::parse(uri);
  return parsed && parsed->pin && parsed->pin_source.empty();
}

}  // namespace coffer

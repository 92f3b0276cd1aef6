#include "keystore/kms/master_kms.h"

#include <string_view>

#include "keystore/kms/bounded_kms.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/patient_kms.h"
#include "keystore/kms/pkcs11_kms.h"
#include "keystore/kms/tpm2_kms.h"
#include "keystore/kms/vault_kms.h"

namespace coffer {
namespace {

constexpr std::string_view kLocal = "local:";
constexpr std::string_view kPassphrase = "passphrase:";
constexpr std::string_view kPkcs11 = "pkcs11:";
constexpr std::string_view kTpm2 = "tpm2:";
constexpr std::string_view kVault = "hcvault://";

/// Repeats no more than the scheme: someone may have typed a passphrase after it.
Error unknown_uri(const std::string& uri) {
  return {Code::kInvalid, 0,
          "no KMS provider for '" + uri.substr(0, uri.find(':')) +
              "' URIs of this form (there are local:PATH, passphrase:, pkcs11:TOKEN-URI, tpm2: and "
              "hcvault://HOST/MOUNT/keys/NAME)"};
}

/// How long somebody waits who can't be killed.
constexpr std::chrono::seconds kDeadline{10};

using OpenedMaster = Result<std::unique_ptr<MasterKms>>;

/// One that others answer for: it is asked again, and not waited for without end; nor while it is
/// opened, unless somebody has to type.
OpenedMaster bounded(const std::string& uri, const PassphraseSource& passphrase,
                     const std::function<OpenedMaster(const PassphraseSource&)>& open) {
  static const CallBound opening(kDeadline);
  const PassphraseSource nobody = [](bool) -> Result<SecretBytes> {
    return Error{Code::kKeyUnavailable, 0, "there is nobody to ask for a passphrase"};
  };
  auto master = may_ask(uri) ? open(passphrase)
                             : opening.run<std::unique_ptr<MasterKms>>(
                                   uri, [open, nobody] { return open(nobody); });
  if (!master) return master;
  auto patient = std::make_shared<PatientKms>(*std::move(master), PatientKms::Patience{});
  return std::unique_ptr<MasterKms>(std::make_unique<BoundedKms>(std::move(patient), kDeadline));
}

Result<std::string> key_file_path(const std::string& uri) {
  std::string path = uri.substr(kLocal.size());
  if (path.empty() || path[0] != '/') {
    return Error{Code::kInvalid, 0, uri + ": the path of a master key file has to be absolute"};
  }
  return path;
}

}  // namespace

Result<std::vector<ByteVector>> MasterKms::wrap_all(std::span<const KeyInPlace> keys) {
  std::vector<ByteVector> wrapped;
  wrapped.reserve(keys.size());
  for (const KeyInPlace& each : keys) wrapped.push_back(TRY(wrap(*each.key, each.context)));
  return wrapped;
}

Result<std::unique_ptr<MasterKms>> create_master(const std::string& uri,
                                                 const PassphraseSource& passphrase) {
  if (uri.starts_with(kLocal)) return create_key_file_master(uri, TRY(key_file_path(uri)));
  if (uri == kPassphrase) return create_passphrase_master(passphrase);
  if (uri.starts_with(kPkcs11)) {
    return bounded(uri, passphrase,
                   [uri](const PassphraseSource& pin) { return create_pkcs11_master(uri, pin); });
  }
  if (uri.starts_with(kTpm2)) {
    return bounded(uri, passphrase,
                   [uri](const PassphraseSource& pin) { return create_tpm2_master(uri, pin); });
  }
  if (uri.starts_with(kVault)) {
    return bounded(uri, passphrase,
                   [uri](const PassphraseSource&) { return create_vault_master(uri); });
  }
  return unknown_uri(uri);
}

Result<std::unique_ptr<MasterKms>> open_master(const MasterKeyRecord& record,
                                               const PassphraseSource& passphrase) {
  if (record.uri.starts_with(kLocal))
    return open_key_file_master(record, TRY(key_file_path(record.uri)));
  if (record.uri == kPassphrase) return open_passphrase_master(record, passphrase);
  if (record.uri.starts_with(kPkcs11)) {
    return bounded(record.uri, passphrase, [record](const PassphraseSource& pin) {
      return open_pkcs11_master(record, pin);
    });
  }
  if (record.uri.starts_with(kTpm2)) {
    return bounded(record.uri, passphrase,
                   [record](const PassphraseSource& pin) { return open_tpm2_master(record, pin); });
  }
  if (record.uri.starts_with(kVault)) {
    return bounded(record.uri, passphrase,
                   [record](const PassphraseSource&) { return open_vault_master(record); });
  }
  return unknown_uri(record.uri);
}

bool may_ask(const std::string& uri) {
  return uri == kPassphrase || tpm2_may_ask(uri) ||
         (uri.starts_with(kPkcs11) && uri.find("pin-source=") == std::string::npos);
}

bool is_on_network(const std::string& uri) { return uri.starts_with(kVault); }

}  // namespace coffer

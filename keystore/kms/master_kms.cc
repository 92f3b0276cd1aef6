#include "keystore/kms/master_kms.h"

#include <array>
#include <string_view>

#include "keystore/kms/aws_kms.h"
#include "keystore/kms/azure_kms.h"
#include "keystore/kms/bounded_kms.h"
#include "keystore/kms/gcp_kms.h"
#include "keystore/kms/kmip_kms.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/patient_kms.h"
#include "keystore/kms/pkcs11_kms.h"
#include "keystore/kms/tpm2_kms.h"
#include "keystore/kms/vault_kms.h"

namespace coffer {
namespace {

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
  std::string path = uri.substr(uri.find(':') + 1);
  if (path.empty() || path[0] != '/') {
    return Error{Code::kInvalid, 0, uri + ": the path of a master key file has to be absolute"};
  }
  return path;
}

/// What stands behind one kind of URI.
struct Provider {
  std::string_view form;  ///< of its URIs, for people
  std::string_view scheme;
  bool (*may_ask)(const std::string& uri);
  bool on_network;
  bool bounded;  ///< others answer for it
  OpenedMaster (*create)(const std::string& uri, const PassphraseSource& passphrase);
  OpenedMaster (*open)(const MasterKeyRecord& record, const PassphraseSource& passphrase);
};

bool never(const std::string& /*uri*/) { return false; }
bool always(const std::string& /*uri*/) { return true; }
bool unless_pin_is_in_a_file(const std::string& uri) {
  return uri.find("pin-source=") == std::string::npos;
}

constexpr std::array kProviders = {
    Provider{"local:PATH", "local:", never, false, false,
             [](const std::string& uri, const PassphraseSource&) -> OpenedMaster {
               return create_key_file_master(uri, TRY(key_file_path(uri)));
             },
             [](const MasterKeyRecord& record, const PassphraseSource&) -> OpenedMaster {
               return open_key_file_master(record, TRY(key_file_path(record.uri)));
             }},
    Provider{"passphrase:", "passphrase:", always, false, false,
             [](const std::string&, const PassphraseSource& passphrase) -> OpenedMaster {
               return create_passphrase_master(passphrase);
             },
             open_passphrase_master},
    Provider{"pkcs11:TOKEN-URI", "pkcs11:", unless_pin_is_in_a_file, false, true,
             create_pkcs11_master, open_pkcs11_master},
    Provider{"tpm2:", "tpm2:", tpm2_may_ask, false, true, create_tpm2_master, open_tpm2_master},
    Provider{"hcvault://HOST/MOUNT/keys/NAME", "hcvault://", never, true, true, create_vault_master,
             open_vault_master},
    Provider{"gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K", "gcp-kms://", never, true,
             true, create_gcp_master, open_gcp_master},
    Provider{"aws-kms://KEY-ARN", "aws-kms://", never, true, true, create_aws_master,
             open_aws_master},
    Provider{"azure-kms://HOST/keys/NAME", "azure-kms://", never, true, true, create_azure_master,
             open_azure_master},
    Provider{"kmip://HOST/UID", "kmip://", never, true, true, create_kmip_master, open_kmip_master},
};

/// Null for a URI that none knows.
const Provider* provider_of(const std::string& uri) {
  for (const Provider& provider : kProviders) {
    // Nothing may follow "passphrase:".
    const bool is_all = provider.form == provider.scheme && provider.scheme == "passphrase:";
    if (is_all ? uri == provider.scheme : uri.starts_with(provider.scheme)) return &provider;
  }
  return nullptr;
}

/// Repeats no more than the scheme: someone may have typed a passphrase after it.
Error unknown_uri(const std::string& uri) {
  std::string words =
      "no KMS provider for '" + uri.substr(0, uri.find(':')) + "' URIs of this form (there are ";
  for (const Provider& provider : kProviders) {
    words += provider.form;
    words += &provider == &kProviders.back() ? ")" : ", ";
  }
  return {Code::kInvalid, 0, words};
}

}  // namespace

Result<std::vector<SecretBytes>> MasterKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  std::vector<SecretBytes> unwrapped;
  unwrapped.reserve(keys.size());
  for (const WrappedInPlace& each : keys)
    unwrapped.push_back(TRY(unwrap(each.wrapped, each.context)));
  return unwrapped;
}

Result<void> check_wrappable(const SecretBytes& key) {
  if (key.size() != kWrappedKeySize)
    return Error{Code::kInvalid, 0, "only keys of 32 bytes are wrapped"};
  return {};
}

Result<SecretBytes> check_unwrapped(SecretBytes key) {
  if (key.size() != kWrappedKeySize)
    return Error{Code::kCorrupt, 0, "wrapped key has a wrong length"};
  return key;
}

Result<ByteVector> MasterKms::rewrap(Bytes wrapped, const KeyContext& context) {
  return wrap(TRY(unwrap(wrapped, context)), context);
}

Result<std::vector<ByteVector>> MasterKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  std::vector<ByteVector> wrapped;
  wrapped.reserve(keys.size());
  for (const WrappedInPlace& each : keys)
    wrapped.push_back(TRY(rewrap(each.wrapped, each.context)));
  return wrapped;
}

std::string MasterKms::version_of(Bytes /*wrapped*/) const { return {}; }

Result<std::vector<ByteVector>> MasterKms::wrap_all(std::span<const KeyInPlace> keys) {
  std::vector<ByteVector> wrapped;
  wrapped.reserve(keys.size());
  for (const KeyInPlace& each : keys) wrapped.push_back(TRY(wrap(*each.key, each.context)));
  return wrapped;
}

Result<std::unique_ptr<MasterKms>> create_master(const std::string& uri,
                                                 const PassphraseSource& passphrase) {
  const Provider* const provider = provider_of(uri);
  if (provider == nullptr) return unknown_uri(uri);
  if (!provider->bounded) return provider->create(uri, passphrase);
  return bounded(uri, passphrase, [uri, create = provider->create](const PassphraseSource& source) {
    return create(uri, source);
  });
}

Result<std::unique_ptr<MasterKms>> open_master(const MasterKeyRecord& record,
                                               const PassphraseSource& passphrase) {
  const Provider* const provider = provider_of(record.uri);
  if (provider == nullptr) return unknown_uri(record.uri);
  if (!provider->bounded) return provider->open(record, passphrase);
  return bounded(record.uri, passphrase,
                 [record, open = provider->open](const PassphraseSource& source) {
                   return open(record, source);
                 });
}

bool may_ask(const std::string& uri) {
  const Provider* const provider = provider_of(uri);
  return provider != nullptr && provider->may_ask(uri);
}

bool is_on_network(const std::string& uri) {
  const Provider* const provider = provider_of(uri);
  return provider != nullptr && provider->on_network;
}

bool may_follow(const std::string& now, const std::string& next) {
  const Provider* const before = provider_of(now);
  const Provider* const after = provider_of(next);
  if (before == nullptr || after == nullptr || after->may_ask(next)) return false;
  return after == before || !after->bounded || (before->on_network && after->on_network);
}

}  // namespace coffer

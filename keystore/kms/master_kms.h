#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/kms/key_context.h"

namespace coffer {

/// What the keystore remembers of a master key (table `masters`): enough to find it again, and to
/// tell it from another.
struct MasterKeyRecord {
  std::string uri;
  std::string version;  ///< the provider's name for the key's version
  std::string params;   ///< public parameters, in the provider's own form
  bool operator==(const MasterKeyRecord&) const = default;
};

/// Of the keys that are wrapped, in bytes.
constexpr std::size_t kWrappedKeySize = 32;
/// kInvalid for a key of another length.
Result<void> check_wrappable(const SecretBytes& key);
/// kCorrupt for what was unwrapped and has another length.
Result<SecretBytes> check_unwrapped(SecretBytes key);

/// A key to be wrapped, and where it belongs. The key outlives the call that it is given to.
struct KeyInPlace {
  const SecretBytes* key;
  KeyContext context;
};

/// A wrapped key, and where it belongs.
struct WrappedInPlace {
  Bytes wrapped;
  KeyContext context;
};

/// What a KMS or token tells of itself, for people.
struct KmsFact {
  std::string name;
  std::string value;
};

/// The master key, wherever it lives. Never hands the key out; wraps and unwraps 32-byte keys under
/// a context. Thread-safe. A call may take as long as a network does: hold no lock across it.
class MasterKms {
 public:
  MasterKms() = default;
  MasterKms(const MasterKms&) = delete;
  MasterKms& operator=(const MasterKms&) = delete;
  virtual ~MasterKms() = default;

  /// kInvalid for a key of another length.
  virtual Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) = 0;
  /// Many at once, in their order; or the first error. One after the other unless overridden.
  virtual Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys);
  /// How many keys one call of the KMS can wrap, unwrap or rewrap.
  [[nodiscard]] virtual std::size_t batch_size() const { return 1; }
  /// kCorrupt if `wrapped` was altered or belongs to another context, kWrongKey if the master key
  /// is another one. Of both: kKmsDenied, kKmsKeyMissing, kKmsKeyDisabled; kKmsUnavailable if it
  /// did not answer or not as it should, and trying again may help; kKeyUnavailable if what it
  /// takes to ask is missing here.
  virtual Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) = 0;
  /// Many at once, in their order; or the first error. One after the other unless overridden.
  virtual Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys);
  /// A key wrapped before, wrapped anew by the newest version of the master key: by the KMS itself
  /// where it can, so that the key does not come here. Errors as those of `unwrap` and `wrap`.
  virtual Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context);
  /// Many at once, as wrap_all.
  virtual Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys);
  /// The KMS's name for the version of the master key that wrapped it, as far as `wrapped` tells;
  /// else empty.
  [[nodiscard]] virtual std::string version_of(Bytes wrapped) const;
  /// The name of the version that wraps now: asked of the KMS. Empty where there are no versions,
  /// or it does not tell them.
  virtual Result<std::string> newest_version() { return std::string(); }
  [[nodiscard]] virtual MasterKeyRecord describe() const = 0;
  /// Who it takes us for, its newest version and the like, as far as it tells: asked of it now.
  /// Errors as those of `unwrap`.
  virtual Result<std::vector<KmsFact>> inspect() { return std::vector<KmsFact>(); }
};

/// Asks for a passphrase, or a token's PIN; `confirm` when a new one is being set, so that it is
/// typed twice.
using PassphraseSource = std::function<Result<SecretBytes>(bool confirm)>;

/// Makes a new master key, or takes up an existing one, for `uri` (kProviders in master_kms.cc has
/// the forms). `describe` then has it in the form to be kept on record. kInvalid for a URI that no
/// provider knows.
Result<std::unique_ptr<MasterKms>> create_master(const std::string& uri,
                                                 const PassphraseSource& passphrase);

/// Opens the master key that a keystore was made with. kWrongKey if the file or passphrase is
/// another one, else as MasterKms.
Result<std::unique_ptr<MasterKms>> open_master(const MasterKeyRecord& record,
                                               const PassphraseSource& passphrase);

/// True if to open a master key of this URI takes a passphrase or PIN that is not on this machine.
bool may_ask(const std::string& uri);

/// True if a master key of this URI is asked over the network.
bool is_on_network(const std::string& uri);

/// True if a daemon that was begun with the master key `now` can open `next` as it is, with nobody
/// to type, and what it gave up when it began.
bool may_follow(const std::string& now, const std::string& next);

}  // namespace coffer

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "fs/format/header.h"
#include "fs/format/xattr_set.h"
#include "keystore/base/mutex.h"
#include "keystore/crypto/aead.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// The directory of sidecars in a store's `.coffer`.
inline constexpr const char* kXattrDir = "xattrs";

/// Whose attributes: a file or a directory by its id, and the key they are sealed under.
struct XattrOwner {
  Bytes id;  ///< 16 bytes
  Suite suite;
  const SecretBytes& key;
};

/// The sidecars of `.coffer/xattrs` (fs/FORMAT.md, 10): each holds all attributes of one object,
/// sealed, and is named by the hash that the object's header or record vouches for it with. One is
/// written anew for each change and never altered. Thread-safe.
class XattrStore {
 public:
  /// `private_dir` is the store's `.coffer`. `engine` outlives it.
  XattrStore(const AeadEngine& engine, std::shared_ptr<const BackingDir> private_dir)
      : engine_(engine), private_dir_(std::move(private_dir)) {}

  /// The set behind a hash that is not zero. kCorrupt if the sidecar is missing, or not the one the
  /// hash is of.
  [[nodiscard]] Result<XattrSet> load(const XattrOwner& owner, const Hash& hash) const;
  /// Writes a set (not empty, within the limits) durably; the hash to vouch for it with.
  [[nodiscard]] Result<Hash> save(const XattrOwner& owner, const XattrSet& set) const;
  /// Removes a sidecar that nothing on the disk names any more. A failure leaves garbage behind and
  /// is no error.
  void drop(Bytes id, const Hash& hash) const;

  /// The sidecar of an object that was removed, if it had one. A loss of power may bring the object
  /// back until that is on the disk: the sidecar waits for it. How many are waiting now.
  std::size_t retire(Bytes id, const Hash& hash);
  struct Retired {
    ByteVector id;
    Hash hash;
  };
  /// All that are waiting; the caller's to drop or to `keep_retired`.
  [[nodiscard]] std::vector<Retired> take_retired();
  [[nodiscard]] std::size_t retired();
  /// They have to wait longer.
  void keep_retired(std::vector<Retired> retired);

  /// Where a sidecar lies in the directory of sidecars: "XX/ID-HASH".
  static std::string place(Bytes id, const Hash& hash);

 private:
  [[nodiscard]] Result<std::shared_ptr<const BackingDir>> make_dir_of(Bytes id) const;

  const AeadEngine& engine_;
  std::shared_ptr<const BackingDir> private_dir_;
  Mutex mutex_;
  std::vector<Retired> retired_ GUARDED_BY(mutex_);
};

}  // namespace coffer

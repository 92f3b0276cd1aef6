#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fs/format/header.h"
#include "keystore/base/ids.h"
#include "keystore/crypto/aead.h"
#include "keystore/crypto/digest.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/crypto/siv.h"

namespace coffer {

inline constexpr std::size_t kMaxNameLength = 255;
inline constexpr std::size_t kMaxTargetLength = 4095;

/// Names that begin so belong to the format.
inline constexpr std::string_view kReservedPrefix = ".coffer";
inline constexpr std::string_view kLongNamePrefix = ".coffer.long.";
inline constexpr std::string_view kNameSidecarPrefix = ".coffer.name.";
inline constexpr std::string_view kTargetSidecarPrefix = ".coffer.target.";

/// A name or symlink target as the backing holds it: `text`, and what its sidecar file has to hold
/// if it is too long for that.
struct StoredText {
  struct Sidecar {
    std::string name;
    ByteVector content;
  };
  std::string text;
  std::optional<Sidecar> sidecar;
};

/// The names of one scope, symlink targets, name bindings and directory records: all that its scope
/// secret is for (fs/FORMAT.md, 2, 4, 5). Immutable; thread-safe; no I/O.
class ScopeNames {
 public:
  /// `encrypted` is the store's names mode.
  ScopeNames(const SecretBytes& scope_secret, StoreId store, ScopeId scope, bool encrypted);

  [[nodiscard]] ScopeId scope() const { return scope_; }
  [[nodiscard]] StoreId store() const { return store_; }

  /// ENAMETOOLONG past 255 bytes; EINVAL for a reserved name in a store of plain names.
  [[nodiscard]] Result<StoredText> encode_name(DirId dir, std::string_view name) const;
  /// The plaintext of an entry. For a long one (`is_long_name`) `sidecar` is its sidecar's content.
  /// kCorrupt if it is not an entry's name in this directory.
  [[nodiscard]] Result<std::string> decode_name(DirId dir, std::string_view stored,
                                                Bytes sidecar = {}) const;
  static bool is_long_name(std::string_view stored) { return stored.starts_with(kLongNamePrefix); }
  /// No entry, but a file of the format's own beside the entries: a record or a sidecar.
  static bool is_own_file(std::string_view stored) {
    return stored.starts_with(kReservedPrefix) && !is_long_name(stored);
  }
  /// The sidecar that goes with a long name's entry.
  static std::string name_sidecar(std::string_view stored);

  /// `second` is zero except while the link is being renamed.
  [[nodiscard]] StoredText encode_target(std::string_view target, const Binding& first,
                                         const Binding& second) const;
  struct Target {
    std::string text;
    Binding first;
    Binding second;
  };
  /// For a long one (`is_long_target`) `sidecar` is the content of the sidecar that `stored` names.
  [[nodiscard]] Result<Target> decode_target(std::string_view stored, Bytes sidecar = {}) const;
  /// The whole form is checked: the text of a symlink can be anything, and this one is opened as a
  /// file name.
  static bool is_long_target(std::string_view stored);
  /// Length of a long target's stored text; no other target is so short.
  static constexpr std::size_t kLongTargetLength = kTargetSidecarPrefix.size() + 43;
  /// Length of the plaintext target of a stored one of `stored_length` that is not long; what
  /// `stat` shows.
  static std::uint64_t target_length(std::uint64_t stored_length);
  /// The same from the length of a long one's sidecar.
  static std::uint64_t long_target_length(std::uint64_t sidecar_length);

  [[nodiscard]] Binding bind_file(FileId file, DirId dir, std::string_view name) const;
  [[nodiscard]] Binding bind_directory(DirId directory, DirId parent, std::string_view name) const;
  [[nodiscard]] Binding bind_symlink(DirId dir, std::string_view name) const;

  /// The key of a directory's extended attributes, for one suite.
  [[nodiscard]] SecretBytes directory_xattr_key(DirId dir, Suite suite) const;

  [[nodiscard]] DirectoryBlock seal_directory(const DirectoryRecord& record) const;
  /// kCorrupt if it does not authenticate, or is another store's or scope's.
  [[nodiscard]] Result<DirectoryRecord> open_directory(Bytes record) const;

 private:
  [[nodiscard]] Binding bind(char kind, Bytes object, DirId dir, std::string_view name) const;

  StoreId store_;
  ScopeId scope_;
  bool encrypted_;
  Siv names_;
  Siv targets_;
  HmacKey directories_;
  HmacKey bindings_;
  SecretBytes xattrs_;
};

}  // namespace coffer

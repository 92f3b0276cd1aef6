#include "fs/names/scope_names.h"

#include <algorithm>

#include "keystore/crypto/kdf.h"

namespace coffer {
namespace {

constexpr std::size_t kMaxStoredTarget = 4095;
constexpr std::size_t kTargetHead = 2 * sizeof(Binding);

SecretBytes derive(const SecretBytes& secret, StoreId store, ScopeId scope, std::string_view info,
                   std::size_t length) {
  const ByteVector salt = ByteWriter().bytes(store.view()).le(scope.value).take();
  return hkdf_sha256(secret.expose(), salt, info, length);
}

std::string hashed(Bytes content) { return to_base64url(sha256(content)); }

Error not_an_entry() { return {Code::kCorrupt, EIO, "the name does not authenticate"}; }

/// Checks that a sidecar is the one its hash names, and one that is needed: what would fit as it is
/// has one form only.
Result<void> check_sidecar(std::string_view hash, Bytes sidecar, std::size_t longest_text) {
  if (hashed(sidecar) != hash || to_base64url(sidecar).size() <= longest_text) {
    return Error{Code::kCorrupt, EIO, "the sidecar of a long name or target was altered"};
  }
  return {};
}

}  // namespace

ScopeNames::ScopeNames(const SecretBytes& scope_secret, StoreId store, ScopeId scope,
                       bool encrypted)
    : store_(store),
      scope_(scope),
      encrypted_(encrypted),
      names_(derive(scope_secret, store, scope, "coffer/1/names", Siv::kKeySize).expose()),
      targets_(derive(scope_secret, store, scope, "coffer/1/symlinks", Siv::kKeySize).expose()),
      directories_(derive(scope_secret, store, scope, "coffer/1/directories", 32).expose()),
      bindings_(derive(scope_secret, store, scope, "coffer/1/bindings", 32).expose()),
      xattrs_(derive(scope_secret, store, scope, "coffer/1/xattrs", 32)) {}

Result<StoredText> ScopeNames::encode_name(DirId dir, std::string_view name) const {
  if (name.size() > kMaxNameLength) return errno_error(ENAMETOOLONG);
  if (name.empty()) return errno_error(ENOENT);
  if (!encrypted_) {
    if (name.starts_with(kReservedPrefix))
      return errno_error(EINVAL, "names beginning with .coffer are reserved");
    return StoredText{.text = std::string(name), .sidecar = {}};
  }
  ByteVector sealed = names_.seal({dir.view()}, as_bytes(name));
  std::string text = to_base64url(sealed);
  if (text.size() <= kMaxNameLength) return StoredText{.text = std::move(text), .sidecar = {}};
  const std::string hash = hashed(sealed);
  return StoredText{
      .text = std::string(kLongNamePrefix) + hash,
      .sidecar = StoredText::Sidecar{std::string(kNameSidecarPrefix) + hash, std::move(sealed)}};
}

Result<std::string> ScopeNames::decode_name(DirId dir, std::string_view stored,
                                            Bytes sidecar) const {
  if (!encrypted_) {
    if (stored.starts_with(kReservedPrefix)) return not_an_entry();
    return std::string(stored);
  }
  ByteVector sealed;
  if (is_long_name(stored)) {
    TRY(check_sidecar(stored.substr(kLongNamePrefix.size()), sidecar, kMaxNameLength));
    sealed.assign(sidecar.begin(), sidecar.end());
  } else {
    auto decoded = from_base64url(stored);
    if (!decoded) return not_an_entry();
    sealed = std::move(*decoded);
  }
  const auto name = names_.open({dir.view()}, sealed);
  if (!name) return not_an_entry();
  return std::string(as_text(*name));
}

std::string ScopeNames::name_sidecar(std::string_view stored) {
  return std::string(kNameSidecarPrefix).append(stored.substr(kLongNamePrefix.size()));
}

StoredText ScopeNames::encode_target(std::string_view target, const Binding& first,
                                     const Binding& second) const {
  const ByteVector plain = ByteWriter().bytes(first).bytes(second).text(target).take();
  ByteVector sealed = targets_.seal({store_.view()}, plain);
  std::string text = to_base64url(sealed);
  if (text.size() <= kMaxStoredTarget) return {.text = std::move(text), .sidecar = {}};
  std::string sidecar = std::string(kTargetSidecarPrefix) + hashed(sealed);
  return {.text = sidecar, .sidecar = StoredText::Sidecar{sidecar, std::move(sealed)}};
}

Result<ScopeNames::Target> ScopeNames::decode_target(std::string_view stored, Bytes sidecar) const {
  const Error altered{Code::kCorrupt, EIO, "the symlink's target does not authenticate"};
  ByteVector sealed;
  if (is_long_target(stored)) {
    TRY(check_sidecar(stored.substr(kTargetSidecarPrefix.size()), sidecar, kMaxStoredTarget));
    sealed.assign(sidecar.begin(), sidecar.end());
  } else {
    auto decoded = from_base64url(stored);
    if (!decoded) return altered;
    sealed = std::move(*decoded);
  }
  const auto plain = targets_.open({store_.view()}, sealed);
  if (!plain || plain->size() <= kTargetHead) return altered;
  Target target;
  std::copy_n(plain->begin(), sizeof(Binding), target.first.begin());
  std::copy_n(plain->begin() + sizeof(Binding), sizeof(Binding), target.second.begin());
  target.text = as_text(Bytes(*plain).subspan(kTargetHead));
  return target;
}

bool ScopeNames::is_long_target(std::string_view stored) {
  return stored.size() == kLongTargetLength && stored.starts_with(kTargetSidecarPrefix) &&
         stored.find('/') == std::string_view::npos;
}

std::uint64_t ScopeNames::target_length(std::uint64_t stored_length) {
  return long_target_length(stored_length * 3 / 4);
}

std::uint64_t ScopeNames::long_target_length(std::uint64_t sidecar_length) {
  constexpr std::uint64_t kHead = Siv::kOverhead + kTargetHead;
  return sidecar_length > kHead ? sidecar_length - kHead : 0;
}

Binding ScopeNames::bind(char kind, Bytes object, DirId dir, std::string_view name) const {
  const auto kind_byte = static_cast<std::uint8_t>(kind);
  const Digest mac = bindings_.mac({Bytes(&kind_byte, 1), object, dir.view(), as_bytes(name)});
  Binding binding;
  std::copy_n(mac.begin(), binding.size(), binding.begin());
  return binding;
}

Binding ScopeNames::bind_file(FileId file, DirId dir, std::string_view name) const {
  return bind('F', file.view(), dir, name);
}

Binding ScopeNames::bind_directory(DirId directory, DirId parent, std::string_view name) const {
  return bind('D', directory.view(), parent, name);
}

Binding ScopeNames::bind_symlink(DirId dir, std::string_view name) const {
  return bind('L', DirId{}.view(), dir, name);
}

SecretBytes ScopeNames::directory_xattr_key(DirId dir, Suite suite) const {
  const std::string info = "coffer/1/xattrs/" + std::string(to_string(suite));
  return hkdf_sha256(xattrs_.expose(), dir.view(), info, kAeadKeySize);
}

DirectoryBlock ScopeNames::seal_directory(const DirectoryRecord& record) const {
  DirectoryBlock block;
  encode_directory(record, block);
  const Digest mac = directories_.mac(Bytes(block).first(kDirectoryMacOffset));
  std::copy(mac.begin(), mac.end(), block.begin() + kDirectoryMacOffset);
  return block;
}

Result<DirectoryRecord> ScopeNames::open_directory(Bytes block) const {
  DirectoryRecord record = TRY(decode_directory(block));
  if (!directories_.verify(block.first(kDirectoryMacOffset), block.subspan(kDirectoryMacOffset)) ||
      record.store != store_ || record.scope != scope_) {
    return Error{Code::kCorrupt, EIO, "the directory's record was altered"};
  }
  return record;
}

}  // namespace coffer

#include "fs/names/stored.h"

namespace coffer {
namespace {

constexpr mode_t kOwnFileMode = 0600;
constexpr std::size_t kMaxNameSidecar = Siv::kOverhead + kMaxNameLength;
constexpr std::size_t kMaxTargetSidecar = Siv::kOverhead + 2 * sizeof(Binding) + kMaxTargetLength;

/// Not before the disk has the end of the entry it belonged to, which must not come back without
/// it.
void remove_sidecar(const BackingDir& dir, const std::string& sidecar) {
  if (dir.sync().ok()) (void)dir.remove_file(sidecar);
}

/// A file of this format that is missing, too long or no file was damaged: no failure of the
/// system, and not the caller's.
Result<ByteVector> read_own(const BackingDir& dir, const std::string& name, std::size_t limit,
                            const char* what) {
  auto content = dir.read_small(name, limit);
  if (content) return content;
  if (content.error().code == Code::kNotFound)
    return Error{Code::kCorrupt, EIO, std::string(what) + " is missing"};
  if (content.error().code == Code::kInvalid)
    return Error{Code::kCorrupt, EIO, std::string(what) + " was altered"};
  return content;
}

}  // namespace

Result<void> put_sidecar(const BackingDir& dir, const StoredText& stored) {
  if (!stored.sidecar.has_value()) return {};
  // The name is the hash of the content: one that is there whole is the right one. One cut off by a
  // crash is replaced.
  const auto present = dir.read_small(stored.sidecar->name, kMaxTargetSidecar);
  if (present && equal(*present, stored.sidecar->content)) {
    TRY(TRY(dir.open_file(stored.sidecar->name, false)).sync(false));
    return dir.sync();
  }
  return dir.replace_small(stored.sidecar->name, stored.sidecar->content, kOwnFileMode);
}

void drop_sidecar(const BackingDir& dir, const StoredText& stored) {
  if (stored.sidecar.has_value()) remove_sidecar(dir, stored.sidecar->name);
}

Result<std::optional<std::string>> read_entry_name(const BackingDir& dir, const ScopeNames& names,
                                                   DirId dir_id, std::string_view stored) {
  ByteVector sidecar;
  if (stored.starts_with(kReservedPrefix)) {
    if (!ScopeNames::is_long_name(stored)) return std::optional<std::string>();
    auto content = read_own(dir, ScopeNames::name_sidecar(stored), kMaxNameSidecar,
                            "the sidecar of a long name");
    if (!content) {
      if (content.error().code == Code::kCorrupt) return std::optional<std::string>();
      return std::move(content).error();
    }
    sidecar = std::move(*content);
  }
  auto name = names.decode_name(dir_id, stored, sidecar);
  if (!name) return std::optional<std::string>();
  return std::optional<std::string>(std::move(*name));
}

Result<std::string> read_target(const BackingDir& dir, const ScopeNames& names, DirId dir_id,
                                std::string_view name, const std::string& stored) {
  const std::string text = TRY(dir.read_symlink(stored));
  ByteVector sidecar;
  if (ScopeNames::is_long_target(text)) {
    sidecar = TRY(read_own(dir, text, kMaxTargetSidecar, "the sidecar of a long symlink target"));
  }
  const ScopeNames::Target target = TRY(names.decode_target(text, sidecar));
  const Binding here = names.bind_symlink(dir_id, name);
  if (target.first != here && target.second != here) {
    return Error{Code::kMoved, EIO, "the symlink was moved or renamed in the backing directory"};
  }
  return target.text;
}

Result<std::uint64_t> read_target_length(const BackingDir& dir, const std::string& stored,
                                         const struct stat& status) {
  const auto length = static_cast<std::uint64_t>(status.st_size);
  if (length != ScopeNames::kLongTargetLength) return ScopeNames::target_length(length);
  const std::string text = TRY(dir.read_symlink(stored));
  if (!ScopeNames::is_long_target(text))
    return std::uint64_t{0};  // no target of ours; readlink will say so
  const auto sidecar = dir.status_of(text);
  if (!sidecar && sidecar.error().code == Code::kNotFound) return std::uint64_t{0};  // the same
  return ScopeNames::long_target_length(static_cast<std::uint64_t>(TRY(sidecar).st_size));
}

void drop_target_sidecar(const BackingDir& dir, const std::string& stored_target) {
  if (ScopeNames::is_long_target(stored_target)) remove_sidecar(dir, stored_target);
}

Result<ByteVector> read_directory_block(const BackingDir& dir) {
  return read_own(dir, kDirectoryRecordName, kDirectoryRecordSize,
                  "the directory's record (.coffer.dir)");
}

Result<DirectoryRecord> read_directory_record(const BackingDir& dir, const ScopeNames& names) {
  return names.open_directory(TRY(read_directory_block(dir)));
}

Result<void> write_directory_block(const BackingDir& dir, const DirectoryBlock& block) {
  return dir.replace_small(kDirectoryRecordName, block, kOwnFileMode);
}

}  // namespace coffer

#include "mount-tools/file_key.h"

#include <fcntl.h>

#include <optional>

#include "mount-tools/tree.h"

namespace coffer {

Result<FileId> file_at(Vfs& vfs, const std::string& path) {
  const Who who = vfs.who(Caller::self());
  const Found found = TRY(find_path(vfs, who, TRY(normalise_path(path))));
  if (!S_ISREG(found.attributes.st_mode))
    return Error{Code::kInvalid, 0, path + " is no file; only files have keys of their own"};
  auto handle = vfs.open(who, found.inode.get(), O_RDONLY);
  if (handle) {
    const OpenHandle held(vfs, std::move(*handle));
    return held.get().file->content().keys().file;
  }
  if (handle.error().code != Code::kRevoked) return std::move(handle).error();
  return vfs.claimed_file(who, found.inode.get());
}

Result<FileId> file_id_from(const std::string& given) {
  const auto bytes = from_hex(given);
  if (bytes && bytes->size() == 16) return FileId::from(*bytes);
  return Error{Code::kInvalid, 0,
               given + " is neither a path (from /) nor a file id (32 hex digits)"};
}

Result<KeyRow> newest_key(Keyring& keyring, FileId file) {
  std::optional<KeyRow> newest;
  TRY(keyring.visit_keys(
      [&](const KeyRow& key) {
        if (key.file == file) newest = key;
        return key.file == file;
      },
      file));
  if (newest.has_value()) return *newest;
  return Error{Code::kNotFound, 0, "the keystore has no key of file " + file.hex()};
}

}  // namespace coffer

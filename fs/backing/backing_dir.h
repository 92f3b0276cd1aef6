#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/backing/backing_file.h"
#include "fs/backing/syscalls.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// One entry of a backing directory, as stored.
struct BackingEntry {
  std::string_view name;  ///< valid until the next call
  std::uint64_t inode = 0;
  unsigned char type = 0;  ///< DT_REG …; DT_UNKNOWN on some filesystems
  std::int64_t next = 0;   ///< where the entry after this one begins
};

/// Reads a backing directory from a position on; "." and ".." included. Positions are the backing
/// filesystem's own and stay valid while entries come and go. Not thread-safe.
class BackingDirReader {
 public:
  explicit BackingDirReader(DIR* stream);
  ~BackingDirReader();
  BackingDirReader(const BackingDirReader&) = delete;
  BackingDirReader& operator=(const BackingDirReader&) = delete;

  /// Nothing after the last entry.
  Result<std::optional<BackingEntry>> next();
  void seek(std::int64_t position);

 private:
  DIR* stream_;
  std::int64_t position_ = 0;
};

/// A directory of the backing, held by a descriptor; names are single components, as stored. A
/// symlink at the end of a name is never followed. Thread-safe. Errors carry the errno.
class BackingDir {
 public:
  /// The backing root. kNotFound, kInvalid if it is no directory.
  static Result<std::shared_ptr<const BackingDir>> open_root(Syscalls& calls,
                                                             const std::string& path);

  BackingDir(Syscalls& calls, UniqueFd fd) : calls_(&calls), fd_(std::move(fd)) {}

  Result<std::shared_ptr<const BackingDir>> open_dir(const std::string& name) const;
  /// For reading, or reading and writing. A file of ours whose mode forbids it to its owner is
  /// opened all the same.
  Result<BackingFile> open_file(const std::string& name, bool writable) const;
  /// EEXIST if there is anything of that name.
  Result<BackingFile> create_file(const std::string& name, mode_t mode) const;
  Result<std::unique_ptr<BackingDirReader>> reader() const;

  Result<struct stat> status() const;
  Result<struct stat> status_of(const std::string& name) const;
  /// Keeps whatever has the name from going away, and its inode number from being given to another,
  /// while the descriptor lives.
  Result<UniqueFd> pin(const std::string& name) const;
  Result<void> make_dir(const std::string& name, mode_t mode) const;
  Result<void> make_special(const std::string& name, mode_t mode, dev_t device) const;
  Result<void> make_symlink(const std::string& name, const std::string& target) const;
  Result<std::string> read_symlink(const std::string& name) const;
  Result<void> remove_file(const std::string& name) const;
  Result<void> remove_dir(const std::string& name) const;
  /// `flags` as renameat2's.
  Result<void> rename(const std::string& name, const BackingDir& to, const std::string& to_name,
                      unsigned flags) const;
  Result<void> link(const std::string& name, const BackingDir& to,
                    const std::string& to_name) const;

  Result<void> set_mode(const std::string& name, mode_t mode) const;
  Result<void> set_owner(const std::string& name, uid_t uid, gid_t gid) const;
  Result<void> set_times(const std::string& name, const struct timespec (&times)[2]) const;

  /// A small file whole (kInvalid if longer than `limit`, or no regular file), and its replacement
  /// by temporary (`name`.new), fsync, rename and fsync of the directory.
  Result<ByteVector> read_small(const std::string& name, std::size_t limit) const;
  Result<void> replace_small(const std::string& name, Bytes content, mode_t mode) const;

  /// fsync of the directory itself.
  Result<void> sync() const;
  /// syncfs: everything on the backing filesystem.
  Result<void> sync_filesystem() const;
  Result<struct statvfs> filesystem() const;

 private:
  Result<UniqueFd> reopen(int flags) const;

  Syscalls* calls_;
  UniqueFd fd_;  // O_PATH
};

}  // namespace coffer

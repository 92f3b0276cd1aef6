#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "fs/identity/identity_resolver.h"
#include "keystore/base/ids.h"

namespace coffer {

/// The number by which the kernel knows a file, directory or symlink while it holds a reference.
using InodeId = StrongNumber<struct InodeIdTag, std::uint64_t>;
inline constexpr InodeId kRootInode{1};
inline constexpr InodeId kNoInode{0};

/// The caller of one operation. Its identity is read from /proc when the first decision needs it,
/// and once. Not thread-safe; lives as long as the operation.
class Who {
 public:
  /// `umask` is taken from the modes of what the caller makes. `asked`: what is read of the caller
  /// beyond the request; Vfs::who gives what the grants ask for.
  explicit Who(const Caller& caller, mode_t umask = 0, Sources asked = Sources::of(Source::kGroups))
      : caller_(caller), umask_(umask), asked_(asked) {}
  [[nodiscard]] uid_t uid() const { return caller_.uid; }
  [[nodiscard]] gid_t gid() const { return caller_.gid; }
  [[nodiscard]] pid_t thread() const { return caller_.tid; }
  [[nodiscard]] mode_t umask() const { return umask_; }
  [[nodiscard]] const Identity& identity() const { return *shared_identity(); }
  /// The same for what outlives the operation.
  [[nodiscard]] const std::shared_ptr<const Identity>& shared_identity() const {
    if (identity_ == nullptr)
      identity_ = std::make_shared<const Identity>(resolve_identity(caller_, asked_));
    return identity_;
  }
  /// True if `gid` is one of its groups, as the kernel decides about files.
  [[nodiscard]] bool is_member(gid_t gid) const {
    if (caller_.gid == gid) return true;
    const auto group = Selector::unix_supplementary_gid(gid);
    if (asked_.contains(Source::kGroups)) return identity().has(group);
    return resolve_identity(caller_, Sources::of(Source::kGroups)).has(group);
  }
  /// The part that costs nothing to know.
  [[nodiscard]] Identity identity_of_request() const {
    return coffer::identity_of_request(caller_);
  }

 private:
  Caller caller_;
  mode_t umask_;
  Sources asked_;
  mutable std::shared_ptr<const Identity> identity_;
};

/// What a lookup found: the inode, one reference to it taken, and its attributes with plaintext
/// size.
struct Entry {
  InodeId inode;
  struct stat attributes {};
  bool strict = false;  ///< of a strict scope: nobody is to keep it
  /// Whoever asks may keep the attributes for a while.
  bool attributes_hold = true;
};

/// What a file looks like, perhaps, that is being changed while it is read.
inline bool may_be_under_way(const Error& error) {
  return error.code == Code::kRolledBack || error.code == Code::kMoved ||
         error.code == Code::kCorrupt;
}

/// Of a file at a place that it is not bound to.
inline Error file_moved() {
  return {Code::kMoved, EIO, "the file was moved, renamed or exchanged in the backing directory"};
}

/// The same error, saying where.
inline Error at_path(Error error, const std::string& path) {
  error.context = path + ": " + error.context;
  return error;
}

/// The attributes a setattr changes; times may be UTIME_NOW.
struct AttributeChange {
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<std::uint64_t> size;
  std::optional<struct timespec> access_time;
  std::optional<struct timespec> modification_time;
};

}  // namespace coffer

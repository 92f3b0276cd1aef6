#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

namespace coffer::testing {

/// The user `nobody`, whom no file of a test belongs to.
inline constexpr uid_t kNobody = 65534;

bool is_root();

/// While it lives, the process acts as `nobody`, without privileges. Only for root, and while there
/// is one thread.
class AsNobody {
 public:
  AsNobody();
  ~AsNobody();
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
};

/// A mount that is gone with this object; and, since it stands in a mount namespace of the
/// process's own, also when the test is killed.
class Mount {
 public:
  /// Null where this process may not mount.
  static std::unique_ptr<Mount> tmpfs(const std::string& path, std::size_t size);
  /// `path` over itself, read-only.
  static std::unique_ptr<Mount> read_only(const std::string& path);
  ~Mount();
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

 private:
  explicit Mount(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Sets the umask while it lives.
class Umask {
 public:
  explicit Umask(mode_t mask);
  ~Umask();
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  mode_t before_;
};

}  // namespace coffer::testing

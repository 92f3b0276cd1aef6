#include "tests/support/privileges.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace coffer::testing {
namespace {

bool enter_private_mounts() {
  static const bool entered = ::unshare(CLONE_NEWNS) == 0 &&
                              ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return entered;
}

}  // namespace

bool is_root() { return ::geteuid() == 0; }

AsNobody::AsNobody() {
  if (::setegid(kNobody) != 0 || ::seteuid(kNobody) != 0) std::abort();
}

AsNobody::~AsNobody() {
  if (::seteuid(0) != 0 || ::setegid(0) != 0) std::abort();
}

std::unique_ptr<Mount> Mount::tmpfs(const std::string& path, std::size_t size) {
  const std::string options = "mode=700,size=" + std::to_string(size);
  if (!enter_private_mounts()) return nullptr;
  if (::mount("tmpfs", path.c_str(), "tmpfs", 0, options.c_str()) != 0) return nullptr;
  return std::unique_ptr<Mount>(new Mount(path));
}

std::unique_ptr<Mount> Mount::read_only(const std::string& path) {
  if (!enter_private_mounts()) return nullptr;
  if (::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) return nullptr;
  std::unique_ptr<Mount> mounted(new Mount(path));
  if (::mount(nullptr, path.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    return nullptr;
  }
  return mounted;
}

Mount::~Mount() { ::umount2(path_.c_str(), MNT_DETACH); }

Umask::Umask(mode_t mask) : before_(::umask(mask)) {}
Umask::~Umask() { ::umask(before_); }

}  // namespace coffer::testing

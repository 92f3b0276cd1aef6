#pragma once

#include <string>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// Held by whoever may change a store: a read-write mount, an import. An open file description lock
/// on STORE/.coffer/lock, which goes with the process however it ends, and works across hosts where
/// the backing filesystem's locks do.
class StoreLock {
 public:
  /// `purpose` is what the next one is told ("mounted at /mnt"), `control` the control socket's
  /// path if there is one. kBusy, naming host, process and purpose of the holder.
  static Result<StoreLock> take(const std::string& private_dir, const std::string& purpose,
                                const std::string& control);

  /// The control socket of the mount on this host that holds the lock; empty if none does.
  static std::string holder_control(const std::string& private_dir);

  /// True if somebody holds it, or did not come to its end with it.
  static bool is_noted(const std::string& private_dir);

  /// True if somebody holds it now, as far as the filesystem's locks tell.
  static bool is_held(const std::string& private_dir);

  /// True if the one who held it before did not come to its end.
  [[nodiscard]] bool was_left() const { return was_left_; }
  /// Everything that was to be done is done.
  void finish() const;

  /// Tells whoever asks from now on where the control socket is.
  Result<void> set_control(const std::string& purpose, const std::string& control) const;

 private:
  StoreLock(UniqueFd fd, bool was_left) : fd_(std::move(fd)), was_left_(was_left) {}
  UniqueFd fd_;
  bool was_left_;
};

}  // namespace coffer

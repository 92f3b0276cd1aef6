#pragma once

#include <string>
#include <vector>

#include "mount-tools/finding.h"
#include "mount-tools/wiring.h"

namespace coffer {

/// Takes entries out of the tree without losing them: moves them, as they lie there, to
/// STORE/.coffer/quarantine (fs/FORMAT.md, 1). For one run of a repair, which has a directory of
/// its own there; by one thread, which holds the store's lock.
class Quarantine {
 public:
  /// `root` outlives it.
  explicit Quarantine(const BackingDir& root) : root_(root) {}

  /// Moves the finding's backing entry, which is no directory; gives where it lies now, relative to
  /// the store's directory. What says where it came from is on the disk before it moves.
  Result<std::string> set_aside(const Finding& finding);

 private:
  Result<void> make_place();

  const BackingDir& root_;
  std::string path_;  // relative to the store's directory
  std::shared_ptr<const BackingDir> place_;
  std::size_t count_ = 0;
};

/// Backing paths of all that was set aside and is still there; without the notes on it.
std::vector<std::string> quarantined_items(const BackingDir& root);

}  // namespace coffer

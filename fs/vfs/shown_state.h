#pragma once

#include <cstdint>

#include "keystore/base/ids.h"

namespace coffer {

/// Which state of a file the kernel was last shown by one number, whose pages it may keep: for a
/// mount that another program's changes are seen in. Not thread-safe.
struct ShownState {
  FileId file = {};              ///< whose content was handed out last
  std::uint64_t generation = 0;  ///< in its newest state; 0: none was
  bool mixed = false;            ///< and in older ones, too, since it was opened last

  /// It was opened. True if all that the kernel may have kept since the last time is of this very
  /// state.
  bool open(FileId of, std::uint64_t in) {
    // The backing's inode may have been freed and be another file's by now.
    const bool same = file == of && generation == in && !mixed;
    *this = {.file = of, .generation = in};
    return same;
  }
  /// It has this state now, while it is open.
  void change(std::uint64_t to) {
    if (generation >= to) return;
    generation = to;
    mixed = true;
  }
};

}  // namespace coffer

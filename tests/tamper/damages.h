#pragma once

#include <array>
#include <set>
#include <string>

#include "tests/support/fs_random.h"
#include "tests/tamper/aged_store.h"

namespace coffer::tamper {

/// What a damage touched: all that it may have made unreadable, and what is to be mended.
struct Touched {
  std::string what;  ///< for people
  /// Plaintext paths, each with all below it. "/" is the whole store.
  std::set<std::string> affected;
  std::set<std::string> backing;
  bool older_keystore = false;  ///< all of it is as it was in an older state
  bool keystore = false;
};

/// One way to damage a store, of random choices. An empty `what` says that there was nothing to
/// damage so.
struct Damage {
  const char* name;
  Touched (*inflict)(const AgedStore& store, testing::Chooser& choose);
};

std::span<const Damage> all_damages();

}  // namespace coffer::tamper

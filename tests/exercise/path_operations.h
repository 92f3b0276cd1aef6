#pragma once

#include "tests/exercise/twin.h"

namespace coffer::exercise {

/// One random operation on a path, on both sides.
void operate_on_path(Twin& twin);
/// Tries that often to remove an entry, from the leaves up, for the trees to stay of a size.
void remove_some(Twin& twin, std::uint64_t tries);

}  // namespace coffer::exercise

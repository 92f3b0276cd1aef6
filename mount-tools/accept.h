#pragma once

#include <string>
#include <vector>

#include "mount-tools/progress.h"
#include "mount-tools/wiring.h"

namespace coffer {

/// A file that is, or would be, believed again though the keystore knows better.
struct Acceptance {
  std::string path;
  FileId file;
  bool deleted = false;                   ///< its key was deactivated
  std::uint64_t recorded_generation = 0;  ///< of the newest state on record
  std::uint64_t found_generation = 0;     ///< of the one in the backing
  std::uint64_t new_generation = 0;       ///< what it counts as from now on; 0 if it was not done
};

struct AcceptReport {
  std::vector<Acceptance> accepted;
  std::vector<std::pair<std::string, Error>> failed;  ///< path, why
  std::uint64_t unchanged = 0;                        ///< files with nothing to accept
};

/// Makes files that were put back in the backing, older than their record or deleted, the newest
/// there are, as whoever runs it, who needs the right to write to each. A file is accepted if all
/// of it authenticates at its own place: it gets a header of a generation above the recorded one,
/// so that no state in between can be put back after it. The store is open for writing, or for
/// reading if `dry_run`.
AcceptReport accept(OpenStore& store, const std::string& path, bool dry_run, Progress& progress);

}  // namespace coffer

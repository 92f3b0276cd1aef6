#pragma once

#include <optional>
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

/// A keystore that is, or would be, believed again though this node has seen a newer one.
struct KeystoreAcceptance {
  std::uint64_t seen_generation = 0;   ///< the newest that this node has seen
  std::uint64_t found_generation = 0;  ///< of the one that was put back
  std::uint64_t new_generation = 0;    ///< what it counts as from now on; 0 if it was not done
};

/// Makes a keystore that was put back the newest there is, as whoever has the master key. Nothing
/// if it is not older than what this node has seen. The store was opened with IfOlder::kTake, for
/// writing, or for reading if `dry_run`.
Result<std::optional<KeystoreAcceptance>> accept_keystore(OpenStore& store, bool dry_run);

/// Makes files that were put back in the backing, older than their record or deleted, the newest
/// there are, as whoever runs it, who needs the right to write to each. A file is accepted if all
/// of it authenticates at its own place: it gets a header of a generation above the recorded one,
/// so that no state in between can be put back after it. The store is open for writing, or for
/// reading if `dry_run`.
AcceptReport accept(OpenStore& store, const std::string& path, bool dry_run, Progress& progress);

}  // namespace coffer

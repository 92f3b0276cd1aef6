#pragma once

#include <string>
#include <vector>

#include "mount-tools/finding.h"
#include "mount-tools/progress.h"
#include "mount-tools/wiring.h"

namespace coffer {

/// What became of a salvage.
struct SalvageReport {
  std::vector<Finding> findings;  ///< what is lost, and what is there and not current
  std::uint64_t files = 0;        ///< written
  std::uint64_t bytes = 0;        ///< read of them, holes included
  std::uint64_t bytes_lost = 0;
};

/// Copies out of a store, as whoever runs it, every chunk that authenticates: of the file or tree
/// at the plain path, or (`backing`) at a path relative to the store's directory, where names may
/// be damaged. What is lost becomes a hole. Nothing that is there already is written over. Files of
/// which nothing authenticates are not made.
SalvageReport salvage(OpenStore& store, const std::string& path, bool backing,
                      const std::string& target, Progress& progress);

}  // namespace coffer

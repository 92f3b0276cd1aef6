#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace coffer {

/// Something that covers some of the points 0 … n - 1, and is worth `weight`.
struct CoverSet {
  std::vector<std::size_t> points;
  std::size_t weight = 0;
};

/// Which sets were chosen, by index, in ascending order.
struct Cover {
  std::vector<std::size_t> sets;
  bool smallest = true;  ///< proven to be
};

/// The fewest of `sets` that cover all `points` points; among so few, of the greatest weight. Every
/// point has to be in some set. Set cover is NP-hard: a greedy choice is made first and bettered by
/// a search that may put `steps` points into a set or out of it. Whatever comes of it, none of the
/// chosen can be left away.
Cover smallest_cover(std::span<const CoverSet> sets, std::size_t points, std::size_t steps);

}  // namespace coffer

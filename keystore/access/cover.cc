#include "keystore/access/cover.h"

#include <algorithm>
#include <numeric>

namespace coffer {
namespace {

/// Branches on the sets that cover one point, the one with the fewest; gives up what can't become
/// better than the best so far.
class Search {
 public:
  Search(std::span<const CoverSet> sets, std::size_t points, std::size_t steps)
      : sets_(sets), covering_(points), covered_(points, 0), steps_(steps) {
    for (std::size_t set = 0; set < sets.size(); ++set) {
      for (const std::size_t point : sets[set].points) covering_[point].push_back(set);
    }
    order_.resize(points);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return covering_[a].size() < covering_[b].size();
    });
  }

  Cover run(std::vector<std::size_t> first) {
    best_ = std::move(first);
    best_weight_ = weight_of(best_);
    descend(0);
    std::sort(best_.begin(), best_.end());
    return {.sets = std::move(best_), .smallest = !cut_short_};
  }

 private:
  [[nodiscard]] std::size_t weight_of(const std::vector<std::size_t>& chosen) const {
    return std::accumulate(
        chosen.begin(), chosen.end(), std::size_t{0},
        [&](std::size_t sum, std::size_t set) { return sum + sets_[set].weight; });
  }

  /// The points before `from` in the order are covered.
  void descend(std::size_t from) {
    while (from < order_.size() && covered_[order_[from]] > 0) ++from;
    if (from == order_.size()) {
      keep_if_better();
      return;
    }
    if (chosen_.size() >= best_.size()) return;
    for (const std::size_t set : covering_[order_[from]]) {
      const auto& points = sets_[set].points;
      if (steps_ <= points.size()) {
        cut_short_ = true;
        return;
      }
      steps_ -= points.size() + 1;
      chosen_.push_back(set);
      for (const std::size_t point : points) ++covered_[point];
      descend(from);
      for (const std::size_t point : points) --covered_[point];
      chosen_.pop_back();
    }
  }

  void keep_if_better() {
    const std::size_t weight = weight_of(chosen_);
    if (chosen_.size() > best_.size()) return;
    if (chosen_.size() == best_.size() && weight <= best_weight_) return;
    best_ = chosen_;
    best_weight_ = weight;
  }

  std::span<const CoverSet> sets_;
  std::vector<std::vector<std::size_t>> covering_;  // of each point
  std::vector<std::size_t> order_;                  // of points
  std::vector<std::size_t> covered_;                // by how many of the chosen, each point
  std::vector<std::size_t> chosen_;
  std::vector<std::size_t> best_;
  std::size_t best_weight_ = 0;
  std::size_t steps_;
  bool cut_short_ = false;
};

/// Always the set that covers the most of what is left, and of those the weightiest.
std::vector<std::size_t> greedy_cover(std::span<const CoverSet> sets, std::size_t points) {
  std::vector<bool> covered(points, false);
  std::vector<std::size_t> chosen;
  for (std::size_t left = points; left > 0;) {
    std::size_t best = 0;
    std::size_t best_gain = 0;
    for (std::size_t set = 0; set < sets.size(); ++set) {
      const auto gain = static_cast<std::size_t>(
          std::count_if(sets[set].points.begin(), sets[set].points.end(),
                        [&](std::size_t point) { return !covered[point]; }));
      if (gain > best_gain || (gain == best_gain && sets[set].weight > sets[best].weight)) {
        best = set;
        best_gain = gain;
      }
    }
    if (best_gain == 0) break;  // a point that no set covers
    chosen.push_back(best);
    left -= best_gain;
    for (const std::size_t point : sets[best].points) covered[point] = true;
  }
  return chosen;
}

/// Without those that the others make needless.
std::vector<std::size_t> without_needless(std::span<const CoverSet> sets, std::size_t points,
                                          std::vector<std::size_t> chosen) {
  std::vector<std::size_t> covered(points, 0);
  for (const std::size_t set : chosen) {
    for (const std::size_t point : sets[set].points) ++covered[point];
  }
  std::erase_if(chosen, [&](std::size_t set) {
    const auto& own = sets[set].points;
    if (std::any_of(own.begin(), own.end(), [&](std::size_t point) { return covered[point] == 1; }))
      return false;
    for (const std::size_t point : own) --covered[point];
    return true;
  });
  return chosen;
}

}  // namespace

Cover smallest_cover(std::span<const CoverSet> sets, std::size_t points, std::size_t steps) {
  auto first = without_needless(sets, points, greedy_cover(sets, points));
  Cover cover = Search(sets, points, steps).run(std::move(first));
  // A search that was cut short may have ended on one that has some.
  cover.sets = without_needless(sets, points, std::move(cover.sets));
  return cover;
}

}  // namespace coffer

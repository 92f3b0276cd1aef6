#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace coffer::testing {

/// The body of a file laid out as fs/FORMAT.md 3.2 says it in words, object by object: slow, and
/// without any of the formulas that Geometry uses.
struct Layout {
  struct Node {
    unsigned level;
    std::uint64_t index;
    std::uint64_t offset;
  };
  std::vector<Node> inner;                  ///< in the order of their places
  std::vector<std::uint64_t> leaf_offsets;  ///< chunks follow each leaf, 4096 bytes behind

  Layout(std::uint64_t chunk_size, std::uint64_t leaves) {
    constexpr std::uint64_t kNodeSize = 4096;
    constexpr std::uint64_t kFan = 128;
    // Which inner nodes stand before which leaf.
    std::map<std::uint64_t, std::vector<Node>> before;
    std::uint64_t covered = kFan;  // leaves below a node of the level
    for (unsigned level = 1; covered / kFan < leaves; ++level, covered *= kFan) {
      before[covered / kFan].push_back({level, 0, 0});
      for (std::uint64_t index = 1; index * covered < leaves; ++index) {
        before[index * covered].push_back({level, index, 0});
      }
    }
    std::uint64_t offset = 2 * kNodeSize;
    for (std::uint64_t leaf = 0; leaf < leaves; ++leaf) {
      if (const auto found = before.find(leaf); found != before.end()) {
        auto& nodes = found->second;
        std::sort(nodes.begin(), nodes.end(),
                  [](const Node& a, const Node& b) { return a.level > b.level; });
        for (Node& node : nodes) {
          node.offset = offset;
          inner.push_back(node);
          offset += kNodeSize;
        }
      }
      leaf_offsets.push_back(offset);
      offset += kNodeSize + kFan * chunk_size;
    }
  }
};

}  // namespace coffer::testing

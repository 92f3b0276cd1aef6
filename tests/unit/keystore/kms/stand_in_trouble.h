#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "tests/unit/keystore/kms/kms_trouble.h"

namespace coffer::testing {

/// How a trouble is ended that a stand-in was told of.
template <typename Place>
void calm(Place& place) {
  place.server.calm();
}

/// All that a place's stand-in is asked is answered so, until it is over.
template <typename Place>
KmsCause answered(const std::string& kind) {
  constexpr int kAlways = 1'000'000;
  return KmsCause::of<Place>([kind](Place& at) { at.server.trouble(kind, "", kAlways); },
                             calm<Place>);
}

/// The stand-in is not there.
template <typename Place>
KmsCause not_running() {
  return KmsCause::of<Place>([](Place& at) { at.server.stop(); },
                             [](Place& at) { at.server.restart(); });
}

/// A file of the node's is not there.
template <typename Place>
KmsCause without_file(std::function<std::string(const Place&)> path) {
  return KmsCause::of<Place>(
      [path](Place& at) { std::filesystem::rename(path(at), path(at) + ".gone"); },
      [path](Place& at) { std::filesystem::rename(path(at) + ".gone", path(at)); });
}

}  // namespace coffer::testing

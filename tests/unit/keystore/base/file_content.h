#pragma once

#include <string>

#include "keystore/base/atomic_file.h"

namespace coffer::testing {

/// Or why it can't be read.
inline std::string content_of(const std::string& path) {
  const auto content = read_small_file(path, 1 << 20);
  return content ? std::string(as_text(*content)) : "unreadable: " + content.error().message();
}

}  // namespace coffer::testing

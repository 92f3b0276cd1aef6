#pragma once

#include <sys/types.h>

#include <functional>

#include "keystore/base/unique_fd.h"

namespace coffer::testing {

/// A second process of the test, forked and held back until `start`. Make it before the test has
/// threads: it may then do all that a fresh process may.
class ChildProcess {
 public:
  /// The child ends with success if `body` returns true.
  explicit ChildProcess(const std::function<bool()>& body);
  /// Kills what still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void start();
  /// True if the child ran to its end and its body returned true.
  [[nodiscard]] bool succeeded();

 private:
  pid_t pid_ = -1;
  UniqueFd go_;
};

/// True as soon as `condition` holds; false if it has not within a time no healthy machine needs.
bool eventually(const std::function<bool()>& condition);

}  // namespace coffer::testing

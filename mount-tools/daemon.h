#pragma once

#include <functional>

#include "keystore/base/result.h"

namespace coffer {

/// Closes the process off: not dumpable, no core files, no umask of the caller's; and stdin, stdout
/// and stderr are open, so that no file of a store ever gets their numbers and what is printed.
void harden_process();

/// Runs `work` in a child and returns in the parent once the child has called `ready`, or has
/// ended. `work` gets `ready`, which detaches it from the terminal. What the child reports before
/// that reaches the caller's stderr. The result is the exit code for the parent. In the child this
/// never returns. To be called before there are threads.
int run_in_background(const std::function<int(const std::function<void()>& ready)>& work);

}  // namespace coffer

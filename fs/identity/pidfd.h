#pragma once

#include <sys/types.h>

#include <optional>

namespace coffer {

/// The process that a thread belongs to, without the text of its status file: at a quarter of its
/// cost. Nothing if there is no such thread, or the kernel can't be asked (before 6.13).
std::optional<pid_t> process_of(pid_t tid);

}  // namespace coffer

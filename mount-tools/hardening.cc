#include "mount-tools/hardening.h"

#include <sys/capability.h>

#include <array>

#include "mount-tools/privileges.h"
#include "mount-tools/syscall_filter.h"

namespace coffer {
namespace {

/// CHOWN, FOWNER, FSETID: the files of others, with their owners, modes and times. DAC_OVERRIDE:
/// what their modes close to everybody. MKNOD: devices. IPC_LOCK: as much memory for keys as there
/// are open files. SYS_PTRACE: which program a caller runs, and in which namespaces.
constexpr std::array kNeeded = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,    CAP_FSETID,
                                CAP_MKNOD, CAP_IPC_LOCK,     CAP_SYS_PTRACE};

std::string filter_calls_and_say(bool wanted, bool network, spdlog::logger& logger) {
  if (!wanted) {
    logger.warn("system calls are not filtered (option noseccomp)");
    return "not filtered: option noseccomp";
  }
  const auto filtered = filter_system_calls(network);
  if (filtered) return "filtered";
  logger.warn("system calls are not filtered: {}", filtered.error().message());
  return "not filtered: " + filtered.error().message();
}

}  // namespace

Result<void> give_up_daemon_privileges() {
  TRY(give_up_privileges(kNeeded));
  return forbid_new_privileges();
}

Hardening harden_daemon(bool filter_calls, bool network, spdlog::logger& logger) {
  return {
      .privileges = capability_names() + (new_privileges_are_forbidden() ? "; no new ones" : ""),
      .system_calls = filter_calls_and_say(filter_calls, network, logger)};
}

}  // namespace coffer

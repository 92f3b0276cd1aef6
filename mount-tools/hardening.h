#pragma once

#include <spdlog/logger.h>

#include <string>

#include "keystore/base/result.h"

namespace coffer {

/// What the daemon of a mount may still do; for `coffer status`.
struct Hardening {
  std::string privileges;    ///< "chown,dac_override; no new ones"
  std::string system_calls;  ///< "filtered", or "not filtered: " and why
};

/// Of root's capabilities, keeps those that a daemon needs, and forbids it new ones. Where there
/// are no other threads yet; those to come have no more.
Result<void> give_up_daemon_privileges();

/// The rest, once all is there that takes more than serving does: filters system calls. What could
/// not be had is logged, and the mount goes on without.
/// `network`: as `filter_system_calls`.
Hardening harden_daemon(bool filter_calls, bool network, spdlog::logger& logger);

}  // namespace coffer

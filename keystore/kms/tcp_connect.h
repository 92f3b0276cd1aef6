#pragma once

#include <chrono>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"
#include "keystore/kms/host_and_port.h"

namespace coffer {

/// A connected socket that does not block: to the first of the host's addresses that answers, each
/// of which has its part of the time. kKmsUnavailable if there is none by `until`. Thread-safe.
Result<UniqueFd> tcp_connect(const HostAndPort& to, std::chrono::steady_clock::time_point until);

/// A host as a certificate names it: an IPv6 address without brackets.
std::string without_brackets(const std::string& host);

}  // namespace coffer

#pragma once

#include "mount-tools/import.h"

namespace coffer {

/// "coffer: WHAT: why", for one thing of many that failed; says WHAT once.
std::string failure_line(const std::string& what, const Error& error);

/// The summary of an import or export on stdout; gives the exit code: that of the first failure if
/// there was any.
int report_transfer(const char* verb, const TransferCounts& counts, std::uint64_t bytes,
                    double seconds, bool json);

}  // namespace coffer

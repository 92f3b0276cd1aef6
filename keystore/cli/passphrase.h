#pragma once

#include <string>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// Where a passphrase comes from: a file (its first line), a descriptor that another program writes
/// to, or the terminal. Never the command line, never the environment.
struct PassphraseOptions {
  std::string file;
  int fd = -1;
};

/// Asks on the terminal without echo if neither is given; kKeyUnavailable if there is no terminal.
PassphraseSource passphrase_source(const PassphraseOptions& options);

}  // namespace coffer

#pragma once

#include <memory>
#include <string>

#include "keystore/cli/environment_pin.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// Where a passphrase or PIN comes from: a file (its first line), a descriptor that another program
/// writes to, for PINs the environment, or the terminal. Never the command line.
struct PassphraseOptions {
  std::string file;
  int fd = -1;
  std::shared_ptr<EnvironmentPin> pin;
};

/// That of the master key `uri`: the first of these that is given. Asks on the terminal without
/// echo if none is; kKeyUnavailable if there is no terminal.
PassphraseSource passphrase_source(const PassphraseOptions& options, const std::string& uri);
/// From a descriptor, whatever it is for.
Result<SecretBytes> read_passphrase(int fd);

}  // namespace coffer

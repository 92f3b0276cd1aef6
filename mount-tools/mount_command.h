#pragma once

#include <string>
#include <vector>

#include "keystore/cli/passphrase.h"
#include "keystore/keyring/key_cache.h"

namespace coffer {

/// What `coffer mount` and `mount.fuse.coffer` take.
struct MountCommand {
  std::string store;
  std::string mountpoint;
  std::vector<std::string> options;  ///< of -o, each a comma-separated list
  bool read_only = false;
  bool foreground = false;
  std::string log_file;
  unsigned threads = 0;  ///< 0: as many as processors, at least 4
  bool filter_calls = true;
  KeyLifetime key_lifetime;
  PassphraseOptions passphrase;
};

/// Mounts; returns the program's exit code. In the background unless told otherwise: then once the
/// mount is there.
int run_mount(MountCommand command);

}  // namespace coffer

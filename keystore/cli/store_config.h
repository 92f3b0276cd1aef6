#pragma once

#include <string>

#include "keystore/base/ids.h"
#include "keystore/base/result.h"

namespace coffer {

/// What STORE/.coffer/store.toml says (fs/FORMAT.md, 8): where the keystore is, and whose store
/// this is. Believed in nothing else.
struct StoreConfig {
  std::string root;  ///< the backing directory, absolute
  StoreId store;
  std::string keystore;  ///< absolute

  [[nodiscard]] std::string private_dir() const { return root + "/.coffer"; }
};

/// kNotAStore, kUnknownVersion, kCorrupt.
Result<StoreConfig> read_store_config(const std::string& root);

/// Writes it; `keystore` as the user gave it, or empty for the default.
Result<void> write_store_config(const std::string& root, StoreId store,
                                const std::string& keystore);

/// Raises `format` there to the one that has extended attributes, durably; nothing to do if it is.
/// Before the first header that names some is written (fs/FORMAT.md, 8).
Result<void> raise_store_format(const std::string& root);

/// The absolute form of a path that need not exist yet.
Result<std::string> absolute_path(const std::string& path);

/// "STORE" or "STORE:PATH": the store's directory, and a normalised path in it ("/" if none is
/// given).
struct StorePath {
  std::string root;
  std::string path;
  bool path_given = false;
  bool trailing_slash = false;
};
Result<StorePath> parse_store_path(const std::string& text);

/// Where this node keeps what must not lie in a store (audit logs, what it has seen of keystores):
/// $COFFER_STATE_DIR, else /var/lib/coffer for root, else $XDG_STATE_HOME/coffer or
/// ~/.local/state/coffer. An empty variable counts as unset.
std::string state_directory();
/// Where master key files are made by default: /etc/coffer/keys for root, else
/// $XDG_CONFIG_HOME/coffer/keys or
/// ~/.config/coffer/keys.
std::string default_key_directory();
std::string audit_log_path(StoreId store);
/// What this node remembers of the store's keystore (keystore/FORMAT.md, "Generation").
std::string keystore_seen_path(StoreId store);

/// The URI of a master key as it was given: "local:relative" made absolute, the default if nothing
/// was given. kInvalid for a key file inside the store.
Result<std::string> master_uri(const std::string& given, StoreId store, const std::string& root);

}  // namespace coffer

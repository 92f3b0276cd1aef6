#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "keystore/base/ids.h"
#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "keystore/crypto/digest.h"

namespace coffer {

/// A state of a keystore, as far as it is to be told from others (keystore/FORMAT.md,
/// "Generation").
struct KeystoreState {
  std::uint64_t generation = 0;
  Digest mark{};  ///< SHA-256 of its policy MAC
  bool operator==(const KeystoreState&) const = default;
};

/// The newest state of a store's keystore that this process has seen; and that this node has, if
/// there is a file to remember it in. Never lowered. Processes that share the file need nothing
/// else in common. Thread-safe.
class NewestSeen {
 public:
  /// `path` names the file, which is made with its directory when there is something to remember;
  /// empty: this process alone remembers. `report` hears, once, why a rollback can't be noticed.
  struct Place {
    std::string path;
    std::function<void(const Error&)> report;
  };
  NewestSeen(Place place, StoreId store);

  /// To be asked before the transaction begins that reads what it is compared with: else what other
  /// processes do between would look like a rollback. Nothing if no state was seen.
  std::optional<KeystoreState> newest();
  /// kRolledBack unless `found` is `newest` or above it.
  static Result<void> compare(const KeystoreState& found,
                              const std::optional<KeystoreState>& newest);
  /// Remembers a state that is durable in the keystore. Waits for no disk; a failure weakens what
  /// is noticed later, and no more.
  void raise(const KeystoreState& state);

 private:
  std::optional<KeystoreState> read_file();
  Result<void> write_file(const KeystoreState& state);
  void tell(const Error& error);

  const Place place_;
  const StoreId store_;
  Mutex mutex_;
  std::optional<KeystoreState> newest_ GUARDED_BY(mutex_);
  bool told_ GUARDED_BY(mutex_) = false;
};

}  // namespace coffer

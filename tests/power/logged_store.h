#pragma once

#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "tests/power/history.h"
#include "tests/support/fs_power.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/store_whole.h"

namespace coffer::testing {

/// A store whose backing goes through a PowerLog, with what the keystore held at each moment of it:
/// SQLite is taken at its word that what it committed is on the disk. Outlives neither the store
/// nor an opening of it with `opening()`. For one thread; the recorder's own is turned away, so
/// that the log is the same for the same seed.
class LoggedStore {
 public:
  explicit LoggedStore(WholeStore& store);

  PowerLog& log() { return log_; }
  [[nodiscard]] const PowerLog& log() const { return log_; }
  StoreOpening opening();

  /// A store as it is found after the loss, not opened yet.
  [[nodiscard]] std::unique_ptr<WholeStore> after(const PowerLoss& loss) const;

 private:
  void keep_keystore(Moment moment);
  [[nodiscard]] Result<void> make_durable();

  WholeStore& store_;
  PowerLog log_;
  RawDatabase keystore_;
  std::int64_t keystore_version_ = 0;
  std::map<Moment, ByteVector> keystores_;
  std::thread::id thread_ = std::this_thread::get_id();
};

/// What is wrong with a store after a power loss, by the history of what was done to it; empty if
/// every promise was kept. Opens the store, reads all of it, changes all of it, and opens it again.
std::vector<std::string> broken_promises(WholeStore& store, const History& history,
                                         const PowerLoss& loss);

/// The same for a store that is open, without changing it.
std::vector<std::string> broken_promises_as_open(WholeStore& store, const History& history,
                                                 const PowerLoss& loss);

}  // namespace coffer::testing

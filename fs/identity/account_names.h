#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <unordered_map>

#include "keystore/base/mutex.h"

namespace coffer {

/// How users and groups are called, as the system's databases say (nsswitch.conf(5)). They may lie
/// on another machine, so each answer is kept for half a minute. Thread-safe; no lock is held while
/// they are asked.
class AccountNames {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kLifetime{30};

  struct Name {
    /// False if the database could not be asked.
    bool known = false;
    /// Nothing if the id has no name.
    std::optional<std::string> name;
  };
  Name user(uid_t uid, Time now = std::chrono::steady_clock::now());
  Name group(gid_t gid, Time now = std::chrono::steady_clock::now());

  /// Times that a database was asked; for tests.
  [[nodiscard]] std::size_t questions();

 private:
  struct Kept {
    Name name;
    Time until;
  };
  using Table = std::unordered_map<unsigned, Kept>;

  template <typename Ask>
  Name find(Table AccountNames::*table, unsigned id, Time now, Ask&& ask);

  Mutex mutex_;
  Table users_ GUARDED_BY(mutex_);
  Table groups_ GUARDED_BY(mutex_);
  std::size_t questions_ GUARDED_BY(mutex_) = 0;
};

}  // namespace coffer

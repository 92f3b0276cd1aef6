// What states of the keystore come after which (keystore/FORMAT.md, "Generation").

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "keystore/base/unique_fd.h"
#include "keystore/keyring/keyring.h"
#include "keystore/keyring/policy_rows.h"
#include "keystore/keyring/schema.h"

namespace coffer {

Result<void> Keyring::in_place() const {
  struct stat status {};
  // One that is gone says nothing: who took it away has won nothing by it.
  if (inode_ == 0 || ::stat(path_.c_str(), &status) != 0) return {};
  if (status.st_dev == device_ && status.st_ino == inode_) return {};
  return Error{Code::kRolledBack, 0,
               "keystore was exchanged for another file while it was in use; put back the one that "
               "was there, or unmount and mount anew, which tells whether this one is older"};
}

Result<KeystoreState> Keyring::check_state(Database& database, const PolicyKeys& keys,
                                           const std::optional<KeystoreState>& newest) const {
  const KeystoreState found = TRY(verify_state(database, keys.mac.expose()));
  if (!takes_older_.load()) TRY(NewestSeen::compare(found, newest));
  return found;
}

void Keyring::note_read(const KeystoreState& found, const std::optional<KeystoreState>& newest) {
  if (newest.has_value() && found.generation <= newest->generation) return;
  if (remembers_) {
    // Another process's commit: if that was killed within it, the log may be in memory only. A
    // descriptor of the log holds none of SQLite's locks, so that closing it drops none.
    const UniqueFd log(::open((path_ + "-wal").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (log.valid() && ::fsync(log.get()) != 0) return;
  }
  seen_.raise(found);
}

Result<KeystoreState> Keyring::raise_generation(const PolicyKeys& keys, std::uint64_t floor) {
  const std::uint64_t generation = std::max(TRY(read_generation(database_)), floor);
  return write_state(database_, generation + 1, keys.mac.expose());
}

Result<std::uint64_t> Keyring::change_policy(
    const std::function<Result<void>(const PolicyKeys&)>& change, std::uint64_t floor) {
  const auto keys = TRY(policy_keys());
  const auto newest = seen_.newest();
  KeystoreState state;
  {
    MutexLock lock(mutex_);
    Transaction transaction = TRY(begin_write());
    TRY(check_state(database_, *keys, newest));
    TRY(change(*keys));
    state = TRY(raise_generation(*keys, floor));
    TRY(check_readable(database_, keys->paths, store_));
    TRY(transaction.commit());
  }
  seen_.raise(state);
  return state.generation;
}

Result<std::optional<Keyring::Older>> Keyring::older() {
  const auto newest = seen_.newest();
  Older older;
  TRY(read_verified([&](Database& database, const PolicyKeys& keys) -> Result<void> {
    older.found = TRY(verify_state(database, keys.mac.expose()));
    return {};
  }));
  if (NewestSeen::compare(older.found, newest)) return std::optional<Older>();
  older.seen = *newest;
  return std::optional<Older>(older);
}

Result<std::uint64_t> Keyring::supersede_seen() {
  const auto newest = seen_.newest();
  const std::uint64_t generation =
      TRY(change_policy([](const PolicyKeys&) { return Result<void>(); },
                        newest.has_value() ? newest->generation : 0));
  takes_older_ = false;
  return generation;
}

Result<void> Keyring::change_records(const std::function<Result<bool>(const PolicyKeys&)>& change) {
  const auto keys = TRY(policy_keys());
  const auto newest = seen_.newest();
  KeystoreState state;
  {
    MutexLock lock(mutex_);
    Transaction transaction = TRY(begin_write());
    TRY(check_state(database_, *keys, newest));
    if (!TRY(change(*keys))) return {};
    TRY(write_offered());
    state = TRY(raise_generation(*keys));
    TRY(transaction.commit());
    offered_.reset();
  }
  seen_.raise(state);
  return {};
}

}  // namespace coffer

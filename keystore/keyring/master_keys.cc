#include "keystore/keyring/master_keys.h"

#include <algorithm>
#include <utility>

namespace coffer {
namespace {

/// Of keys of files in one transaction, so that who writes beside it does not wait long.
constexpr std::size_t kPage = 256;
/// Of a move whose last transaction finds keys that were made since; each has fewer to copy.
constexpr int kRounds = 100;

Error moved_meanwhile() {
  return {Code::kBusy, 0, "the store has moved to another master key meanwhile"};
}

std::vector<WrappedInPlace> in_place(const std::vector<WrappedKey>& keys) {
  std::vector<WrappedInPlace> placed;
  placed.reserve(keys.size());
  for (const WrappedKey& each : keys) placed.push_back({each.wrapped, each.context});
  return placed;
}

/// What is to stand in the place of a key is looked at first: one that does not open is lost.
Result<std::vector<ByteVector>> checked(MasterKms& master, const std::vector<WrappedKey>& keys,
                                        const std::vector<SecretBytes>& unwrapped,
                                        std::vector<ByteVector> wrapped) {
  std::vector<WrappedInPlace> placed;
  for (std::size_t i = 0; i < keys.size(); ++i) placed.push_back({wrapped[i], keys[i].context});
  const std::vector<SecretBytes> again = TRY(master.unwrap_all(placed));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!constant_time_equal(again[i].expose(), unwrapped[i].expose())) {
      return Error{Code::kKmsUnavailable, 0,
                   master.describe().uri + ": what it unwraps is not the key that it has wrapped"};
    }
  }
  return wrapped;
}

Result<std::vector<ByteVector>> wrapped_anew(MasterKms& from, MasterKms& to,
                                             const std::vector<WrappedKey>& keys) {
  const std::vector<SecretBytes> unwrapped = TRY(from.unwrap_all(in_place(keys)));
  std::vector<KeyInPlace> placed;
  for (std::size_t i = 0; i < keys.size(); ++i) placed.push_back({&unwrapped[i], keys[i].context});
  return checked(to, keys, unwrapped, TRY(to.wrap_all(placed)));
}

/// By the KMS itself, where it can.
Result<std::vector<ByteVector>> rewrapped(MasterKms& master, const std::vector<WrappedKey>& keys) {
  auto fresh = TRY(master.rewrap_all(in_place(keys)));
  return checked(master, keys, TRY(master.unwrap_all(in_place(keys))), std::move(fresh));
}

/// What only this key's wrapped form, or place, can be blamed for.
bool is_unopenable(Code code) {
  return code == Code::kCorrupt || code == Code::kUnknownVersion || code == Code::kNotFound;
}

}  // namespace

void MasterKeys::Run::did(std::uint64_t keys) {
  progress.done += keys;
  progress.keys = std::max(progress.keys, progress.done);
  if (!stopped) stopped = !go_on(progress);
}

Result<void> MasterKeys::read(const Read& read) {
  return keyring_.read_verified([&](Database& database, const Keyring::PolicyKeys& keys) {
    return read(database, keys.records);
  });
}

Result<std::vector<WrappedKey>> MasterKeys::wrapped_keys() {
  std::vector<WrappedKey> keys;
  TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
    keys = TRY(select_wrapped(database, keyring_.store_));
    for (WrappedKey& key : keys) {
      key.wrapped =
          TRY(keyring_.from_source(database, nullptr, key.context, std::move(key.wrapped)));
    }
    return {};
  }));
  return keys;
}

Result<std::uint64_t> MasterKeys::count_keys() {
  std::uint64_t keys = 0;
  TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
    keys =
        TRY(select_wrapped(database, keyring_.store_)).size() + TRY(count_wrapped_deks(database));
    return {};
  }));
  return keys;
}

Result<std::vector<WrappedDek>> MasterKeys::page_of_deks(MasterId copies_of, DekPlace& after) {
  const auto keys = TRY(keyring_.policy_keys());
  MutexLock lock(keyring_.read_mutex_);
  if (!TRY(has_direct_scopes(keyring_.reader_))) return std::vector<WrappedDek>();
  auto page = TRY(select_wrapped_deks(keyring_.reader_, keyring_.store_, keys->records, copies_of,
                                      kPage, after));
  for (WrappedDek& dek : page) {
    dek.key.wrapped = TRY(keyring_.from_source(keyring_.reader_, &keys->records, dek.key.context,
                                               std::move(dek.key.wrapped)));
  }
  return page;
}

Result<MasterKeys::Coverage> MasterKeys::coverage() {
  Coverage coverage;
  coverage.keys = TRY(count_keys());
  TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
    for (MasterRow& row : TRY(select_masters(database)))
      coverage.masters.push_back({.row = std::move(row), .keys = 0, .versions = {}});
    return {};
  }));
  const std::vector<WrappedKey> keys = TRY(wrapped_keys());
  for (MasterCoverage& each : coverage.masters) {
    const bool primary = each.row.role == MasterRole::kPrimary;
    if (!primary && each.row.role == MasterRole::kFormer) continue;
    const auto count = [&](const WrappedKey& key) {
      ++each.keys;
      if (primary) ++each.versions[keyring_.master_.version_of(key.wrapped)];
    };
    TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
      for (const WrappedKey& key : keys) {
        if (primary || TRY(select_copy(database, each.row.id, key.context)).has_value()) count(key);
      }
      return {};
    }));
    DekPlace after;
    for (auto page = TRY(page_of_deks(each.row.id, after)); !page.empty();
         page = TRY(page_of_deks(each.row.id, after))) {
      for (const WrappedDek& dek : page) {
        if (primary || !dek.copy.empty()) count(dek.key);
      }
    }
  }
  return coverage;
}

Result<MasterKeys::Progress> MasterKeys::rewrap(bool all, const GoOn& go_on) {
  const MasterKeyRecord primary = TRY(keyring_.primary());
  const std::string newest = all ? "" : TRY(keyring_.master_.newest_version());
  if (newest.empty() && !all) {
    return Error{Code::kUnsupported, 0,
                 primary.uri +
                     ": no versions of this master key are told, so that there is no "
                     "newer one to wrap by (--all wraps all keys anew, --to URI moves to "
                     "another master key)"};
  }
  const std::uint64_t all_keys = TRY(count_keys());
  Run run{.go_on = go_on, .progress = {.keys = all_keys}};
  TRY(rewrap_keys(newest, run));
  if (!run.stopped) TRY(rewrap_deks(newest, run));
  run.progress.complete = !run.stopped;
  return run.progress;
}

Result<void> MasterKeys::rewrap_keys(const std::string& newest, Run& run) {
  for (const WrappedKey& key : TRY(wrapped_keys())) {
    if (newest.empty() || keyring_.master_.version_of(key.wrapped) != newest) TRY(rewrap_key(key));
    run.did(1);
    if (run.stopped) return {};
  }
  return {};
}

Result<void> MasterKeys::rewrap_key(const WrappedKey& key) {
  const MasterKeyRecord primary = TRY(keyring_.primary());
  const ByteVector fresh = TRY(rewrapped(keyring_.master_, {key})).front();
  TRY(keyring_.change_policy(
      [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        Database& database = keyring_.database_;
        if (TRY(select_active_master(database)) != primary) return moved_meanwhile();
        for (const WrappedKey& now : TRY(select_wrapped(database, keyring_.store_))) {
          if (now.wrapped == key.wrapped) return update_wrapped(database, key.context, fresh);
        }
        return {};  // another process has wrapped it anew
      }));
  return {};
}

Result<void> MasterKeys::rewrap_deks(const std::string& newest, Run& run) {
  DekPlace after;
  for (auto page = TRY(page_of_deks({}, after)); !page.empty() && !run.stopped;
       page = TRY(page_of_deks({}, after))) {
    const std::size_t all = page.size();
    std::erase_if(page, [&](const WrappedDek& dek) {
      return !newest.empty() && keyring_.master_.version_of(dek.key.wrapped) == newest;
    });
    std::vector<WrappedKey> keys;
    keys.reserve(page.size());
    for (const WrappedDek& dek : page) keys.push_back(dek.key);
    const MasterKeyRecord primary = TRY(keyring_.primary());
    const auto make = [this](const auto& some) { return rewrapped(keyring_.master_, some); };
    const auto fresh = TRY(made_of(make, keys, run));
    if (!fresh.empty()) {
      std::erase_if(page, [&](const WrappedDek& dek) {
        return run.progress.left.contains(dek.key.context.file);
      });
      MutexLock lock(keyring_.mutex_);
      Transaction transaction = TRY(keyring_.begin_write());
      if (TRY(select_active_master(keyring_.database_)) != primary) return moved_meanwhile();
      TRY(update_wrapped_deks(keyring_.database_, page, fresh));
      TRY(transaction.commit());
    }
    run.did(all);
  }
  return {};
}

Result<std::optional<MasterKeyRecord>> MasterKeys::standing_by(MasterRole role) {
  std::optional<MasterRow> row;
  TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
    row = TRY(select_master(database, role));
    return {};
  }));
  if (!row) return std::optional<MasterKeyRecord>();
  return std::optional<MasterKeyRecord>(row->record);
}

Result<MasterKeys::Progress> MasterKeys::move_to(MasterKms& next, const GoOn& go_on) {
  const MasterId id = TRY(begin_move(next.describe()));
  TRY(remove_stale_copies());
  const Copies copies{.id = id, .role = MasterRole::kNext, .make = [&](const auto& keys) {
                        return wrapped_anew(keyring_.master_, next, keys);
                      }};
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t all_keys = TRY(count_keys());
    Run run{.go_on = go_on, .progress = {.keys = all_keys}};
    TRY(copy_keys(copies, run));
    if (!run.stopped) TRY(copy_deks(copies, run));
    if (run.stopped) return run.progress;
    if (!TRY(finish_move(id, run.progress.left))) continue;
    TRY(remove_stale_copies());
    run.progress.complete = true;
    return run.progress;
  }
  return Error{Code::kBusy, 0,
               "keys are made faster than they are wrapped for the next master key; all others are "
               "wrapped: run it again when less is written"};
}

Result<MasterId> MasterKeys::begin_move(const MasterKeyRecord& next) {
  MasterId id;
  TRY(keyring_.change_policy(
      [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        Database& database = keyring_.database_;
        if (TRY(select_active_master(database)) == next)
          return Error{Code::kExists, 0, next.uri + " is the store's master key"};
        const auto begun = TRY(select_master(database, MasterRole::kNext));
        if (begun && begun->record != next) {
          return Error{Code::kBusy, 0,
                       "the store is on its way to " + begun->record.uri +
                           "; go on with that, or say --abandon first"};
        }
        // In this transaction, for the policy MAC covers the schema.
        TRY(create_dek_copies(database));
        id = begun ? begun->id
                   : TRY(insert_standby(database, next, MasterRole::kNext,
                                        keyring_.clock_.unix_seconds()));
        return {};
      }));
  return id;
}

Result<void> MasterKeys::copy_keys(const Copies& copies, Run& run) {
  const std::vector<WrappedKey> all = TRY(wrapped_keys());
  std::vector<WrappedKey> missing;
  TRY(read([&](Database& database, const HmacKey&) -> Result<void> {
    for (const WrappedKey& key : all) {
      if (!TRY(select_copy(database, copies.id, key.context))) missing.push_back(key);
    }
    return {};
  }));
  run.did(all.size() - missing.size());
  for (std::size_t at = 0; at < missing.size() && !run.stopped; at += kPage) {
    const std::vector<WrappedKey> page(
        missing.begin() + static_cast<std::ptrdiff_t>(at),
        missing.begin() + static_cast<std::ptrdiff_t>(std::min(missing.size(), at + kPage)));
    const auto made = TRY(copies.make(page));
    TRY(keyring_.change_policy(
        [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
          const auto now = TRY(select_master(keyring_.database_, copies.role));
          if (!now || now->id != copies.id) return moved_meanwhile();
          for (std::size_t i = 0; i < page.size(); ++i)
            TRY(write_copy(keyring_.database_, copies.id, page[i].context, made[i]));
          return {};
        }));
    run.did(page.size());
  }
  return {};
}

Result<void> MasterKeys::copy_deks(const Copies& copies, Run& run) {
  DekPlace after;
  for (auto page = TRY(page_of_deks(copies.id, after)); !page.empty() && !run.stopped;
       page = TRY(page_of_deks(copies.id, after))) {
    std::vector<WrappedKey> missing;
    for (WrappedDek& dek : page) {
      if (dek.copy.empty()) missing.push_back(std::move(dek.key));
    }
    const auto made = TRY(made_of(copies.make, missing, run));
    if (!made.empty()) TRY(keep_dek_copies(copies, missing, made));
    run.did(page.size());
  }
  return {};
}

Result<std::vector<ByteVector>> MasterKeys::made_of(
    const std::function<Result<std::vector<ByteVector>>(const std::vector<WrappedKey>&)>& make,
    std::vector<WrappedKey>& keys, Run& run) const {
  if (keys.empty()) return std::vector<ByteVector>();
  auto made = make(keys);
  if (made || !leaves_unopenable_ || !is_unopenable(made.error().code)) return made;
  std::vector<WrappedKey> opened;
  std::vector<ByteVector> each_made;
  for (WrappedKey& key : keys) {
    auto one = make({key});
    if (one) {
      each_made.push_back(std::move(one->front()));
      opened.push_back(std::move(key));
    } else if (is_unopenable(one.error().code)) {
      run.progress.left.insert(key.context.file);
    } else {
      return std::move(one).error();
    }
  }
  keys = std::move(opened);
  return each_made;
}

Result<void> MasterKeys::keep_dek_copies(const Copies& copies, const std::vector<WrappedKey>& deks,
                                         const std::vector<ByteVector>& made) {
  const auto keys = TRY(keyring_.policy_keys());
  MutexLock lock(keyring_.mutex_);
  Transaction transaction = TRY(keyring_.begin_write());
  const auto now = TRY(select_master(keyring_.database_, copies.role));
  if (!now || now->id != copies.id) return moved_meanwhile();
  for (std::size_t i = 0; i < deks.size(); ++i) {
    TRY(write_dek_copy(keyring_.database_, keys->records, copies.id, deks[i].context, made[i]));
  }
  return transaction.commit();
}

Result<bool> MasterKeys::finish_move(MasterId id, const std::set<FileId>& left) {
  bool missing = false;
  const auto done = keyring_.change_policy(
      [&](const Keyring::PolicyKeys& keys) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        Database& database = keyring_.database_;
        const Error incomplete{Code::kBusy, 0, "some keys have no copy yet"};
        const auto now = TRY(select_master(database, MasterRole::kNext));
        if (!now || now->id != id) return moved_meanwhile();
        missing = true;
        for (const WrappedKey& key : TRY(select_wrapped(database, keyring_.store_))) {
          const auto copy = TRY(select_copy(database, id, key.context));
          if (!copy) return incomplete;
          TRY(update_wrapped(database, key.context, *copy));
        }
        DekPlace after;
        while (TRY(has_direct_scopes(database))) {
          auto page =
              TRY(select_wrapped_deks(database, keyring_.store_, keys.records, id, kPage, after));
          if (page.empty()) break;
          std::erase_if(page, [&](const WrappedDek& dek) {
            return dek.copy.empty() && left.contains(dek.key.context.file);
          });
          std::vector<ByteVector> copies;
          for (const WrappedDek& dek : page) {
            if (dek.copy.empty()) return incomplete;
            copies.push_back(dek.copy);
          }
          TRY(update_wrapped_deks(database, page, copies));
        }
        missing = false;
        return make_primary(database, id);
      });
  if (missing && !done && done.error().code == Code::kBusy) return false;
  if (!done) return done.error();
  return true;
}

Result<MasterKeys::Progress> MasterKeys::set_recovery(MasterKms& recovery, const GoOn& go_on) {
  const RecoveryKey key = TRY(begin_recovery(recovery));
  TRY(remove_stale_copies());
  const auto make = [&](const std::vector<WrappedKey>& keys) -> Result<std::vector<ByteVector>> {
    std::vector<ByteVector> copies;
    const auto unwrapped = TRY(keyring_.master_.unwrap_all(in_place(keys)));
    for (std::size_t i = 0; i < keys.size(); ++i)
      copies.push_back(TRY(seal_copy(key.public_key, keys[i].context, unwrapped[i])));
    return copies;
  };
  const Copies copies{.id = key.master.id, .role = MasterRole::kRecovery, .make = make};
  const std::uint64_t all_keys = TRY(count_keys());
  Run run{.go_on = go_on, .progress = {.keys = all_keys}};
  TRY(copy_keys(copies, run));
  if (!run.stopped) TRY(copy_deks(copies, run));
  run.progress.complete = !run.stopped;
  return run.progress;
}

Result<RecoveryKey> MasterKeys::begin_recovery(MasterKms& recovery) {
  const MasterKeyRecord record = recovery.describe();
  const SecretBytes private_key = SecretBytes::random(kWrappedKeySize);
  const HpkePublicKey public_key = hpke_public_key(private_key);
  const KeyContext context = KeyContext::of_recovery_key(keyring_.store_);
  const ByteVector wrapped = TRY(recovery.wrap(private_key, context));
  // A recovery key that does not open is found out now, not on the day that it is needed.
  const SecretBytes again = TRY(recovery.unwrap(wrapped, context));
  if (!constant_time_equal(again.expose(), private_key.expose()))
    return Error{Code::kKmsUnavailable, 0, record.uri + ": what it unwraps is not what it wrapped"};
  std::optional<RecoveryKey> key;
  TRY(keyring_.change_policy(
      [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        Database& database = keyring_.database_;
        key = TRY(select_recovery(database));
        if (key && key->master.record != record) {
          return Error{Code::kExists, 0,
                       "the store has a recovery master key, " + key->master.record.uri +
                           "; remove that first"};
        }
        if (key) return {};
        TRY(create_dek_copies(database));
        const MasterId id = TRY(insert_standby(database, record, MasterRole::kRecovery,
                                               keyring_.clock_.unix_seconds()));
        TRY(write_recovery(database, id, public_key, wrapped));
        key = TRY(select_recovery(database));
        return {};
      }));
  return *std::move(key);
}

Result<void> MasterKeys::remove_recovery() {
  MasterId id;
  TRY(keyring_.change_policy(
      [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        const auto key = TRY(select_recovery(keyring_.database_));
        if (!key) return Error{Code::kNotFound, 0, "the store has no recovery master key"};
        id = key->master.id;
        return delete_recovery(keyring_.database_, id);
      }));
  return remove_stale_copies();
}

Result<void> MasterKeys::abandon() {
  MasterId id;
  TRY(keyring_.change_policy(
      [&](const Keyring::PolicyKeys&) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
        const auto next = TRY(select_master(keyring_.database_, MasterRole::kNext));
        if (!next)
          return Error{Code::kNotFound, 0, "the store is not on its way to another master key"};
        id = next->id;
        return delete_standby(keyring_.database_, id);
      }));
  return remove_stale_copies();
}

Result<void> MasterKeys::remove_stale_copies() {
  while (true) {
    MutexLock lock(keyring_.mutex_);
    Transaction transaction = TRY(keyring_.begin_write());
    const std::uint64_t removed = TRY(delete_stale_dek_copies(keyring_.database_, kPage));
    TRY(transaction.commit());
    if (removed == 0) return {};
  }
}

}  // namespace coffer

// The key rows of the Keyring: KEKs, scope secrets, DEKs. Policy and life cycle are in keyring.cc.

#include <algorithm>
#include <chrono>

#include "keystore/crypto/box.h"
#include "keystore/crypto/random.h"
#include "keystore/keyring/keyring.h"
#include "keystore/keyring/master_rows.h"
#include "keystore/keyring/policy_rows.h"

namespace coffer {

/// The part of a DEK row that its record MAC covers.
struct DekRecord {
  FileId file;
  KeyVersion version;
  ScopeId scope;
  KeyState state = KeyState::kPreActivation;
  std::int64_t changed_at = 0;
  std::uint64_t generation = 0;
  Digest root{};
};

/// A DEK row as it lies in the table.
struct StoredDek {
  DekRecord record;
  KeyVersion kek_version;
  ByteVector wrapped;
  ByteVector mac;
  bool well_formed = false;  ///< every number within its bounds, every blob of its length
};

namespace {

constexpr std::size_t kRecordMacSize = 16;
/// Of wrapping keys anew, because the store moves to another master key meanwhile.
constexpr int kPrimaryAttempts = 4;

ByteVector encode(const DekRecord& record) {
  return ByteWriter()
      .bytes(record.file.view())
      .le(record.version.value)
      .le(record.scope.value)
      .le(static_cast<std::uint32_t>(record.state))
      .le(static_cast<std::uint64_t>(record.changed_at))
      .le(record.generation)
      .bytes(record.root)
      .take();
}

ByteVector record_mac(const HmacKey& records_key, const DekRecord& record) {
  const Digest mac = records_key.mac(encode(record));
  return {mac.begin(), mac.begin() + kRecordMacSize};
}

/// Milliseconds first, so that keys made together lie together in the table.
FileId new_file_id(const Clock& clock) {
  FileId id;
  random_bytes(id.bytes);
  const auto now =
      std::chrono::floor<std::chrono::milliseconds>(clock.now()).time_since_epoch().count();
  for (std::size_t i = 0; i < 6; ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(static_cast<std::uint64_t>(now) >> (8 * (5 - i)));
  }
  return id;
}

KeyState state_from(std::int64_t number) {
  // An unknown number is refused by who authenticates the row, or as unusable.
  return number >= 1 && number <= 6 ? static_cast<KeyState>(number) : KeyState::kDestroyed;
}

bool is_u32(std::int64_t number) { return number >= 0 && number <= 0xffffffffLL; }

/// SP 800-57, 5.3.4: a deactivated key may still open what it has sealed.
bool usable_for(KeyState state, DekUse use) {
  return is_usable(state) || (use == DekUse::kRecovery && state == KeyState::kDeactivated);
}

Digest digest_from(Bytes bytes) {
  Digest digest{};
  if (bytes.size() == digest.size()) std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

constexpr Sql kSelectDek =
    "SELECT scope_id, kek_version, state, wrapped, changed_at, generation, root, record_mac"
    " FROM deks WHERE file_id = ?1 AND version = ?2;";

/// Nothing if there is no such row.
Result<std::optional<StoredDek>> select_dek(Statement& statement, FileId file, KeyVersion version) {
  Query row = statement.start(file.view(), version.value);
  if (!TRY(row.next())) return std::optional<StoredDek>();
  return std::optional<StoredDek>(StoredDek{
      .record = {.file = file,
                 .version = version,
                 .scope = ScopeId{static_cast<std::uint32_t>(row.integer(0))},
                 .state = state_from(row.integer(2)),
                 .changed_at = row.integer(4),
                 .generation = static_cast<std::uint64_t>(row.integer(5)),
                 .root = digest_from(row.blob(6))},
      .kek_version = KeyVersion{static_cast<std::uint32_t>(row.integer(1))},
      .wrapped = ByteVector(row.blob(3).begin(), row.blob(3).end()),
      .mac = ByteVector(row.blob(7).begin(), row.blob(7).end()),
      .well_formed = is_u32(row.integer(0)) && is_u32(row.integer(1)) && row.integer(2) >= 1 &&
                     row.integer(2) <= 6 && row.blob(6).size() == sizeof(Digest)});
}

Result<void> authenticate(const HmacKey& records_key, const StoredDek& stored) {
  if (stored.well_formed &&
      constant_time_equal(record_mac(records_key, stored.record), stored.mac)) {
    return {};
  }
  return Error{Code::kCorrupt, 0,
               "keystore: the record of file " + stored.record.file.hex() + " was altered"};
}

constexpr Sql kUpdateRecord =
    "UPDATE deks SET state = ?3, changed_at = ?4, generation = ?5, root = ?6, record_mac = ?7"
    " WHERE file_id = ?1 AND version = ?2;";

/// `update` is kUpdateRecord.
Result<void> write_record(Statement& update, const HmacKey& records_key, const DekRecord& record) {
  return update
      .start(record.file.view(), record.version.value, static_cast<int>(record.state),
             record.changed_at, record.generation, Bytes(record.root),
             Bytes(record_mac(records_key, record)))
      .run();
}

}  // namespace

Result<std::shared_ptr<const SecretBytes>> Keyring::kek(KekId id) {
  return keks_.get(id, [this](const KekId& asked) { return ask_for_kek(asked); });
}

Result<SecretBytes> Keyring::ask_for_kek(KekId id) {
  const KeyContext place = context(KeyContext::Purpose::kKek, id.scope, KeyVersion{}, id.version);
  ByteVector wrapped;
  const auto select = [&](Database& database, const PolicyKeys&) -> Result<void> {
    Statement statement = TRY(
        database.prepare("SELECT wrapped, state FROM keks WHERE scope_id = ?1 AND version = ?2;"));
    Query row = statement.start(id.scope.value, id.version.value);
    if (!TRY(row.next())) {
      return Error{Code::kKeyUnavailable, 0,
                   "KEK version " + std::to_string(id.version.value) + " of scope " +
                       std::to_string(id.scope.value) + " is not in the keystore"};
    }
    if (const KeyState state = state_from(row.integer(1)); !is_usable(state)) {
      return Error{Code::kRevoked, 0, "KEK is " + std::string(to_string(state))};
    }
    wrapped = TRY(
        from_source(database, nullptr, place, ByteVector(row.blob(0).begin(), row.blob(0).end())));
    return {};
  };
  const auto read = [&]() -> Result<ByteVector> {
    TRY(read_verified(select));
    return wrapped;
  };
  return unwrap_by_primary(read, place);
}

Result<SecretBytes> Keyring::scope_secret(ScopeId scope) {
  ByteVector wrapped;
  KekId wrapping{scope, {}};
  TRY(read_verified([&](Database& database, const PolicyKeys&) -> Result<void> {
    Statement statement =
        TRY(database.prepare("SELECT secret, secret_kek, state FROM scopes WHERE id = ?1;"));
    Query row = statement.start(scope.value);
    if (!TRY(row.next())) {
      return Error{Code::kKeyUnavailable, 0,
                   "scope " + std::to_string(scope.value) + " is not in the keystore"};
    }
    if (const KeyState state = state_from(row.integer(2)); !is_usable(state)) {
      return Error{Code::kRevoked, 0, "scope is " + std::string(to_string(state))};
    }
    wrapped.assign(row.blob(0).begin(), row.blob(0).end());
    wrapping.version = KeyVersion{static_cast<std::uint32_t>(row.integer(1))};
    return {};
  }));
  const auto kek_key = TRY(kek(wrapping));
  return open_box(
      kek_key->expose(),
      context(KeyContext::Purpose::kScopeSecret, scope, wrapping.version, KeyVersion{1}).encode(),
      wrapped);
}

Result<ScopeRow> Keyring::scope_row(ScopeId scope) {
  PolicySnapshot snapshot = TRY(policy());
  for (ScopeRow& row : snapshot.scopes) {
    if (row.id == scope) return std::move(row);
  }
  return Error{Code::kKeyUnavailable, 0,
               "scope " + std::to_string(scope.value) + " is not in the keystore"};
}

Result<std::vector<Dek>> Keyring::make_deks(ScopeId scope, std::size_t count) {
  constexpr KeyVersion kFirst{1};
  const ScopeRow row = TRY(scope_row(scope));
  if (!is_usable(row.state)) {
    return Error{Code::kRevoked, 0, "scope is " + std::string(to_string(row.state))};
  }
  const bool direct = row.settings.wrap == Wrap::kDirect;
  const auto policy_keys_now = TRY(policy_keys());
  KekId wrapping{scope, KeyVersion{}};
  std::shared_ptr<const SecretBytes> kek_key;
  if (!direct) {
    wrapping.version = row.kek_version;
    if (wrapping.version.value == 0) {
      return Error{Code::kKeyUnavailable, 0,
                   "scope " + std::to_string(scope.value) + " has no active KEK"};
    }
    kek_key = TRY(kek(wrapping));
  }

  NewDeks made{.deks = std::vector<Dek>(count),
               .placed = std::vector<KeyInPlace>(count),
               .wrapped = std::vector<ByteVector>(count),
               .macs = std::vector<ByteVector>(count),
               .now = clock_.unix_seconds()};
  for (std::size_t i = 0; i < count; ++i) {
    Dek& dek = made.deks[i];
    dek.file = new_file_id(clock_);
    dek.version = kFirst;
    dek.scope = scope;
    dek.key = SecretBytes::random(kWrappedKeySize);
    KeyContext key_context = context(KeyContext::Purpose::kDek, scope, wrapping.version, kFirst);
    key_context.file = dek.file;
    if (!direct)
      made.wrapped[i] = seal_box(kek_key->expose(), key_context.encode(), dek.key.expose());
    made.placed[i] = {&dek.key, key_context};
    made.macs[i] = record_mac(policy_keys_now->records, DekRecord{.file = dek.file,
                                                                  .version = dek.version,
                                                                  .scope = scope,
                                                                  .state = dek.state,
                                                                  .changed_at = made.now,
                                                                  .generation = 0,
                                                                  .root = {}});
  }

  if (!direct) {
    TRY(insert_deks(made, nullptr));
    return std::move(made.deks);
  }
  for (int attempt = 0; attempt < kPrimaryAttempts; ++attempt) {
    const MasterKeyRecord wrapped_by = TRY(primary());
    made.wrapped = TRY(master_.wrap_all(made.placed));
    if (TRY(insert_deks(made, &wrapped_by))) return std::move(made.deks);
  }
  return Error{Code::kBusy, 0, "the store's master key keeps changing; try again"};
}

Result<bool> Keyring::insert_deks(const NewDeks& made, const MasterKeyRecord* wrapped_by) {
  const auto keys = TRY(policy_keys());
  const auto newest = seen_.newest();
  MutexLock lock(mutex_);
  Transaction transaction = TRY(begin_write());
  if (wrapped_by != nullptr) {
    // Which master key it is, and to whom copies are sealed, has to be authentic.
    TRY(check_state(database_, *keys, newest));
    if (TRY(select_active_master(database_)) != *wrapped_by) return false;
  }
  Statement insert = TRY(database_.prepare(
      "INSERT INTO deks (file_id, version, scope_id, kek_version, state, wrapped, created_at, "
      "changed_at,"
      " generation, root, record_mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0, ?8, ?9);"));
  for (std::size_t i = 0; i < made.deks.size(); ++i) {
    const Dek& dek = made.deks[i];
    TRY(insert
            .start(dek.file.view(), dek.version.value, dek.scope.value,
                   made.placed[i].context.wrapping_kek.value, static_cast<int>(dek.state),
                   Bytes(made.wrapped[i]), made.now, Bytes(dek.root), Bytes(made.macs[i]))
            .run());
  }
  if (wrapped_by != nullptr) TRY(copy_for_recovery(made, keys->records));
  TRY(transaction.commit());
  return true;
}

Result<void> Keyring::copy_for_recovery(const NewDeks& made, const HmacKey& records) {
  const auto recovery = TRY(select_recovery(database_));
  if (!recovery) return {};
  for (const KeyInPlace& each : made.placed) {
    TRY(write_dek_copy(database_, records, recovery->master.id, each.context,
                       TRY(seal_copy(recovery->public_key, each.context, *each.key))));
  }
  return {};
}

Result<void> Keyring::discard_deks(std::span<const FileId> files) {
  if (files.empty()) return {};
  MutexLock lock(mutex_);
  Transaction transaction = TRY(begin_write());
  Statement statement =
      TRY(database_.prepare("DELETE FROM deks WHERE file_id = ?1 AND state = 1;"));
  for (const FileId& file : files) TRY(statement.start(file.view()).run());
  TRY(delete_dek_copies_of(database_, files));
  return transaction.commit();
}

Result<StoredDek> Keyring::stored_dek(FileId file, KeyVersion version) {
  const auto policy_keys_now = TRY(policy_keys());
  std::optional<StoredDek> stored;
  {
    MutexLock lock(read_mutex_);
    if (!select_dek_.has_value()) select_dek_.emplace(TRY(reader_.prepare(kSelectDek)));
    stored = TRY(select_dek(*select_dek_, file, version));
  }
  if (!stored.has_value()) {
    return Error{Code::kKeyUnavailable, 0, "the keystore has no key for file " + file.hex()};
  }
  TRY(authenticate(policy_keys_now->records, *stored));
  return std::move(*stored);
}

Result<FileRecord> Keyring::recorded(FileId file, KeyVersion version) {
  const DekRecord record = TRY(stored_dek(file, version)).record;
  return FileRecord{.file = file,
                    .version = version,
                    .state = record.state,
                    .generation = record.generation,
                    .root = record.root};
}

Result<Dek> Keyring::dek(FileId file, KeyVersion version, DekUse use) {
  const StoredDek stored = TRY(stored_dek(file, version));
  const DekRecord& record = stored.record;
  if (!usable_for(record.state, use)) {
    return Error{Code::kRevoked, 0,
                 "the key of file " + file.hex() + " is " + std::string(to_string(record.state))};
  }
  KeyContext key_context =
      context(KeyContext::Purpose::kDek, record.scope, stored.kek_version, version);
  key_context.file = file;
  Dek dek{.file = file,
          .version = version,
          .scope = record.scope,
          .state = record.state,
          .generation = record.generation,
          .root = record.root,
          .key = {}};
  if (stored.kek_version.value == 0) {
    const auto read = [&]() -> Result<ByteVector> {
      ByteVector wrapped = TRY(stored_dek(file, version)).wrapped;
      const auto keys = TRY(policy_keys());
      MutexLock lock(read_mutex_);
      return from_source(reader_, &keys->records, key_context, std::move(wrapped));
    };
    dek.key = TRY(unwrap_by_primary(read, key_context));
  } else {
    const auto kek_key = TRY(kek(KekId{record.scope, stored.kek_version}));
    dek.key = TRY(open_box(kek_key->expose(), key_context.encode(), stored.wrapped));
  }
  if (dek.key.size() != kWrappedKeySize)
    return Error{Code::kCorrupt, 0, "keystore: a data key has a wrong length"};
  return dek;
}

Result<void> Keyring::readmit(const FileRecord& record) {
  return change_records([&](const PolicyKeys& keys) NO_THREAD_SAFETY_ANALYSIS -> Result<bool> {
    TRY(readmit_row(keys, record));
    return true;
  });
}

Result<void> Keyring::readmit_row(const PolicyKeys& keys, const FileRecord& record) {
  Statement find = TRY(database_.prepare(kSelectDek));
  const auto stored = TRY(select_dek(find, record.file, record.version));
  if (!stored.has_value()) {
    return Error{Code::kNotFound, 0, "the keystore has no key for file " + record.file.hex()};
  }
  TRY(authenticate(keys.records, *stored));
  if (!usable_for(stored->record.state, DekUse::kRecovery)) {
    return Error{Code::kRevoked, 0,
                 "the key of file " + record.file.hex() + " is " +
                     std::string(to_string(stored->record.state)) + " and stays so"};
  }
  // A record only ever rises: what was put back is given a newer generation first.
  if (record.generation < stored->record.generation) {
    return Error{Code::kRolledBack, 0,
                 "generation " + std::to_string(record.generation) + " of file " +
                     record.file.hex() + " is older than its record"};
  }
  Statement update = TRY(database_.prepare(kUpdateRecord));
  return write_record(update, keys.records,
                      DekRecord{.file = record.file,
                                .version = record.version,
                                .scope = stored->record.scope,
                                .state = KeyState::kActive,
                                .changed_at = clock_.unix_seconds(),
                                .generation = record.generation,
                                .root = record.root});
}

Result<void> Keyring::set_key_state(DekId key, KeyState state) {
  return change_records([&](const PolicyKeys& keys) NO_THREAD_SAFETY_ANALYSIS -> Result<bool> {
    TRY(set_row_state(keys, key, state));
    return true;
  });
}

Result<void> Keyring::set_row_state(const PolicyKeys& keys, DekId key, KeyState state) {
  Statement find = TRY(database_.prepare(kSelectDek));
  const auto stored = TRY(select_dek(find, key.file, key.version));
  if (!stored.has_value())
    return Error{Code::kNotFound, 0, "the keystore has no key for file " + key.file.hex()};
  TRY(authenticate(keys.records, *stored));
  TRY(check_transition(stored->record.state, state, "the key of file " + key.file.hex()));
  DekRecord next = stored->record;
  next.state = state;
  next.changed_at = clock_.unix_seconds();
  Statement update = TRY(database_.prepare(kUpdateRecord));
  return write_record(update, keys.records, next);
}

Result<void> Keyring::record(std::span<const FileRecord> records) {
  if (records.empty()) return {};
  return change_records([&](const PolicyKeys& keys) NO_THREAD_SAFETY_ANALYSIS -> Result<bool> {
    return record_rows(keys, records);
  });
}

Result<bool> Keyring::record_rows(const PolicyKeys& keys, std::span<const FileRecord> records) {
  const std::int64_t now = clock_.unix_seconds();
  bool changed = false;
  Statement find = TRY(database_.prepare(kSelectDek));
  Statement update = TRY(database_.prepare(kUpdateRecord));
  for (const FileRecord& entry : records) {
    const auto stored = TRY(select_dek(find, entry.file, entry.version));
    // An altered row is left as it is, for the next open to refuse; a key that was suspended or
    // revoked meanwhile stays so.
    if (!stored.has_value() || !authenticate(keys.records, *stored) ||
        !is_usable(stored->record.state)) {
      continue;
    }
    const bool older = entry.generation < stored->record.generation;
    // A deleted file's key is to be destroyed, whatever its last generation was taken for.
    if (older && is_usable(entry.state)) continue;
    const DekRecord next{.file = entry.file,
                         .version = entry.version,
                         .scope = stored->record.scope,
                         .state = entry.state,
                         .changed_at = now,
                         .generation = older ? stored->record.generation : entry.generation,
                         .root = older ? stored->record.root : entry.root};
    TRY(write_record(update, keys.records, next));
    changed = true;
  }
  return changed;
}

Result<void> Keyring::visit_keys(const std::function<bool(const KeyRow&)>& visit, FileId from) {
  Database database = TRY(Database::open(path_, Database::Mode::kReadOnly));
  Statement statement = TRY(database.prepare(
      "SELECT file_id, version, scope_id, kek_version, state, created_at, changed_at, generation"
      " FROM deks WHERE file_id >= ? ORDER BY file_id, version;"));
  // From the start means malformed ids too, which may sort before any that is well-formed.
  Query row = statement.start(from == FileId{} ? Bytes() : from.view());
  while (TRY(row.next())) {
    if (row.blob(0).size() != 16) return Error{Code::kCorrupt, 0, "keystore: malformed file id"};
    const KeyRow key{.file = FileId::from(row.blob(0)),
                     .version = KeyVersion{static_cast<std::uint32_t>(row.integer(1))},
                     .scope = ScopeId{static_cast<std::uint32_t>(row.integer(2))},
                     .kek_version = KeyVersion{static_cast<std::uint32_t>(row.integer(3))},
                     .state = state_from(row.integer(4)),
                     .created_at = row.integer(5),
                     .changed_at = row.integer(6),
                     .generation = static_cast<std::uint64_t>(row.integer(7))};
    if (!visit(key)) break;
  }
  return {};
}

}  // namespace coffer

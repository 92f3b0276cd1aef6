#include "keystore/keyring/master_rows.h"

#include <algorithm>

#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::size_t kMacSize = 16;
constexpr std::uint8_t kIsNext = 1;
constexpr std::uint8_t kIsRecovery = 2;

std::string role_row(MasterId id) { return "master:" + std::to_string(id.value); }

std::string copy_row(MasterId id, const KeyContext& context) {
  const std::string begin = "copy:" + std::to_string(id.value) + ":";
  if (context.purpose == KeyContext::Purpose::kPolicyKey) return begin + "policy_key";
  return begin + "kek:" + std::to_string(context.scope.value) + ":" +
         std::to_string(context.version.value);
}

Result<MasterRole> role_of(Database& database, MasterId id, std::int64_t state,
                           std::int64_t primary) {
  if (state == static_cast<int>(KeyState::kActive))
    return id.value == primary ? MasterRole::kPrimary : MasterRole::kFormer;
  if (state != static_cast<int>(KeyState::kPreActivation)) return MasterRole::kFormer;
  const ByteVector role = TRY(read_meta(database, role_row(id)));
  if (role == ByteVector{kIsNext}) return MasterRole::kNext;
  if (role == ByteVector{kIsRecovery}) return MasterRole::kRecovery;
  return Error{Code::kCorrupt, 0, "keystore: a master key has an unknown role"};
}

Result<void> insert_row(Database& database, const MasterKeyRecord& master, KeyState state,
                        std::int64_t now) {
  Statement statement =
      TRY(database.prepare("INSERT INTO masters (uri, version, params, state, created_at) VALUES "
                           "(?1, ?2, ?3, ?4, ?5);"));
  return statement.start(master.uri, master.version, master.params, static_cast<int>(state), now)
      .run();
}

/// What must be the only number.
Result<std::int64_t> number(Database& database, Sql sql) {
  Statement statement = TRY(database.prepare(sql));
  Query query = statement.start();
  if (!TRY(query.next())) return Error{Code::kCorrupt, 0, "keystore: a number is missing"};
  return query.integer(0);
}

KeyContext dek_context(StoreId store, const Query& row) {
  return {.purpose = KeyContext::Purpose::kDek,
          .store = store,
          .scope = ScopeId{static_cast<std::uint32_t>(row.integer(2))},
          .wrapping_kek = {},
          .file = FileId::from(row.blob(0)),
          .version = KeyVersion{static_cast<std::uint32_t>(row.integer(1))}};
}

ByteVector copy_mac(const HmacKey& records, MasterId id, const KeyContext& context, Bytes wrapped) {
  constexpr std::string_view kLabel = "coffer/1/dek-copy";
  const Digest mac = records.mac(ByteWriter()
                                     .text(kLabel)
                                     .bytes(ByteVector(32 - kLabel.size()))
                                     .le(id.value)
                                     .bytes(context.file.view())
                                     .le(context.version.value)
                                     .bytes(wrapped)
                                     .take());
  return {mac.begin(), mac.begin() + kMacSize};
}

}  // namespace

std::string_view to_string(MasterRole role) {
  switch (role) {
    case MasterRole::kPrimary:
      return "primary";
    case MasterRole::kNext:
      return "next";
    case MasterRole::kRecovery:
      return "recovery";
    case MasterRole::kFormer:
      return "former";
  }
  return "unknown";
}

Result<void> insert_master(Database& database, const MasterKeyRecord& master, std::int64_t now) {
  return insert_row(database, master, KeyState::kActive, now);
}

Result<MasterKeyRecord> select_active_master(Database& database) {
  Statement statement = TRY(database.prepare(
      "SELECT uri, version, params FROM masters WHERE state = 2 ORDER BY id DESC LIMIT 1;"));
  Query query = statement.start();
  if (!TRY(query.next())) return Error{Code::kCorrupt, 0, "keystore names no master key"};
  return MasterKeyRecord{std::string(query.text(0)), std::string(query.text(1)),
                         std::string(query.text(2))};
}

Result<std::vector<MasterRow>> select_masters(Database& database) {
  const std::int64_t primary =
      TRY(number(database, "SELECT coalesce(max(id), 0) FROM masters WHERE state = 2;"));
  Statement statement = TRY(database.prepare(
      "SELECT id, uri, version, params, state, created_at FROM masters ORDER BY id;"));
  Query row = statement.start();
  std::vector<MasterRow> masters;
  while (TRY(row.next())) {
    const MasterId id{static_cast<std::uint32_t>(row.integer(0))};
    const MasterRole role = TRY(role_of(database, id, row.integer(4), primary));
    masters.push_back(
        {.id = id,
         .record = {std::string(row.text(1)), std::string(row.text(2)), std::string(row.text(3))},
         .role = role,
         .created_at = row.integer(5)});
  }
  return masters;
}

Result<std::optional<MasterRow>> select_master(Database& database, MasterRole role) {
  for (MasterRow& row : TRY(select_masters(database))) {
    if (row.role == role) return std::optional<MasterRow>(std::move(row));
  }
  return std::optional<MasterRow>();
}

Result<MasterId> insert_standby(Database& database, const MasterKeyRecord& master, MasterRole role,
                                std::int64_t now) {
  TRY(insert_row(database, master, KeyState::kPreActivation, now));
  const MasterId id{
      static_cast<std::uint32_t>(TRY(number(database, "SELECT max(id) FROM masters;")))};
  const std::uint8_t mark = role == MasterRole::kNext ? kIsNext : kIsRecovery;
  TRY(write_meta(database, role_row(id), {&mark, 1}));
  return id;
}

Result<void> delete_standby(Database& database, MasterId id) {
  Statement meta = TRY(database.prepare("DELETE FROM meta WHERE name = ?1 OR name GLOB ?2;"));
  TRY(meta.start(role_row(id), "copy:" + std::to_string(id.value) + ":*").run());
  // An id is never used again: copies of file keys that are left over mean nothing.
  Statement row = TRY(database.prepare("UPDATE masters SET state = 4 WHERE id = ?1;"));
  return row.start(id.value).run();
}

Result<void> make_primary(Database& database, MasterId next) {
  TRY(database.execute("UPDATE masters SET state = 4 WHERE state = 2;"));
  TRY(delete_standby(database, next));
  Statement statement = TRY(database.prepare("UPDATE masters SET state = 2 WHERE id = ?1;"));
  TRY(statement.start(next.value).run());
  Statement keks = TRY(database.prepare("UPDATE keks SET master_id = ?1;"));
  return keks.start(next.value).run();
}

Result<std::vector<WrappedKey>> select_wrapped(Database& database, StoreId store) {
  std::vector<WrappedKey> keys = {
      {KeyContext::of_policy_key(store), TRY(read_meta(database, "policy_key"))}};
  Statement statement = TRY(
      database.prepare("SELECT scope_id, version, wrapped FROM keks ORDER BY scope_id, version;"));
  Query row = statement.start();
  while (TRY(row.next())) {
    keys.push_back({{.purpose = KeyContext::Purpose::kKek,
                     .store = store,
                     .scope = ScopeId{static_cast<std::uint32_t>(row.integer(0))},
                     .wrapping_kek = {},
                     .file = {},
                     .version = KeyVersion{static_cast<std::uint32_t>(row.integer(1))}},
                    ByteVector(row.blob(2).begin(), row.blob(2).end())});
  }
  return keys;
}

Result<void> update_wrapped(Database& database, const KeyContext& context, Bytes wrapped) {
  if (context.purpose == KeyContext::Purpose::kPolicyKey)
    return write_meta(database, "policy_key", wrapped);
  Statement statement =
      TRY(database.prepare("UPDATE keks SET wrapped = ?3 WHERE scope_id = ?1 AND version = ?2;"));
  return statement.start(context.scope.value, context.version.value, wrapped).run();
}

Result<std::optional<ByteVector>> select_copy(Database& database, MasterId id,
                                              const KeyContext& context) {
  const std::string name = copy_row(id, context);
  if (!TRY(has_meta(database, name))) return std::optional<ByteVector>();
  return std::optional<ByteVector>(TRY(read_meta(database, name)));
}

Result<void> write_copy(Database& database, MasterId id, const KeyContext& context, Bytes wrapped) {
  return write_meta(database, copy_row(id, context), wrapped);
}

Result<bool> has_direct_scopes(Database& database) {
  return TRY(number(database, "SELECT EXISTS (SELECT 1 FROM scopes WHERE wrap = 2);")) != 0;
}

Result<std::vector<WrappedDek>> select_wrapped_deks(Database& database, StoreId store,
                                                    const HmacKey& records, MasterId copies_of,
                                                    std::size_t most, DekPlace& after) {
  Statement statement = TRY(database.prepare(
      TRY(has_dek_copies(database))
          ? Sql("SELECT d.file_id, d.version, d.scope_id, d.wrapped, c.wrapped, c.mac FROM deks d"
                " LEFT JOIN dek_copies c ON c.master_id = ?4 AND c.file_id = d.file_id AND"
                " c.version = d.version WHERE d.kek_version = 0 AND"
                " (d.file_id, d.version) > (?1, ?2) ORDER BY d.file_id, d.version LIMIT ?3;")
          : Sql("SELECT file_id, version, scope_id, wrapped, NULL, NULL FROM deks WHERE"
                " kek_version = 0 AND (file_id, version) > (?1, ?2) AND ?4 = ?4"
                " ORDER BY file_id, version LIMIT ?3;")));
  Query row = statement.start(Bytes(after.file), after.version, most, copies_of.value);
  std::vector<WrappedDek> deks;
  while (TRY(row.next())) {
    after.file.assign(row.blob(0).begin(), row.blob(0).end());
    after.version = static_cast<std::uint32_t>(row.integer(1));
    if (after.file.size() != 16) return Error{Code::kCorrupt, 0, "keystore: malformed file id"};
    WrappedDek& dek = deks.emplace_back(WrappedDek{
        .key = {dek_context(store, row), ByteVector(row.blob(3).begin(), row.blob(3).end())},
        .copy = ByteVector(row.blob(4).begin(), row.blob(4).end())});
    if (!dek.copy.empty() &&
        !constant_time_equal(row.blob(5), copy_mac(records, copies_of, dek.key.context, dek.copy)))
      dek.copy.clear();
  }
  return deks;
}

Result<std::uint64_t> count_wrapped_deks(Database& database) {
  if (!TRY(has_direct_scopes(database))) return std::uint64_t{0};
  return static_cast<std::uint64_t>(
      TRY(number(database, "SELECT count(*) FROM deks WHERE kek_version = 0;")));
}

Result<void> update_wrapped_deks(Database& database, std::span<const WrappedDek> deks,
                                 std::span<const ByteVector> wrapped) {
  Statement statement = TRY(database.prepare(
      "UPDATE deks SET wrapped = ?4 WHERE file_id = ?1 AND version = ?2 AND wrapped = ?3;"));
  for (std::size_t i = 0; i < deks.size(); ++i) {
    const KeyContext& context = deks[i].key.context;
    TRY(statement
            .start(context.file.view(), context.version.value, Bytes(deks[i].key.wrapped),
                   Bytes(wrapped[i]))
            .run());
  }
  return {};
}

Result<void> create_dek_copies(Database& database) {
  return database.execute(
      "CREATE TABLE IF NOT EXISTS dek_copies (master_id INTEGER NOT NULL, file_id BLOB NOT NULL,"
      " version INTEGER NOT NULL, wrapped BLOB NOT NULL, mac BLOB NOT NULL,"
      " PRIMARY KEY (master_id, file_id, version)) STRICT, WITHOUT ROWID;");
}

Result<bool> has_dek_copies(Database& database) {
  return TRY(number(database,
                    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'dek_copies');")) != 0;
}

Result<void> write_dek_copy(Database& database, const HmacKey& records, MasterId id,
                            const KeyContext& context, Bytes wrapped) {
  Statement statement = TRY(
      database.prepare("INSERT OR REPLACE INTO dek_copies (master_id, file_id, version, wrapped, "
                       "mac) VALUES (?1, ?2, ?3, ?4, ?5);"));
  return statement
      .start(id.value, context.file.view(), context.version.value, wrapped,
             Bytes(copy_mac(records, id, context, wrapped)))
      .run();
}

Result<std::optional<ByteVector>> select_dek_copy(Database& database, const HmacKey& records,
                                                  MasterId id, const KeyContext& context) {
  Statement statement = TRY(
      database.prepare("SELECT wrapped, mac FROM dek_copies WHERE master_id = ?1 AND file_id = ?2"
                       " AND version = ?3;"));
  Query row = statement.start(id.value, context.file.view(), context.version.value);
  if (!TRY(row.next())) return std::optional<ByteVector>();
  if (!constant_time_equal(row.blob(1), copy_mac(records, id, context, row.blob(0))))
    return std::optional<ByteVector>();
  return std::optional<ByteVector>(ByteVector(row.blob(0).begin(), row.blob(0).end()));
}

Result<void> delete_dek_copies_of(Database& database, std::span<const FileId> files) {
  if (!TRY(has_dek_copies(database))) return {};
  Statement statement = TRY(database.prepare(
      "DELETE FROM dek_copies WHERE file_id = ?1 AND NOT EXISTS (SELECT 1 FROM deks WHERE"
      " deks.file_id = ?1) AND master_id IN (SELECT id FROM masters WHERE state = 1);"));
  for (const FileId& file : files) TRY(statement.start(file.view()).run());
  return {};
}

namespace {

/// Of those for `id`, from the first on, by their index: to look for each row, or past others'
/// rows, for every page takes the square of their number.
Result<std::uint64_t> delete_first_dek_copies(Database& database, std::int64_t id,
                                              std::size_t most) {
  Statement statement = TRY(database.prepare(
      "DELETE FROM dek_copies WHERE master_id = ?1 AND (file_id, version) <= (SELECT"
      " max(file_id), max(version) FROM (SELECT file_id, version FROM dek_copies WHERE"
      " master_id = ?1 ORDER BY file_id, version LIMIT ?2));"));
  TRY(statement.start(id, most).run());
  return static_cast<std::uint64_t>(database.changes());
}

}  // namespace

Result<std::uint64_t> delete_stale_dek_copies(Database& database, std::size_t most) {
  if (!TRY(has_dek_copies(database))) return std::uint64_t{0};
  Statement statement = TRY(database.prepare(
      "SELECT master_id FROM dek_copies WHERE master_id > ?1 ORDER BY master_id LIMIT 1;"));
  Statement standing = TRY(database.prepare("SELECT 1 FROM masters WHERE id = ?1 AND state = 1;"));
  for (std::int64_t after = -1;;) {
    Query row = statement.start(after);
    if (!TRY(row.next())) return std::uint64_t{0};
    after = row.integer(0);
    Query stands = standing.start(after);
    if (!TRY(stands.next())) return delete_first_dek_copies(database, after, most);
  }
}

}  // namespace coffer

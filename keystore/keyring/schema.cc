#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::int64_t kApplicationId = 0x434F4652;  // "COFR"
constexpr std::int64_t kSchemaVersion = 1;

Result<std::int64_t> pragma(Database& database, Sql sql) {
  Statement statement = TRY(database.prepare(sql));
  Query query = statement.start();
  if (!TRY(query.next())) return Error{Code::kCorrupt, 0, "keystore: a pragma has no value"};
  return query.integer(0);
}

void mac_column(HmacStream& mac, const Query& row, int column) {
  std::array<std::uint8_t, 9> head{};
  std::array<std::uint8_t, 8> number{};
  Bytes content;
  switch (row.type(column)) {
    case Query::Type::kNull:
      break;
    case Query::Type::kInteger:
      store_le(number, 0, static_cast<std::uint64_t>(row.integer(column)));
      content = number;
      break;
    case Query::Type::kText:
      content = as_bytes(row.text(column));
      break;
    case Query::Type::kBlob:
      content = row.blob(column);
      break;
  }
  head[0] = static_cast<std::uint8_t>(row.type(column));
  store_le(head, 1, static_cast<std::uint64_t>(content.size()));
  mac.add(head);
  mac.add(content);
}

Result<void> mac_table(HmacStream& mac, Database& database, std::string_view name, Sql all_rows) {
  const std::uint8_t zero = 0;
  const std::uint8_t row_mark = 'R';
  mac.add(as_bytes(name));
  mac.add({&zero, 1});
  Statement statement = TRY(database.prepare(all_rows));
  Query query = statement.start();
  while (TRY(query.next())) {
    mac.add({&row_mark, 1});
    for (int column = 0; column < query.columns(); ++column) mac_column(mac, query, column);
  }
  return {};
}

}  // namespace

Result<void> create_schema(Database& database) {
  return database.execute(R"sql(
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE masters (id INTEGER PRIMARY KEY, uri TEXT NOT NULL, version TEXT NOT NULL, params TEXT NOT NULL,
                          state INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
    CREATE TABLE scopes (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL, root_dir_id BLOB NOT NULL, sensitivity INTEGER NOT NULL,
                         suite INTEGER NOT NULL, chunk_log2 INTEGER NOT NULL, wrap INTEGER NOT NULL, retention_s INTEGER NOT NULL,
                         state INTEGER NOT NULL, secret BLOB NOT NULL, secret_kek INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
    CREATE TABLE keks (scope_id INTEGER NOT NULL REFERENCES scopes, version INTEGER NOT NULL, state INTEGER NOT NULL,
                       master_id INTEGER NOT NULL REFERENCES masters, wrapped BLOB NOT NULL, created_at INTEGER NOT NULL,
                       PRIMARY KEY (scope_id, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE grants (id INTEGER PRIMARY KEY AUTOINCREMENT, scope_id INTEGER NOT NULL REFERENCES scopes, deny INTEGER NOT NULL,
                         rights INTEGER NOT NULL, everyone INTEGER NOT NULL, not_before INTEGER, not_after INTEGER, purpose TEXT NOT NULL,
                         created_by TEXT NOT NULL, created_at INTEGER NOT NULL, revoked_at INTEGER) STRICT;
    CREATE TABLE grant_selectors (grant_id INTEGER NOT NULL REFERENCES grants, selector TEXT NOT NULL,
                                  PRIMARY KEY (grant_id, selector)) STRICT, WITHOUT ROWID;
    CREATE TABLE deks (file_id BLOB NOT NULL, version INTEGER NOT NULL, scope_id INTEGER NOT NULL, kek_version INTEGER NOT NULL,
                       state INTEGER NOT NULL, wrapped BLOB NOT NULL, created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL,
                       generation INTEGER NOT NULL, root BLOB NOT NULL, record_mac BLOB NOT NULL,
                       PRIMARY KEY (file_id, version)) STRICT, WITHOUT ROWID;
    PRAGMA application_id = 0x434F4652;
    PRAGMA user_version = 1;
  )sql");
}

Result<void> check_schema(Database& database) {
  if (TRY(pragma(database, "PRAGMA application_id;")) != kApplicationId) {
    return Error{Code::kCorrupt, 0, "the database is not a coffer keystore"};
  }
  const std::int64_t version = TRY(pragma(database, "PRAGMA user_version;"));
  if (version > kSchemaVersion) {
    return Error{Code::kUnknownVersion, 0,
                 "keystore has schema version " + std::to_string(version) +
                     ", this program knows " + std::to_string(kSchemaVersion) +
                     "; use a newer coffer"};
  }
  if (version < 1) return Error{Code::kCorrupt, 0, "keystore has no schema version"};
  return {};
}

Result<Digest> policy_mac(Database& database, Bytes mac_key) {
  HmacStream mac(mac_key);
  // The schema too: an index of an attacker's making would be read in place of the rows below it.
  TRY(mac_table(mac, database, "sqlite_schema",
                "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name;"));
  TRY(mac_table(mac, database, "meta",
                "SELECT * FROM meta WHERE name <> 'policy_mac' ORDER BY name;"));
  TRY(mac_table(mac, database, "masters", "SELECT * FROM masters ORDER BY id;"));
  TRY(mac_table(mac, database, "scopes", "SELECT * FROM scopes ORDER BY id;"));
  TRY(mac_table(mac, database, "keks", "SELECT * FROM keks ORDER BY scope_id, version;"));
  TRY(mac_table(mac, database, "grants", "SELECT * FROM grants ORDER BY id;"));
  TRY(mac_table(mac, database, "grant_selectors",
                "SELECT * FROM grant_selectors ORDER BY grant_id, selector;"));
  return mac.finish();
}

Result<ByteVector> read_meta(Database& database, std::string_view name) {
  Statement statement = TRY(database.prepare("SELECT value FROM meta WHERE name = ?1;"));
  Query query = statement.start(name);
  if (!TRY(query.next())) {
    return Error{Code::kCorrupt, 0, "keystore: " + std::string(name) + " is missing"};
  }
  const Bytes value = query.blob(0);
  return ByteVector(value.begin(), value.end());
}

Result<bool> has_meta(Database& database, std::string_view name) {
  Statement statement = TRY(database.prepare("SELECT 1 FROM meta WHERE name = ?1;"));
  Query query = statement.start(name);
  return query.next();
}

Result<void> write_meta(Database& database, std::string_view name, Bytes value) {
  Statement statement =
      TRY(database.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2);"));
  return statement.start(name, value).run();
}

}  // namespace coffer

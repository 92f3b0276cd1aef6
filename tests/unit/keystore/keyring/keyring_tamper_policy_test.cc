// What someone does who can write the keystore file and has no key: every change of what the policy
// is read from has to be refused, by a fresh program and by one that has the keystore open.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::everyone_grant;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;

const std::vector<std::string> kPolicyTables = {"meta", "masters", "scopes",
                                                "keks", "grants",  "grant_selectors"};

/// A keystore with a few rows in every table, put back before each attack.
class KeyringTamperPolicy : public ::testing::Test {
 protected:
  KeyringTamperPolicy() {
    const auto keyring = store_.open();
    const ScopeId other = must_be(keyring->add_scope("/other", DirId{}, ScopeSettings{}));
    must_be(keyring->add_grant(selector_grant(other, {"unix:uid:1", "unix:gid:2"}, 3)));
    GrantRow grant = selector_grant(kRootScope, {"unix:uid:3"}, 1);
    grant.deny = true;
    grant.not_before = 5;
    grant.not_after = 6;
    must_be(keyring->revoke_grant(must_be(keyring->add_grant(grant))));
    deks_ = must_be(keyring->make_deks(kRootScope, 2));
  }

  void SetUp() override { keep(); }

  void keep() {
    std::filesystem::copy_file(store_.path, pristine_,
                               std::filesystem::copy_options::overwrite_existing);
  }

  void put_back() {
    for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(store_.path + suffix);
    std::filesystem::copy_file(pristine_, store_.path,
                               std::filesystem::copy_options::overwrite_existing);
  }

  /// Expects that after `sql` nothing reads the policy, changes it, or opens the keystore.
  void expect_refused(const std::string& sql, const std::string& open_says = "corrupt") {
    SCOPED_TRACE(sql);
    put_back();
    ASSERT_EQ(outcome(store_.check()), "ok");
    {
      const auto live = store_.open();
      RawDatabase(store_.path).run(sql);
      EXPECT_EQ(outcome(live->policy()), "corrupt");
      EXPECT_EQ(outcome(live->keks()), "corrupt");
      EXPECT_EQ(outcome(live->add_grant(everyone_grant(kRootScope))), "corrupt");
      EXPECT_EQ(outcome(live->revoke_grant(GrantId{1})), "corrupt");
      EXPECT_EQ(outcome(live->add_scope("/new", DirId{}, ScopeSettings{})), "corrupt");
      // What these read of the policy tables is refused with them.
      EXPECT_EQ(outcome(live->scope_secret(kRootScope)), "corrupt");
      EXPECT_EQ(outcome(live->make_deks(kRootScope, 1)), "corrupt");
      EXPECT_EQ(outcome(live->dek(deks_[0].file, deks_[0].version)), "corrupt");
    }
    EXPECT_EQ(outcome(store_.check()), open_says);
    ++attacks_;
  }

  /// SQL literals that differ from `literal`, and can stand in the same column.
  static std::vector<std::string> other_values(const std::string& literal, bool nullable) {
    std::vector<std::string> values;
    if (literal == "NULL") {
      values = {"0", "1"};
    } else if (literal.starts_with("X'")) {
      std::string flipped = literal;
      char& digit = flipped[flipped.size() - 2];
      digit = digit == '0' ? '1' : '0';
      values = {flipped, "X''", literal.substr(0, literal.size() - 1) + "00'"};
    } else if (literal.starts_with("'")) {
      values = {literal.substr(0, literal.size() - 1) + "x'", "''"};
      std::erase(values, literal);
    } else {
      values = {"(" + literal + ") + 1000", "-1", "4294967296 + (" + literal + ")"};
    }
    if (nullable && literal != "NULL") values.emplace_back("NULL");
    return values;
  }

  TestStore store_;
  std::vector<Dek> deks_;
  const std::string pristine_ = store_.dir.file("pristine.db");
  int attacks_ = 0;
};

TEST_F(KeyringTamperPolicy, EveryColumnOfEveryRowIsGuarded) {
  int columns_seen = 0;
  for (const std::string& table : kPolicyTables) {
    put_back();
    std::vector<std::string> columns;
    std::vector<std::string> nullable;
    std::vector<std::string> keys;
    std::vector<std::vector<std::string>> rows;
    {
      RawDatabase raw(store_.path);
      const std::string info = " FROM pragma_table_info('" + table + "')";
      columns = raw.column("SELECT name" + info);
      nullable = raw.column("SELECT name" + info + " WHERE NOT \"notnull\" AND NOT pk");
      keys = raw.column("SELECT name" + info + " WHERE pk");
      rows = raw.quoted("SELECT * FROM " + table);
    }
    ASSERT_FALSE(rows.empty()) << table;
    ASSERT_FALSE(keys.empty()) << table;
    columns_seen += static_cast<int>(columns.size());
    const auto among = [](const std::vector<std::string>& names, const std::string& name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    for (const auto& row : rows) {
      std::string where;
      for (std::size_t i = 0; i < columns.size(); ++i) {
        if (!among(keys, columns[i])) continue;
        where += (where.empty() ? " WHERE " : " AND ") + columns[i] + " = " + row[i];
      }
      for (std::size_t i = 0; i < columns.size(); ++i) {
        for (const std::string& value : other_values(row[i], among(nullable, columns[i]))) {
          const bool store_id = table == "meta" && row[0] == "'store_id'" && columns[i] == "value";
          // Cut short, the store id is no id; of its length, it is another store's.
          const bool foreign = store_id && value.size() == row[i].size();
          expect_refused("UPDATE " + table + " SET " + columns[i] + " = " + value + where,
                         foreign ? "foreign-keystore" : "corrupt");
        }
      }
    }
  }
  EXPECT_EQ(columns_seen, 2 + 6 + 12 + 6 + 11 + 2);
  EXPECT_GT(attacks_, 200);
}

TEST_F(KeyringTamperPolicy, NoRowCanBeTakenAway) {
  for (const std::string& table : kPolicyTables) {
    put_back();
    const std::int64_t rows = RawDatabase(store_.path).number("SELECT count(*) FROM " + table);
    const std::string order = table == "meta"              ? "name"
                              : table == "keks"            ? "scope_id, version"
                              : table == "grant_selectors" ? "grant_id, selector"
                                                           : "id";
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::string key = order.substr(0, order.find(','));
      const std::string all_of_key = order.find(',') == std::string::npos ? key : "(" + order + ")";
      expect_refused("DELETE FROM " + table + " WHERE " + all_of_key + " = (SELECT " + order +
                     " FROM " + table + " ORDER BY " + order + " LIMIT 1 OFFSET " +
                     std::to_string(i) + ")");
    }
    expect_refused("DELETE FROM " + table);
  }
}

TEST_F(KeyringTamperPolicy, NoRowCanBeAdded) {
  for (const char* sql :
       {"INSERT INTO grants (scope_id, deny, rights, everyone, purpose, created_by, created_at)"
        " VALUES (1, 0, 7, 1, '', '', 1)",
        "INSERT INTO grant_selectors VALUES (1, 'unix:uid:9')",
        "INSERT INTO grant_selectors VALUES (77, 'unix:uid:9')",
        "INSERT INTO keks SELECT scope_id, 2, state, master_id, wrapped, created_at FROM keks"
        " WHERE scope_id = 1",
        "INSERT INTO masters (uri, version, params, state, created_at)"
        " VALUES ('local:/tmp/evil', '1', '', 2, 1)",
        "INSERT INTO scopes SELECT 3, path, root_dir_id, sensitivity, suite, chunk_log2, wrap,"
        " retention_s, state, secret, secret_kek, created_at FROM scopes WHERE id = 2",
        "INSERT INTO meta VALUES ('extra', X'00')"}) {
    expect_refused(sql);
  }
}

/// Rows 1 and 2 of `table` change places in `column`.
std::string swap_rows(const std::string& table, const std::string& key, const std::string& column) {
  return "CREATE TEMP TABLE was AS SELECT * FROM " + table + "; UPDATE " + table + " SET " +
         column + " = (SELECT " + column + " FROM was WHERE was." + key + " = 3 - " + table + "." +
         key + ") WHERE " + key + " IN (1, 2); DROP TABLE was;";
}

TEST_F(KeyringTamperPolicy, NoTwoRowsCanBeSwapped) {
  for (const char* column : {"path", "secret", "root_dir_id"}) {
    expect_refused(swap_rows("scopes", "id", column));
  }
  expect_refused(swap_rows("keks", "scope_id", "wrapped"));
  expect_refused(swap_rows("grants", "id", "scope_id"));
  expect_refused("UPDATE grant_selectors SET grant_id = 5 - grant_id WHERE grant_id IN (2, 3)");
}

TEST_F(KeyringTamperPolicy, NothingCanBeAddedToTheSchema) {
  for (const char* sql : {"CREATE INDEX evil ON grants(everyone)", "CREATE TABLE evil (a)",
                          "CREATE VIEW evil AS SELECT 1",
                          "CREATE TRIGGER evil AFTER INSERT ON deks BEGIN DELETE FROM deks; END",
                          "ALTER TABLE grants ADD COLUMN evil INTEGER", "ANALYZE",
                          "ALTER TABLE deks RENAME COLUMN created_at TO made_at"}) {
    expect_refused(sql);
  }
}

TEST_F(KeyringTamperPolicy, ADoctoredIndexIsNotReadInPlaceOfItsTable) {
  // The MAC is over `SELECT *`; a query of fewer columns may be answered from an index that covers
  // them, and an index can be made to hold other rows than its table.
  const std::string columns =
      "(id, path, root_dir_id, sensitivity, suite, chunk_log2, wrap, retention_s, state,"
      " created_at)";
  expect_refused(
      "CREATE TABLE shadow AS SELECT * FROM scopes;"
      "UPDATE shadow SET state = 5, sensitivity = 0, wrap = 2;"
      "CREATE INDEX shadow_index ON shadow" +
      columns +
      ";"
      "CREATE INDEX evil ON scopes" +
      columns +
      ";"
      "PRAGMA writable_schema = ON;"
      "UPDATE sqlite_schema SET rootpage ="
      " (SELECT rootpage FROM sqlite_schema WHERE name = 'shadow_index')"
      " WHERE name = 'evil';"
      "DELETE FROM sqlite_schema WHERE name LIKE 'shadow%';"
      "PRAGMA writable_schema = RESET;");
}

TEST_F(KeyringTamperPolicy, AnOlderPolicyOfTheSameStoreIsAuthenticButOlder) {
  // A rollback of the whole file can't be told from the file; what shows it is the generation.
  {
    const auto keyring = store_.open();
    must_be(keyring->add_grant(everyone_grant(kRootScope)));
    EXPECT_EQ(must_be(keyring->policy()).generation, 6U);
  }
  put_back();
  EXPECT_EQ(must_be(store_.open()->policy()).generation, 5U);
}

TEST_F(KeyringTamperPolicy, AKekIsBoundToItsScopeEvenUnderAValidMac) {
  testing::change_policy_by_hand(store_, swap_rows("keks", "scope_id", "wrapped"));
  const auto keyring = store_.open();
  EXPECT_EQ(outcome(keyring->dek(deks_[0].file, deks_[0].version)), "corrupt");
  EXPECT_EQ(outcome(keyring->make_deks(kRootScope, 1)), "corrupt");
  EXPECT_EQ(outcome(keyring->scope_secret(ScopeId{2})), "corrupt");
}

TEST_F(KeyringTamperPolicy, ASecretAndAPathAreBoundToTheirScopeEvenUnderAValidMac) {
  testing::change_policy_by_hand(store_, swap_rows("scopes", "id", "secret"));
  {
    const auto keyring = store_.open();
    EXPECT_EQ(outcome(keyring->scope_secret(kRootScope)), "corrupt");
    EXPECT_EQ(outcome(keyring->scope_secret(ScopeId{2})), "corrupt");
  }
  put_back();
  testing::change_policy_by_hand(store_, swap_rows("scopes", "id", "path"));
  EXPECT_EQ(outcome(store_.check()), "corrupt");
}

TEST_F(KeyringTamperPolicy, ARetiredKekCannotBeWokenBetweenTwoReads) {
  testing::change_policy_by_hand(store_, "UPDATE keks SET state = 5 WHERE scope_id = 1");
  const auto live = store_.open();
  EXPECT_EQ(outcome(live->dek(deks_[0].file, deks_[0].version)), "revoked");
  RawDatabase(store_.path).run("UPDATE keks SET state = 2 WHERE scope_id = 1");
  EXPECT_EQ(outcome(live->dek(deks_[0].file, deks_[0].version)), "corrupt");
}

}  // namespace
}  // namespace coffer

// The same attacker on the rows of the data keys. Each column of `deks` stands in a table with what
// is to be expected of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::TestStore;

std::string blob(Bytes bytes) { return "X'" + to_hex(bytes) + "'"; }

class KeyringTamperDeks : public ::testing::Test {
 protected:
  KeyringTamperDeks() : keyring_(store_.open()) {
    other_ = must_be(keyring_->add_scope("/other", DirId{}, ScopeSettings{}));
    deks_ = must_be(keyring_->make_deks(kRootScope, 3));
    for (Dek& dek : must_be(keyring_->make_deks(other_, 1))) deks_.push_back(std::move(dek));
    // The first stays as it was made, the second is a file's.
    FileRecord record{.file = deks_[1].file, .version = deks_[1].version, .generation = 4};
    record.root.fill(0xab);
    must_be(keyring_->record({&record, 1}));
    rows_ = RawDatabase(store_.path).quoted("SELECT * FROM deks");
  }

  static std::string row_of(const Dek& dek) { return " WHERE file_id = " + blob(dek.file.view()); }

  void put_back() {
    RawDatabase raw(store_.path);
    raw.run("DELETE FROM deks");
    for (const auto& row : rows_) {
      std::string values;
      for (const std::string& cell : row) values += (values.empty() ? "" : ", ") + cell;
      raw.run("INSERT INTO deks VALUES (" + values + ")");
    }
    for (const Dek& dek : deks_) ASSERT_EQ(asked(dek), "ok");
  }

  /// What the open Keyring says; a key that it gives has to be the right one.
  std::string asked(const Dek& dek) {
    const auto found = keyring_->dek(dek.file, dek.version);
    if (!found) return outcome(found);
    EXPECT_TRUE(constant_time_equal(found->key.expose(), dek.key.expose()));
    return "ok";
  }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_;
  ScopeId other_;
  std::vector<Dek> deks_;
  std::vector<std::vector<std::string>> rows_;
};

TEST_F(KeyringTamperDeks, EveryColumnIsGuardedOrWithoutEffect) {
  const std::string zeros = blob(ByteVector(16));
  struct Attack {
    const char* column;
    std::string value;
    const char* expected;
  };
  const std::vector<Attack> attacks = {
      {"file_id", zeros, "key-unavailable"},
      {"file_id", "X''", "key-unavailable"},
      {"version", "2", "key-unavailable"},
      {"version", "4294967297", "key-unavailable"},
      {"version", "-1", "key-unavailable"},
      {"scope_id", "2", "corrupt"},
      {"scope_id", "3", "corrupt"},
      {"scope_id", "0", "corrupt"},
      {"scope_id", "-1", "corrupt"},
      {"scope_id", "4294967297", "corrupt"},
      {"kek_version", "2", "key-unavailable"},  // there is no such KEK
      {"kek_version", "0", "corrupt"},          // "wrapped by the master key"
      {"kek_version", "-1", "corrupt"},
      {"kek_version", "4294967297", "corrupt"},
      {"state", "0", "corrupt"},
      {"state", "3", "corrupt"},
      {"state", "4", "corrupt"},
      {"state", "5", "corrupt"},
      {"state", "6", "corrupt"},
      {"state", "7", "corrupt"},
      {"state", "3 - state", "corrupt"},  // active for pre-activation, and back
      {"state", "256 + state", "corrupt"},
      {"wrapped", "X''", "corrupt"},
      {"wrapped", "zeroblob(61)", "unknown-version"},
      {"wrapped", "CAST(X'02' || substr(wrapped, 2) AS BLOB)", "unknown-version"},
      {"wrapped", "CAST(substr(wrapped, 1, 60) AS BLOB)", "corrupt"},
      {"wrapped", "CAST(wrapped || X'00' AS BLOB)", "corrupt"},
      {"wrapped", "(SELECT secret FROM scopes WHERE id = 1)", "corrupt"},
      {"wrapped", "(SELECT wrapped FROM keks WHERE scope_id = 1)", "corrupt"},
      {"created_at", "created_at + 1", "ok"},  // shown in listings; nothing rests on it
      {"created_at", "-1", "ok"},
      {"changed_at", "changed_at + 1", "corrupt"},
      {"changed_at", "-1", "corrupt"},
      {"generation", "generation + 1", "corrupt"},
      {"generation", "generation - 1", "corrupt"},
      {"root", "X''", "corrupt"},
      {"root", "zeroblob(31)", "corrupt"},
      {"root", "zeroblob(33)", "corrupt"},
      {"root", "CAST(substr(root, 1, 31) || X'5a' AS BLOB)", "corrupt"},
      {"record_mac", "X''", "corrupt"},
      {"record_mac", zeros, "corrupt"},
      {"record_mac", "CAST(record_mac || X'00' AS BLOB)", "corrupt"},
      {"record_mac", "CAST(substr(record_mac, 1, 15) AS BLOB)", "corrupt"},
  };
  std::set<std::string> attacked;
  for (const Attack& attack : attacks) {
    attacked.insert(attack.column);
    for (const Dek* dek : {&deks_[0], &deks_[1]}) {
      put_back();
      const std::string sql =
          std::string("UPDATE deks SET ") + attack.column + " = " + attack.value + row_of(*dek);
      RawDatabase(store_.path).run(sql);
      EXPECT_EQ(asked(*dek), attack.expected) << sql;
      EXPECT_EQ(asked(deks_[2]), "ok") << sql;
    }
  }
  const std::vector<std::string> columns =
      RawDatabase(store_.path).column("SELECT name FROM pragma_table_info('deks')");
  EXPECT_EQ(attacked, std::set<std::string>(columns.begin(), columns.end()));
}

TEST_F(KeyringTamperDeks, EveryByteOfTheBlobsIsGuarded) {
  for (const char* column : {"wrapped", "root", "record_mac"}) {
    const ByteVector original =
        RawDatabase(store_.path)
            .value(std::string("SELECT ") + column + " FROM deks" + row_of(deks_[1]));
    for (std::size_t i = 0; i < original.size(); ++i) {
      ByteVector altered = original;
      altered[i] ^= static_cast<std::uint8_t>(1U << (i % 8));
      RawDatabase(store_.path)
          .run(std::string("UPDATE deks SET ") + column + " = " + blob(altered) + row_of(deks_[1]));
      EXPECT_NE(asked(deks_[1]), "ok") << column << " byte " << i;
    }
    RawDatabase(store_.path)
        .run(std::string("UPDATE deks SET ") + column + " = " + blob(original) + row_of(deks_[1]));
    EXPECT_EQ(asked(deks_[1]), "ok") << column;
  }
}

TEST_F(KeyringTamperDeks, ARowUnderAnotherNameIsRefused) {
  FileId moved = deks_[0].file;
  moved.bytes[15] ^= 1;
  RawDatabase raw(store_.path);
  raw.run("UPDATE deks SET file_id = " + blob(moved.view()) + row_of(deks_[0]));
  EXPECT_EQ(outcome(keyring_->dek(moved, deks_[0].version)), "corrupt");
  raw.run("UPDATE deks SET version = 2" + row_of(deks_[2]));
  EXPECT_EQ(outcome(keyring_->dek(deks_[2].file, KeyVersion{2})), "corrupt");
}

TEST_F(KeyringTamperDeks, WrappedKeysCannotBeSwapped) {
  const auto give = [&](const std::string& columns, const std::vector<std::string>& values,
                        const Dek& to) {
    std::string list;
    for (const std::string& value : values) list += (list.empty() ? "" : ", ") + value;
    // A row value of one column is not written in brackets.
    const bool one = values.size() == 1;
    RawDatabase(store_.path)
        .run("UPDATE deks SET " + (one ? columns : "(" + columns + ")") + " = " +
             (one ? list : "(" + list + ")") + row_of(to));
  };
  const Dek& a = deks_[0];
  for (const Dek* b : {&deks_[1], &deks_[2], &deks_[3]}) {
    for (const char* columns : {"wrapped", "wrapped, record_mac", "wrapped, kek_version",
                                "scope_id, wrapped", "scope_id, kek_version, wrapped, record_mac",
                                "scope_id, kek_version, state, wrapped, created_at, changed_at,"
                                " generation, root, record_mac"}) {
      put_back();
      const auto of = [&](const Dek& dek) {
        return RawDatabase(store_.path)
            .quoted(std::string("SELECT ") + columns + " FROM deks" + row_of(dek))
            .front();
      };
      const auto of_a = of(a);
      give(columns, of(*b), a);
      give(columns, of_a, *b);
      EXPECT_EQ(asked(a), "corrupt") << columns;
      EXPECT_EQ(asked(*b), "corrupt") << columns;
    }
  }
}

TEST_F(KeyringTamperDeks, AKeyMovedToAnotherScopeIsRefused) {
  // Even by someone who could forge the record MAC: the wrapped key itself names its scope.
  RawDatabase raw(store_.path);
  raw.run("UPDATE deks SET scope_id = 2" + row_of(deks_[0]));
  EXPECT_EQ(asked(deks_[0]), "corrupt");
  const std::int64_t changed_at = raw.number("SELECT changed_at FROM deks" + row_of(deks_[0]));
  std::array<std::uint8_t, 76> message{};  // state pre-activation, generation 0, no root
  std::copy(deks_[0].file.bytes.begin(), deks_[0].file.bytes.end(), message.begin());
  store_le(message, 16, std::uint32_t{1});
  store_le(message, 20, std::uint32_t{2});
  store_le(message, 24, std::uint32_t{1});
  store_le(message, 28, static_cast<std::uint64_t>(changed_at));
  const Digest forged = HmacKey(testing::policy_secrets(store_).records.expose()).mac(message);
  raw.run("UPDATE deks SET record_mac = " + blob(Bytes(forged).first(16)) + row_of(deks_[0]));
  EXPECT_EQ(asked(deks_[0]), "corrupt");
  // The forged MAC itself holds: it is the wrapping that refuses.
  raw.run("UPDATE deks SET kek_version = 9" + row_of(deks_[0]));
  EXPECT_EQ(asked(deks_[0]), "key-unavailable");
}

TEST_F(KeyringTamperDeks, AKeyOfAnotherStoreIsRefused) {
  TestStore theirs;
  const auto their_keyring = theirs.open();
  const Dek dek = std::move(must_be(their_keyring->make_deks(kRootScope, 1)).front());
  const auto row = RawDatabase(theirs.path).quoted("SELECT * FROM deks").front();
  std::string values;
  for (const std::string& cell : row) values += (values.empty() ? "" : ", ") + cell;
  RawDatabase(store_.path).run("INSERT INTO deks VALUES (" + values + ")");
  EXPECT_EQ(outcome(keyring_->dek(dek.file, dek.version)), "corrupt");
}

TEST_F(KeyringTamperDeks, ADeletedRowIsAMissingKey) {
  RawDatabase(store_.path).run("DELETE FROM deks" + row_of(deks_[1]));
  EXPECT_EQ(asked(deks_[1]), "key-unavailable");
  EXPECT_EQ(asked(deks_[0]), "ok");
}

TEST_F(KeyringTamperDeks, RecordLeavesAnAlteredRowAsItIs) {
  for (const char* change : {"state = 4", "generation = 1", "scope_id = 2", "changed_at = 0",
                             "record_mac = zeroblob(16)", "state = 258", "root = X''"}) {
    put_back();
    RawDatabase raw(store_.path);
    raw.run(std::string("UPDATE deks SET ") + change + row_of(deks_[1]));
    const auto altered = raw.quoted("SELECT * FROM deks" + row_of(deks_[1]));
    std::vector<FileRecord> records;
    for (const Dek* dek : {&deks_[1], &deks_[0]}) {
      records.push_back({.file = dek->file, .version = dek->version, .generation = 9});
    }
    // The rest of the batch is recorded.
    EXPECT_EQ(outcome(keyring_->record(records)), "ok");
    EXPECT_EQ(raw.quoted("SELECT * FROM deks" + row_of(deks_[1])), altered) << change;
    EXPECT_EQ(must_be(keyring_->dek(deks_[0].file, deks_[0].version)).generation, 9U);
    EXPECT_EQ(asked(deks_[1]), "corrupt") << change;
  }
}

TEST_F(KeyringTamperDeks, VisitRefusesAMalformedFileId) {
  RawDatabase(store_.path).run("UPDATE deks SET file_id = X'00'" + row_of(deks_[1]));
  EXPECT_EQ(outcome(keyring_->visit_keys([](const KeyRow&) { return true; })), "corrupt");
}

}  // namespace
}  // namespace coffer

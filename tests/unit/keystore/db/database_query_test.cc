#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>

#include "keystore/db/database.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/db/database_access.h"

namespace coffer {
namespace {

using testing::TempDir;

class DatabaseQuery : public ::testing::Test {
 protected:
  Statement prepare(Sql sql) {
    auto statement = database_.prepare(sql);
    if (!statement) throw std::runtime_error(statement.error().message());
    return *std::move(statement);
  }

  TempDir dir_;
  Database database_ = must_open(dir_.file("k.db"), Mode::kCreate);
};

TEST_F(DatabaseQuery, ValuesComeBackAsTheyWent) {
  must_run(database_, "CREATE TABLE v (id INTEGER PRIMARY KEY, i INTEGER, t TEXT, b BLOB) STRICT;");
  Statement insert = prepare("INSERT INTO v VALUES (?1, ?2, ?3, ?4);");
  const std::int64_t integers[] = {0, 1, -1, std::numeric_limits<std::int64_t>::max(),
                                   std::numeric_limits<std::int64_t>::min()};
  const std::string texts[] = {"", "a", std::string("a\0b\0", 4), "été", std::string(100'000, 'x')};
  const ByteVector blobs[] = {{}, {0}, {0, 1, 255}, ByteVector(64), ByteVector(100'000, 0xa5)};
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(insert.start(i, integers[i], texts[i], blobs[i]).run().ok());
    EXPECT_EQ(database_.changes(), 1);
  }
  Statement select = prepare("SELECT i, t, b FROM v ORDER BY id;");
  Query query = select.start();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(*query.next());
    EXPECT_EQ(query.columns(), 3);
    EXPECT_EQ(query.integer(0), integers[i]);
    EXPECT_EQ(query.text(1), texts[i]);
    EXPECT_TRUE(equal(query.blob(2), blobs[i])) << i;
    EXPECT_EQ(query.type(0), Query::Type::kInteger);
    EXPECT_EQ(query.type(1), Query::Type::kText);
    EXPECT_EQ(query.type(2), Query::Type::kBlob) << "an empty blob is no NULL";
  }
  EXPECT_FALSE(*query.next());
}

TEST_F(DatabaseQuery, TextIsStoredWithItsNulAndItsLength) {
  Statement statement = prepare("SELECT length(CAST(?1 AS BLOB)), hex(?1);");
  Query query = statement.start(std::string_view("a\0b", 3));
  ASSERT_TRUE(*query.next());
  EXPECT_EQ(query.integer(0), 3);
  EXPECT_EQ(query.text(1), "610062");
}

TEST_F(DatabaseQuery, NullIsToldFromZeroAndEmpty) {
  Statement statement = prepare("SELECT ?1, ?2, ?3, ?4, ?5;");
  Query query = statement.start(std::optional<std::int64_t>(), std::optional<std::int64_t>(0),
                                std::string_view(), Bytes(), std::int64_t{0});
  ASSERT_TRUE(*query.next());
  EXPECT_EQ(query.type(0), Query::Type::kNull);
  EXPECT_EQ(query.type(1), Query::Type::kInteger);
  EXPECT_EQ(query.type(2), Query::Type::kText);
  EXPECT_EQ(query.type(3), Query::Type::kBlob);
  EXPECT_EQ(query.type(4), Query::Type::kInteger);
  EXPECT_EQ(query.optional_integer(0), std::nullopt);
  EXPECT_EQ(query.optional_integer(1), 0);
  EXPECT_EQ(query.integer(0), 0);
  EXPECT_EQ(query.text(0), "");
  EXPECT_TRUE(query.blob(0).empty());
}

TEST_F(DatabaseQuery, IntegersOfEveryWidthAreBound) {
  Statement statement = prepare("SELECT ?1, ?2, ?3, ?4, ?5;");
  Query query = statement.start(true, std::uint8_t{255}, -1, std::uint32_t{0xffffffff},
                                std::numeric_limits<std::uint64_t>::max());
  ASSERT_TRUE(*query.next());
  EXPECT_EQ(query.integer(0), 1);
  EXPECT_EQ(query.integer(1), 255);
  EXPECT_EQ(query.integer(2), -1);
  EXPECT_EQ(query.integer(3), 0xffffffff);
  EXPECT_EQ(static_cast<std::uint64_t>(query.integer(4)),
            std::numeric_limits<std::uint64_t>::max());
}

TEST_F(DatabaseQuery, BoundValuesAreCopied) {
  Statement statement = prepare("SELECT ?1, ?2;");
  ByteVector blob{1, 2, 3};
  std::string text = "before";
  Query query = statement.start(text, blob);
  text = "after!";
  blob[0] = 9;
  ASSERT_TRUE(*query.next());
  EXPECT_EQ(query.text(0), "before");
  EXPECT_TRUE(equal(query.blob(1), ByteVector{1, 2, 3}));
}

TEST_F(DatabaseQuery, AStatementServesAgainAndAgain) {
  must_run(database_, "CREATE TABLE n (a INTEGER) STRICT;");
  Statement insert = prepare("INSERT INTO n VALUES (?1);");
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(insert.start(i).run().ok());
  EXPECT_EQ(integer_of(database_, "SELECT sum(a) FROM n;"), 4950);
}

TEST_F(DatabaseQuery, NothingStaysBoundOrOpenBetweenRuns) {
  must_run(database_, "CREATE TABLE n (a INTEGER) STRICT; INSERT INTO n VALUES (1), (2), (3);");
  Statement values = prepare("SELECT ?1, ?2;");
  {
    Query query = values.start(1, 2);
    ASSERT_TRUE(*query.next());
    EXPECT_EQ(query.integer(1), 2);
  }
  {
    Query query = values.start(1);
    ASSERT_TRUE(*query.next());
    EXPECT_EQ(query.type(1), Query::Type::kNull) << "left over from the run before";
  }
  Statement rows = prepare("SELECT a FROM n ORDER BY a;");
  {
    Query query = rows.start();
    ASSERT_TRUE(*query.next());  // and two rows unread
    EXPECT_FALSE(database_.execute("DROP TABLE n;").ok());
  }
  {
    Query query = rows.start();
    ASSERT_TRUE(*query.next());
    EXPECT_EQ(query.integer(0), 1) << "does not begin anew";
  }
  EXPECT_TRUE(database_.execute("DROP TABLE n;").ok());
}

TEST_F(DatabaseQuery, AMovedQueryResetsOnce) {
  Statement statement = prepare("SELECT 1 UNION SELECT 2;");
  Query first = statement.start();
  ASSERT_TRUE(*first.next());
  {
    Query second(std::move(first));
    ASSERT_TRUE(*second.next());
    EXPECT_EQ(second.integer(0), 2);
  }
  Statement moved(std::move(statement));
  Query again = moved.start();
  ASSERT_TRUE(*again.next());
  EXPECT_EQ(again.integer(0), 1);
}

TEST_F(DatabaseQuery, AValueTooManyIsAnError) {
  must_run(database_, "CREATE TABLE n (a INTEGER) STRICT;");
  Statement insert = prepare("INSERT INTO n VALUES (?1);");
  const auto done = insert.start(1, 2).run();
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(integer_of(database_, "SELECT count(*) FROM n;"), 0);
  EXPECT_TRUE(insert.start(1).run().ok());
}

TEST_F(DatabaseQuery, ASecondRunAtTheSameTimeIsAnError) {
  must_run(database_, "CREATE TABLE n (a INTEGER) STRICT; INSERT INTO n VALUES (1), (2);");
  Statement select = prepare("SELECT a FROM n WHERE a >= ?1;");
  Query first = select.start(1);
  ASSERT_TRUE(*first.next());
  Query second = select.start(2);
  EXPECT_FALSE(second.next().ok());
}

TEST_F(DatabaseQuery, ConstraintsAreToldApart) {
  must_run(database_,
           "CREATE TABLE p (a INTEGER PRIMARY KEY, u BLOB UNIQUE, n TEXT NOT NULL) STRICT;"
           "CREATE TABLE c (a INTEGER NOT NULL REFERENCES p) STRICT;"
           "INSERT INTO p VALUES (1, x'01', 'one');");
  EXPECT_EQ(database_.execute("INSERT INTO p VALUES (1, x'02', '');").error().code, Code::kExists);
  EXPECT_EQ(database_.execute("INSERT INTO p VALUES (2, x'01', '');").error().code, Code::kExists);
  // These are no matter of something being there already.
  EXPECT_EQ(database_.execute("INSERT INTO p VALUES (2, x'02', NULL);").error().code,
            Code::kInvalid);
  EXPECT_EQ(database_.execute("INSERT INTO c VALUES (7);").error().code, Code::kInvalid);
  EXPECT_EQ(database_.execute("DELETE FROM p;").ok(), true);
  EXPECT_EQ(database_.execute("INSERT INTO p VALUES ('x', x'02', '');").error().code,
            Code::kInvalid);
}

TEST_F(DatabaseQuery, ErrorsByStatementAndByScriptAreAlike) {
  must_run(database_, "CREATE TABLE p (a INTEGER PRIMARY KEY) STRICT; INSERT INTO p VALUES (1);");
  Statement insert = prepare("INSERT INTO p VALUES (?1);");
  const auto by_statement = insert.start(1).run();
  ASSERT_FALSE(by_statement.ok());
  EXPECT_EQ(by_statement.error().code, Code::kExists);
  EXPECT_NE(by_statement.error().message().find("p.a"), std::string::npos);
  EXPECT_TRUE(insert.start(2).run().ok()) << "usable after an error";

  const auto wrong = database_.prepare("SELECT a FROM nowhere;");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message().find("nowhere"), std::string::npos) << wrong.error().message();
  EXPECT_EQ(wrong.error().errno_value, 0);
}

TEST_F(DatabaseQuery, AScriptEndsAtItsFirstError) {
  const auto done = database_.execute(
      "CREATE TABLE a (x INTEGER) STRICT; CREATE TABLE a (x INTEGER) STRICT;"
      "CREATE TABLE b (x INTEGER) STRICT;");
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(integer_of(database_, "SELECT count(*) FROM sqlite_schema;"), 1);
}

TEST_F(DatabaseQuery, ADatabaseCanBeMoved) {
  Database moved(std::move(database_));
  must_run(moved, "CREATE TABLE t (a INTEGER) STRICT;");
  database_ = std::move(moved);
  must_run(database_, "INSERT INTO t VALUES (5);");
  EXPECT_EQ(integer_of(database_, "SELECT a FROM t;"), 5);
}

}  // namespace
}  // namespace coffer

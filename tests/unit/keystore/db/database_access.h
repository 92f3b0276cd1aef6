#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/db/database.h"

namespace coffer {

using Mode = Database::Mode;

/// Opens what has to open.
inline Database must_open(const std::string& path, Mode mode) {
  auto database = Database::open(path, mode);
  if (!database) throw std::runtime_error(database.error().message());
  return *std::move(database);
}

inline void must_run(Database& database, Sql script) {
  const auto done = database.execute(script);
  ASSERT_TRUE(done.ok()) << script.text() << ": " << done.error().message();
}

/// The first column of the only row, as an integer or as text.
inline std::int64_t integer_of(Database& database, Sql sql) {
  auto statement = database.prepare(sql);
  if (!statement) throw std::runtime_error(statement.error().message());
  Query query = statement->start();
  const auto row = query.next();
  if (!row || !*row) throw std::runtime_error("no row");
  return query.integer(0);
}

inline std::string text_of(Database& database, Sql sql) {
  auto statement = database.prepare(sql);
  if (!statement) throw std::runtime_error(statement.error().message());
  Query query = statement->start();
  const auto row = query.next();
  if (!row || !*row) throw std::runtime_error("no row");
  return std::string(query.text(0));
}

/// A table t(a INTEGER) with one row, 1.
inline Database make_database(const std::string& path) {
  Database database = must_open(path, Mode::kCreate);
  must_run(database, "CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES (1);");
  return database;
}

inline mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

inline std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    names.insert(entry.path().filename());
  }
  return names;
}

}  // namespace coffer

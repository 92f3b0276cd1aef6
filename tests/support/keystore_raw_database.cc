#include "tests/support/keystore_raw_database.h"

#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

namespace coffer::testing {
namespace {

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

void require(sqlite3* handle, bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s\n", what.c_str(), sqlite3_errmsg(handle));
  std::abort();
}

void each_row(sqlite3* handle, const std::string& sql,
              const std::function<void(sqlite3_stmt*)>& visit) {
  sqlite3_stmt* prepared = nullptr;
  require(handle, sqlite3_prepare_v2(handle, sql.c_str(), -1, &prepared, nullptr) == SQLITE_OK,
          sql);
  const std::unique_ptr<sqlite3_stmt, Finalize> statement(prepared);
  int result = sqlite3_step(statement.get());
  for (; result == SQLITE_ROW; result = sqlite3_step(statement.get())) visit(statement.get());
  require(handle, result == SQLITE_DONE, sql);
}

std::string text_of(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return text != nullptr ? text : "";
}

}  // namespace

void RawDatabase::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

RawDatabase::RawDatabase(const std::string& path) {
  sqlite3* handle = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE, nullptr);
  handle_.reset(handle);
  require(handle, opened == SQLITE_OK, path);
  sqlite3_busy_timeout(handle, 10'000);
}

void RawDatabase::run(const std::string& sql) {
  require(handle_.get(),
          sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK, sql);
}

std::vector<std::vector<std::string>> RawDatabase::quoted(const std::string& sql) {
  std::vector<std::vector<std::string>> rows;
  each_row(handle_.get(), sql, [&](sqlite3_stmt* row) {
    std::vector<std::string>& cells = rows.emplace_back();
    for (int i = 0; i < sqlite3_column_count(row); ++i) {
      switch (sqlite3_column_type(row, i)) {
        case SQLITE_NULL:
          cells.emplace_back("NULL");
          break;
        case SQLITE_BLOB: {
          const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(row, i));
          const auto size = static_cast<std::size_t>(sqlite3_column_bytes(row, i));
          cells.push_back("X'" + to_hex({data, size}) + "'");
          break;
        }
        case SQLITE_TEXT:
          cells.push_back("'" + text_of(row, i) + "'");
          break;
        default:
          cells.push_back(text_of(row, i));
      }
    }
  });
  return rows;
}

std::vector<std::string> RawDatabase::column(const std::string& sql) {
  std::vector<std::string> values;
  each_row(handle_.get(), sql, [&](sqlite3_stmt* row) { values.push_back(text_of(row, 0)); });
  return values;
}

ByteVector RawDatabase::value(const std::string& sql) {
  std::vector<ByteVector> values;
  each_row(handle_.get(), sql, [&](sqlite3_stmt* row) {
    const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(row, 0));
    values.emplace_back(data, data + sqlite3_column_bytes(row, 0));
  });
  require(handle_.get(), values.size() == 1, sql + ": not one row");
  return values.front();
}

std::int64_t RawDatabase::number(const std::string& sql) {
  std::vector<std::int64_t> values;
  each_row(handle_.get(), sql,
           [&](sqlite3_stmt* row) { values.push_back(sqlite3_column_int64(row, 0)); });
  require(handle_.get(), values.size() == 1, sql + ": not one row");
  return values.front();
}

ByteVector RawDatabase::whole() {
  sqlite3_int64 size = 0;
  unsigned char* const bytes = sqlite3_serialize(handle_.get(), "main", &size, 0);
  require(handle_.get(), bytes != nullptr, "serializing");
  ByteVector content(bytes, bytes + size);
  sqlite3_free(bytes);
  return content;
}

}  // namespace coffer::testing

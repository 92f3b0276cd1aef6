#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace coffer {

/// SQL that stands in the source as a literal: nothing that was put together at run time converts
/// to it.
class Sql {
 public:
  template <std::size_t N>
  consteval Sql(const char (&literal)[N]) : text_(literal, N - 1) {}  // NOLINT(google-explicit-*)
  [[nodiscard]] std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

/// One run of a Statement: bound values, then rows. Resets the statement when it goes.
class Query {
 public:
  Query(Query&& other) noexcept
      : statement_(std::exchange(other.statement_, nullptr)), bind_result_(other.bind_result_) {}
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  Query& operator=(Query&&) = delete;
  ~Query();

  /// True with the next row, false after the last (and not to be called again then). An error too
  /// if a value could not be bound: there is no place for it, or another Query of the Statement
  /// runs.
  Result<bool> next();
  /// Runs a statement that gives no rows.
  Result<void> run();

  enum class Type { kNull = 0, kInteger = 1, kText = 2, kBlob = 3 };
  [[nodiscard]] int columns() const;
  [[nodiscard]] Type type(int column) const;
  /// Valid until the next `next` or the end of the Query. A NULL reads as 0, "" or no bytes.
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] Bytes blob(int column) const;
  [[nodiscard]] std::optional<std::int64_t> optional_integer(int column) const;

 private:
  friend class Statement;
  explicit Query(sqlite3_stmt* statement) : statement_(statement) {}
  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view value);
  void bind(int index, Bytes value);
  void bind(int index, std::optional<std::int64_t> value);
  void note_bound(int result);

  sqlite3_stmt* statement_;
  int bind_result_ = 0;  ///< the first failure's
};

/// A prepared statement. Not thread-safe, and one Query at a time.
class Statement {
 public:
  Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  /// Binds the values to ?1, ?2, … (they are copied).
  template <typename... Values>
  Query start(const Values&... values) {
    Query query(statement_);
    int index = 0;
    (query.bind(++index, bindable(values)), ...);
    return query;
  }

 private:
  friend class Database;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  template <std::integral T>
  static std::int64_t bindable(T value) {
    return static_cast<std::int64_t>(value);
  }
  static std::string_view bindable(std::string_view value) { return value; }
  static Bytes bindable(Bytes value) { return value; }
  static std::optional<std::int64_t> bindable(const std::optional<std::int64_t>& value) {
    return value;
  }

  sqlite3_stmt* statement_;
};

/// One connection to an SQLite database, set up as keystore/FORMAT.md says (WAL, synchronous FULL,
/// secure_delete, defensive). Not thread-safe: its owner guards it.
class Database {
 public:
  enum class Mode { kCreate, kReadWrite, kReadOnly };

  /// kCreate makes the file (0600 whatever the umask) and fails with kExists if there is one; where
  /// it fails it leaves none. kReadOnly falls back to an immutable open on a read-only filesystem.
  /// A symlink is refused as the last name of the path (kInvalid). kNotFound, kCorrupt (no
  /// database), kDenied, kReadOnly, kBusy, kNoSpace, kIo.
  static Result<Database> open(const std::string& path, Mode mode);

  Database(Database&&) noexcept = default;
  Database& operator=(Database&&) noexcept = default;

  Result<void> execute(Sql script);
  /// kCorrupt if the tables are not those that the statement was written for.
  Result<Statement> prepare(Sql sql);
  /// The rows changed by the last statement.
  [[nodiscard]] std::int64_t changes() const;
  /// Changes when another connection has committed.
  Result<std::int64_t> data_version();

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  explicit Database(sqlite3* handle) : handle_(handle) {}
  static Result<Database> connect(const std::string& name, int flags, Mode mode);
  Result<void> configure(Mode mode);
  std::unique_ptr<sqlite3, Close> handle_;
};

/// BEGIN IMMEDIATE … COMMIT; rolls back unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace coffer

#include "keystore/db/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

Error sqlite_error(sqlite3* handle, int result) {
  const std::string text = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(result);
  const int system_errno = handle != nullptr ? sqlite3_system_errno(handle) : 0;
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::kBusy, 0, "keystore is locked by another process"};
    case SQLITE_FULL:
      return {Code::kNoSpace, ENOSPC, "keystore"};
    case SQLITE_READONLY:
      return {Code::kReadOnly, 0, "keystore can't be written"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {Code::kCorrupt, 0, "keystore is damaged: " + text};
    case SQLITE_CONSTRAINT:
      return {Code::kExists, 0, "keystore: " + text};
    case SQLITE_NOMEM:
      return {Code::kExhausted, ENOMEM, "keystore"};
    case SQLITE_IOERR:
      if (system_errno == ENOSPC || system_errno == EDQUOT) {
        return {Code::kNoSpace, system_errno, "keystore"};
      }
      return {Code::kIo, system_errno, "keystore: " + text};
    default:
      return {Code::kIo, system_errno, "keystore: " + text};
  }
}

Error last_error(sqlite3_stmt* statement) {
  sqlite3* const handle = sqlite3_db_handle(statement);
  return sqlite_error(handle, sqlite3_extended_errcode(handle));
}

/// SQLite makes its files with the database's own mode; making it first keeps the umask out of it.
Result<void> create_private_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno_error(errno, "creating " + path);
  return {};
}

}  // namespace

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Result<bool> Query::next() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return last_error(statement_);
  }
}

Result<void> Query::run() {
  while (TRY(next())) {
  }
  return {};
}

int Query::columns() const { return sqlite3_column_count(statement_); }

Query::Type Query::type(int column) const {
  switch (sqlite3_column_type(statement_, column)) {
    case SQLITE_NULL:
      return Type::kNull;
    case SQLITE_INTEGER:
      return Type::kInteger;
    case SQLITE_TEXT:
      return Type::kText;
    default:
      return Type::kBlob;
  }
}

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view Query::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Bytes Query::blob(int column) const {
  const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::optional<std::int64_t> Query::optional_integer(int column) const {
  if (type(column) == Type::kNull) return std::nullopt;
  return integer(column);
}

void Query::bind(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }

void Query::bind(int index, std::string_view value) {
  sqlite3_bind_text64(statement_, index, value.data() != nullptr ? value.data() : "", value.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Query::bind(int index, Bytes value) {
  if (value.empty()) {
    sqlite3_bind_zeroblob(statement_, index, 0);
  } else {
    sqlite3_bind_blob64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT);
  }
}

void Query::bind(int index, std::optional<std::int64_t> value) {
  if (value.has_value()) {
    bind(index, *value);
  } else {
    sqlite3_bind_null(statement_, index);
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Database::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

Result<Database> Database::open(const std::string& path, Mode mode) {
  if (mode == Mode::kCreate) {
    TRY(create_private_file(path));
  } else if (::access(path.c_str(), F_OK) != 0) {
    return errno_error(errno, path);
  }
  const auto attempt = [mode](const std::string& name, int flags) -> Result<Database> {
    sqlite3* handle = nullptr;
    const int opened = sqlite3_open_v2(name.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX, nullptr);
    Database database(handle);
    if (opened != SQLITE_OK) return sqlite_error(handle, opened);
    TRY(database.configure(mode));
    return database;
  };
  if (mode != Mode::kReadOnly) return attempt(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW);

  auto shared = attempt(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW);
  if (shared) return shared;
  struct stat wal {};
  const bool wal_is_empty = ::stat((path + "-wal").c_str(), &wal) != 0 || wal.st_size == 0;
  // A WAL database needs its -shm file even to be read; on a read-only medium nobody writes, so
  // locks can be left out.
  if (!wal_is_empty || ::access(path.c_str(), W_OK) == 0 || errno != EROFS) return shared;
  std::string uri = "file:";
  for (const char letter : path) {
    if (letter == '?' || letter == '#' || letter == '%') {
      constexpr std::string_view kDigits = "0123456789abcdef";
      uri += '%';
      uri += kDigits[static_cast<unsigned char>(letter) >> 4];
      uri += kDigits[static_cast<unsigned char>(letter) & 15];
    } else {
      uri += letter;
    }
  }
  return attempt(uri + "?immutable=1",
                 SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOFOLLOW);
}

Result<void> Database::configure(Mode mode) {
  sqlite3_extended_result_codes(handle_.get(), 1);
  sqlite3_busy_timeout(handle_.get(), kBusyTimeoutMs);
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  TRY(
      execute("PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;"
              "PRAGMA foreign_keys = ON;"));
  if (mode != Mode::kReadOnly) {
    TRY(execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"));
  }
  // The first read tells a database from some other file.
  return execute("SELECT count(*) FROM sqlite_schema;");
}

Result<void> Database::execute(Sql script) {
  const int result = sqlite3_exec(handle_.get(), script.text().data(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK)
    return sqlite_error(handle_.get(), sqlite3_extended_errcode(handle_.get()));
  return {};
}

Result<Statement> Database::prepare(Sql sql) {
  sqlite3_stmt* statement = nullptr;
  const int result =
      sqlite3_prepare_v3(handle_.get(), sql.text().data(), static_cast<int>(sql.text().size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) return sqlite_error(handle_.get(), result);
  return Statement(statement);
}

std::int64_t Database::changes() const { return sqlite3_changes64(handle_.get()); }

Result<std::int64_t> Database::data_version() {
  Statement statement = TRY(prepare("PRAGMA data_version;"));
  Query query = statement.start();
  if (!TRY(query.next())) return Error{Code::kIo, 0, "keystore: no data version"};
  return query.integer(0);
}

Result<Transaction> Transaction::begin(Database& database) {
  TRY(database.execute("BEGIN IMMEDIATE;"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) (void)database_->execute("ROLLBACK;");
}

Result<void> Transaction::commit() {
  TRY(database_->execute("COMMIT;"));
  database_ = nullptr;
  return {};
}

}  // namespace coffer

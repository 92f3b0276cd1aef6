#include "keystore/db/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

/// Of a file that was there a moment ago: an ENOENT is some other file's, of those beside it.
Error file_error(int system_errno, std::string context) {
  Error error = errno_error(system_errno, std::move(context));
  if (error.code == Code::kNotFound) error.code = Code::kIo;
  return error;
}

/// `result` is an extended code.
Error sqlite_error(sqlite3* handle, int result) {
  const std::string text = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(result);
  // Set by failures of files only, and stays: of no meaning to any other.
  const int system_errno = handle != nullptr ? sqlite3_system_errno(handle) : 0;
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::kBusy, 0, "keystore is locked by another process"};
    case SQLITE_FULL:
      return {Code::kNoSpace, ENOSPC, "keystore"};
    case SQLITE_READONLY:
      return {Code::kReadOnly, 0, "keystore can't be written"};
    case SQLITE_ERROR:  // the SQL is this program's own: what it does not fit is not as it was made
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {Code::kCorrupt, 0, "keystore is damaged: " + text};
    case SQLITE_CONSTRAINT:
      if (result == SQLITE_CONSTRAINT_UNIQUE || result == SQLITE_CONSTRAINT_PRIMARYKEY ||
          result == SQLITE_CONSTRAINT_ROWID) {
        return {Code::kExists, 0, "keystore: " + text};
      }
      return {Code::kInvalid, 0, "keystore: " + text};
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
      return {Code::kInvalid, 0, "keystore: " + text};
    case SQLITE_NOMEM:
      return {Code::kExhausted, ENOMEM, "keystore"};
    case SQLITE_TOOBIG:
      return {Code::kExhausted, 0, "keystore: " + text};
    case SQLITE_IOERR:
      if (system_errno == ENOSPC || system_errno == EDQUOT) {
        return {Code::kNoSpace, system_errno, "keystore"};
      }
      return {Code::kIo, system_errno, "keystore: " + text};
    case SQLITE_CANTOPEN:
      return file_error(system_errno, "keystore: " + text);
    default:
      return {Code::kIo, 0, "keystore: " + text};
  }
}

Error last_error(sqlite3_stmt* statement) {
  sqlite3* const handle = sqlite3_db_handle(statement);
  return sqlite_error(handle, sqlite3_extended_errcode(handle));
}

/// The path, absolute and without symlinks before its last name: SQLITE_OPEN_NOFOLLOW refuses them
/// anywhere, and of other names SQLite takes some for more than names (":memory:", "file:x").
Result<std::string> plain_path(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  const std::size_t name_at = slash == std::string::npos ? 0 : slash + 1;
  const std::string parent = name_at == 0 ? "." : path.substr(0, name_at);
  std::error_code failure;
  const std::filesystem::path real = std::filesystem::canonical(parent, failure);
  if (failure) return errno_error(failure.value(), path);
  return (real / path.substr(name_at)).string();
}

/// SQLite gives the files that it makes beside a database the database's own mode; making that
/// first keeps the umask out of it.
Result<void> create_private_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno_error(errno, "creating " + path);
  if (::fchmod(fd.get(), 0600) != 0) {
    const int reason = errno;
    ::unlink(path.c_str());
    return errno_error(reason, "creating " + path);
  }
  return {};
}

/// SQLite takes an empty file, or one shorter than its smallest page, for a database without tables
/// and would fill it.
Result<void> check_file(const std::string& path) {
  constexpr off_t kSmallestPage = 512;
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno_error(errno, path);
  if (S_ISLNK(status.st_mode)) return errno_error(ELOOP, path);
  if (!S_ISREG(status.st_mode)) return Error{Code::kInvalid, 0, path + " is no regular file"};
  if (status.st_size < kSmallestPage) {
    return Error{Code::kCorrupt, 0, "keystore is damaged: " + path + " is cut short"};
  }
  // No WAL database has a rollback journal. One that was planted could name any file as its
  // "super-journal", and SQLite, rolling back, would delete that.
  const std::string journal = path + "-journal";
  if (::lstat(journal.c_str(), &status) == 0) {
    return Error{Code::kCorrupt, 0,
                 "keystore is damaged: " + journal + " is none of its files; remove it"};
  }
  return {};
}

bool on_read_only_filesystem(const std::string& path) {
  struct statvfs status {};
  return ::statvfs(path.c_str(), &status) == 0 && (status.f_flag & ST_RDONLY) != 0;
}

bool is_empty_or_missing(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) != 0 || status.st_size == 0;
}

std::string immutable_uri(const std::string& path) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string uri = "file:";
  for (const char letter : path) {
    if (letter == '?' || letter == '#' || letter == '%') {
      uri += '%';
      uri += kDigits[static_cast<unsigned char>(letter) >> 4];
      uri += kDigits[static_cast<unsigned char>(letter) & 15];
    } else {
      uri += letter;
    }
  }
  return uri + "?immutable=1";
}

}  // namespace

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Result<bool> Query::next() {
  if (bind_result_ != SQLITE_OK) return sqlite_error(nullptr, bind_result_);
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

void Query::bind(int index, std::int64_t value) {
  note_bound(sqlite3_bind_int64(statement_, index, value));
}

void Query::bind(int index, std::string_view value) {
  note_bound(sqlite3_bind_text64(statement_, index, value.data() != nullptr ? value.data() : "",
                                 value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Query::bind(int index, Bytes value) {
  if (value.empty()) {
    note_bound(sqlite3_bind_zeroblob(statement_, index, 0));
  } else {
    note_bound(
        sqlite3_bind_blob64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT));
  }
}

void Query::bind(int index, std::optional<std::int64_t> value) {
  if (value.has_value()) {
    bind(index, *value);
  } else {
    note_bound(sqlite3_bind_null(statement_, index));
  }
}

void Query::note_bound(int result) {
  if (bind_result_ == SQLITE_OK) bind_result_ = result;
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Database::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

Result<Database> Database::open(const std::string& path, Mode mode) {
  const std::string file = TRY(plain_path(path));
  switch (mode) {
    case Mode::kCreate: {
      TRY(create_private_file(file));
      auto made = connect(file, SQLITE_OPEN_READWRITE, mode);
      if (!made) {
        for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
          ::unlink((file + suffix).c_str());
        }
      }
      return made;
    }
    case Mode::kReadWrite:
      TRY(check_file(file));
      return connect(file, SQLITE_OPEN_READWRITE, mode);
    case Mode::kReadOnly:
      break;
  }
  TRY(check_file(file));
  auto shared = connect(file, SQLITE_OPEN_READONLY, mode);
  if (shared || shared.error().code == Code::kCorrupt) return shared;
  // A WAL database needs its -shm file even to be read; on a read-only medium nobody writes, so
  // locks can be left out. Where only this process may not write, others may, and they can't.
  if (!on_read_only_filesystem(file)) {
    if (shared.error().code != Code::kReadOnly) return shared;
    return Error{Code::kReadOnly, 0,
                 "keystore " + path +
                     " can be read by those who may write in its directory, or while one of them "
                     "has it open"};
  }
  if (!is_empty_or_missing(file + "-wal")) {
    return Error{Code::kReadOnly, 0,
                 "keystore " + path + " has commits in its log (" + path +
                     "-wal), which can't be read here; open it once where it can be written"};
  }
  return connect(immutable_uri(file), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, mode);
}

Result<Database> Database::connect(const std::string& name, int flags, Mode mode) {
  sqlite3* handle = nullptr;
  const int opened = sqlite3_open_v2(
      name.c_str(), &handle,
      flags | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  Database database(handle);
  if (opened != SQLITE_OK) return sqlite_error(handle, opened);
  // SQLite opens what it may not write read-only, whatever it was asked for.
  if (mode != Mode::kReadOnly && sqlite3_db_readonly(handle, "main") != 0) {
    return Error{Code::kReadOnly, 0, "keystore can't be written"};
  }
  TRY(database.configure(mode));
  return database;
}

Result<void> Database::configure(Mode mode) {
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

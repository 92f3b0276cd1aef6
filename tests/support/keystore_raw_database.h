#pragma once

#include <memory>
#include <string>
#include <vector>

#include "keystore/base/bytes.h"

struct sqlite3;

namespace coffer::testing {

/// A keystore as one sees it who has the file, SQLite, and no key: any SQL, none of our settings.
/// Stops the test program on an error.
class RawDatabase {
 public:
  explicit RawDatabase(const std::string& path);

  void run(const std::string& sql);
  /// All columns of all rows, as SQLite's quote() writes them: 12, 'text', X'00ff', NULL.
  std::vector<std::vector<std::string>> quoted(const std::string& sql);
  /// The first column of all rows.
  std::vector<std::string> column(const std::string& sql);
  /// The one value of the one row, as bytes.
  ByteVector value(const std::string& sql);
  std::int64_t number(const std::string& sql);
  /// The file it would be if all were checkpointed now.
  ByteVector whole();

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

}  // namespace coffer::testing

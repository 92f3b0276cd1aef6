#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// Follows the lines of an audit log from file to file (keystore/AUDIT.md, "Files"): those that
/// were written to a file before it was set aside, and those of files that came and went between
/// two looks. Not thread-safe.
class LineTail {
 public:
  /// From the oldest file on; but those are left out that have only lines from before `since`, a
  /// time as lines have it, as far as the files' first lines tell. kNotFound if there is no file.
  static Result<LineTail> from_oldest(const std::string& path, std::string_view since = {});
  /// Only what comes from now on.
  static Result<LineTail> from_end(const std::string& path);

  using Use = std::function<void(std::string_view)>;
  /// Passes on each line that has been ended since, without its newline. A file that was cut is
  /// read from its start.
  Result<void> read(const Use& use);

 private:
  LineTail(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<void> read_on(const Use& use);
  /// Goes over to the file that comes after this one, or to the start of this one if it was cut;
  /// false if there is nothing to go over to. What was left of this one is passed on first.
  Result<bool> go_on(const Use& use);
  /// The next file that has a line; none that is valid if there is none.
  Result<UniqueFd> next_file();

  std::string path_;
  UniqueFd fd_;
  off_t offset_ = 0;
  std::deque<std::string> set_aside_;  // files to come before the one at the path
  std::string unended_;
};

}  // namespace coffer

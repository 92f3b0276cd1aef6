#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// Follows a file that grows by lines and may be replaced by a new one, as logs are. Not
/// thread-safe.
class LineTail {
 public:
  enum class From { kStart, kEnd };
  static Result<LineTail> open(const std::string& path, From from);

  using Use = std::function<void(std::string_view)>;
  /// Passes on each line that has been ended since, without its newline. A file that has taken the
  /// place of this one, or was cut, is read from its start.
  Result<void> read(const Use& use);

 private:
  LineTail(std::string path, UniqueFd fd, off_t offset)
      : path_(std::move(path)), fd_(std::move(fd)), offset_(offset) {}
  Result<void> read_on(const Use& use);
  /// Goes over to the file that lies at the path now; false if it is still this one.
  Result<bool> follow();

  std::string path_;
  UniqueFd fd_;
  off_t offset_ = 0;
  std::string unended_;
};

}  // namespace coffer

#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "keystore/audit/log_line.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

// The files of an audit log (keystore/AUDIT.md, "Files").

/// Goes over the lines of a file from an offset on, as far as it reaches at each call: it may grow.
class LineReader {
 public:
  /// `fd` outlives the reader.
  explicit LineReader(int fd, std::uint64_t offset = 0) : fd_(fd), offset_(offset) {}

  /// True with the next line; false at the end of the file. A line that has no newline yet is read
  /// too, and read again by the next call. kCorrupt for a line longer than any can be.
  Result<bool> next();
  /// Without its newline. Valid until the next call.
  [[nodiscard]] Bytes line() const { return line_; }
  [[nodiscard]] bool ended() const { return ended_; }
  /// Where the line begins.
  [[nodiscard]] std::uint64_t offset() const { return offset_ + at_ - (ended_ ? taken() : 0); }
  /// Where the next one does; the line's own place if it has not ended.
  [[nodiscard]] std::uint64_t end() const { return offset_ + at_; }

 private:
  [[nodiscard]] std::uint64_t taken() const { return line_.size() + 1; }
  Result<bool> fill();

  int fd_;
  std::uint64_t offset_;  // in the file, of the buffer's beginning
  ByteVector buffer_;
  std::size_t at_ = 0;  // in the buffer, of the next line
  std::size_t read_size_ =
      4096;  // grows with what is read: of many files it is the first line alone
  Bytes line_;
  bool ended_ = false;
};

using FileStatus = struct ::stat;
Result<FileStatus> status_of(int fd);

/// Opens an existing file of the log for reading. kInvalid if it is no regular file.
Result<UniqueFd> open_log_file(const std::string& path);

/// The time of a file's first line, as it stands there; empty if it has none.
Result<std::string> first_time(int fd);

struct LogFile {
  std::string path;
  std::string time;  ///< first_time
  bool current = false;
};
/// All files that hold lines of the log at `path`, in the order in which they were begun; the one
/// that is written comes last.
Result<std::vector<LogFile>> find_log_files(const std::string& path);

/// The side file, which spares reading a file from its beginning.
struct SideFile {
  LogId id;
  std::uint64_t first = 0;   ///< number of the first line of the file that it speaks of
  std::uint64_t offset = 0;  ///< in that file
  ChainValue chain{};        ///< there
  MerkleTree tree;           ///< of all lines up to there
  std::string note;          ///< the signed checkpoint of that tree
};
std::string side_file_path(const std::string& path);
std::string encode_side_file(const SideFile& side, const LineMac& mac);
/// kCorrupt unless it is of this key, and exactly as it was written.
Result<SideFile> decode_side_file(std::string_view text, const LineMac& mac);
/// Nothing if there is none, or none that holds.
std::optional<SideFile> read_side_file(const std::string& path, const LineMac& mac);

}  // namespace coffer

#include "keystore/audit/log_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "keystore/audit/checkpoint.h"
#include "keystore/base/atomic_file.h"

namespace coffer {
namespace {

constexpr std::size_t kMostReadAtOnce = 256 * 1024;
/// No line of ours comes near it; a hostile file must not take all memory.
constexpr std::size_t kLongestLine = 16 * 1024 * 1024;
constexpr std::size_t kLargestSideFile = 64 * 1024;
constexpr std::string_view kSideFileMagic = "coffer-audit-tree-1";
constexpr std::string_view kTimeField = R"({"time":")";

/// The time that a line begins with.
std::string time_of(Bytes line) {
  std::string_view text = as_text(line);
  if (!text.starts_with(kTimeField)) return {};
  text.remove_prefix(kTimeField.size());
  return std::string(text.substr(0, std::min<std::size_t>(text.find('"'), 40)));
}

Result<std::string> first_time_at(const std::string& path) {
  const UniqueFd fd = TRY(open_log_file(path));
  return first_time(fd.get());
}

Result<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || std::to_string(number) != text) {
    return Error{Code::kInvalid, 0, "not a number"};
  }
  return number;
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (std::size_t end = text.find(by); end != std::string_view::npos; end = text.find(by)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  return parts;
}

/// What the side file's MAC is over, but for the MAC itself.
std::string side_text(const SideFile& side) {
  std::string text = side.id.hex() + " " + std::to_string(side.first) + " " +
                     std::to_string(side.offset) + " " + std::to_string(side.tree.size()) + " " +
                     to_base64url(side.chain);
  text += "\n";
  for (const Digest& root : side.tree.roots()) {
    if (text.back() != '\n') text += " ";
    text += to_base64(root);
  }
  return text;
}

Result<SideFile> parse_side_file(std::string_view first, std::string_view roots) {
  const auto words = split(first, ' ');
  if (words.size() != 7 || words[0] != kSideFileMagic) {
    return Error{Code::kUnknownVersion, 0, "not a side file of this version"};
  }
  SideFile side;
  const ByteVector id = TRY(from_hex(words[1]));
  const ByteVector chain = TRY(from_base64url(words[5]));
  if (id.size() != side.id.bytes.size() || chain.size() != side.chain.size()) {
    return Error{Code::kInvalid, 0, "not a side file"};
  }
  side.id = LogId::from(id);
  std::copy(chain.begin(), chain.end(), side.chain.begin());
  side.first = TRY(parse_number(words[2]));
  side.offset = TRY(parse_number(words[3]));
  std::vector<Digest> digests;
  for (const std::string_view text :
       roots.empty() ? std::vector<std::string_view>() : split(roots, ' ')) {
    const ByteVector bytes = TRY(from_base64(text));
    if (bytes.size() != sizeof(Digest)) return Error{Code::kInvalid, 0, "not a hash"};
    std::copy(bytes.begin(), bytes.end(), digests.emplace_back().begin());
  }
  side.tree = TRY(MerkleTree::from(TRY(parse_number(words[4])), std::move(digests)));
  return side;
}

}  // namespace

Result<bool> LineReader::fill() {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(at_));
  offset_ += at_;
  at_ = 0;
  const std::size_t before = buffer_.size();
  const std::size_t wanted = read_size_;
  buffer_.resize(before + wanted);
  ssize_t got = 0;
  do {
    got = ::pread(fd_, buffer_.data() + before, wanted, static_cast<off_t>(offset_ + before));
  } while (got < 0 && errno == EINTR);
  buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return errno_error(errno, "reading the audit log");
  if (static_cast<std::size_t>(got) == wanted) read_size_ = std::min(2 * wanted, kMostReadAtOnce);
  return got > 0;
}

Result<bool> LineReader::next() {
  std::size_t searched = at_;
  while (true) {
    const Bytes unread = Bytes(buffer_).subspan(at_);
    const std::size_t skip = searched - at_;
    const void* const newline = unread.size() > skip
                                    ? std::memchr(unread.data() + skip, '\n', unread.size() - skip)
                                    : nullptr;
    if (newline != nullptr) {
      const auto length =
          static_cast<std::size_t>(static_cast<const std::uint8_t*>(newline) - unread.data());
      line_ = unread.first(length);
      ended_ = true;
      at_ += length + 1;
      return true;
    }
    const std::size_t length = unread.size();
    if (length >= kLongestLine) {
      return Error{Code::kCorrupt, 0,
                   "a line of the audit log, at byte " + std::to_string(end()) +
                       ", is longer than any can be"};
    }
    if (!TRY(fill())) {
      line_ = Bytes(buffer_).subspan(at_);
      ended_ = false;
      return !line_.empty();
    }
    searched = at_ + length;
  }
}

Result<FileStatus> status_of(int fd) {
  FileStatus status{};
  if (::fstat(fd, &status) != 0) return errno_error(errno);
  return status;
}

Result<UniqueFd> open_log_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return errno_error(errno, "audit log " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "audit log " + path);
  if (!S_ISREG(status.st_mode)) {
    return Error{Code::kInvalid, 0, "audit log " + path + " is no regular file"};
  }
  return fd;
}

Result<std::string> first_time(int fd) {
  LineReader reader(fd);
  if (!TRY(reader.next())) return std::string();
  return time_of(reader.line());
}

Result<std::vector<LogFile>> find_log_files(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string prefix = path.substr(slash == std::string::npos ? 0 : slash + 1) + ".";
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(directory.c_str()), &::closedir);
  if (entries == nullptr) return errno_error(errno, "audit log " + path);
  std::vector<LogFile> files;
  while (const dirent* const entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    const std::string full = directory + (slash == std::string::npos ? "/" : "") + entry->d_name;
    if (!name.starts_with(prefix) || full.starts_with(side_file_path(path))) continue;
    auto time = first_time_at(full);
    // A directory, a socket, something of others that this user may not read: no lines of ours.
    if (time) files.push_back({.path = full, .time = std::move(*time)});
  }
  std::sort(files.begin(), files.end(), [](const LogFile& a, const LogFile& b) {
    return std::tie(a.time, a.path) < std::tie(b.time, b.path);
  });
  auto time = first_time_at(path);
  if (time) {
    files.push_back({.path = path, .time = std::move(*time), .current = true});
  } else if (time.error().code != Code::kNotFound) {
    return std::move(time).error();
  }
  return files;
}

std::string side_file_path(const std::string& path) { return path + ".tree"; }

std::string encode_side_file(const SideFile& side, const LineMac& mac) {
  std::string text = side_text(side);
  const std::string sealed = to_base64url(mac.of_side_file(text));
  text.insert(text.find('\n'), " " + sealed);
  return std::string(kSideFileMagic) + " " + text + "\n\n" + side.note;
}

Result<SideFile> decode_side_file(std::string_view text, const LineMac& mac) {
  const Error broken{Code::kCorrupt, 0, "the audit log's side file does not hold"};
  const std::size_t end = text.find("\n\n");
  if (end == std::string_view::npos) return broken;
  const auto lines = split(text.substr(0, end), '\n');
  if (lines.empty() || lines.size() > 2) return broken;
  auto side = parse_side_file(lines[0], lines.size() == 2 ? lines[1] : "");
  if (!side) return broken;
  side->note = text.substr(end + 2);
  if (encode_side_file(*side, mac) != text) return broken;
  return side;
}

std::optional<SideFile> read_side_file(const std::string& path, const LineMac& mac) {
  const auto content = read_small_file(side_file_path(path), kLargestSideFile);
  if (!content) return std::nullopt;
  auto side = decode_side_file(as_text(*content), mac);
  return side ? std::optional(std::move(*side)) : std::nullopt;
}

}  // namespace coffer

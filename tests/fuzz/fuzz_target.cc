#include "tests/fuzz/fuzz_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "keystore/base/unique_fd.h"

namespace coffer::fuzz {
namespace {

/// Offset and length of a part of `bytes`.
struct Part {
  std::ptrdiff_t at;
  std::ptrdiff_t length;
};

Part part_of(Bytes bytes, Input& input) {
  if (bytes.empty()) return {0, 0};
  const std::size_t at = input.below(bytes.size());
  return {static_cast<std::ptrdiff_t>(at),
          static_cast<std::ptrdiff_t>(input.below(bytes.size() - at + 1))};
}

void alter_once(ByteVector& bytes, Input& input, Bytes other) {
  const std::uint8_t how = input.byte();
  const Part part = part_of(bytes, input);
  const auto begin = bytes.begin() + part.at;
  switch (how % 8) {
    case 0:
      if (!bytes.empty()) *begin ^= static_cast<std::uint8_t>(1U << (input.byte() % 8));
      break;
    case 1:
      if (!bytes.empty()) *begin = input.byte();
      break;
    case 2:
      bytes.resize(static_cast<std::size_t>(part.at));
      break;
    case 3: {
      const Bytes more = input.take(1 + input.byte() % 32);
      bytes.insert(begin, more.begin(), more.end());
      break;
    }
    case 4:
      bytes.erase(begin, begin + part.length);
      break;
    case 5:
      std::fill(begin, begin + part.length, std::uint8_t{0});
      break;
    case 6: {  // a part of itself elsewhere
      const ByteVector moved(begin, begin + part.length);
      const std::size_t to = input.below(bytes.size() + 1);
      std::copy_n(moved.begin(), std::min(moved.size(), bytes.size() - to),
                  bytes.begin() + static_cast<std::ptrdiff_t>(to));
      break;
    }
    default: {  // the same part of the other
      const std::size_t at = std::min<std::size_t>(static_cast<std::size_t>(part.at), other.size());
      const Bytes from = other.subspan(
          at, std::min<std::size_t>(static_cast<std::size_t>(part.length), other.size() - at));
      std::copy(from.begin(), from.end(), begin);
    }
  }
}

}  // namespace

void require(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

ByteVector altered(ByteVector original, Input& input, Bytes other) {
  const unsigned times = input.byte() % 4;
  for (unsigned i = 0; i < times; ++i) alter_once(original, input, other);
  return original;
}

const std::string& scratch_directory() {
  struct Scratch {
    Scratch() {
      path = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/coffer-fuzz-XXXXXX"
                                             : "/tmp/coffer-fuzz-XXXXXX";
      require(::mkdtemp(path.data()) != nullptr, "a directory can be made");
    }
    ~Scratch() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::string path;
  };
  static const Scratch scratch;
  return scratch.path;
}

std::string scratch_directory(const std::string& name) {
  std::string path = scratch_directory() + "/" + name;
  require(::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST, "a directory can be made");
  return path;
}

void put_file(const std::string& path, Bytes content) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  require(file.valid() && ::write(file.get(), content.data(), content.size()) ==
                              static_cast<ssize_t>(content.size()),
          "the input can be written");
}

}  // namespace coffer::fuzz

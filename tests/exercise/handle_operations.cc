#include "tests/exercise/handle_operations.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace coffer::exercise {
namespace {

constexpr std::size_t kMostOpen = 12;
constexpr std::uint64_t kLargest = 2'000'000;
constexpr std::size_t kPage = 4096;

std::string number(std::uint64_t value) { return std::to_string(value); }

struct Free {
  void operator()(void* block) const { std::free(block); }
};
using Aligned = std::unique_ptr<char, Free>;
Aligned aligned(std::size_t size) {
  return Aligned(static_cast<char*>(std::aligned_alloc(kPage, size)));
}

}  // namespace

Handles::~Handles() {
  for (const Handle& handle : open_) {
    for (const int fd : handle.fd) ::close(fd);
  }
}

std::optional<Outcome> Handles::both(const Handle& handle, const std::string& what,
                                     const std::function<Outcome(int fd)>& call) {
  return twin_.both(what + " of " + handle.name, [&](Side side) { return call(handle.fd[side]); });
}

off_t Handles::size_of(const Handle& handle) const {
  struct stat status {};
  return ::fstat(handle.fd[kOracle], &status) == 0 ? status.st_size : 0;
}

off_t Handles::random_offset(const Handle& handle) {
  Chooser& choose = twin_.choose();
  const auto size = static_cast<std::uint64_t>(size_of(handle));
  if (choose.one_in(20)) return static_cast<off_t>(choose.below(kLargest));
  if (choose.one_in(4)) return static_cast<off_t>(size);
  if (choose.one_in(3)) return static_cast<off_t>(choose.below(size / kPage + 1) * kPage);
  return static_cast<off_t>(choose.below(size + 100));
}

std::size_t Handles::random_length() {
  Chooser& choose = twin_.choose();
  if (choose.one_in(12)) return choose.below(300'000);
  if (choose.one_in(3)) return kPage * choose.below(8);
  return choose.below(9'000);
}

void Handles::keep(const std::string& what, int flags, const std::function<int(Side)>& call) {
  Handle handle{.fd = {-1, -1}, .name = what + " #" + number(++opened_), .flags = flags};
  const auto done = twin_.both(what, [&](Side side) {
    handle.fd[side] = call(side);
    return outcome_of(handle.fd[side] < 0 ? -1 : 0);
  });
  if (done && done->error == 0) {
    open_.push_back(handle);
    return;
  }
  for (const int fd : handle.fd) {
    if (fd >= 0) ::close(fd);
  }
}

void Handles::open() {
  Chooser& choose = twin_.choose();
  const std::string path = choose.one_in(3) ? twin_.new_path() : twin_.any_path();
  int flags = static_cast<int>(choose.below(3));  // O_RDONLY, O_WRONLY, O_RDWR
  if (choose.one_in(2)) flags = O_RDWR;
  for (const int one : {O_CREAT, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_SYNC}) {
    if (choose.one_in(one == O_CREAT ? 2 : 6)) flags |= one;
  }
  if (choose.one_in(30)) flags |= O_DIRECTORY;
  if (choose.one_in(6)) flags |= O_DIRECT;
  // POSIX leaves both open; and to create a directory is a question of its own since Linux 6.4.
  if ((flags & O_ACCMODE) == O_RDONLY) flags &= ~O_TRUNC;
  if ((flags & O_DIRECTORY) != 0) flags &= ~O_CREAT;
  if ((flags & O_CREAT) == 0) flags &= ~O_EXCL;
  // ext4 wants the end of the file aligned for this.
  if ((flags & O_DIRECT) != 0) flags &= ~O_APPEND;
  const auto status = twin_.status(path, true);
  if (status && (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode))) return;  // nodev
  if (status && !S_ISREG(status->st_mode)) flags |= O_NONBLOCK;
  const auto mode = static_cast<mode_t>(choose.below(01000) | (twin_.as_root() ? 0 : 0600));
  char how[32];
  std::snprintf(how, sizeof how, "%o mode %o", static_cast<unsigned>(flags), mode);
  keep("open [" + path + "] flags " + how, flags, [&](Side side) {
    return ::openat(twin_.root(side), path.c_str(), flags | O_CLOEXEC, mode);
  });
  twin_.compare_status(path);
}

void Handles::open_nameless() {
  const std::string path = twin_.any_directory();
  keep("open nameless in [" + path + "]", O_RDWR, [&](Side side) {
    return ::openat(twin_.root(side), path.empty() ? "." : path.c_str(),
                    O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  });
}

void Handles::close(std::size_t index) {
  const Handle handle = open_[index];
  open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(index));
  compare(handle);
  (void)both(handle, "close", [](int fd) { return outcome_of(::close(fd)); });
}

void Handles::close_all() {
  twin_.become(0);
  while (!open_.empty()) close(open_.size() - 1);
}

void Handles::read(const Handle& handle) {
  const off_t at = random_offset(handle);
  const std::size_t length = random_length();
  const std::uint64_t how = twin_.choose().below(3);
  if ((handle.flags & O_DIRECT) != 0) return direct(handle);
  const std::string what = how == 0 ? "pread" : how == 1 ? "lseek and read" : "readv";
  (void)both(handle, what + " " + number(static_cast<std::uint64_t>(at)) + "+" + number(length),
             [&](int fd) {
               std::string data(length, '\0');
               long done = 0;
               if (how == 0) {
                 done = ::pread(fd, data.data(), length, at);
               } else if (how == 1) {
                 done = ::lseek(fd, at, SEEK_SET) < 0 ? -1 : ::read(fd, data.data(), length);
               } else {
                 const iovec parts[2] = {{data.data(), length / 3},
                                         {data.data() + length / 3, length - length / 3}};
                 done = ::preadv(fd, parts, 2, at);
               }
               Outcome outcome = outcome_of(done);
               if (done > 0) outcome.data = data.substr(0, static_cast<std::size_t>(done));
               return outcome;
             });
}

void Handles::write(const Handle& handle) {
  if ((handle.flags & O_DIRECT) != 0) return direct(handle);
  const off_t at = random_offset(handle);
  const std::size_t length = random_length();
  const ByteVector data = twin_.choose().bytes(length);
  const std::uint64_t how = twin_.choose().below(3);
  const std::string what = how == 0 ? "pwrite" : how == 1 ? "lseek and write" : "pwritev";
  (void)both(
      handle, what + " " + number(static_cast<std::uint64_t>(at)) + "+" + number(length),
      [&](int fd) {
        if (how == 0) return outcome_of(::pwrite(fd, data.data(), length, at));
        if (how == 1) {
          if (::lseek(fd, at, SEEK_SET) < 0) return outcome_of(-1);
          Outcome outcome = outcome_of(::write(fd, data.data(), length));
          outcome.data = std::to_string(::lseek(fd, 0, SEEK_CUR));
          return outcome;
        }
        auto* const bytes = const_cast<std::uint8_t*>(data.data());
        const iovec parts[2] = {{bytes, length / 2}, {bytes + length / 2, length - length / 2}};
        return outcome_of(::pwritev(fd, parts, 2, at));
      });
  compare(handle);
}

void Handles::direct(const Handle& handle) {
  Chooser& choose = twin_.choose();
  const auto at = static_cast<off_t>(
      choose.below(static_cast<std::uint64_t>(size_of(handle)) / kPage + 2) * kPage);
  const std::size_t length = kPage * (1 + choose.below(choose.one_in(5) ? 64 : 4));
  const bool writing = choose.one_in(2);
  const ByteVector data = choose.bytes(writing ? length : 0);
  (void)both(handle,
             std::string(writing ? "direct write " : "direct read ") +
                 number(static_cast<std::uint64_t>(at)) + "+" + number(length),
             [&](int fd) {
               const Aligned buffer = aligned(length);
               if (writing) {
                 std::memcpy(buffer.get(), data.data(), length);
                 return outcome_of(::pwrite(fd, buffer.get(), length, at));
               }
               const long done = ::pread(fd, buffer.get(), length, at);
               Outcome outcome = outcome_of(done);
               if (done > 0) outcome.data.assign(buffer.get(), static_cast<std::size_t>(done));
               return outcome;
             });
  if (writing) compare(handle);
}

/// Maps a part of the file that is there, reads it, perhaps changes it.
void Handles::map(const Handle& handle) {
  Chooser& choose = twin_.choose();
  struct stat status {};
  if (::fstat(handle.fd[kOracle], &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
    return;
  const auto size = static_cast<std::size_t>(status.st_size);
  const std::size_t at = choose.below((size - 1) / kPage + 1) * kPage;
  const std::size_t length = 1 + choose.below(std::min<std::size_t>(size - at, 200'000));
  const bool shared = choose.one_in(2);
  const bool changing = choose.one_in(2);
  const ByteVector data = choose.bytes(changing ? 1 + choose.below(length) : 0);
  const std::size_t where = changing ? choose.below(length - data.size() + 1) : 0;
  const std::uint64_t sync = choose.below(3);
  (void)both(handle,
             std::string(shared ? "shared" : "private") + (changing ? " map, changed, " : " map ") +
                 number(at) + "+" + number(length),
             [&](int fd) {
               void* const mapped =
                   ::mmap(nullptr, length, changing ? PROT_READ | PROT_WRITE : PROT_READ,
                          shared ? MAP_SHARED : MAP_PRIVATE, fd, static_cast<off_t>(at));
               if (mapped == MAP_FAILED) return outcome_of(-1);
               auto* const bytes = static_cast<char*>(mapped);
               Outcome outcome;
               outcome.data.assign(bytes, length);
               if (changing) {
                 std::memcpy(bytes + where, data.data(), data.size());
                 outcome.data.append(bytes, length);
                 if (sync != 0) {
                   outcome.result = ::msync(mapped, length, sync == 1 ? MS_SYNC : MS_ASYNC);
                 }
               }
               ::munmap(mapped, length);
               return outcome;
             });
  if (changing) compare(handle);
}

void Handles::cut(const Handle& handle) {
  const off_t size = twin_.choose().one_in(2)
                         ? random_offset(handle)
                         : size_of(handle) + static_cast<off_t>(random_length());
  (void)both(handle, "ftruncate " + number(static_cast<std::uint64_t>(size)),
             [&](int fd) { return outcome_of(::ftruncate(fd, size)); });
  compare(handle);
}

void Handles::allocate(const Handle& handle) {
  constexpr std::array<int, 5> kModes = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
      FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const int mode = kModes[twin_.choose().below(kModes.size())];
  const off_t at = random_offset(handle);
  const auto length = static_cast<off_t>(random_length());
  (void)both(handle,
             "fallocate mode " + number(static_cast<std::uint64_t>(mode)) + " " +
                 number(static_cast<std::uint64_t>(at)) + "+" +
                 number(static_cast<std::uint64_t>(length)),
             [&](int fd) { return outcome_of(::fallocate(fd, mode, at, length)); });
  compare(handle);
}

/// Where data and holes begin is each filesystem's own affair, but a hole is zeros.
void Handles::seek(const Handle& handle) {
  const off_t at = random_offset(handle);
  struct stat status {};
  const off_t size = size_of(handle);
  if (::fstat(handle.fd[kOracle], &status) != 0 || !S_ISREG(status.st_mode)) return;
  const off_t data = ::lseek(handle.fd[kTested], at, SEEK_DATA);
  const int data_error = data < 0 ? errno : 0;
  const off_t hole = ::lseek(handle.fd[kTested], at, SEEK_HOLE);
  const int hole_error = hole < 0 ? errno : 0;
  const std::string where = "seek at " + std::to_string(at) + " of " + handle.name;
  const auto expect = [&](bool holds, const char* what) {
    twin_.require(holds, where,
                  "data " + std::to_string(data) + " " + error_name(data_error) + ", hole " +
                      std::to_string(hole) + " " + error_name(hole_error),
                  what);
  };
  if (at >= size) {
    expect(data_error == ENXIO && hole_error == ENXIO, "ENXIO at or past the end");
    return;
  }
  expect(hole >= at && hole <= size, "a hole at the end at the latest");
  expect(data_error == ENXIO || (data >= at && data < size), "data before the end, or none");
  if ((handle.flags & O_ACCMODE) == O_WRONLY || (handle.flags & O_DIRECT) != 0) return;
  const off_t end = data_error == ENXIO ? size : data;
  std::string zeros(static_cast<std::size_t>(end - at), 'x');
  const ssize_t length = ::pread(handle.fd[kOracle], zeros.data(), zeros.size(), at);
  expect(length == static_cast<ssize_t>(zeros.size()) &&
             zeros.find_first_not_of('\0') == std::string::npos,
         "no data in what was passed as a hole");
}

void Handles::sync(const Handle& handle) {
  const bool data_only = twin_.choose().one_in(2);
  (void)both(handle, data_only ? "fdatasync" : "fsync",
             [&](int fd) { return outcome_of(data_only ? ::fdatasync(fd) : ::fsync(fd)); });
}

void Handles::copy(const Handle& from, const Handle& to) {
  struct stat source {};
  struct stat target {};
  if (::fstat(from.fd[kOracle], &source) != 0 || ::fstat(to.fd[kOracle], &target) != 0) return;
  if (!S_ISREG(source.st_mode) || !S_ISREG(target.st_mode)) return;
  if (((from.flags | to.flags) & O_DIRECT) != 0 || source.st_ino == target.st_ino) return;
  const off_t at = random_offset(from);
  const off_t there = random_offset(to);
  const std::size_t length = random_length();
  (void)twin_.both(
      "copy_file_range " + number(static_cast<std::uint64_t>(at)) + "+" + number(length) + " of " +
          from.name + " to " + number(static_cast<std::uint64_t>(there)) + " of " + to.name,
      [&](Side side) {
        // It may stop short where it likes; to the end it has to come.
        off_t in = at;
        off_t out = there;
        long done = 0;
        for (std::size_t left = length; left > 0; left -= static_cast<std::size_t>(done)) {
          done = ::copy_file_range(from.fd[side], &in, to.fd[side], &out, left, 0);
          if (done <= 0) break;
        }
        Outcome outcome = outcome_of(done < 0 ? -1 : 0);
        outcome.data = std::to_string(out);
        return outcome;
      });
  compare(to);
}

void Handles::compare(const Handle& handle) {
  (void)twin_.check("fstat of " + handle.name, [&](Side side) {
    const int fd = handle.fd[side];
    struct stat status {};
    Outcome outcome = outcome_of(::fstat(fd, &status));
    char text[120];
    std::snprintf(text, sizeof text, "mode %o uid %u gid %u links %lu size %lld", status.st_mode,
                  status.st_uid, status.st_gid, static_cast<unsigned long>(status.st_nlink),
                  S_ISDIR(status.st_mode) ? 0LL : static_cast<long long>(status.st_size));
    outcome.data = text;
    return outcome;
  });
}

void Handles::operate() {
  Chooser& choose = twin_.choose();
  if (open_.empty() || (open_.size() < kMostOpen && choose.one_in(4))) {
    if (choose.one_in(30)) return open_nameless();
    return open();
  }
  const std::size_t index = choose.below(open_.size());
  if (open_.size() >= kMostOpen || choose.one_in(7)) return close(index);
  const Handle& handle = open_[index];
  switch (choose.below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return read(handle);
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
      return write(handle);
    case 9:
    case 10:
      return (handle.flags & O_DIRECT) != 0 ? direct(handle) : read(handle);
    case 11:
    case 12:
    case 13:
      return map(handle);
    case 14:
      return cut(handle);
    case 15:
      return allocate(handle);
    case 16:
      return seek(handle);
    case 17:
      return choose.one_in(4) ? sync(handle) : compare(handle);
    case 18:
      return copy(handle, open_[choose.below(open_.size())]);
    default:
      return compare(handle);
  }
}

}  // namespace coffer::exercise

#include "tests/support/fs_power.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace coffer::testing {
namespace {

using Kind = PowerEvent::Kind;

void require(bool condition, const std::string& what) {
  if (condition) return;
  std::perror(what.c_str());
  std::abort();
}

struct stat status_of(int dir, const char* name) {
  struct stat status {};
  require(::fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0, name);
  return status;
}

ByteVector read_whole(const std::string& path, off_t size) {
  ByteVector content(static_cast<std::size_t>(size));
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  require(fd.valid() && ::read(fd.get(), content.data(), content.size()) ==
                            static_cast<ssize_t>(content.size()),
          path);
  return content;
}

std::string read_target(const std::string& path) {
  std::array<char, 4097> buffer{};
  const ssize_t length = ::readlink(path.c_str(), buffer.data(), buffer.size());
  require(length >= 0, path);
  return {buffer.data(), static_cast<std::size_t>(length)};
}

ino_t read_node(const std::string& path, PowerImage& image) {
  const struct stat status = status_of(AT_FDCWD, path.c_str());
  const auto [place, fresh] = image.nodes.try_emplace(status.st_ino);
  PowerImage::Node& node = place->second;
  if (!fresh) return status.st_ino;
  node.mode = status.st_mode;
  if (S_ISREG(node.mode)) node.content = read_whole(path, status.st_size);
  if (S_ISLNK(node.mode)) node.target = read_target(path);
  if (!S_ISDIR(node.mode)) return status.st_ino;
  DIR* const stream = ::opendir(path.c_str());
  require(stream != nullptr, path);
  while (const dirent* const entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") node.entries[name] = read_node(path + "/" + name, image);
  }
  ::closedir(stream);
  return status.st_ino;
}

void write_file(const std::string& path, const ByteVector& content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  require(fd.valid() && ::write(fd.get(), content.data(), content.size()) ==
                            static_cast<ssize_t>(content.size()),
          path);
}

void write_entries(const PowerImage& image, const PowerImage::Node& dir, const std::string& path,
                   std::map<ino_t, std::string>& made) {
  for (const auto& [name, number] : dir.entries) {
    const std::string child = path + "/" + name;
    const auto [first, fresh] = made.try_emplace(number, child);
    if (!fresh) {
      require(::link(first->second.c_str(), child.c_str()) == 0, child);
      continue;
    }
    const PowerImage::Node& node = image.nodes.at(number);
    if (S_ISDIR(node.mode)) {
      require(::mkdir(child.c_str(), 0700) == 0, child);
      write_entries(image, node, child, made);
    } else if (S_ISREG(node.mode)) {
      write_file(child, node.content);
    } else if (S_ISLNK(node.mode)) {
      require(::symlink(node.target.c_str(), child.c_str()) == 0, child);
      continue;
    } else {
      require(::mknod(child.c_str(), node.mode, 0) == 0, child);
    }
    require(::chmod(child.c_str(), node.mode & 07777U) == 0, child);
  }
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kCreate:
      return "create";
    case Kind::kLink:
      return "link";
    case Kind::kUnlink:
      return "unlink";
    case Kind::kRename:
      return "rename";
    case Kind::kExchange:
      return "exchange";
    case Kind::kMode:
      return "chmod";
    case Kind::kWrite:
      return "write";
    case Kind::kTruncate:
      return "truncate";
    case Kind::kSyncFile:
      return "fsync";
    case Kind::kSyncData:
      return "fdatasync";
    case Kind::kSyncDir:
      return "fsync of directory";
    case Kind::kSyncAll:
      return "syncfs";
  }
  std::abort();
}

}  // namespace

std::string to_text(const PowerEvent& event) {
  std::ostringstream out;
  out << name_of(event.kind) << " #" << event.node;
  if (!event.name.empty()) out << " " << event.dir << "/" << event.name.substr(0, 40);
  if (!event.new_name.empty())
    out << " -> " << event.new_dir << "/" << event.new_name.substr(0, 40);
  if (event.kind == Kind::kWrite) out << " " << event.offset << "+" << event.data.size();
  if (event.kind == Kind::kTruncate) out << " to " << event.offset;
  return out.str();
}

PowerImage PowerImage::read(const std::string& path) {
  PowerImage image;
  image.root = read_node(path, image);
  return image;
}

void PowerImage::write(const std::string& path) const {
  std::map<ino_t, std::string> made;
  write_entries(*this, nodes.at(root), path, made);
}

PowerLog::PowerLog(const std::string& root) : initial_(PowerImage::read(root)) {}

std::size_t PowerLog::position() const {
  MutexLock lock(mutex_);
  return events_.size();
}

void PowerLog::note(PowerEvent event) {
  if (before_event) before_event(events_.size());
  events_.push_back(std::move(event));
}

void PowerLog::note_new(int dir, const char* name) {
  const struct stat status = status_of(dir, name);
  PowerEvent event{.kind = Kind::kCreate,
                   .node = status.st_ino,
                   .dir = status_of(dir, "").st_ino,
                   .name = name,
                   .mode = status.st_mode};
  if (S_ISLNK(status.st_mode)) {
    event.data.resize(static_cast<std::size_t>(status.st_size));
    require(::readlinkat(dir, name, reinterpret_cast<char*>(event.data.data()),
                         event.data.size()) == status.st_size,
            name);
  }
  note(std::move(event));
}

void PowerLog::pin(int dir, const char* name) {
  UniqueFd fd(::openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (fd.valid()) pinned_.push_back(std::move(fd));
}

int PowerLog::openat(int dir, const char* name, int flags, mode_t mode) {
  if ((flags & (O_CREAT | O_TRUNC)) == 0) return Syscalls::openat(dir, name, flags, mode);
  MutexLock lock(mutex_);
  const bool there = ::faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  const int fd = Syscalls::openat(dir, name, flags, mode);
  if (fd < 0) return fd;
  if (!there) {
    note_new(dir, name);
  } else if ((flags & O_TRUNC) != 0) {
    note({.kind = Kind::kTruncate, .node = status_of(fd, "").st_ino});
  }
  return fd;
}

ssize_t PowerLog::pwrite(int fd, const void* buffer, std::size_t count, off_t offset) {
  MutexLock lock(mutex_);
  const ssize_t done = Syscalls::pwrite(fd, buffer, count, offset);
  if (done <= 0) return done;
  const auto* const bytes = static_cast<const std::uint8_t*>(buffer);
  note({.kind = Kind::kWrite,
        .node = status_of(fd, "").st_ino,
        .offset = static_cast<std::uint64_t>(offset),
        .data = ByteVector(bytes, bytes + done)});
  return done;
}

int PowerLog::ftruncate(int fd, off_t size) {
  MutexLock lock(mutex_);
  const int done = Syscalls::ftruncate(fd, size);
  if (done == 0) {
    note({.kind = Kind::kTruncate,
          .node = status_of(fd, "").st_ino,
          .offset = static_cast<std::uint64_t>(size)});
  }
  return done;
}

/// What is punched out is zeros that were written. Room alone changes nothing that is read.
int PowerLog::fallocate(int fd, int mode, off_t offset, off_t length) {
  MutexLock lock(mutex_);
  const int done = Syscalls::fallocate(fd, mode, offset, length);
  const struct stat status = status_of(fd, "");
  if (done == 0 && (mode & FALLOC_FL_PUNCH_HOLE) != 0 && offset < status.st_size) {
    note({.kind = Kind::kWrite,
          .node = status.st_ino,
          .offset = static_cast<std::uint64_t>(offset),
          .data = ByteVector(static_cast<std::size_t>(std::min(length, status.st_size - offset)))});
  }
  return done;
}

int PowerLog::barrier(int fd, Kind kind) {
  MutexLock lock(mutex_);
  struct stat status {};
  if (::fstat(fd, &status) != 0) return -1;
  if (kind != Kind::kSyncAll && S_ISDIR(status.st_mode)) kind = Kind::kSyncDir;
  PowerEvent event{.kind = kind, .node = status.st_ino};
  if (!loses_barrier || !loses_barrier(event)) note(std::move(event));
  return 0;
}

int PowerLog::fsync(int fd) { return barrier(fd, Kind::kSyncFile); }
int PowerLog::fdatasync(int fd) { return barrier(fd, Kind::kSyncData); }
int PowerLog::syncfs(int fd) { return barrier(fd, Kind::kSyncAll); }

int PowerLog::fchmod(int fd, mode_t mode) {
  MutexLock lock(mutex_);
  const int done = Syscalls::fchmod(fd, mode);
  if (done == 0) note({.kind = Kind::kMode, .node = status_of(fd, "").st_ino, .mode = mode});
  return done;
}

int PowerLog::fchmodat(int dir, const char* name, mode_t mode, int flags) {
  MutexLock lock(mutex_);
  const int done = Syscalls::fchmodat(dir, name, mode, flags);
  if (done == 0) note({.kind = Kind::kMode, .node = status_of(dir, name).st_ino, .mode = mode});
  return done;
}

int PowerLog::mkdirat(int dir, const char* name, mode_t mode) {
  MutexLock lock(mutex_);
  const int done = Syscalls::mkdirat(dir, name, mode);
  if (done == 0) note_new(dir, name);
  return done;
}

int PowerLog::mknodat(int dir, const char* name, mode_t mode, dev_t device) {
  MutexLock lock(mutex_);
  const int done = Syscalls::mknodat(dir, name, mode, device);
  if (done == 0) note_new(dir, name);
  return done;
}

int PowerLog::unlinkat(int dir, const char* name, int flags) {
  MutexLock lock(mutex_);
  pin(dir, name);
  const int done = Syscalls::unlinkat(dir, name, flags);
  if (done == 0) {
    note({.kind = Kind::kUnlink,
          .node = status_of(pinned_.back().get(), "").st_ino,
          .dir = status_of(dir, "").st_ino,
          .name = name});
  }
  return done;
}

int PowerLog::renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                        unsigned flags) {
  MutexLock lock(mutex_);
  pin(new_dir, new_name);
  const int done = Syscalls::renameat2(old_dir, old_name, new_dir, new_name, flags);
  if (done == 0) {
    note({.kind = (flags & RENAME_EXCHANGE) != 0 ? Kind::kExchange : Kind::kRename,
          .node = status_of(new_dir, new_name).st_ino,
          .dir = status_of(old_dir, "").st_ino,
          .name = old_name,
          .new_dir = status_of(new_dir, "").st_ino,
          .new_name = new_name});
  }
  return done;
}

int PowerLog::linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
                     int flags) {
  MutexLock lock(mutex_);
  const int done = Syscalls::linkat(old_dir, old_name, new_dir, new_name, flags);
  if (done == 0) {
    const struct stat status = status_of(new_dir, new_name);
    note({.kind = Kind::kLink,
          .node = status.st_ino,
          .dir = status_of(new_dir, "").st_ino,
          .name = new_name,
          .mode = status.st_mode});
  }
  return done;
}

int PowerLog::symlinkat(const char* target, int dir, const char* name) {
  MutexLock lock(mutex_);
  const int done = Syscalls::symlinkat(target, dir, name);
  if (done == 0) note_new(dir, name);
  return done;
}

}  // namespace coffer::testing

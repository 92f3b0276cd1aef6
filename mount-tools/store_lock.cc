#include "mount-tools/store_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "keystore/base/atomic_file.h"
#include "keystore/cli/print_json.h"

namespace coffer {
namespace {

constexpr std::size_t kLargestNote = 16 * 1024;

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "?";
}

/// What the holder wrote of itself; null if it can't be read.
nlohmann::json read_note(int fd) {
  std::array<char, kLargestNote> text{};
  const ssize_t length = ::pread(fd, text.data(), text.size(), 0);
  if (length <= 0) return {};
  return nlohmann::json::parse(text.data(), text.data() + length, nullptr, false);
}

std::string field(const nlohmann::json& note, const char* key) {
  if (!note.is_object() || !note.contains(key)) return "";
  return note[key].is_string() ? note[key].get<std::string>() : note[key].dump();
}

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

int open_to_look(const std::string& private_dir) {
  return ::open((private_dir + "/lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

bool is_held_by_another(const UniqueFd& fd) {
  struct flock probe = whole_file(F_WRLCK);
  return fd.valid() && ::fcntl(fd.get(), F_OFD_GETLK, &probe) == 0 && probe.l_type != F_UNLCK;
}

}  // namespace

Result<StoreLock> StoreLock::take(const std::string& private_dir, const std::string& purpose,
                                  const std::string& control) {
  const std::string path = private_dir + "/lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno_error(errno, path);
  struct flock wanted = whole_file(F_WRLCK);
  if (::fcntl(fd.get(), F_OFD_SETLK, &wanted) != 0) {
    if (errno != EAGAIN && errno != EACCES) return errno_error(errno, "locking " + path);
    const nlohmann::json note = read_note(fd.get());
    return Error{Code::kBusy, 0,
                 "the store is in use for writing: " + field(note, "purpose") + " (host " +
                     field(note, "host") + ", process " + field(note, "pid") + ")"};
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, path);
  StoreLock lock(std::move(fd), status.st_size > 0);
  TRY(lock.set_control(purpose, control));
  // Before anything is made that a loss of power could leave half there.
  if (::fdatasync(lock.fd_.get()) != 0) return errno_error(errno, path);
  return lock;
}

Result<void> StoreLock::set_control(const std::string& purpose, const std::string& control) const {
  const std::string text = json_line(
      {{"host", host_name()}, {"pid", ::getpid()}, {"purpose", purpose}, {"control", control}});
  if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0) {
    return errno_error(errno, "the store's lock file");
  }
  return write_all(fd_.get(), as_bytes(text));
}

void StoreLock::finish() const {
  if (::ftruncate(fd_.get(), 0) != 0) return;  // the next one takes it for a crash, and looks twice
}

bool StoreLock::is_noted(const std::string& private_dir) {
  struct stat status {};
  return ::lstat((private_dir + "/lock").c_str(), &status) == 0 && status.st_size > 0;
}

bool StoreLock::is_held(const std::string& private_dir) {
  return is_held_by_another(UniqueFd(open_to_look(private_dir)));
}

std::string StoreLock::holder_control(const std::string& private_dir) {
  const UniqueFd fd(open_to_look(private_dir));
  if (!is_held_by_another(fd)) return "";
  const nlohmann::json note = read_note(fd.get());
  return field(note, "host") == host_name() ? field(note, "control") : "";
}

}  // namespace coffer

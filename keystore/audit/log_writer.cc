#include "keystore/audit/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "keystore/base/atomic_file.h"

namespace coffer {
namespace {

/// What others wrote since is read from where this process left off, if it is no more than this.
constexpr std::uint64_t kShortWay = 64 * 1024;

/// Renames and never over something; the second name has the time in it.
Result<void> rename_aside(const std::string& from, const std::string& to, const Clock& clock) {
  std::string name = to;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, name.c_str(), RENAME_NOREPLACE) == 0) {
      return {};
    }
    if (errno != EEXIST) return errno_error(errno, "renaming to " + name);
    name = to + "." + std::to_string(clock.now().time_since_epoch().count());
  }
  return errno_error(EEXIST, "renaming to " + name);
}

std::string twelve_digits(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  return digits.size() < 12 ? std::string(12 - digits.size(), '0') + digits : digits;
}

}  // namespace

LogWriter::LogWriter(std::string path, UniqueFd fd, StoreId store, const Clock& clock,
                     AuditKeys keys, std::uint64_t rotate_at)
    : path_(std::move(path)),
      store_(store),
      clock_(clock),
      mac_(keys.lines.expose()),
      key_(std::move(keys.seed)),
      rotate_at_(rotate_at),
      fd_(std::make_shared<UniqueFd>(std::move(fd))) {}

Result<UniqueFd> LogWriter::open_for_writing(const std::string& path) {
  // O_NONBLOCK: a FIFO put there must not hang the mount.
  UniqueFd fd(::open(path.c_str(),
                     O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd.valid()) return errno_error(errno, "audit log " + path);
  const FileStatus status = TRY(status_of(fd.get()));
  if (!S_ISREG(status.st_mode)) {
    return Error{Code::kInvalid, 0, "audit log " + path + " is no regular file"};
  }
  return fd;
}

Result<void> LogWriter::write(std::string_view fields, Deadline deadline) {
  MutexLock lock(mutex_);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const std::shared_ptr<UniqueFd> fd = fd_;  // outlives the lock on it
    const FileLock file_lock = TRY(FileLock::take(fd->get(), deadline));
    FileStatus status{};
    if (!TRY(in_place(status))) {
      TRY(reopen());
      continue;
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (!tail_ || size != tail_->end) TRY(find_tail(size));
    if (tail_ && !broken_ && !plain_ && damaged_.load() == status.st_ino) {
      broken_ = EndedLog{.id = tail_->id, .lines = tail_->next, .why = EndedLog::kAltered};
    }
    if (size > 0 && (broken_ || plain_)) {
      TRY(set_aside(plain_ ? path_ + ".plain." + std::to_string(clock_.unix_seconds())
                           : rotated_name()));
      continue;
    }
    // A torn line is vouched for in its own file.
    if (size >= rotate_at_ && tail_->torn == 0 && !tail_->unended) {
      TRY(set_aside(rotated_name()));
      continue;
    }
    return write_line(fields, size, deadline);
  }
  return errno_error(EBUSY, "others keep exchanging the file");
}

Result<bool> LogWriter::in_place(FileStatus& status) {
  const FileStatus mine = TRY(status_of(fd_->get()));
  if (::lstat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT) return false;
    return errno_error(errno);
  }
  return status.st_ino == mine.st_ino && status.st_dev == mine.st_dev;
}

Result<void> LogWriter::reopen() {
  auto fresh = std::make_shared<UniqueFd>(TRY(open_for_writing(path_)));
  before_ = std::exchange(fd_, std::move(fresh));
  tail_before_ = std::exchange(tail_, std::nullopt);
  // Whatever was wrong was wrong with that file.
  broken_.reset();
  plain_ = false;
  return {};
}

Result<void> LogWriter::set_aside(const std::string& name) {
  TRY(rename_aside(path_, name, clock_));
  const auto broken = broken_;
  const bool plain = plain_;
  TRY(reopen());
  ended_ = broken;
  if (plain) before_.reset();  // nothing goes on from there
  return {};
}

std::string LogWriter::rotated_name() const {
  return path_ + "." + tail_->id.hex().substr(0, 8) + "." + twelve_digits(tail_->first);
}

Result<void> LogWriter::find_tail(std::uint64_t size) {
  if (tail_ && size < tail_->end) {
    const EndedLog cut{.id = tail_->id, .lines = tail_->next, .why = EndedLog::kCut};
    (size > 0 ? broken_ : ended_) = cut;
    if (size > 0) return {};
  }
  if (size == 0) {
    tail_.reset();
    return {};
  }
  if (!tail_ || size - tail_->end > kShortWay) return find_tail_from_end(size);
  LineWalk walk(mac_, tail_->chain, tail_->next);
  LineReader reader(fd_->get(), tail_->end);
  bool ended = true;
  bool damage = false;
  while (TRY(reader.next())) {
    damage = walk.step(reader.line()) == LineWalk::Found::kDamage || damage;
    ended = reader.ended();
    if (!ended) break;
  }
  // What does not hold is a crash's only if it has no end, or this process knows of it.
  if (damage || tail_->torn > 0 || tail_->unended || walk.pending() > kMostTorn ||
      (walk.pending() > 0 && ended)) {
    return find_tail_from_end(size);
  }
  tail_->next = walk.next() + walk.pending();
  tail_->torn = walk.pending();
  tail_->chain = walk.pending_chain();
  tail_->unended = !ended;
  tail_->end = size;
  return {};
}

Result<void> LogWriter::find_tail_from_end(std::uint64_t size) {
  const std::optional<SideFile> side = read_side_file(path_, mac_);
  const std::optional<LogTail> known = std::exchange(tail_, std::nullopt);
  ended_.reset();  // others have begun a file meanwhile
  const auto head = read_head(fd_->get(), mac_);
  if (!head && head.error().code != Code::kCorrupt && head.error().code != Code::kInvalid) {
    return head.error();
  }
  if (head) {
    tail_ = TRY(read_tail(fd_->get(), *head, size, mac_));
    if (tail_) {
      const std::uint64_t lines = tail_->next;
      if ((side && side->id == head->id && side->tree.size() > lines) ||
          (known && known->id == head->id && known->next > lines)) {
        broken_ = EndedLog{.id = head->id,
                           .lines = std::max(side ? side->tree.size() : 0, known ? known->next : 0),
                           .why = EndedLog::kCut};
      }
      return {};
    }
  }
  // No file of a log; or not any more.
  tail_ = known.value_or(LogTail());
  tail_->end = size;
  if (!known && head) {
    tail_->id = head->id;
    tail_->first = head->tree.size();
    tail_->next = tail_->first;
  } else if (!known && side) {
    tail_->id = side->id;
    tail_->first = side->first;
    tail_->next = side->tree.size();
  }
  if (known || head || side) {
    broken_ = EndedLog{.id = tail_->id, .lines = tail_->next, .why = EndedLog::kAltered};
  } else {
    plain_ = true;
  }
  return {};
}

Result<void> LogWriter::write_line(std::string_view fields, std::uint64_t size, Deadline deadline) {
  std::optional<LogHead> head;
  LogTail tail = tail_.value_or(LogTail());
  if (size == 0) {
    head = TRY(head_of_new_file(deadline));
    tail = LogTail{
        .id = head->id, .first = head->tree.size(), .next = head->tree.size(), .chain = head->prev};
  }
  // The time is taken under the locks, so that the lines of all writers stand in its order.
  std::string line = tail.unended ? "\n" : "";
  const std::size_t begin = line.size();
  line.append(R"({"time":")").append(format_time_us(clock_.now())).append(R"(",)");
  line.append(fields.substr(1, fields.size() - 2));
  if (head) line += head_field(*head);
  line += number_fields(tail.torn, tail.next);
  const ChainValue chain = mac_.next(tail.chain, as_bytes(line).subspan(begin));
  line.append(mac_field(chain)).append("\n");
  if (auto written = write_all(fd_->get(), as_bytes(line)); !written) {
    // Best effort (the file may be append-only): what stays is ended by the next line.
    if (::ftruncate(fd_->get(), static_cast<off_t>(size)) != 0) tail_.reset();
    return written;
  }
  if (head) {
    const ino_t inode = TRY(status_of(fd_->get())).st_ino;
    MutexLock tree_lock(tree_mutex_);
    grown_ = Grown{.inode = inode,
                   .id = head->id,
                   .first = head->tree.size(),
                   .offset = 0,
                   .chain = head->prev,
                   .tree = head->tree};
    before_.reset();
    tail_before_.reset();
    ended_.reset();
    if (head->after) untold_ = head->after;
  }
  tail.next += 1;
  tail.torn = 0;
  tail.unended = false;
  tail.chain = chain;
  tail.end = size + line.size();
  tail_ = tail;
  return {};
}

std::optional<EndedLog> LogWriter::take_ended() {
  MutexLock lock(mutex_);
  return std::exchange(untold_, std::nullopt);
}

}  // namespace coffer

#include "keystore/audit/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "keystore/base/atomic_file.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

/// Of a file that others keep exchanging under this process.
constexpr int kMostAttempts = 16;
/// What others wrote since is read from where this process left off, if it is no more than this.
constexpr std::uint64_t kShortWay = 64 * 1024;
/// How much of a file's end is looked through for a line that holds.
constexpr std::array<std::uint64_t, 3> kWindows = {64 * 1024, 1024 * 1024, 16 * 1024 * 1024};

// Why a log ends and another begins.
constexpr const char* kAltered = "lines were altered";
constexpr const char* kCut = "the file was cut short";
constexpr const char* kGone = "the file is gone";
constexpr const char* kTorn = "the file ended within a line";

LogId new_log_id() {
  LogId id;
  random_bytes(id.bytes);
  return id;
}

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

Result<FileStatus> status_of(int fd) {
  FileStatus status{};
  if (::fstat(fd, &status) != 0) return errno_error(errno);
  return status;
}

}  // namespace

std::string log_origin(StoreId store, LogId log) {
  return "coffer/" + store.hex() + "/" + log.hex();
}

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
      broken_ = EndedLog{.id = tail_->id, .lines = tail_->next, .why = kAltered};
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

Result<LogHead> LogWriter::read_head(int fd) const {
  LineReader reader(fd);
  if (!TRY(reader.next())) return Error{Code::kInvalid, 0, "an empty file"};
  return parse_head(reader.line(), mac_);
}

Result<void> LogWriter::find_tail(std::uint64_t size) {
  if (tail_ && size < tail_->end) {
    const EndedLog cut{.id = tail_->id, .lines = tail_->next, .why = kCut};
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
  const std::optional<Tail> known = std::exchange(tail_, std::nullopt);
  ended_.reset();  // others have begun a file meanwhile
  const auto head = read_head(fd_->get());
  if (!head && head.error().code != Code::kCorrupt && head.error().code != Code::kInvalid) {
    return head.error();
  }
  if (head) {
    tail_ = TRY(read_tail(fd_->get(), *head, size));
    if (tail_) {
      const std::uint64_t lines = tail_->next;
      if ((side && side->id == head->id && side->tree.size() > lines) ||
          (known && known->id == head->id && known->next > lines)) {
        broken_ = EndedLog{.id = head->id,
                           .lines = std::max(side ? side->tree.size() : 0, known ? known->next : 0),
                           .why = kCut};
      }
      return {};
    }
  }
  // No file of a log; or not any more.
  tail_ = known.value_or(Tail());
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
    broken_ = EndedLog{.id = tail_->id, .lines = tail_->next, .why = kAltered};
  } else {
    plain_ = true;
  }
  return {};
}

Result<std::optional<LogWriter::Tail>> LogWriter::read_tail(int fd, const LogHead& head,
                                                            std::uint64_t size) const {
  for (const std::uint64_t window : kWindows) {
    const std::uint64_t start = size > window ? size - window : 0;
    LineReader reader(fd, start);
    std::optional<LineWalk> walk;
    if (start == 0) walk.emplace(mac_, head.prev, head.tree.size());
    bool any = false;
    bool ended = true;
    // What the window cuts in two is no line.
    bool whole = start == 0;
    while (TRY(reader.next())) {
      ended = reader.ended();
      if (walk) {
        any = walk->step(reader.line()) != LineWalk::Found::kPending || any;
      } else if (const auto end = parse_line_end(reader.line()); whole && end) {
        walk.emplace(mac_, end->mac, end->n + 1);
      }
      whole = true;
      if (!ended) break;
    }
    if (any && walk->pending() <= kMostTorn && (walk->pending() == 0 || !ended)) {
      return std::optional(Tail{.id = head.id,
                                .first = head.tree.size(),
                                .next = walk->next() + walk->pending(),
                                .torn = walk->pending(),
                                .chain = walk->pending_chain(),
                                .unended = !ended,
                                .end = size});
    }
    if (start == 0) break;
  }
  return std::optional<Tail>();
}

LogHead LogWriter::fresh_head() {
  LogHead head;
  head.id = new_log_id();
  head.prev = mac_.start(head.id);
  head.after = ended_;
  return head;
}

Result<std::shared_ptr<UniqueFd>> LogWriter::file_before() {
  // The newest that lies there; or the one that this process had, if that is newer: it may have
  // been moved elsewhere.
  std::shared_ptr<UniqueFd> newest;
  std::optional<LogHead> head;
  std::string time;
  const std::vector<LogFile> files = TRY(find_log_files(path_));
  for (auto file = files.rbegin(); file != files.rend() && !head; ++file) {
    if (file->current) continue;
    newest = std::make_shared<UniqueFd>(TRY(open_log_file(file->path)));
    if (auto read = read_head(newest->get())) head = std::move(*read);
    time = file->time;
  }
  if (before_ != nullptr && tail_before_) {
    const std::string time_before = TRY(first_time(before_->get()));
    const bool newer =
        !head || (head->id == tail_before_->id ? head->tree.size() < tail_before_->first
                                               : time < time_before);
    if (newer && TRY(status_of(before_->get())).st_nlink > 0) return before_;
    if (newer) {
      ended_ = EndedLog{.id = tail_before_->id, .lines = tail_before_->next, .why = kGone};
      return std::shared_ptr<UniqueFd>();
    }
  }
  if (head) return newest;
  if (const auto side = read_side_file(path_, mac_)) {
    ended_ = EndedLog{.id = side->id, .lines = side->tree.size(), .why = kGone};
  }
  return std::shared_ptr<UniqueFd>();
}

Result<std::optional<LogHead>> LogWriter::continued(const std::shared_ptr<UniqueFd>& before,
                                                    Deadline deadline) {
  // Whoever still writes there has seen the file in its place under this lock.
  const FileLock lock = TRY(FileLock::take(before->get(), deadline));
  const LogHead head = TRY(read_head(before->get()));
  const auto size = static_cast<std::uint64_t>(TRY(status_of(before->get())).st_size);
  const std::optional<Tail> tail = TRY(read_tail(before->get(), head, size));
  const std::optional<SideFile> side = read_side_file(path_, mac_);
  const auto stop = [&](const char* why) REQUIRES(mutex_) {
    ended_ = EndedLog{.id = head.id, .lines = tail ? tail->next : head.tree.size(), .why = why};
    return std::optional<LogHead>();
  };
  if (!tail) return stop(kAltered);
  if (side && side->id == head.id && side->tree.size() > tail->next) {
    return stop(kCut);
  }
  if (tail->torn > 0) return stop(kTorn);
  MutexLock tree_lock(tree_mutex_);
  auto grown = place_tree(before->get());
  if (grown) grown = grow_tree(before->get());
  // A whole last line that lacks its newline is no leaf yet; nothing can be put after it there.
  if (!grown || grown_->tree.size() != tail->next) {
    return stop(grown ? kTorn : kAltered);
  }
  return std::optional(
      LogHead{.id = head.id, .prev = tail->chain, .tree = grown_->tree, .after = {}});
}

Result<LogHead> LogWriter::head_of_new_file(Deadline deadline) {
  if (ended_) return fresh_head();
  const std::shared_ptr<UniqueFd> before = TRY(file_before());
  if (before == nullptr) return fresh_head();
  const auto head = TRY(continued(before, deadline));
  return head ? *head : fresh_head();
}

Result<void> LogWriter::write_line(std::string_view fields, std::uint64_t size, Deadline deadline) {
  std::optional<LogHead> head;
  Tail tail = tail_.value_or(Tail());
  if (size == 0) {
    head = TRY(head_of_new_file(deadline));
    tail = Tail{
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

Result<void> LogWriter::place_tree(int fd) {
  const FileStatus status = TRY(status_of(fd));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (grown_ && grown_->inode == status.st_ino && grown_->offset <= size) return {};
  const LogHead head = TRY(read_head(fd));
  const auto side = read_side_file(path_, mac_);
  const bool use =
      side && side->id == head.id && side->first == head.tree.size() && side->offset <= size;
  grown_ = Grown{.inode = status.st_ino,
                 .id = head.id,
                 .first = head.tree.size(),
                 .offset = use ? side->offset : 0,
                 .chain = use ? side->chain : head.prev,
                 .tree = use ? side->tree : head.tree};
  return {};
}

Result<void> LogWriter::grow_tree(int fd) {
  LineWalk walk(mac_, grown_->chain, grown_->tree.size());
  LineReader reader(fd, grown_->offset);
  while (TRY(reader.next()) && reader.ended()) {
    switch (walk.step(reader.line())) {
      case LineWalk::Found::kPending:
        break;
      case LineWalk::Found::kDamage:
        return Error{Code::kCorrupt, 0,
                     "line " + std::to_string(grown_->tree.size()) + " does not hold"};
      case LineWalk::Found::kHolds:
        for (const Digest& leaf : walk.leaves()) grown_->tree.append(leaf);
        grown_->offset = reader.end();
        grown_->chain = walk.chain();
    }
  }
  return {};
}

Result<std::shared_ptr<UniqueFd>> LogWriter::newest_file() {
  MutexLock lock(mutex_);
  FileStatus status{};
  // An empty one was begun just now, by who writes its first line next.
  if (!TRY(in_place(status)) && ::lstat(path_.c_str(), &status) == 0 && status.st_size > 0) {
    TRY(reopen());
  }
  return fd_;
}

Result<std::optional<SideFile>> LogWriter::grown_to_end(int fd) {
  const FileStatus status = TRY(status_of(fd));
  MutexLock lock(tree_mutex_);
  auto grown = place_tree(fd);
  if (grown) grown = grow_tree(fd);
  const auto signed_before = read_side_file(path_, mac_);
  const auto shorter = [&]() REQUIRES(tree_mutex_) {
    return signed_before && signed_before->id == grown_->id &&
           signed_before->tree.size() > grown_->tree.size();
  };
  // Others may have written, and signed, meanwhile.
  if (grown && shorter()) grown = grow_tree(fd);
  if (!grown) {
    const Code code = grown.error().code;
    if (code == Code::kCorrupt || code == Code::kInvalid) damaged_ = status.st_ino;
    return std::move(grown).error();
  }
  if (shorter()) {
    FileStatus now{};
    const bool there = ::lstat(path_.c_str(), &now) == 0 && now.st_ino == status.st_ino;
    if (!there) return std::optional<SideFile>();
    return Error{Code::kRolledBack, 0,
                 "it has " + std::to_string(grown_->tree.size()) + " lines, and had " +
                     std::to_string(signed_before->tree.size())};
  }
  return std::optional(SideFile{.id = grown_->id,
                                .first = grown_->first,
                                .offset = grown_->offset,
                                .chain = grown_->chain,
                                .tree = grown_->tree,
                                .note = {}});
}

Result<std::optional<SignedCheckpoint>> LogWriter::checkpoint(Deadline deadline) {
  std::optional<SignedCheckpoint> made;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const std::shared_ptr<UniqueFd> fd = TRY(newest_file());
    if (TRY(status_of(fd->get())).st_size == 0) return made;
    auto side = TRY(grown_to_end(fd->get()));
    if (!side) continue;
    if (side->tree.size() == 0) return made;
    // Else a loss of power could leave a checkpoint of lines that it took.
    if (::fdatasync(fd->get()) != 0) return errno_error(errno, "syncing the audit log");
    side->note = sign_checkpoint({.origin = log_origin(store_, side->id),
                                  .size = side->tree.size(),
                                  .root = side->tree.root()},
                                 key_);
    made = SignedCheckpoint{.log = side->id, .size = side->tree.size(), .note = side->note};
    if (TRY(replace_side_file(*side, fd->get(), deadline))) return made;
  }
  // Nobody exchanges files that often; who does has signed them.
  return made;
}

Result<bool> LogWriter::replace_side_file(const SideFile& side, int fd, Deadline deadline) {
  MutexLock own_lock(mutex_);
  // The lock on the log also keeps two from writing the temporary; if it is the log's. It is not
  // replace_file, which syncs: this file may be lost.
  const FileLock lock = TRY(FileLock::take(fd, deadline));
  FileStatus there_now{};
  if (::lstat(path_.c_str(), &there_now) != 0 || there_now.st_ino != TRY(status_of(fd)).st_ino) {
    return false;
  }
  const auto there = read_side_file(path_, mac_);
  if (there && there->id == side.id && there->tree.size() >= side.tree.size()) return true;
  const std::string path = side_file_path(path_);
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const UniqueFd out(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out.valid()) return errno_error(errno, "making " + temporary);
  auto written = write_all(out.get(), as_bytes(encode_side_file(side, mac_)));
  if (written && std::rename(temporary.c_str(), path.c_str()) != 0) written = errno_error(errno);
  if (!written) {
    ::unlink(temporary.c_str());
    return std::move(written).error();
  }
  return true;
}

}  // namespace coffer

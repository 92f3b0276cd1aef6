// How what was written is read back, signed, and noted in the side file.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "keystore/audit/log_writer.h"
#include "keystore/base/atomic_file.h"

namespace coffer {

std::string log_origin(StoreId store, LogId log) {
  return "coffer/" + store.hex() + "/" + log.hex();
}

Result<void> LogWriter::place_tree(int fd) {
  const FileStatus status = TRY(status_of(fd));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (grown_ && grown_->inode == status.st_ino && grown_->offset <= size) return {};
  const LogHead head = TRY(read_head(fd, mac_));
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

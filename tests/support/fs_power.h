#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fs/backing/syscalls.h"
#include "keystore/base/bytes.h"
#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"

namespace coffer::testing {

/// One change of a backing directory, or one barrier, as it was asked for.
struct PowerEvent {
  enum class Kind {
    kCreate,    ///< `name` in `dir`: file, directory, symlink or special, by `mode`
    kLink,      ///< one more name of `node`
    kUnlink,    ///< or rmdir
    kRename,    ///< `name` of `dir` becomes `new_name` of `new_dir`, replacing what is there
    kExchange,  ///< the two change places
    kMode,      ///< chmod
    kWrite,     ///< `data` at `offset`
    kTruncate,  ///< to `offset` bytes
    kSyncFile,  ///< fsync of anything but a directory
    kSyncData,  ///< fdatasync
    kSyncDir,   ///< fsync of a directory
    kSyncAll,   ///< syncfs
  };
  Kind kind;
  ino_t node = 0;
  ino_t dir = 0;
  std::string name{};
  ino_t new_dir = 0;
  std::string new_name{};
  mode_t mode = 0;
  std::uint64_t offset = 0;
  ByteVector data{};  ///< written; of a new symlink its target

  /// A change of names or modes, which a filesystem journals.
  [[nodiscard]] bool is_metadata() const { return kind <= Kind::kMode; }
  [[nodiscard]] bool is_barrier() const { return kind >= Kind::kSyncFile; }
};

/// "write 3f2 8192+4096", to tell in a failure what went on.
std::string to_text(const PowerEvent& event);

/// A directory tree in memory, by inode number; owners, times and xattrs are no part of it.
struct PowerImage {
  struct Node {
    mode_t mode = 0;  ///< with its type
    ByteVector content{};
    std::string target{};
    std::map<std::string, ino_t> entries{};
  };
  ino_t root = 0;
  std::map<ino_t, Node> nodes;

  static PowerImage read(const std::string& path);
  /// Makes the tree below `path`, which is there and empty.
  void write(const std::string& path) const;
};

/// The real system calls on a directory, with a log of every change and barrier in the order they
/// were made. Barriers are noted and not passed on: what is durable is decided by
/// `state_after_power_loss`. Knows the calls of Syscalls that change names, modes, sizes and
/// contents; whoever adds one there adds it here. One filesystem; thread-safe.
class PowerLog : public Syscalls {
 public:
  /// What is below `root` now is on the disk.
  explicit PowerLog(const std::string& root);

  /// Called before an event is noted, with its number; for what has to keep step with the log.
  std::function<void(std::size_t)> before_event;
  /// Barriers for which it is true are lost: a disk that lies, or a program that forgot them.
  std::function<bool(const PowerEvent&)> loses_barrier;

  /// Number of events so far. A power loss after so many has all before it asked for.
  [[nodiscard]] std::size_t position() const;
  /// Once nothing is being changed any more.
  [[nodiscard]] const std::vector<PowerEvent>& events() const NO_THREAD_SAFETY_ANALYSIS {
    return events_;
  }
  [[nodiscard]] const PowerImage& initial() const { return initial_; }

  int openat(int dir, const char* name, int flags, mode_t mode) override;
  ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset) override;
  int ftruncate(int fd, off_t size) override;
  int fallocate(int fd, int mode, off_t offset, off_t length) override;
  int fsync(int fd) override;
  int fdatasync(int fd) override;
  int syncfs(int fd) override;
  int fchmod(int fd, mode_t mode) override;
  int fchmodat(int dir, const char* name, mode_t mode, int flags) override;
  int mkdirat(int dir, const char* name, mode_t mode) override;
  int mknodat(int dir, const char* name, mode_t mode, dev_t device) override;
  int unlinkat(int dir, const char* name, int flags) override;
  int renameat2(int old_dir, const char* old_name, int new_dir, const char* new_name,
                unsigned flags) override;
  int linkat(int old_dir, const char* old_name, int new_dir, const char* new_name,
             int flags) override;
  int symlinkat(const char* target, int dir, const char* name) override;

 private:
  void note(PowerEvent event) REQUIRES(mutex_);
  void note_new(int dir, const char* name) REQUIRES(mutex_);
  int barrier(int fd, PowerEvent::Kind kind);
  /// The inode number of what is about to go stays taken.
  void pin(int dir, const char* name) REQUIRES(mutex_);

  const PowerImage initial_;
  mutable Mutex mutex_;  // held over a call and its note: the log's order is that of the calls
  std::vector<PowerEvent> events_ GUARDED_BY(mutex_);
  std::vector<UniqueFd> pinned_ GUARDED_BY(mutex_);
};

/// How the filesystem of the backing journals changes of names and modes, and so what is lost.
enum class Journaling {
  /// ext4 (data=ordered): a crash leaves a prefix of them in the order they were made. syncfs, an
  /// fsync of what was changed since the last commit, and an fdatasync of a file that is new or
  /// changed its size since, commit all before them. (The kernel's filesystems/ext4/journal.rst,
  /// and ext4_fsync_journal: a commit is waited for if the inode is part of a running one.)
  kWhole,
  /// The order is kept as above, but a barrier commits no more than up to the last change that
  /// touched the very object, and an fdatasync up to its making: what XFS does, whose log is forced
  /// up to the inode's last item (xfs_fsync_flush_log).
  kInOrder,
  /// What POSIX leaves: each change is there or not for itself, but for those a later one depends
  /// on, until its directory (or the filesystem) is synced. fsync of a file says nothing of its
  /// name. Changes of one call are never torn apart.
  kAnyOrder,
  /// None of it matters: the program was killed, not the machine, and all that it did before is
  /// there, but for the end of a write that it was just making.
  kKilled,
};
const char* to_text(Journaling journaling);

/// A loss of power, and the choices of the disk.
struct PowerLoss {
  std::size_t position = 0;  ///< after so many events of the log
  Journaling journaling = Journaling::kWhole;
  std::uint64_t seed = 0;
};
std::string to_text(const PowerLoss& loss);

/// What may be on the disk after it. The model, which is that of ALICE (Pillai et al., OSDI 2014)
/// and CrashMonkey (Mohan et al., OSDI 2018) with data torn finer:
///
/// * A file's data and size that a barrier covered (fsync, fdatasync, syncfs) are there.
/// * Each write since is cut into pieces of 512 bytes or 4 KiB, at multiples of it, and each piece
///   is there or not for itself, so that later writes can be there without earlier ones. What was
///   not there before reads as zeros.
/// * The size is that after any number of the changes since, or between, at a multiple of 4 KiB: a
///   file may be empty, shorter, or end in zeros where data was lost.
/// * A truncation that is not there leaves the old blocks, or zeros to the end of the block it cut;
///   what was written behind it into new blocks is then not there either.
/// * Names and modes: as `Journaling` says. Data and sizes keep no order with them.
///
/// Nothing is promised by the replacing of a file by rename without fsync (ext4's auto_da_alloc is
/// not relied upon), and a barrier that was begun but has not returned promises nothing.
PowerImage state_after_power_loss(const PowerLog& log, const PowerLoss& loss);

}  // namespace coffer::testing

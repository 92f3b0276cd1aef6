#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <unordered_map>
#include <vector>

#include "fs/content/encrypted_file.h"
#include "fs/vfs/admission.h"
#include "fs/vfs/inode_table.h"
#include "fs/vfs/types.h"
#include "keystore/access/grant.h"
#include "keystore/base/mutex.h"
#include "keystore/broker/key_broker.h"

namespace coffer {

/// kRolledBack if it is authentic, but another state of the file than the keystore has on record.
Result<void> check_recorded(const CommittedState& state, const Dek& dek);

/// A file that has at least one handle. It holds its inode, which has to be in the table: whoever
/// looks the file up while it is open finds this very inode, and so this very file. Lives no longer
/// than the table. Thread-safe.
class OpenFile {
 public:
  OpenFile(std::unique_ptr<EncryptedFile> content, InodeTable& inodes, InodeId inode,
           std::uint64_t recorded_generation)
      : content_(std::move(content)),
        id_(content_->keys().file),
        inodes_(inodes),
        inode_(inode),
        held_(inodes_.hold(inode)),
        opened_generation_(content_->committed().generation),
        recorded_generation_(recorded_generation),
        last_due_(std::chrono::steady_clock::now().time_since_epoch().count()) {}
  ~OpenFile() {
    if (held_) inodes_.forget(inode_, 1);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  /// Of one that has not ended.
  [[nodiscard]] EncryptedFile& content() const { return *content_; }
  /// By which it is the same, whatever inodes and names it has.
  [[nodiscard]] FileId id() const { return id_; }
  [[nodiscard]] InodeId inode() const { return inode_; }

  /// True if anything was committed since it was opened.
  [[nodiscard]] bool changed() const {
    return content_->committed().generation != opened_generation_;
  }

  /// Its last link is gone: when the last handle closes, its key is deactivated.
  void mark_deleted() { deleted_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool deleted() const { return deleted_.load(std::memory_order_relaxed); }

  /// The size that its backing file spoke of was another than it has: a crash left it so.
  void mark_resized() { resized_.store(true, std::memory_order_relaxed); }
  /// True once after that.
  bool take_resized() { return resized_.exchange(false, std::memory_order_relaxed); }

  /// Whether all that was written to it is in the backing, for when it ends.
  void set_saved(bool saved) { saved_.store(saved, std::memory_order_relaxed); }
  [[nodiscard]] bool saved() const { return saved_.load(std::memory_order_relaxed); }
  /// A lock takes its keys while it has handles; nobody may be using it.
  void end();
  [[nodiscard]] bool ended() const { return ended_.load(std::memory_order_acquire); }
  /// What close(2) and fsync(2) say of one that has ended, or is about to. kRevoked if it is not
  /// known to be saved.
  [[nodiscard]] Result<void> outcome() const;

  /// True once in each `interval` from its opening on: for what is to be looked at from time to
  /// time.
  bool is_due(std::chrono::milliseconds interval);

  /// The generation that the keystore has on record, or is about to.
  [[nodiscard]] std::uint64_t recorded_generation() const {
    return recorded_generation_.load(std::memory_order_relaxed);
  }
  void set_recorded_generation(std::uint64_t generation) {
    recorded_generation_.store(generation, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<EncryptedFile> content_;
  const FileId id_;
  InodeTable& inodes_;
  InodeId inode_;
  bool held_;
  std::uint64_t opened_generation_;
  std::atomic<std::uint64_t> recorded_generation_;
  std::atomic<bool> deleted_{false};
  std::atomic<bool> resized_{false};
  std::atomic<bool> ended_{false};
  std::atomic<bool> saved_{false};
  std::atomic<std::chrono::steady_clock::rep> last_due_;
};

/// The open files by inode, with the number of handles of each. Thread-safe.
class OpenFileTable {
 public:
  /// One more handle on the file of an inode; null if it is not open.
  std::shared_ptr<OpenFile> acquire(InodeId inode);
  /// The same without counting a handle: for an operation that is over before the handle it found
  /// can be.
  [[nodiscard]] std::shared_ptr<OpenFile> find(InodeId inode) const;

  /// A header is read from the backing without a lock. What `before_reading` said then is given to
  /// `insert`, which refuses the file if one of the same inode was changed and closed, or removed,
  /// in between.
  [[nodiscard]] std::uint64_t before_reading(InodeId inode) const;
  /// The first handle on a file just opened. If another was faster, that one, and `file` goes. Null
  /// if it has to be read again.
  std::shared_ptr<OpenFile> insert(InodeId inode, std::shared_ptr<OpenFile> file,
                                   std::uint64_t before_reading);

  /// The file of an inode has lost its last name: one more handle on it if it is open. Null if it
  /// is not, and then whoever has read its header before this call reads it again.
  std::shared_ptr<OpenFile> acquire_or_outdate(InodeId inode);

  /// One handle less; true if it was the last. What was to be written must be by now.
  bool release(InodeId inode);
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::vector<std::shared_ptr<OpenFile>> all() const;
  /// The same, and none is open any more, whatever handles there are.
  std::vector<std::shared_ptr<OpenFile>> take_all();

 private:
  struct Slot {
    std::shared_ptr<OpenFile> file;
    std::uint64_t handles = 0;
  };
  static constexpr std::size_t kCounters = 256;

  mutable SharedMutex mutex_;
  std::unordered_map<InodeId, Slot> slots_ GUARDED_BY(mutex_);
  /// How often a changed file was closed, or one removed, by inode modulo their number.
  std::array<std::uint64_t, kCounters> endings_ GUARDED_BY(mutex_){};
};

/// What one open(2) got: the file and the rights it was opened with. They were decided then and
/// stay with the handle, unless they are withdrawn.
struct FileHandle {
  std::shared_ptr<OpenFile> file;
  std::shared_ptr<Admission> admission;
  /// What the kernel has cached of the file's content is of the state that was opened.
  bool pages_hold = true;
  /// The kernel may keep the pages that are read by it.
  bool may_keep_pages = true;

  [[nodiscard]] Rights rights() const { return admission->to().rights; }
  [[nodiscard]] InodeId known_as() const { return admission->to().known_as; }
};

}  // namespace coffer

#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "fs/content/body.h"
#include "fs/content/crew.h"
#include "fs/content/file_keys.h"
#include "fs/content/hash_tree.h"
#include "fs/content/header_slots.h"
#include "fs/content/nonce_sequence.h"
#include "fs/content/scratch_pool.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// What all open files share.
struct ContentContext {
  const AeadEngine& engine;
  NodeCache& nodes;
  ScratchPool& scratch;
  Crew& crew;
  JournalDir& journals;
  StoreId store;
};

/// What is known of a file's generations beside its own headers.
struct KnownGenerations {
  /// The keystore's: this state was on the disk whole before it was recorded.
  std::uint64_t recorded = 0;
  /// The newest that this program committed itself and the keystore is yet to record; not older
  /// than `recorded`, or 0.
  std::uint64_t noted = 0;
  /// That one was synced by itself, and is on the disk.
  bool noted_is_on_disk = false;
  /// It, or one before it, is being recorded just now.
  bool being_recorded = false;
  /// Another program is at work on the store: what its commits count on is there to be read, on the
  /// disk or not yet.
  bool written_now = false;
};

/// What was made of a file that a crash had left (fs/FORMAT.md, 7).
struct Recovery {
  std::uint64_t from_journal = 0;  ///< generations taken over from its journal
  std::uint64_t journal_bytes = 0;
  bool checked_whole = false;  ///< every chunk was authenticated before the state was believed
  std::uint64_t dropped = 0;   ///< generations that had not reached the disk whole
  bool damaged = false;        ///< no state was whole: the newest is shown, with errors in it
};

/// What a commit left on record: for the keystore (sealing).
struct CommittedState {
  std::uint64_t generation = 0;
  Hash root{};
  bool on_disk = false;  ///< it stands in the file itself, which was synced since
};

/// How header and journal of a file looked: differs whenever a program may have committed to it.
struct BackingStamp {
  Digest header{};            ///< and of the journal's head, which each life of it has anew
  std::uint64_t journal = 0;  ///< inode number; 0: there was none
  std::int64_t journal_size = 0;
  std::int64_t journal_changed_ns = 0;
  bool operator==(const BackingStamp&) const = default;
};

/// Errors of reading; kCorrupt if the backing is too short for a header.
Result<BackingStamp> stamp_of(const BackingFile& backing, const JournalDir& journals, FileId file);

/// Plaintext bytes [begin, end).
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// What could not be read of a file, in order; ranges that touch are one.
struct Losses {
  std::vector<ByteRange> ranges;
  /// Read, and authentic for this file and place; but the tree does not say that they are the
  /// newest that were there. None unless asked for.
  std::vector<ByteRange> unvouched;
  std::optional<Error> first;  ///< why, of the first

  void add(const ByteRange& range, const Error& why);
  void add_unvouched(const ByteRange& range, const Error& why);
  [[nodiscard]] bool none() const { return ranges.empty(); }
  [[nodiscard]] std::uint64_t bytes() const;
};

/// The plaintext of one backing file, encrypted in chunks under its own DEK and vouched for by its
/// hash tree (fs/FORMAT.md, 3). Offsets and sizes are those of the plaintext. Thread-safe: reads
/// run at once, a change has the file to itself. There is one EncryptedFile a file, whatever the
/// number of its handles. Every byte handed out was authenticated; where that fails the error is
/// kCorrupt and the output is zeros.
class EncryptedFile {
 public:
  /// Makes the header of a new, empty backing file.
  static Result<std::unique_ptr<EncryptedFile>> create(const ContentContext& context,
                                                       BackingFile backing,
                                                       std::shared_ptr<const FileKeys> keys,
                                                       unsigned chunk_log2, const Binding& binding);
  /// Authenticates the header, and settles what a crash has left (fs/FORMAT.md, 7). Errors are
  /// those of HeaderSlots::open. A backing file that is shorter than the header says is kCorrupt; a
  /// longer one was being appended to when it was last used: what was never committed is not seen,
  /// and goes with the next change.
  static Result<std::unique_ptr<EncryptedFile>> open(const ContentContext& context,
                                                     BackingFile backing, const RawHeader& raw,
                                                     std::shared_ptr<const FileKeys> keys,
                                                     const KnownGenerations& known);
  /// The same of a backing file that may be cut off: the chunks that are gone are lost, the others
  /// can be salvaged. What a crash left in a journal is seen and stays there. For reading what is
  /// left, and `supersede`.
  static Result<std::unique_ptr<EncryptedFile>> open_damaged(const ContentContext& context,
                                                             BackingFile backing,
                                                             const RawHeader& raw,
                                                             std::shared_ptr<const FileKeys> keys,
                                                             const KnownGenerations& known);
  ~EncryptedFile();
  EncryptedFile(const EncryptedFile&) = delete;
  EncryptedFile& operator=(const EncryptedFile&) = delete;

  [[nodiscard]] std::uint64_t size() const { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] const FileKeys& keys() const { return *keys_; }
  /// Of use at any time, by any thread.
  [[nodiscard]] const BackingFile& backing() const { return backing_; }
  /// Makes the backing as long as the file, if a crash left it otherwise. For the one EncryptedFile
  /// of a file, before anybody uses it.
  Result<void> mend_length();
  /// What `open` found to recover.
  [[nodiscard]] const std::optional<Recovery>& recovery() const { return recovery_; }

  /// Fills `out` from `offset` on; less only at the end of the file.
  Result<std::size_t> read(std::uint64_t offset, MutableBytes out);
  /// Where data, or a hole, begins at or after `offset`: lseek(2)'s SEEK_DATA and SEEK_HOLE, by
  /// whole chunks. The end counts as a hole. ENXIO at or past it, or if no data follows.
  Result<std::uint64_t> seek_data(std::uint64_t offset);
  Result<std::uint64_t> seek_hole(std::uint64_t offset);
  /// Writes `data`, growing the file as needed; a gap reads as zeros. The count is short if an
  /// error came after some was written (a full disk), and the file then ends with what was.
  /// kExhausted (EFBIG) past kMaxPlainSize.
  Result<std::size_t> write(std::uint64_t offset, Bytes data);
  /// The same at the end of the file.
  Result<std::size_t> append(Bytes data);
  /// The same of pages that were changed through a mapping: that takes suid and sgid from nothing.
  Result<std::size_t> write_back(std::uint64_t offset, Bytes data);
  Result<void> truncate(std::uint64_t size);

  // allocate.cc: fallocate(2).
  enum class Sizing { kGrows, kStays };
  /// Makes room in the backing for [offset, offset + length), so that writing there does not fail
  /// for want of it; the file grows so far, or its size stays. ENOSPC with nothing changed,
  /// EOPNOTSUPP if the backing can't; EFBIG past kMaxPlainSize.
  Result<void> allocate(std::uint64_t offset, std::uint64_t length, Sizing sizing);
  enum class Room { kGivenBack, kKept };
  /// Makes zeros of [offset, offset + length), as far as the file goes: whole chunks become holes,
  /// whose room is given back where the backing can do that. After an error some of it may be
  /// zeros.
  Result<void> clear(std::uint64_t offset, std::uint64_t length, Room room);

  /// Writes tree and header, so that another open would find what was written. Nothing to do if
  /// nothing changed. The modification time stays that of the last write.
  Result<void> commit();
  /// commit, then everything to the disk: what was written survives any crash.
  Result<void> sync(bool data_only);
  /// commit, then everything that stands in the journal to its place, and the journal goes. To be
  /// called when the last handle closes, or soon after.
  Result<void> settle();
  /// True if something stands in the journal, a binding is retired, or a change is left to be
  /// ended.
  [[nodiscard]] bool unsettled();
  /// The file is deleted: its journal goes without being applied.
  void abandon();

  [[nodiscard]] bool has_binding(const Binding& binding);
  /// Adds to the places the file may be found at, and commits. EMLINK if no more fit.
  Result<void> add_binding(const Binding& binding);
  /// The file is no longer to be found there, as soon as that is on the disk: until then a crash
  /// may bring the old name back. Forgotten if the binding is added again.
  void retire_binding(const Binding& binding);
  [[nodiscard]] std::vector<Binding> retired();
  /// Drops those of `bindings` that are retired still, and commits.
  Result<void> drop_retired(std::span<const Binding> bindings);

  /// The hash of the sidecar that holds the extended attributes; zeros if there are none.
  [[nodiscard]] Hash xattrs();
  /// Names another sidecar, and commits.
  Result<void> set_xattrs(const Hash& hash);

  /// Of the backing file, in no commit's midst: one moves the times, and puts them back with the
  /// suid and sgid that it found. Its size is the backing's.
  Result<struct stat> status();
  Result<void> set_mode(mode_t mode);
  Result<void> set_owner(uid_t uid, gid_t gid);
  Result<void> set_times(const struct timespec (&times)[2]);
  /// Its modification time is now.
  Result<void> touch();

  CommittedState committed();
  /// The committed state is about to be on record: whatever is committed from now on, its header is
  /// not written over before it is known to be on the disk.
  void hold_header();
  /// All that was written before `hold_header` was called last is on the disk.
  void held_is_on_disk();

  // refresh.cc: for a program that reads beside another that writes, and so has no writable
  // journals.
  /// True if another program may have committed to the file since its state was read.
  Result<bool> overtaken();
  /// Takes over the file's state as it is now; reads go on meanwhile, each of one state. Errors as
  /// `open`'s, and kRolledBack if that state is older than the one that is held, or than
  /// `known.recorded`; after an error the state is as before.
  Result<void> refresh(const KnownGenerations& known);
  /// Changes with each state taken over.
  [[nodiscard]] std::uint64_t revision() const { return revision_.load(std::memory_order_acquire); }

  // salvage.cc: for who looks into damage.
  /// As `read`, chunk by chunk: what does not authenticate, or that the disk does not give, is
  /// zeros in `out` and added to `losses`. Whole chunks if `offset` and the length of `out` are
  /// multiples of the chunk size.
  enum class Vouching { kByTree, kByChunkAlone };
  /// Where the tree is lost, `kByChunkAlone` takes what its own tag authenticates.
  std::size_t salvage(std::uint64_t offset, MutableBytes out, Losses& losses,
                      Vouching vouching = Vouching::kByTree);
  /// Bytes that the backing file has too few; 0 unless it was cut off.
  Result<std::uint64_t> missing_bytes();
  /// Bytes behind the end of the file, of an append that was never committed.
  Result<std::uint64_t> uncommitted_bytes();
  [[nodiscard]] unsigned chunk_log2() const { return geometry_.chunk_log2(); }
  /// Commits this very content with a generation above `generation`, durably: an older state that
  /// is to count as the newest from now on. A journal that was left is applied if it belongs to
  /// this state, else it goes.
  Result<void> supersede(std::uint64_t generation);

  /// Opens the backing for writing too, if it was not.
  Result<void> make_writable();

 private:
  EncryptedFile(const ContentContext& context, BackingFile backing,
                std::shared_ptr<const FileKeys> keys, HeaderSlots slots);

  // open.cc, refresh.cc
  static Result<std::unique_ptr<EncryptedFile>> open_beside(const ContentContext& context,
                                                            BackingFile backing,
                                                            std::shared_ptr<const FileKeys> keys,
                                                            const KnownGenerations& known);
  Result<void> check_follows(const EncryptedFile& newer, const KnownGenerations& known) const
      REQUIRES_SHARED(mutex_, newer.mutex_);

  // open.cc
  class Opening;
  Result<void> verify_whole();
  void spare_older();
  /// Writes what stands in a journal that was left to its place, and removes it.
  Result<void> apply_left();

  Result<std::uint64_t> seek(std::uint64_t offset, HashTree::Kind kind);
  void salvage_in_leaf(std::uint64_t offset, MutableBytes out, Losses& losses, Vouching vouching)
      REQUIRES_SHARED(mutex_);
  void salvage_unvouched(std::uint64_t offset, MutableBytes out, const Error& why, Losses& losses)
      REQUIRES_SHARED(mutex_);
  // chunks.cc: between chunks and bytes.
  Result<void> read_range(std::uint64_t offset, MutableBytes out) REQUIRES_SHARED(mutex_);
  Result<void> read_in_leaf(std::uint64_t offset, MutableBytes out, Bytes entries)
      REQUIRES_SHARED(mutex_);
  Result<void> read_whole_chunks(std::uint64_t first_chunk, Bytes entries, MutableBytes out)
      REQUIRES_SHARED(mutex_);
  Result<void> write_in_leaf(std::uint64_t offset, Bytes data) REQUIRES(mutex_);
  Result<void> reseal_chunk(std::uint64_t chunk, std::uint64_t new_length) REQUIRES(mutex_);
  Result<void> fill_in(std::uint64_t chunk, std::uint64_t offset, Bytes data, MutableBytes plain)
      REQUIRES(mutex_);
  void seal_chunks(std::uint64_t first, Bytes plain, MutableBytes cipher, MutableBytes entries)
      REQUIRES(mutex_);
  Result<void> put_chunks(std::uint64_t first, std::uint64_t last, Bytes cipher) REQUIRES(mutex_);
  Result<void> flush_if_many() REQUIRES(mutex_);

  // allocate.cc
  struct ChunkRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  Result<void> write_zeros(std::uint64_t from, std::uint64_t to) REQUIRES(mutex_);
  Result<void> clear_chunks(std::uint64_t first, std::uint64_t last,
                            std::vector<ChunkRange>& cleared) REQUIRES(mutex_);
  void give_back(const std::vector<ChunkRange>& chunks) REQUIRES(mutex_);

  Result<std::size_t> write_locked(std::uint64_t offset, Bytes data) REQUIRES(mutex_);
  Result<void> drop_tail() REQUIRES(mutex_);
  Result<void> grow(std::uint64_t size) REQUIRES(mutex_);
  /// Leaves what is cut off as a tail.
  Result<void> shrink(std::uint64_t size) REQUIRES(mutex_);

  // commit.cc
  Result<void> settle_if_needed();
  Result<void> settle_locked() REQUIRES(commit_mutex_, mutex_);
  Result<void> commit_locked() REQUIRES(commit_mutex_, mutex_);
  Result<void> commit_header(FileHeader next) REQUIRES(commit_mutex_, mutex_);
  [[nodiscard]] Result<void> put_back_attributes(const struct stat& before) const;
  [[nodiscard]] Result<void> put_back_privileges(const struct stat& before) const;
  Result<void> drop_retired_locked(std::span<const Binding> bindings)
      REQUIRES(commit_mutex_, mutex_);
  Result<void> mark_settled() REQUIRES(mutex_);
  Result<void> sync_file() REQUIRES(commit_mutex_, mutex_);
  Result<void> apply_journal() REQUIRES(commit_mutex_, mutex_);
  Result<void> write_applied() REQUIRES(commit_mutex_, mutex_);
  Result<void> release_freed() REQUIRES(commit_mutex_, mutex_);

  ContentContext context_;
  std::shared_ptr<const FileKeys> keys_;
  Geometry geometry_;
  std::optional<Recovery> recovery_;  // set before the file is shared

  // Held over a commit and over a sync whole, so that no commit writes the slot that a sync is just
  // making durable. Before mutex_.
  Mutex commit_mutex_;
  SharedMutex mutex_;  // guards all below; last in the lock order (fs/LOCKING.md)
  BackingFile backing_;
  HeaderSlots slots_ GUARDED_BY(mutex_);
  Body body_ GUARDED_BY(mutex_);
  HashTree tree_ GUARDED_BY(mutex_);
  NonceSequence nonces_ GUARDED_BY(mutex_);
  std::vector<Binding> retired_ GUARDED_BY(mutex_);  // they stand in the header still
  bool changed_ GUARDED_BY(mutex_) = false;
  bool has_tail_ GUARDED_BY(mutex_) = false;      // the backing is longer than the file
  bool on_disk_ GUARDED_BY(mutex_) = true;        // some state of the file is
  std::atomic<bool> needs_settling_{false};       // before the next change; written under mutex_
  std::atomic<std::uint64_t> size_;               // written under mutex_
  BackingStamp stamp_ GUARDED_BY(commit_mutex_);  // from before the state was read
  std::atomic<std::uint64_t> revision_{0};        // written under mutex_
};

}  // namespace coffer

#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "fs/backing/backing_file.h"
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
  StoreId store;
};

/// What a commit left on record: for the keystore (sealing).
struct CommittedState {
  std::uint64_t generation = 0;
  Hash root{};
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
  /// Authenticates the header. Errors are those of HeaderSlots::open. A backing file that is
  /// shorter than the header says is kCorrupt; a longer one was being appended to when it was last
  /// used: what was never committed is not seen, and goes with the next change.
  static Result<std::unique_ptr<EncryptedFile>> open(const ContentContext& context,
                                                     BackingFile backing, const RawHeader& raw,
                                                     std::shared_ptr<const FileKeys> keys);
  ~EncryptedFile();
  EncryptedFile(const EncryptedFile&) = delete;
  EncryptedFile& operator=(const EncryptedFile&) = delete;

  [[nodiscard]] std::uint64_t size() const { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] const FileKeys& keys() const { return *keys_; }
  /// Of use at any time, by any thread.
  [[nodiscard]] const BackingFile& backing() const { return backing_; }

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
  Result<void> truncate(std::uint64_t size);

  /// Writes tree and header, so that another open would find what was written. Nothing to do if
  /// nothing changed. The modification time stays that of the last write.
  Result<void> commit();
  /// commit, then everything to the disk.
  Result<void> sync(bool data_only);

  [[nodiscard]] bool has_binding(const Binding& binding);
  /// Adds to or drops from the places the file may be found at, and commits. EMLINK if no more fit.
  Result<void> add_binding(const Binding& binding);
  Result<void> drop_binding(const Binding& binding);

  CommittedState committed();

  /// Opens the backing for writing too, if it was not.
  Result<void> make_writable();

 private:
  EncryptedFile(const ContentContext& context, BackingFile backing,
                std::shared_ptr<const FileKeys> keys, HeaderSlots slots, bool has_tail);

  Result<std::uint64_t> seek(std::uint64_t offset, HashTree::Kind kind);
  // chunks.cc: between chunks and bytes.
  Result<void> read_range(std::uint64_t offset, MutableBytes out) REQUIRES_SHARED(mutex_);
  Result<void> read_in_leaf(std::uint64_t offset, MutableBytes out, Bytes entries)
      REQUIRES_SHARED(mutex_);
  Result<void> read_whole_chunks(std::uint64_t first_chunk, Bytes entries, MutableBytes out)
      REQUIRES_SHARED(mutex_);
  Result<void> write_in_leaf(std::uint64_t offset, Bytes data) REQUIRES(mutex_);
  Result<void> reseal_chunk(std::uint64_t chunk, std::uint64_t new_length) REQUIRES(mutex_);
  void seal_chunk(std::uint64_t chunk, Bytes plain, MutableBytes cipher, MutableBytes entry)
      REQUIRES(mutex_);

  Result<std::size_t> write_locked(std::uint64_t offset, Bytes data) REQUIRES(mutex_);
  Result<void> drop_tail() REQUIRES(mutex_);
  Result<void> grow(std::uint64_t size) REQUIRES(mutex_);
  /// Leaves what is cut off as a tail.
  Result<void> shrink(std::uint64_t size) REQUIRES(mutex_);
  Result<void> commit_locked() REQUIRES(commit_mutex_, mutex_);
  Result<void> commit_header(FileHeader next) REQUIRES(commit_mutex_, mutex_);

  ContentContext context_;
  std::shared_ptr<const FileKeys> keys_;
  Geometry geometry_;

  // Held over a commit and over a sync whole, so that no commit writes the slot that a sync is just
  // making durable. Before mutex_.
  Mutex commit_mutex_;
  SharedMutex mutex_;  // guards all below; last in the lock order (fs/LOCKING.md)
  BackingFile backing_;
  HeaderSlots slots_ GUARDED_BY(mutex_);
  HashTree tree_ GUARDED_BY(mutex_);
  NonceSequence nonces_ GUARDED_BY(mutex_);
  bool changed_ GUARDED_BY(mutex_) = false;
  bool has_tail_ GUARDED_BY(mutex_);  // the backing is longer than the file
  std::atomic<std::uint64_t> size_;   // written under mutex_
};

}  // namespace coffer

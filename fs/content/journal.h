#pragma once

#include <optional>
#include <unordered_set>
#include <vector>

#include "fs/backing/backing_dir.h"
#include "fs/content/file_keys.h"
#include "fs/format/journal.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// The redo journals of a store (fs/FORMAT.md, 7). Thread-safe.
class JournalDir {
 public:
  /// `dir` is the store's directory of journals; null if it has none, and then nothing can be
  /// written. What is found in a writable one was left by a crash, for there is one writer.
  static Result<std::unique_ptr<JournalDir>> open(std::shared_ptr<const BackingDir> dir,
                                                  bool writable);

  /// How many journals wait for the files they belong to.
  [[nodiscard]] std::size_t left() const;
  /// The journal that a crash left of this file; nothing if there is none.
  Result<std::optional<BackingFile>> find(FileId file) const;

  /// The file's journal, made if it has none. Its name is on the disk after `sync`.
  Result<BackingFile> make(FileId file) const;
  Result<void> sync() const;
  /// Nothing in it is needed any more.
  void remove(FileId file);
  /// The same of one that was left, if there is one: it must not come back.
  Result<void> discard(FileId file);
  /// It could not be applied: the next opening of the file is to do that.
  void leave(FileId file);
  [[nodiscard]] bool writable() const { return writable_; }

  /// Held while a journal that was left is applied, so that only one does.
  Mutex& settling() { return settling_; }

 private:
  JournalDir(std::shared_ptr<const BackingDir> dir, bool writable)
      : dir_(std::move(dir)), writable_(writable) {}

  std::shared_ptr<const BackingDir> dir_;
  bool writable_;
  Mutex settling_;
  mutable SharedMutex mutex_;
  std::unordered_set<FileId> left_ GUARDED_BY(mutex_);
};

/// One file's journal while the file is open: appended to, read from at random, begun again. It
/// exists from the first record on. Not thread-safe but for `read`.
class Journal {
 public:
  Journal(JournalDir& dir, StoreId store, std::shared_ptr<const FileKeys> keys)
      : dir_(&dir), store_(store), keys_(std::move(keys)) {}

  /// The journal that a crash left, to be read from, and to be removed when it has been applied.
  void take_left(BackingFile file) {
    file_ = std::move(file);
    left_ = true;
  }
  BackingFile give_back() { return std::move(*file_); }

  /// True if it was left by a crash, and is not applied yet.
  [[nodiscard]] bool is_left() const { return left_; }
  /// True if anything was appended to it.
  [[nodiscard]] bool used() const { return end_.at > 0; }
  [[nodiscard]] std::uint64_t size() const { return end_.at; }

  /// Adds a record; where its bytes lie in the journal.
  Result<std::uint64_t> append(JournalKind kind, std::uint64_t place, Bytes data);
  /// Makes all that was appended the state of `slot`'s header.
  Result<void> commit(const Block& slot, bool settled);
  Result<void> read(std::uint64_t at, MutableBytes out) const;
  /// To be synced; of use at any time while the journal is used.
  [[nodiscard]] const BackingFile& file() const { return *file_; }
  /// Puts its name on the disk.
  Result<void> name();

  /// Where the next record goes; `rewind` takes back what was appended since.
  struct Mark {
    std::uint64_t at = 0;
    Digest digest{};
  };
  [[nodiscard]] const Mark& mark() const { return end_; }
  void rewind(const Mark& mark) { end_ = mark; }

  /// Nothing in it counts any more: it begins from the front.
  Result<void> empty();
  /// The same, and the file goes.
  void remove();

 private:
  Result<void> begin();

  JournalDir* dir_;
  StoreId store_;
  std::shared_ptr<const FileKeys> keys_;
  std::optional<BackingFile> file_;
  bool named_ = false;  // its name is on the disk
  bool left_ = false;
  Mark end_;
};

/// What a journal that was left says: records in order, and the states that its commits make of
/// them.
struct JournalContent {
  struct Piece {
    JournalKind kind = JournalKind::kChunks;
    std::uint64_t place = 0;
    std::uint32_t length = 0;
    std::uint64_t at = 0;  ///< of its bytes in the journal
  };
  struct State {
    FileHeader header;
    bool settled = false;    ///< or followed by one that is
    std::size_t pieces = 0;  ///< how many of the pieces it has
  };
  std::vector<Piece> pieces;
  std::vector<State> states;  ///< generations rise by one
};

/// Reads it up to the last commit that is good. Empty if nothing in it can be believed.
/// kUnknownVersion if another program has to read it, and errors of reading.
Result<JournalContent> read_journal(const BackingFile& file, const FileKeys& keys, StoreId store);

}  // namespace coffer

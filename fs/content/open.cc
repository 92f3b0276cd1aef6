// How a file is opened: the part of EncryptedFile that finds its state, whatever a crash has left
// (fs/FORMAT.md, 7). The rest is in encrypted_file.cc.

#include <algorithm>
#include <cerrno>

#include "fs/content/encrypted_file.h"

namespace coffer {

EncryptedFile::EncryptedFile(const ContentContext& context, BackingFile backing,
                             std::shared_ptr<const FileKeys> keys, HeaderSlots slots)
    : context_(context),
      keys_(std::move(keys)),
      geometry_(slots.current().chunk_log2),
      backing_(std::move(backing)),
      slots_(std::move(slots)),
      body_(backing_, Journal(context.journals, context.store, keys_),
            geometry_.backing_size(slots_.current().plain_size)),
      tree_(body_, geometry_, context.nodes, slots_.current().root, slots_.current().plain_size),
      size_(slots_.current().plain_size) {}

Result<std::unique_ptr<EncryptedFile>> EncryptedFile::create(const ContentContext& context,
                                                             BackingFile backing,
                                                             std::shared_ptr<const FileKeys> keys,
                                                             unsigned chunk_log2,
                                                             const Binding& binding) {
  FileHeader header;
  header.suite = static_cast<std::uint16_t>(keys->suite);
  header.chunk_log2 = chunk_log2;
  header.store = context.store;
  header.file = keys->file;
  header.dek_version = keys->dek_version;
  header.scope = keys->scope;
  header.commitment = keys->commitment;
  header.bindings = {binding};
  HeaderSlots slots = TRY(HeaderSlots::create(backing, *keys, std::move(header)));
  std::unique_ptr<EncryptedFile> file(
      new EncryptedFile(context, std::move(backing), std::move(keys), std::move(slots)));
  WriteLock lock(file->mutex_);
  file->on_disk_ = false;
  file->body_.set_unsynced(true);
  return file;
}

/// Looks at the states that may be there, the newest first, until one stands.
class EncryptedFile::Opening {
 public:
  using File = std::unique_ptr<EncryptedFile>;
  using Pieces = std::span<const JournalContent::Piece>;

  /// For salvage, a backing file that was cut is taken too, and nothing is changed.
  enum class Use { kAll, kSalvage };

  static Result<File> open(const ContentContext& context, BackingFile backing, const RawHeader& raw,
                           std::shared_ptr<const FileKeys> keys, const KnownGenerations& known,
                           Use use) {
    // Who applies nothing waits for nobody, and for whom another may do it meanwhile `raw` is old.
    if (!context.journals.writable()) {
      return open_left(context, std::move(backing), std::move(keys), known, use);
    }
    if (!TRY(context.journals.find(keys->file))) {
      return Opening(context, std::move(backing), std::move(keys), known, use).from_slots(raw);
    }
    MutexLock turn(context.journals.settling());
    return open_left(context, std::move(backing), std::move(keys), known, use);
  }

  /// The header is read after the journal: what stood in one that was applied meanwhile, and is
  /// gone, stands in the header by then.
  static Result<File> open_left(const ContentContext& context, BackingFile backing,
                                std::shared_ptr<const FileKeys> keys, const KnownGenerations& known,
                                Use use) {
    auto left = TRY(context.journals.find(keys->file));
    Opening opening(context, std::move(backing), std::move(keys), known, use);
    if (left.has_value()) return opening.from_journal(std::move(*left));
    return opening.from_slots(TRY(read_raw_header(*opening.backing_)));
  }

 private:
  Opening(const ContentContext& context, BackingFile backing, std::shared_ptr<const FileKeys> keys,
          const KnownGenerations& known, Use use)
      : context_(context),
        keys_(std::move(keys)),
        known_(known),
        use_(use),
        backing_(std::move(backing)) {}

  /// As the slots say.
  Result<File> from_slots(const RawHeader& raw) {
    HeaderSlots slots = TRY(HeaderSlots::open(raw, *keys_, context_.store));
    const std::uint64_t newest = slots.current().generation;
    if (newest <= known_.recorded || known_.written_now) return build(std::move(slots), {});
    if (newest == known_.noted && known_.noted_is_on_disk) return build(std::move(slots), {});
    if (newest <= known_.noted) {
      slots.doubt();
      if (known_.being_recorded) slots.hold();
      File file = TRY(build(std::move(slots), {}));
      file->spare_older();
      return file;
    }
    // After a crash a header may be there without its data.
    auto whole = checked(slots, {});
    Recovery recovery{.checked_whole = true};
    const bool has_older =
        slots.older().has_value() && slots.older()->generation >= known_.recorded;
    if (is_damage(whole) && has_older) {
      HeaderSlots older = slots;
      older.retreat();
      recovery.dropped = newest - older.current().generation;
      whole = checked(std::move(older), {});
    }
    if (is_damage(whole)) {
      // Damage, then: what can be read shall be.
      recovery = {.checked_whole = true, .damaged = true};
      whole = build(std::move(slots), {});
    }
    File file = TRY(std::move(whole));
    if (settles()) TRY(file->backing_.sync(true));
    file->recovery_ = recovery;
    return file;
  }

  /// As the journal says that a crash left, if it says anything.
  Result<File> from_journal(BackingFile left) {
    const JournalContent content = TRY(read_journal(left, *keys_, context_.store));
    const RawHeader raw = TRY(read_raw_header(*backing_));
    const HeaderSlots slots = TRY(HeaderSlots::open(raw, *keys_, context_.store));
    const auto bytes = static_cast<std::uint64_t>(TRY(left.status()).st_size);
    const std::uint64_t newest = slots.current().generation;
    journal_ = std::move(left);
    for (std::size_t i = content.states.size(); i-- > 0;) {
      const JournalContent::State& state = content.states[i];
      const std::uint64_t generation = state.header.generation;
      if (generation < newest || content.states.front().header.generation > newest + 1) break;
      const Pieces pieces = Pieces(content.pieces).first(state.pieces);
      HeaderSlots advanced = slots;
      advanced.advance(state.header);
      const bool sure = state.settled || generation <= known_.recorded || known_.written_now;
      auto file = sure ? build(std::move(advanced), pieces) : checked(std::move(advanced), pieces);
      if (is_damage(file)) continue;
      if (!file) return file;
      if (settles()) TRY((*file)->apply_left());
      if (known_.written_now) return file;  // nothing to recover: it is at work
      (*file)->recovery_ =
          Recovery{.from_journal = generation - newest,
                   .journal_bytes = bytes,
                   .checked_whole = !sure,
                   .dropped = content.states.back().header.generation - generation};
      return file;
    }
    journal_.reset();
    File file = TRY(from_slots(raw));
    if (settles()) context_.journals.remove(keys_->file);
    return file;
  }

  [[nodiscard]] bool settles() const { return use_ == Use::kAll && context_.journals.writable(); }

  static bool is_damage(const Result<File>& file) {
    return !file && file.error().code == Code::kCorrupt;
  }

  /// The file in this state. An error leaves the parts here for the next. After a crash holes at
  /// its end may be all that the backing lacks in length: then all has to be looked at.
  Result<File> build(HeaderSlots slots, Pieces pieces, bool may_be_short = false) {
    File file(new EncryptedFile(context_, std::move(*backing_), keys_, std::move(slots)));
    WriteLock lock(file->mutex_);
    if (journal_.has_value()) {
      file->body_.journal().take_left(std::move(*journal_));
      file->body_.overlay(pieces, file->geometry_.chunk_size());
    }
    const auto status = file->backing_.status();
    const std::uint64_t expected = file->geometry_.backing_size(file->size());
    const auto length = status ? static_cast<std::uint64_t>(status->st_size) : 0;
    file->has_tail_ = length > expected;
    Error reason{Code::kCorrupt, EIO,
                 "the backing file is shorter than its header says: it was cut"};
    if (!status) reason = status.error();
    const bool cut = length < expected && pieces.empty() && !may_be_short && use_ == Use::kAll;
    if (!status || cut) {
      take_back(*file);
      return reason;
    }
    return file;
  }

  /// The same, if all of it authenticates.
  Result<File> checked(HeaderSlots slots, Pieces pieces) {
    File file = TRY(build(std::move(slots), pieces, true));
    if (auto whole = file->verify_whole(); !whole) {
      WriteLock lock(file->mutex_);
      take_back(*file);
      return std::move(whole).error();
    }
    return file;
  }

  void take_back(EncryptedFile& file) REQUIRES(file.mutex_) {
    backing_ = std::move(file.backing_);
    if (journal_.has_value()) journal_ = file.body_.journal().give_back();
  }

  ContentContext context_;
  std::shared_ptr<const FileKeys> keys_;
  KnownGenerations known_;
  Use use_;
  std::optional<BackingFile> backing_;
  std::optional<BackingFile> journal_;
};

Result<std::unique_ptr<EncryptedFile>> EncryptedFile::open(const ContentContext& context,
                                                           BackingFile backing,
                                                           const RawHeader& raw,
                                                           std::shared_ptr<const FileKeys> keys,
                                                           const KnownGenerations& known) {
  if (!context.journals.writable()) {
    auto file = TRY(open_beside(context, std::move(backing), std::move(keys), known));
    // Should the newest header have been half written just then, an older one was taken.
    if (known.written_now && TRY(file->overtaken())) (void)file->refresh(known);
    return file;
  }
  return Opening::open(context, std::move(backing), raw, std::move(keys), known,
                       Opening::Use::kAll);
}

/// Another program may write to the file. How it looks is noted before anything is read of it, so
/// that whatever changes from then on is seen to have changed. What is read of a journal that is
/// being written or applied, and of a header in the midst of being written, authenticates or is no
/// state; a state that went away while it was put together is found out by the reads, none of which
/// believes anything but its hash tree (`refresh`).
Result<std::unique_ptr<EncryptedFile>> EncryptedFile::open_beside(
    const ContentContext& context, BackingFile backing, std::shared_ptr<const FileKeys> keys,
    const KnownGenerations& known) {
  const BackingStamp stamp = TRY(stamp_of(backing, context.journals, keys->file));
  auto file = TRY(
      Opening::open_left(context, std::move(backing), std::move(keys), known, Opening::Use::kAll));
  MutexLock turn(file->commit_mutex_);
  file->stamp_ = stamp;
  return file;
}

Result<std::unique_ptr<EncryptedFile>> EncryptedFile::open_damaged(
    const ContentContext& context, BackingFile backing, const RawHeader& raw,
    std::shared_ptr<const FileKeys> keys, const KnownGenerations& known) {
  return Opening::open(context, std::move(backing), raw, std::move(keys), known,
                       Opening::Use::kSalvage);
}

Result<void> EncryptedFile::apply_left() {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  TRY(backing_.make_writable());
  TRY(body_.journal().file().sync(true));
  TRY(write_applied());
  body_.journal().remove();
  return {};
}

Result<void> EncryptedFile::mend_length() {
  WriteLock lock(mutex_);
  const struct stat before = TRY(backing_.status());
  const std::uint64_t expected = geometry_.backing_size(size());
  if (static_cast<std::uint64_t>(before.st_size) == expected || body_.counted_end() > expected) {
    return {};
  }
  TRY(backing_.make_writable());
  TRY(backing_.truncate(expected));
  has_tail_ = false;
  body_.set_unsynced(true);
  return put_back_attributes(before);
}

/// Nothing of the newest state may be on the disk yet; the older header may be the one that is.
void EncryptedFile::spare_older() {
  WriteLock lock(mutex_);
  body_.set_unsynced(true);
  if (!slots_.older().has_value()) return;
  body_.count_on(geometry_.backing_size(slots_.older()->plain_size));
  needs_settling_ = has_tail_;
}

Result<void> EncryptedFile::verify_whole() {
  ReadLock lock(mutex_);
  const auto buffer = context_.scratch.take();
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  const std::uint64_t chunks = geometry_.chunk_count(size);
  for (std::uint64_t chunk = 0;;) {
    chunk = TRY(tree_.find(chunk, HashTree::Kind::kData));
    if (chunk >= chunks) return {};
    const std::uint64_t start = geometry_.chunk_start(chunk);
    const std::uint64_t length = std::min<std::uint64_t>(buffer.bytes().size(), size - start);
    TRY(read_range(start, buffer.bytes().first(length)));
    chunk = geometry_.chunk_of(start + length - 1) + 1;
  }
}

}  // namespace coffer

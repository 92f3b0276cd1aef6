#include "fs/content/encrypted_file.h"

#include <algorithm>

namespace coffer {
namespace {

/// Bytes that one step of a write covers: a scratch buffer's worth within one leaf.
std::uint64_t step_end(const Geometry& geometry, std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t leaf_end =
      geometry.chunk_start((geometry.chunk_of(offset) / kFanOut + 1) * kFanOut);
  const std::uint64_t buffer_end =
      geometry.chunk_start(geometry.chunk_of(offset)) + ScratchPool::kBufferSize;
  return std::min({end, leaf_end, buffer_end});
}

}  // namespace

EncryptedFile::EncryptedFile(const ContentContext& context, BackingFile backing,
                             std::shared_ptr<const FileKeys> keys, HeaderSlots slots, bool has_tail)
    : context_(context),
      keys_(std::move(keys)),
      geometry_(slots.current().chunk_log2),
      backing_(std::move(backing)),
      slots_(std::move(slots)),
      tree_(backing_, geometry_, context.nodes, slots_.current().root, slots_.current().plain_size),
      has_tail_(has_tail),
      size_(slots_.current().plain_size) {}

EncryptedFile::~EncryptedFile() = default;

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
  return std::unique_ptr<EncryptedFile>(
      new EncryptedFile(context, std::move(backing), std::move(keys), std::move(slots), false));
}

Result<std::unique_ptr<EncryptedFile>> EncryptedFile::open(const ContentContext& context,
                                                           BackingFile backing,
                                                           const RawHeader& raw,
                                                           std::shared_ptr<const FileKeys> keys) {
  HeaderSlots slots = TRY(HeaderSlots::open(raw, *keys, context.store));
  const Geometry geometry(slots.current().chunk_log2);
  const struct stat status = TRY(backing.status());
  const auto length = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t expected = geometry.backing_size(slots.current().plain_size);
  if (length < expected) {
    return Error{Code::kCorrupt, EIO,
                 "the backing file is shorter than its header says: it was cut"};
  }
  return std::unique_ptr<EncryptedFile>(new EncryptedFile(
      context, std::move(backing), std::move(keys), std::move(slots), length > expected));
}

Result<std::size_t> EncryptedFile::read(std::uint64_t offset, MutableBytes out) {
  ReadLock lock(mutex_);
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  if (offset >= size) return std::size_t{0};
  const MutableBytes wanted = out.first(std::min<std::uint64_t>(out.size(), size - offset));
  if (auto done = read_range(offset, wanted); !done) {
    wipe(wanted);  // nothing of a read that failed gets out
    return std::move(done).error();
  }
  return wanted.size();
}

Result<std::uint64_t> EncryptedFile::seek_data(std::uint64_t offset) {
  return seek(offset, HashTree::Kind::kData);
}

Result<std::uint64_t> EncryptedFile::seek_hole(std::uint64_t offset) {
  return seek(offset, HashTree::Kind::kHole);
}

Result<std::uint64_t> EncryptedFile::seek(std::uint64_t offset, HashTree::Kind kind) {
  ReadLock lock(mutex_);
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  const Error nothing{Code::kInvalid, ENXIO, "nothing behind this offset"};
  if (offset >= size) return nothing;
  const std::uint64_t chunk = TRY(tree_.find(geometry_.chunk_of(offset), kind));
  const bool none = chunk == geometry_.chunk_count(size);
  if (none && kind == HashTree::Kind::kData) return nothing;
  return none ? size : std::max(offset, geometry_.chunk_start(chunk));
}

Result<std::size_t> EncryptedFile::write(std::uint64_t offset, Bytes data) {
  WriteLock lock(mutex_);
  return write_locked(offset, data);
}

Result<std::size_t> EncryptedFile::append(Bytes data) {
  WriteLock lock(mutex_);
  return write_locked(size_.load(std::memory_order_relaxed), data);
}

Result<std::size_t> EncryptedFile::write_locked(std::uint64_t offset, Bytes data) {
  if (data.empty()) return std::size_t{0};
  if (offset > kMaxPlainSize || data.size() > kMaxPlainSize - offset) return errno_error(EFBIG);
  TRY(drop_tail());
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  // A write that begins in a later chunk than the last leaves a gap; within the last chunk the
  // write itself fills it.
  const bool gap = old_size > 0 && geometry_.chunk_of(offset) > geometry_.chunk_of(old_size - 1) &&
                   geometry_.chunk_start(geometry_.chunk_of(offset)) > old_size;
  if (gap || (old_size == 0 && geometry_.chunk_of(offset) > 0)) {
    TRY(grow(geometry_.chunk_start(geometry_.chunk_of(offset))));
  }
  const std::uint64_t end = offset + data.size();
  std::uint64_t at = offset;
  while (at < end) {
    const std::uint64_t stop = step_end(geometry_, at, end);
    if (auto done = write_in_leaf(at, data.subspan(at - offset, stop - at)); !done) {
      if (at > offset) break;
      // Nothing was written: the gap goes too, as far as that can be done.
      if (size_.load(std::memory_order_relaxed) > old_size && shrink(old_size)) (void)drop_tail();
      return std::move(done).error();
    }
    at = stop;
  }
  return static_cast<std::size_t>(at - offset);
}

Result<void> EncryptedFile::truncate(std::uint64_t size) {
  if (size > kMaxPlainSize) return errno_error(EFBIG);
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  TRY(drop_tail());
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  if (size > old_size) return grow(size);
  if (size == old_size) return {};
  TRY(shrink(size));
  // The header first: whoever is killed in between leaves a tail, not a file cut off.
  TRY(commit_locked());
  return drop_tail();
}

/// Cuts off what the backing has behind the file's end, left there by a failure or by an append
/// that was never committed: after any change the backing size says what the size is.
Result<void> EncryptedFile::drop_tail() {
  if (!has_tail_) return {};
  TRY(backing_.truncate(geometry_.backing_size(size_.load(std::memory_order_relaxed))));
  has_tail_ = false;
  return {};
}

Result<void> EncryptedFile::grow(std::uint64_t size) {
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  TRY(backing_.truncate(geometry_.backing_size(size)));
  const std::uint64_t last_chunk = old_size == 0 ? 0 : geometry_.chunk_of(old_size - 1);
  const std::uint64_t old_length = geometry_.chunk_length(last_chunk, old_size);
  const std::uint64_t new_length = geometry_.chunk_length(last_chunk, size);
  if (old_size > 0 && old_length < new_length) {
    if (auto resealed = reseal_chunk(last_chunk, new_length); !resealed) {
      has_tail_ = true;
      (void)drop_tail();
      return resealed;
    }
  }
  TRY(tree_.resize(size));
  size_.store(size, std::memory_order_release);
  changed_ = true;
  return {};
}

Result<void> EncryptedFile::shrink(std::uint64_t size) {
  const std::uint64_t last_chunk = size == 0 ? 0 : geometry_.chunk_of(size - 1);
  const std::uint64_t new_length = geometry_.chunk_length(last_chunk, size);
  const std::uint64_t old_length =
      geometry_.chunk_length(last_chunk, size_.load(std::memory_order_relaxed));
  TRY(tree_.hold_edge(size));
  if (size > 0 && new_length < old_length) TRY(reseal_chunk(last_chunk, new_length));
  TRY(tree_.resize(size));
  size_.store(size, std::memory_order_release);
  changed_ = true;
  has_tail_ = true;
  return {};
}

Result<void> EncryptedFile::commit() {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  return commit_locked();
}

Result<void> EncryptedFile::commit_locked() {
  if (!changed_) return {};
  FileHeader next = slots_.current();
  next.plain_size = size_.load(std::memory_order_relaxed);
  return commit_header(std::move(next));
}

Result<void> EncryptedFile::commit_header(FileHeader next) {
  const struct stat before = TRY(backing_.status());
  TRY(tree_.flush());
  next.root = tree_.root();
  TRY(slots_.commit(backing_, *keys_, std::move(next)));
  changed_ = false;
  const struct timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, before.st_mtim};
  return backing_.set_times(times);
}

Result<void> EncryptedFile::sync(bool data_only) {
  MutexLock turn(commit_mutex_);
  {
    WriteLock lock(mutex_);
    TRY(commit_locked());
  }
  {
    ReadLock lock(mutex_);  // others may read meanwhile
    TRY(backing_.sync(data_only));
  }
  WriteLock lock(mutex_);
  slots_.mark_durable();
  return {};
}

bool EncryptedFile::has_binding(const Binding& binding) {
  ReadLock lock(mutex_);
  const auto& bindings = slots_.current().bindings;
  return std::find(bindings.begin(), bindings.end(), binding) != bindings.end();
}

Result<void> EncryptedFile::add_binding(const Binding& binding) {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  FileHeader next = slots_.current();
  if (std::find(next.bindings.begin(), next.bindings.end(), binding) != next.bindings.end())
    return {};
  if (next.bindings.size() == kMaxFileBindings) return errno_error(EMLINK);
  next.bindings.push_back(binding);
  next.plain_size = size_.load(std::memory_order_relaxed);
  return commit_header(std::move(next));
}

Result<void> EncryptedFile::drop_binding(const Binding& binding) {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  FileHeader next = slots_.current();
  if (std::erase(next.bindings, binding) == 0) return {};
  next.plain_size = size_.load(std::memory_order_relaxed);
  return commit_header(std::move(next));
}

CommittedState EncryptedFile::committed() {
  ReadLock lock(mutex_);
  return {slots_.current().generation, slots_.current().root};
}

Result<void> EncryptedFile::make_writable() {
  WriteLock lock(mutex_);
  return backing_.make_writable();
}

}  // namespace coffer

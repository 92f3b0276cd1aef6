#include "fs/content/encrypted_file.h"

#include <algorithm>

namespace coffer {
namespace {

/// Bytes that one step of a write covers: a scratch buffer's worth within one leaf.
std::uint64_t step_end(const Geometry& geometry, std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t chunk = geometry.chunk_of(offset);
  const std::uint64_t leaf_end = geometry.chunk_start(Geometry::next_leaf(chunk));
  const std::uint64_t buffer_end = geometry.chunk_start(chunk) + ScratchPool::kBufferSize;
  return std::min({end, leaf_end, buffer_end});
}

/// A journal of more than this is applied before the next change.
constexpr std::uint64_t kJournalLimit = std::uint64_t{64} << 20U;

}  // namespace

EncryptedFile::~EncryptedFile() {
  WriteLock lock(mutex_);
  if (body_.journal().used()) context_.journals.leave(keys_->file);
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
  TRY(settle_if_needed());
  WriteLock lock(mutex_);
  return write_locked(offset, data);
}

Result<std::size_t> EncryptedFile::append(Bytes data) {
  TRY(settle_if_needed());
  WriteLock lock(mutex_);
  return write_locked(size_.load(std::memory_order_relaxed), data);
}

Result<std::size_t> EncryptedFile::write_back(std::uint64_t offset, Bytes data) {
  TRY(settle_if_needed());
  WriteLock lock(mutex_);
  const struct stat before = TRY(backing_.status());
  const std::size_t written = TRY(write_locked(offset, data));
  TRY(put_back_privileges(before));
  return written;
}

Result<std::size_t> EncryptedFile::write_locked(std::uint64_t offset, Bytes data) {
  if (data.empty()) return std::size_t{0};
  if (!backing_.writable()) return errno_error(EBADF);
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
  // What goes to the journal does not touch the file, whose times are the plaintext's.
  if (geometry_.chunk_offset(geometry_.chunk_of(offset)) < body_.counted_end())
    TRY(backing_.touch());
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
  if (body_.journal().size() > kJournalLimit) needs_settling_ = true;
  return static_cast<std::size_t>(at - offset);
}

Result<void> EncryptedFile::truncate(std::uint64_t size) {
  if (size > kMaxPlainSize) return errno_error(EFBIG);
  TRY(settle_if_needed());
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  TRY(drop_tail());
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  if (size > old_size) return grow(size);
  if (size == old_size) return {};
  TRY(backing_.touch());
  TRY(shrink(size));
  // The header first: whoever is killed in between leaves a tail, not a file cut off. After an
  // error the next change begins with this.
  needs_settling_ = true;
  TRY(commit_locked());
  TRY(release_freed());
  TRY(drop_tail());
  needs_settling_ = false;
  return {};
}

/// Cuts off what the backing has behind the file's end, left there by a failure or by an append
/// that was never committed: after any change the backing size says what the size is.
Result<void> EncryptedFile::drop_tail() {
  if (!has_tail_) return {};
  const std::uint64_t end = geometry_.backing_size(size_.load(std::memory_order_relaxed));
  if (body_.counted_end() > end) {
    return Error{Code::kIo, EIO, "an earlier truncation is not on the disk yet"};
  }
  TRY(backing_.truncate(end));
  has_tail_ = false;
  return {};
}

Result<void> EncryptedFile::grow(std::uint64_t size) {
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  TRY(backing_.truncate(geometry_.backing_size(size)));
  body_.set_unsynced(true);
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
  body_.forget_from(geometry_.backing_size(size));
  size_.store(size, std::memory_order_release);
  changed_ = true;
  has_tail_ = true;
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
  std::erase(retired_, binding);
  const auto& bindings = slots_.current().bindings;
  if (std::find(bindings.begin(), bindings.end(), binding) != bindings.end()) return {};
  if (bindings.size() == kMaxFileBindings && !retired_.empty()) {
    // No time to wait for others to sync: with the file itself go its names.
    TRY(backing_.sync(false));
    TRY(drop_retired_locked(retired_));
  }
  FileHeader next = slots_.current();
  if (next.bindings.size() == kMaxFileBindings) return errno_error(EMLINK);
  next.bindings.push_back(binding);
  return commit_header(std::move(next));
}

void EncryptedFile::retire_binding(const Binding& binding) {
  WriteLock lock(mutex_);
  const auto& bindings = slots_.current().bindings;
  if (std::find(bindings.begin(), bindings.end(), binding) == bindings.end()) return;
  if (std::find(retired_.begin(), retired_.end(), binding) == retired_.end()) {
    retired_.push_back(binding);
  }
}

std::vector<Binding> EncryptedFile::retired() {
  ReadLock lock(mutex_);
  return retired_;
}

Result<void> EncryptedFile::drop_retired(std::span<const Binding> bindings) {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  return drop_retired_locked(bindings);
}

Result<void> EncryptedFile::drop_retired_locked(std::span<const Binding> bindings) {
  const auto is_meant = [&](const Binding& binding) REQUIRES(mutex_) {
    return std::find(bindings.begin(), bindings.end(), binding) != bindings.end() &&
           std::find(retired_.begin(), retired_.end(), binding) != retired_.end();
  };
  FileHeader next = slots_.current();
  if (std::erase_if(next.bindings, is_meant) == 0) return {};
  TRY(commit_header(std::move(next)));
  const auto& left = slots_.current().bindings;
  std::erase_if(retired_, [&](const Binding& binding) {
    return std::find(left.begin(), left.end(), binding) == left.end();
  });
  return {};
}

Hash EncryptedFile::xattrs() {
  ReadLock lock(mutex_);
  return slots_.current().xattrs;
}

Result<void> EncryptedFile::set_xattrs(const Hash& hash) {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  FileHeader next = slots_.current();
  next.xattrs = hash;
  return commit_header(std::move(next));
}

CommittedState EncryptedFile::committed() {
  ReadLock lock(mutex_);
  return {.generation = slots_.current().generation,
          .root = slots_.current().root,
          .on_disk = slots_.is_durable() && !body_.journal().used()};
}

void EncryptedFile::hold_header() {
  WriteLock lock(mutex_);
  slots_.hold();
}

void EncryptedFile::held_is_on_disk() {
  WriteLock lock(mutex_);
  if (slots_.held()) slots_.mark_durable();
}

Result<struct stat> EncryptedFile::status() {
  ReadLock lock(mutex_);
  return backing_.status();
}

Result<void> EncryptedFile::set_mode(mode_t mode) {
  WriteLock lock(mutex_);
  return backing_.set_mode(mode);
}

Result<void> EncryptedFile::set_owner(uid_t uid, gid_t gid) {
  WriteLock lock(mutex_);
  return backing_.set_owner(uid, gid);
}

Result<void> EncryptedFile::set_times(const struct timespec (&times)[2]) {
  WriteLock lock(mutex_);
  return backing_.set_times(times);
}

Result<void> EncryptedFile::touch() {
  WriteLock lock(mutex_);
  return backing_.touch();
}

Result<void> EncryptedFile::make_writable() {
  WriteLock lock(mutex_);
  return backing_.make_writable();
}

}  // namespace coffer

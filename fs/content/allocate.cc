// fallocate(2): the part of EncryptedFile that makes room and gives it back. The rest is in
// encrypted_file.cc.

#include <algorithm>

#include "fs/content/encrypted_file.h"

namespace coffer {

Result<void> EncryptedFile::allocate(std::uint64_t offset, std::uint64_t length, Sizing sizing) {
  if (length == 0) return {};
  if (offset > kMaxPlainSize || length > kMaxPlainSize - offset) return errno_error(EFBIG);
  TRY(settle_if_needed());
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  if (!backing_.writable()) return errno_error(EBADF);
  TRY(drop_tail());
  const std::uint64_t end = offset + length;
  const std::uint64_t from = geometry_.chunk_offset(geometry_.chunk_of(offset));
  TRY(backing_.allocate(from, geometry_.backing_size(end) - from));
  TRY(backing_.touch());
  if (sizing == Sizing::kGrows && end > size_.load(std::memory_order_relaxed)) return grow(end);
  return {};
}

Result<void> EncryptedFile::clear(std::uint64_t offset, std::uint64_t length, Room room) {
  TRY(settle_if_needed());
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  if (!backing_.writable()) return errno_error(EBADF);
  TRY(drop_tail());
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  TRY(backing_.touch());
  if (offset >= size) return {};
  const std::uint64_t end = offset + std::min(length, size - offset);
  const std::uint64_t first = geometry_.chunk_count(offset);  // the first that is cleared whole
  const std::uint64_t last = end == size ? geometry_.chunk_count(size) : geometry_.chunk_of(end);
  if (first > last) return write_zeros(offset, end);
  TRY(write_zeros(offset, std::min(end, geometry_.chunk_start(first))));
  TRY(write_zeros(geometry_.chunk_start(last), end));
  std::vector<ChunkRange> cleared;
  auto done = clear_chunks(first, last, cleared);
  if (cleared.empty()) return done;
  // As when the file is cut: no state that a crash may bring back counts on what is free now. After
  // an error the next change begins with this.
  TRY(commit_locked());
  TRY(release_freed());
  needs_settling_ = false;
  if (room == Room::kGivenBack) give_back(cleared);
  return done;
}

/// Within one chunk. A hole stays one.
Result<void> EncryptedFile::write_zeros(std::uint64_t from, std::uint64_t to) {
  if (from >= to) return {};
  std::array<std::uint8_t, kEntrySize> entry{};
  TRY(tree_.read_entries(geometry_.chunk_of(from), entry));
  if (all_zero(entry)) return {};
  const auto buffer = context_.scratch.take();
  const MutableBytes zeros = buffer.bytes().first(to - from);
  std::fill(zeros.begin(), zeros.end(), std::uint8_t{0});
  return write_in_leaf(from, zeros);
}

/// Makes holes of those of [first, last) that are data; `cleared` gets them, after an error those
/// up to there.
Result<void> EncryptedFile::clear_chunks(std::uint64_t first, std::uint64_t last,
                                         std::vector<ChunkRange>& cleared) {
  static constexpr Block kHoles{};
  std::uint64_t chunk = TRY(tree_.find(first, HashTree::Kind::kData));
  while (chunk < last) {
    const std::uint64_t stop = std::min(Geometry::next_leaf(chunk), last);
    TRY(flush_if_many());
    TRY(tree_.hold(chunk));
    changed_ = true;
    needs_settling_ = true;
    body_.free_some();
    TRY(tree_.write_entries(chunk, Bytes(kHoles).first((stop - chunk) * kEntrySize)));
    if (!cleared.empty() && cleared.back().end == chunk) {
      cleared.back().end = stop;
    } else {
      cleared.push_back({chunk, stop});
    }
    chunk = TRY(tree_.find(stop, HashTree::Kind::kData));
  }
  return {};
}

/// The room that chunks had, leaf by leaf: the nodes between them stay. What the backing can't give
/// back it keeps.
void EncryptedFile::give_back(const std::vector<ChunkRange>& chunks) {
  for (const ChunkRange& range : chunks) {
    for (std::uint64_t chunk = range.begin; chunk < range.end;) {
      const std::uint64_t stop = std::min(Geometry::next_leaf(chunk), range.end);
      const std::uint64_t from = geometry_.chunk_offset(chunk);
      const std::uint64_t to = geometry_.chunk_offset(stop - 1) + geometry_.chunk_size();
      if (!backing_.punch(from, to - from)) return;
      chunk = stop;
    }
  }
}

}  // namespace coffer

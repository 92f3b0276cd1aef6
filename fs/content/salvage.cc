// What is left of a damaged file, and what is lost. The rest of EncryptedFile is in
// encrypted_file.cc and chunks.cc.

#include <algorithm>

#include "fs/content/encrypted_file.h"

namespace coffer {

namespace {

void join(std::vector<ByteRange>& ranges, const ByteRange& range) {
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

void Losses::add(const ByteRange& range, const Error& why) {
  if (!first.has_value()) first = why;
  join(ranges, range);
}

void Losses::add_unvouched(const ByteRange& range, const Error& why) {
  if (!first.has_value()) first = why;
  join(unvouched, range);
}

std::uint64_t Losses::bytes() const {
  std::uint64_t sum = 0;
  for (const ByteRange& range : ranges) sum += range.end - range.begin;
  return sum;
}

std::size_t EncryptedFile::salvage(std::uint64_t offset, MutableBytes out, Losses& losses,
                                   Vouching vouching) {
  ReadLock lock(mutex_);
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  if (offset >= size) return 0;
  const std::size_t length = std::min<std::uint64_t>(out.size(), size - offset);
  const std::uint64_t end = offset + length;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t leaf_end =
        geometry_.chunk_start(Geometry::next_leaf(geometry_.chunk_of(at)));
    const MutableBytes part = out.subspan(at - offset, std::min(end, leaf_end) - at);
    if (!read_range(at, part)) salvage_in_leaf(at, part, losses, vouching);
    at += part.size();
  }
  return length;
}

void EncryptedFile::salvage_in_leaf(std::uint64_t offset, MutableBytes out, Losses& losses,
                                    Vouching vouching) {
  const std::uint64_t end = offset + out.size();
  // Without its leaf no chunk below can be told from another state of itself.
  std::array<std::uint8_t, kEntrySize> entry{};
  if (const auto leaf = tree_.read_entries(geometry_.chunk_of(offset), entry); !leaf) {
    wipe(out);
    if (vouching == Vouching::kByTree) {
      losses.add({offset, end}, leaf.error());
    } else {
      salvage_unvouched(offset, out, leaf.error(), losses);
    }
    return;
  }
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t next = std::min(end, geometry_.chunk_start(geometry_.chunk_of(at) + 1));
    const MutableBytes chunk = out.subspan(at - offset, next - at);
    if (const auto done = read_range(at, chunk); !done) {
      wipe(chunk);
      losses.add({at, next}, done.error());
    }
    at = next;
  }
}

/// By the leaf as it lies there. What it calls a hole is lost: nothing says that there was none.
void EncryptedFile::salvage_unvouched(std::uint64_t offset, MutableBytes out, const Error& why,
                                      Losses& losses) {
  const std::uint64_t end = offset + out.size();
  Block leaf{};
  const auto read =
      body_.read(geometry_.node_offset(Geometry::leaf_of(geometry_.chunk_of(offset))), leaf);
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t chunk = geometry_.chunk_of(at);
    const std::uint64_t next = std::min(end, geometry_.chunk_start(chunk + 1));
    const MutableBytes plain = out.subspan(at - offset, next - at);
    const Bytes entry = node_entry(leaf, static_cast<unsigned>(chunk % kFanOut));
    const bool whole =
        plain.size() == geometry_.chunk_length(chunk, size()) && at == geometry_.chunk_start(chunk);
    if (read && *read == leaf.size() && whole && !all_zero(entry) &&
        read_whole_chunks(chunk, entry, plain)) {
      losses.add_unvouched({at, next}, why);
    } else {
      wipe(plain);
      losses.add({at, next}, why);
    }
    at = next;
  }
}

Result<std::uint64_t> EncryptedFile::missing_bytes() {
  {
    // What stands in the journal may be what is missing; or holes, of a state that was checked.
    ReadLock lock(mutex_);
    const bool found_whole = recovery_.has_value() && !recovery_->damaged;
    if (body_.overlaid() || found_whole) return std::uint64_t{0};
  }
  const auto length = static_cast<std::uint64_t>(TRY(backing_.status()).st_size);
  const std::uint64_t expected = geometry_.backing_size(size());
  return length < expected ? expected - length : 0;
}

Result<std::uint64_t> EncryptedFile::uncommitted_bytes() {
  const auto length = static_cast<std::uint64_t>(TRY(backing_.status()).st_size);
  const std::uint64_t expected = geometry_.backing_size(size());
  return length > expected ? length - expected : 0;
}

Result<void> EncryptedFile::supersede(std::uint64_t generation) {
  bool is_left = false;
  {
    ReadLock lock(mutex_);
    is_left = body_.journal().is_left();
  }
  if (is_left) TRY(apply_left());
  TRY(mend_length());
  TRY(backing_.sync(true));
  // One that goes on from a state which is not this one would be applied to it after a crash.
  TRY(context_.journals.discard(keys_->file));
  {
    MutexLock turn(commit_mutex_);
    WriteLock lock(mutex_);
    // A journal knows no leap of generations.
    TRY(settle_locked());
    FileHeader next = slots_.current();
    next.generation = std::max(next.generation, generation);
    TRY(commit_header(std::move(next)));
  }
  return sync(false);
}

}  // namespace coffer

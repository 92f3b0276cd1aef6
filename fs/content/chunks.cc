// Between chunks and bytes: the part of EncryptedFile that reads and writes spans of one leaf. The
// rest is in encrypted_file.cc.

#include <algorithm>
#include <functional>

#include "fs/content/encrypted_file.h"

namespace coffer {
namespace {

/// Changed nodes held before they are written without a commit: 8 MiB, for a stream of 1 GiB in
/// chunks of 4 KiB.
constexpr std::size_t kMostChangedNodes = 2048;

/// "file id ‖ DEK version ‖ chunk index" (fs/FORMAT.md, 3.3).
std::array<std::uint8_t, 28> chunk_context(const FileKeys& keys, std::uint64_t chunk) {
  std::array<std::uint8_t, 28> context;
  std::copy(keys.file.bytes.begin(), keys.file.bytes.end(), context.begin());
  store_le(context, 16, keys.dek_version.value);
  store_le(context, 20, chunk);
  return context;
}

Result<void> open_chunk(const FileKeys& keys, std::uint64_t chunk, const LeafEntry& entry,
                        MutableBytes in_place) {
  if (keys.content->open(entry.nonce, chunk_context(keys, chunk), in_place, in_place, entry.tag))
    return {};
  return Error{Code::kCorrupt, EIO, "chunk " + std::to_string(chunk) + " was altered"};
}

}  // namespace

Result<void> EncryptedFile::read_range(std::uint64_t offset, MutableBytes out) {
  while (!out.empty()) {
    const std::uint64_t first = geometry_.chunk_of(offset);
    const std::uint64_t last =
        std::min(geometry_.chunk_of(offset + out.size() - 1), Geometry::next_leaf(first) - 1);
    Block entries;
    const MutableBytes wanted = MutableBytes(entries).first((last - first + 1) * kEntrySize);
    TRY(tree_.read_entries(first, wanted));
    const std::size_t length =
        std::min<std::uint64_t>(out.size(), geometry_.chunk_start(last + 1) - offset);
    TRY(read_in_leaf(offset, out.first(length), wanted));
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

Result<void> EncryptedFile::read_in_leaf(std::uint64_t offset, MutableBytes out, Bytes entries) {
  const std::uint64_t size = size_.load(std::memory_order_relaxed);
  const std::uint64_t first = geometry_.chunk_of(offset);
  while (!out.empty()) {
    const std::uint64_t chunk = geometry_.chunk_of(offset);
    const std::uint64_t start = geometry_.chunk_start(chunk);
    const std::uint64_t length = geometry_.chunk_length(chunk, size);
    const Bytes chunk_entries = entries.subspan((chunk - first) * kEntrySize);
    std::size_t done = 0;
    if (offset == start && out.size() >= length) {
      // Whole chunks are opened where they are wanted.
      const std::uint64_t whole = std::max<std::uint64_t>(1, out.size() >> geometry_.chunk_log2());
      const std::uint64_t end = std::min(geometry_.chunk_start(chunk + whole), size);
      done = std::min<std::uint64_t>(end - offset, out.size());
      TRY(read_whole_chunks(chunk, chunk_entries, out.first(done)));
    } else {
      const auto scratch = context_.scratch.take();
      const MutableBytes plain = scratch.bytes().first(length);
      TRY(read_whole_chunks(chunk, chunk_entries, plain));
      done = std::min<std::uint64_t>(out.size(), start + length - offset);
      std::copy_n(plain.begin() + static_cast<std::ptrdiff_t>(offset - start), done, out.begin());
    }
    out = out.subspan(done);
    offset += done;
  }
  return {};
}

Result<void> EncryptedFile::read_whole_chunks(std::uint64_t first_chunk, Bytes entries,
                                              MutableBytes out) {
  const std::uint64_t chunk_size = geometry_.chunk_size();
  std::uint64_t index = 0;
  while (index * chunk_size < out.size()) {
    const MutableBytes rest = out.subspan(index * chunk_size);
    // A run of chunks that are all data lies in one piece.
    std::uint64_t run = 0;
    while (run * chunk_size < rest.size() &&
           !all_zero(entries.subspan((index + run) * kEntrySize, kEntrySize))) {
      ++run;
    }
    if (run == 0) {
      const MutableBytes hole = rest.first(std::min<std::uint64_t>(chunk_size, rest.size()));
      std::fill(hole.begin(), hole.end(), std::uint8_t{0});
      ++index;
      continue;
    }
    const MutableBytes data = rest.first(std::min<std::uint64_t>(run * chunk_size, rest.size()));
    const std::size_t length = TRY(body_.read(geometry_.chunk_offset(first_chunk + index), data));
    if (length != data.size()) {
      return Error{
          Code::kCorrupt, EIO,
          "chunk " + std::to_string(first_chunk + index + length / chunk_size) + " is cut off"};
    }
    for (std::uint64_t i = 0; i < run; ++i, ++index) {
      const LeafEntry entry =
          TRY(decode_leaf_entry(entries.subspan(index * kEntrySize, kEntrySize)));
      const std::size_t at = i * chunk_size;
      TRY(open_chunk(*keys_, first_chunk + index, entry,
                     data.subspan(at, std::min<std::uint64_t>(chunk_size, data.size() - at))));
    }
  }
  return {};
}

/// All whole but the last, which may be shorter.
void EncryptedFile::seal_chunks(std::uint64_t first, Bytes plain, MutableBytes cipher,
                                MutableBytes entries) {
  const std::size_t count = entries.size() / kEntrySize;
  std::array<decltype(LeafEntry::nonce), kFanOut> nonces;
  for (std::size_t i = 0; i < count; ++i) nonces[i] = nonces_.next();
  const FileKeys& keys = *keys_;
  const std::uint64_t chunk_size = geometry_.chunk_size();
  const auto seal = [&](std::size_t i) {
    const std::size_t at = i * chunk_size;
    const std::size_t length = std::min<std::uint64_t>(chunk_size, plain.size() - at);
    LeafEntry sealed;
    sealed.is_hole = false;
    sealed.nonce = nonces[i];
    keys.content->seal(sealed.nonce, chunk_context(keys, first + i), plain.subspan(at, length),
                       cipher.subspan(at, length), sealed.tag);
    encode_leaf_entry(sealed, entries.subspan(i * kEntrySize, kEntrySize));
  };
  context_.crew.run(count, std::cref(seal));  // by reference: nothing is allocated
}

/// The whole plaintext of a chunk that [offset, offset + data.size()) touches: what the data does
/// not cover is read, or zeros.
Result<void> EncryptedFile::fill_in(std::uint64_t chunk, std::uint64_t offset, Bytes data,
                                    MutableBytes plain) {
  const std::uint64_t start = geometry_.chunk_start(chunk);
  const std::uint64_t old_length =
      geometry_.chunk_length(chunk, size_.load(std::memory_order_relaxed));
  if (old_length > 0) TRY(read_range(start, plain.first(old_length)));
  std::fill(plain.begin() + static_cast<std::ptrdiff_t>(old_length), plain.end(), std::uint8_t{0});
  const std::uint64_t from = std::max(offset, start);
  const std::uint64_t to = std::min(offset + data.size(), start + plain.size());
  std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(from - offset), to - from,
              plain.begin() + static_cast<std::ptrdiff_t>(from - start));
  return {};
}

/// Seals the chunks that [offset, offset + data.size()) touches, all of one leaf and one scratch
/// buffer, and puts them in their places. What the data does not cover of its first and last chunk
/// is read first.
Result<void> EncryptedFile::write_in_leaf(std::uint64_t offset, Bytes data) {
  const std::uint64_t old_size = size_.load(std::memory_order_relaxed);
  const std::uint64_t end = offset + data.size();
  const std::uint64_t new_size = std::max(old_size, end);
  const std::uint64_t first = geometry_.chunk_of(offset);
  const std::uint64_t last = geometry_.chunk_of(end - 1);
  TRY(flush_if_many());

  Block entries;
  const auto cipher_buffer = context_.scratch.take();
  std::size_t cipher_length = 0;
  // Chunks below this one are covered to their ends.
  const std::uint64_t covered = end == new_size ? last + 1 : geometry_.chunk_of(end);
  for (std::uint64_t chunk = first; chunk <= last;) {
    const std::uint64_t start = geometry_.chunk_start(chunk);
    const bool whole = offset <= start && chunk < covered;
    const std::uint64_t count = whole ? covered - chunk : 1;
    const std::uint64_t length = whole ? std::min(end, geometry_.chunk_start(covered)) - start
                                       : geometry_.chunk_length(chunk, new_size);
    const MutableBytes cipher = cipher_buffer.bytes().subspan(cipher_length, length);
    const MutableBytes sealed =
        MutableBytes(entries).subspan((chunk - first) * kEntrySize, count * kEntrySize);
    if (whole) {
      seal_chunks(chunk, data.subspan(start - offset, length), cipher, sealed);
    } else {
      const auto plain_buffer = context_.scratch.take();
      const MutableBytes plain = plain_buffer.bytes().first(length);
      TRY(fill_in(chunk, offset, data, plain));
      seal_chunks(chunk, plain, cipher, sealed);
    }
    cipher_length += length;
    chunk += count;
  }

  // From the first byte written on, only writing can fail.
  TRY(tree_.hold(first));
  if (new_size > old_size && geometry_.chunk_offset(last) < body_.counted_end()) {
    // The last chunk goes to the journal; the backing is to be as long as the file all the same.
    TRY(backing_.truncate(geometry_.backing_size(new_size)));
    body_.set_unsynced(true);
  }
  if (auto written = put_chunks(first, last, cipher_buffer.bytes().first(cipher_length));
      !written) {
    if (new_size > old_size) {
      has_tail_ = true;
      (void)drop_tail();
    }
    return written;
  }
  if (new_size > old_size) TRY(tree_.resize(new_size));
  TRY(tree_.write_entries(first, Bytes(entries).first((last - first + 1) * kEntrySize)));
  size_.store(new_size, std::memory_order_release);
  changed_ = true;
  return {};
}

Result<void> EncryptedFile::flush_if_many() {
  return tree_.changed_nodes() > kMostChangedNodes ? tree_.flush() : Result<void>();
}

/// Writes chunks of one leaf into the body.
Result<void> EncryptedFile::put_chunks(std::uint64_t first, std::uint64_t last, Bytes cipher) {
  Body::Holes holes;
  const std::uint64_t place = geometry_.chunk_offset(first);
  const std::uint64_t chunks = geometry_.chunk_count(size_.load(std::memory_order_relaxed));
  if (place < body_.counted_end() && first < chunks) {
    Block entries;
    const MutableBytes before = MutableBytes(entries).first((last - first + 1) * kEntrySize);
    TRY(tree_.read_entries(first, before));
    for (std::uint64_t i = 0; i <= last - first; ++i) {
      holes[i] = all_zero(before.subspan(i * kEntrySize, kEntrySize));
    }
  }
  return body_.write(JournalKind::kChunks, place, cipher, geometry_.chunk_size(), holes);
}

/// Seals the last chunk anew when its length changes: cut, or filled up with zeros. A hole needs
/// nothing.
Result<void> EncryptedFile::reseal_chunk(std::uint64_t chunk, std::uint64_t new_length) {
  const std::uint64_t old_length =
      geometry_.chunk_length(chunk, size_.load(std::memory_order_relaxed));
  std::array<std::uint8_t, kEntrySize> entry{};
  TRY(tree_.read_entries(chunk, entry));
  if (all_zero(entry)) return {};
  const auto buffer = context_.scratch.take();
  const MutableBytes plain = buffer.bytes().first(std::max(old_length, new_length));
  TRY(read_whole_chunks(chunk, entry, plain.first(old_length)));
  std::fill(plain.begin() + static_cast<std::ptrdiff_t>(old_length), plain.end(), std::uint8_t{0});
  const MutableBytes sealed = plain.first(new_length);
  seal_chunks(chunk, sealed, sealed, entry);
  TRY(tree_.hold(chunk));
  TRY(put_chunks(chunk, chunk, sealed));
  return tree_.write_entries(chunk, entry);
}

}  // namespace coffer

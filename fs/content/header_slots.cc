#include "fs/content/header_slots.h"

#include <algorithm>

namespace coffer {
namespace {

/// The slot's header if it authenticates and belongs to this file of this store.
Result<FileHeader> open_slot(const Block& slot, const FileKeys& keys, StoreId store) {
  FileHeader header = TRY(decode_header(slot));
  if (header.commitment != keys.commitment) {
    return Error{
        Code::kCorrupt, EIO,
        "the file header was altered, or is another file's: it does not commit to its key"};
  }
  const Bytes bytes(slot);
  if (!keys.header.verify(bytes.first(kHeaderMacOffset), bytes.subspan(kHeaderMacOffset))) {
    return Error{Code::kCorrupt, EIO, "the file header was altered"};
  }
  if (header.store != store || header.file != keys.file || header.dek_version != keys.dek_version ||
      header.scope != keys.scope || header.suite != static_cast<std::uint16_t>(keys.suite)) {
    return Error{Code::kCorrupt, EIO, "the file header contradicts the keystore"};
  }
  return header;
}

}  // namespace

Block sealed_slot(const FileHeader& header, const FileKeys& keys) {
  Block slot;
  encode_header(header, slot);
  const Digest mac = keys.header.mac(Bytes(slot).first(kHeaderMacOffset));
  std::copy(mac.begin(), mac.end(), slot.begin() + kHeaderMacOffset);
  return slot;
}

Result<RawHeader> read_raw_header(const BackingFile& file) {
  RawHeader raw;
  // The two arrays lie behind one another, as the slots do in the file.
  static_assert(sizeof(RawHeader) == 2 * kBlockSize);
  const std::size_t length = TRY(file.read(0, {raw.slots[0].data(), sizeof raw}));
  if (length != sizeof raw) {
    return Error{
        Code::kCorrupt, EIO,
        "the backing file is too short for a header: its creation was interrupted, or it was cut"};
  }
  return raw;
}

Result<FileHeader> peek_header(const RawHeader& raw) {
  auto first = decode_header(raw.slots[0]);
  auto second = decode_header(raw.slots[1]);
  if (first && second)
    return first->generation > second->generation ? std::move(first) : std::move(second);
  if (first) return first;
  if (second) return second;
  // An unknown version says more than an empty slot.
  if (second.error().code == Code::kUnknownVersion) return second;
  if (first.error().code == Code::kNotFound)
    return Error{Code::kCorrupt, EIO, "the file header is missing"};
  return first;
}

Result<HeaderSlots> HeaderSlots::open(const RawHeader& raw, const FileKeys& keys, StoreId store) {
  std::array<Result<FileHeader>, 2> headers = {open_slot(raw.slots[0], keys, store),
                                               open_slot(raw.slots[1], keys, store)};
  if (!headers[0] && !headers[1]) {
    Error reason =
        std::move(headers[0].error().code == Code::kNotFound ? headers[1] : headers[0]).error();
    if (reason.code == Code::kNotFound)
      return Error{Code::kCorrupt, EIO, "the file header is missing"};
    return reason;
  }
  const unsigned newest = headers[0] && headers[1]
                              ? (headers[0]->generation > headers[1]->generation ? 0U : 1U)
                              : (headers[0] ? 0U : 1U);
  HeaderSlots slots(std::move(*headers[newest]), newest, newest);
  if (headers[1 - newest]) slots.older_ = std::move(*headers[1 - newest]);
  return slots;
}

Result<HeaderSlots> HeaderSlots::create(const BackingFile& file, const FileKeys& keys,
                                        FileHeader header) {
  RawHeader raw;
  header.generation = 1;
  raw.slots[0] = sealed_slot(header, keys);
  raw.slots[1].fill(0);
  TRY(file.write(0, {raw.slots[0].data(), sizeof raw}));
  HeaderSlots slots(std::move(header), 0, 0);
  slots.doubt();
  return slots;
}

Result<void> HeaderSlots::write(const BackingFile& file, const FileKeys& keys) {
  return put(file, keys, header_);
}

Result<void> HeaderSlots::commit(const BackingFile& file, const FileKeys& keys, FileHeader next) {
  number(next);
  TRY(put(file, keys, next));
  header_ = std::move(next);
  return {};
}

Result<void> HeaderSlots::put(const BackingFile& file, const FileKeys& keys,
                              const FileHeader& header) {
  const unsigned target = 1 - durable_slot_;
  TRY(file.write(target * kBlockSize, sealed_slot(header, keys)));
  current_slot_ = target;
  return {};
}

void HeaderSlots::doubt() {
  in_doubt_ = true;
  if (older_.has_value()) durable_slot_ = 1 - current_slot_;
}

void HeaderSlots::retreat() {
  header_ = std::move(*older_);
  older_.reset();
  current_slot_ = 1 - current_slot_;
  durable_slot_ = current_slot_;
}

}  // namespace coffer

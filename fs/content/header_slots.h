#pragma once

#include <array>
#include <optional>

#include "fs/backing/backing_file.h"
#include "fs/content/file_keys.h"
#include "fs/format/header.h"

namespace coffer {

/// The two header slots as they lie in a backing file, nothing of them believed yet.
struct RawHeader {
  std::array<Block, 2> slots;
};

/// Reads both slots. kCorrupt if the file is too short to hold them.
Result<RawHeader> read_raw_header(const BackingFile& file);

/// What the newest slot that can be read says of itself: enough to ask for its key. Nothing in it
/// is authenticated. kUnknownVersion, kCorrupt if neither slot is a header.
Result<FileHeader> peek_header(const RawHeader& raw);

/// The header of an open file: authenticated on the way in, written into the slot that may be lost
/// on the way out (fs/FORMAT.md, 3.1). Not thread-safe.
class HeaderSlots {
 public:
  /// The newest slot whose MAC holds. kCorrupt if there is none, or the key is not the file's.
  static Result<HeaderSlots> open(const RawHeader& raw, const FileKeys& keys, StoreId store);
  /// For a new file, whose header this is; writes it into slot 0 and zeros into slot 1.
  static Result<HeaderSlots> create(const BackingFile& file, const FileKeys& keys,
                                    FileHeader header);

  [[nodiscard]] const FileHeader& current() const { return header_; }

  /// Writes `next` with the next generation, and makes it current.
  Result<void> commit(const BackingFile& file, const FileKeys& keys, FileHeader next);
  /// The current header is known to be on the disk: the next commit spares its slot.
  void mark_durable() { durable_slot_ = current_slot_; }

 private:
  HeaderSlots(FileHeader header, unsigned current_slot, unsigned durable_slot)
      : header_(std::move(header)), current_slot_(current_slot), durable_slot_(durable_slot) {}

  FileHeader header_;
  unsigned current_slot_;
  unsigned durable_slot_;
};

}  // namespace coffer

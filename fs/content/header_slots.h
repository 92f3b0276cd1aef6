#pragma once

#include <algorithm>
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

/// A header as a slot's bytes, with its MAC.
Block sealed_slot(const FileHeader& header, const FileKeys& keys);

/// The header of an open file: authenticated on the way in, written into the slot that may be lost
/// on the way out (fs/FORMAT.md, 3.1). Not thread-safe.
class HeaderSlots {
 public:
  /// The newest slot whose MAC holds, and taken to be on the disk. kCorrupt if there is none, or
  /// the key is not the file's.
  static Result<HeaderSlots> open(const RawHeader& raw, const FileKeys& keys, StoreId store);
  /// For a new file, whose header this is; writes it into slot 0 and zeros into slot 1.
  static Result<HeaderSlots> create(const BackingFile& file, const FileKeys& keys,
                                    FileHeader header);

  [[nodiscard]] const FileHeader& current() const { return header_; }
  /// What the other slot held when they were opened, if it was good.
  [[nodiscard]] const std::optional<FileHeader>& older() const { return older_; }

  /// Gives `next` the generation after the current one's, or after its own if that is higher.
  void number(FileHeader& next) const {
    next.generation = std::max(header_.generation, next.generation) + 1;
  }
  /// `next`, which has its generation, is current, but stands in no slot.
  void advance(FileHeader next) { header_ = std::move(next); }
  /// Writes the current header into a slot.
  Result<void> write(const BackingFile& file, const FileKeys& keys);
  /// Numbers `next`, writes it into a slot, and makes it current.
  Result<void> commit(const BackingFile& file, const FileKeys& keys, FileHeader next);
  /// The current header is known to be on the disk in a slot: the next commit spares it.
  void mark_durable() {
    durable_slot_ = current_slot_;
    in_doubt_ = false;
    held_ = false;
  }
  /// The newest header in a slot is known to be on the disk.
  [[nodiscard]] bool is_durable() const { return durable_slot_ == current_slot_ && !in_doubt_; }
  /// The newest header in a slot may be promised to somebody from now on: before it is known to be
  /// on the disk, neither slot can be written.
  void hold() { held_ = !is_durable(); }
  [[nodiscard]] bool held() const { return held_; }

  /// The newest slot may not be on the disk yet: the next commit spares the older one, if that is
  /// good.
  void doubt();
  /// The newest slot is no state of the file: the older one is.
  void retreat();

 private:
  HeaderSlots(FileHeader header, unsigned current_slot, unsigned durable_slot)
      : header_(std::move(header)), current_slot_(current_slot), durable_slot_(durable_slot) {}

  /// Into the slot that may be lost.
  Result<void> put(const BackingFile& file, const FileKeys& keys, const FileHeader& header);

  FileHeader header_;
  std::optional<FileHeader> older_;
  unsigned current_slot_;
  unsigned durable_slot_;
  bool in_doubt_ = false;
  bool held_ = false;
};

}  // namespace coffer

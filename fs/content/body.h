#pragma once

#include <algorithm>
#include <bitset>
#include <map>
#include <span>

#include "fs/content/journal.h"

namespace coffer {

/// The body of one file: places in the backing file, and what stands in the journal in the stead of
/// some of them (fs/FORMAT.md, 7). What a header counts on is never written over but from the
/// journal. `read` calls may run at once; everything else needs the file to itself.
class Body {
 public:
  /// `counted_end` is the backing size of the largest state that a header stands for. `file`
  /// outlives the body.
  Body(const BackingFile& file, Journal journal, std::uint64_t counted_end)
      : file_(file), journal_(std::move(journal)), counted_end_(counted_end) {}

  [[nodiscard]] Journal& journal() { return journal_; }

  /// Fills `out` from `place` on; less only at the end of the body.
  Result<std::size_t> read(std::uint64_t place, MutableBytes out) const;

  /// Pieces of which nothing but zeros was there before, by number.
  using Holes = std::bitset<kFanOut>;
  /// Writes what stands in consecutive pieces of `piece` bytes (the last may be shorter): straight
  /// to its place where it is a hole or behind all that is counted on, else to the journal. After
  /// an error what was counted on is as before.
  Result<void> write(JournalKind kind, std::uint64_t place, Bytes data, std::uint64_t piece,
                     const Holes& holes);

  /// A header stands for a state of this backing size now, and counts on all of it.
  void count_on(std::uint64_t backing_size) { counted_end_ = std::max(counted_end_, backing_size); }
  /// The only state left is of this backing size, and it is the present one.
  void count_only_on(std::uint64_t backing_size) {
    counted_end_ = backing_size;
    freed_ = false;
  }
  /// Data was made a hole that a state counts on: nothing may be written there until that state
  /// can't come back.
  void free_some() { freed_ = true; }
  [[nodiscard]] bool freed() const { return freed_; }
  /// Some state that a crash may bring back has data where the present one, of this backing size,
  /// has none.
  [[nodiscard]] bool counts_on_more_than(std::uint64_t backing_size) const {
    return freed_ || counted_end_ > backing_size;
  }
  [[nodiscard]] std::uint64_t counted_end() const { return counted_end_; }

  /// True if something was written straight to the file since it was last synced.
  [[nodiscard]] bool unsynced() const { return unsynced_; }
  void set_unsynced(bool unsynced) { unsynced_ = unsynced; }

  /// Takes over a state of the journal that was left: `pieces` stand in the stead of their places.
  void overlay(std::span<const JournalContent::Piece> pieces, std::uint64_t chunk_size);
  /// Becomes the body of another state of the same file, which `other` gives up.
  void take_over(Body& other) {
    journal_ = std::move(other.journal_);
    counted_end_ = other.counted_end_;
    instead_ = std::move(other.instead_);
  }
  /// Forgets what stands in the stead of places from this one on: they are to be cut off.
  void forget_from(std::uint64_t place) {
    instead_.erase(instead_.lower_bound(place), instead_.end());
  }
  [[nodiscard]] bool overlaid() const { return !instead_.empty(); }
  /// Writes everything that stands in the journal to its place. The file is to be synced then, and
  /// the journal emptied.
  Result<void> apply();
  void forget_all() { instead_.clear(); }

 private:
  struct Instead {
    std::uint64_t at = 0;  ///< in the journal
    std::uint64_t length = 0;
  };

  void stand_in(std::uint64_t place, std::uint64_t at, std::uint64_t length, std::uint64_t piece);

  const BackingFile& file_;
  Journal journal_;
  std::uint64_t counted_end_;
  bool unsynced_ = false;
  bool freed_ = false;
  std::map<std::uint64_t, Instead> instead_;  // by place; pieces that do not overlap
};

}  // namespace coffer

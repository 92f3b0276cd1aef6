// How an open file follows another program that writes to it: the part of EncryptedFile for
// read-only mounts beside a read-write one. The rest is in encrypted_file.cc.

#include <algorithm>

#include "fs/content/encrypted_file.h"
#include "keystore/crypto/digest.h"

namespace coffer {

Result<BackingStamp> stamp_of(const BackingFile& backing, const JournalDir& journals, FileId file) {
  BackingStamp stamp;
  std::array<std::uint8_t, kJournalHeadSize + sizeof(RawHeader)> looked_at{};
  if (const auto journal = TRY(journals.find(file))) {
    const struct stat status = TRY(journal->status());
    stamp.journal = status.st_ino;
    stamp.journal_size = status.st_size;
    stamp.journal_changed_ns = status.st_ctim.tv_sec * 1'000'000'000LL + status.st_ctim.tv_nsec;
    TRY(journal->read(0, MutableBytes(looked_at).first(kJournalHeadSize)));
  }
  const RawHeader raw = TRY(read_raw_header(backing));
  auto out = looked_at.begin() + kJournalHeadSize;
  for (const Block& slot : raw.slots) out = std::copy(slot.begin(), slot.end(), out);
  stamp.header = sha256(looked_at);
  return stamp;
}

Result<bool> EncryptedFile::overtaken() {
  const BackingFile again = TRY(backing_.reopened());
  MutexLock turn(commit_mutex_);
  return TRY(stamp_of(again, context_.journals, keys_->file)) != stamp_;
}

Result<void> EncryptedFile::refresh(const KnownGenerations& known) {
  MutexLock turn(commit_mutex_);  // one at a time; nobody commits here
  const auto newer = TRY(open_beside(context_, TRY(backing_.reopened()), keys_, known));
  MutexLock its_turn(newer->commit_mutex_);
  WriteLock of_newer(newer->mutex_);
  WriteLock lock(mutex_);
  TRY(check_follows(*newer, known));
  tree_.take_over(newer->tree_);
  body_.take_over(newer->body_);
  slots_ = newer->slots_;
  has_tail_ = newer->has_tail_;
  size_.store(slots_.current().plain_size, std::memory_order_release);
  stamp_ = newer->stamp_;
  revision_.fetch_add(1, std::memory_order_release);
  return {};
}

Result<void> EncryptedFile::check_follows(const EncryptedFile& newer,
                                          const KnownGenerations& known) const {
  const FileHeader& held = slots_.current();
  const FileHeader& found = newer.slots_.current();
  const std::uint64_t floor = std::max(held.generation, known.recorded);
  if (found.generation < floor) {
    return Error{Code::kRolledBack, EIO,
                 "the file is older (generation " + std::to_string(found.generation) +
                     ") than it was (" + std::to_string(floor) +
                     "): it was put back in the backing directory"};
  }
  if (found.generation == held.generation && found.root != held.root) {
    return Error{Code::kRolledBack, EIO, "the file is another state of itself than it was"};
  }
  if (found.chunk_log2 != held.chunk_log2) {
    return Error{Code::kCorrupt, EIO, "the file's chunk size is not what it was"};
  }
  return {};
}

}  // namespace coffer

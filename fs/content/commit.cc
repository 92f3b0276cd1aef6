// How changes become a state of the file: the part of EncryptedFile that commits, syncs, and
// applies the journal (fs/FORMAT.md, 7). The rest is in encrypted_file.cc.

#include "fs/content/encrypted_file.h"

namespace coffer {

Result<void> EncryptedFile::commit() {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  return commit_locked();
}

Result<void> EncryptedFile::commit_locked() {
  if (!changed_) return {};
  return commit_header(slots_.current());
}

/// `next` with the size and the root of what is here now.
Result<void> EncryptedFile::commit_header(FileHeader next) {
  const struct stat before = TRY(backing_.status());
  TRY(tree_.flush());
  next.root = tree_.root();
  next.plain_size = size_.load(std::memory_order_relaxed);
  Journal& journal = body_.journal();
  if (journal.used()) {
    slots_.number(next);
    TRY(journal.commit(sealed_slot(next, *keys_), !body_.unsynced()));
    slots_.advance(std::move(next));
  } else {
    if (slots_.held()) {
      TRY(backing_.sync(true));
      slots_.mark_durable();
    }
    TRY(slots_.commit(backing_, *keys_, std::move(next)));
    body_.set_unsynced(true);
  }
  body_.count_on(geometry_.backing_size(slots_.current().plain_size));
  changed_ = false;
  return put_back_attributes(before);
}

/// What a commit and the journal write is no modification of the plaintext. And the kernel takes
/// suid and sgid from a file that a process without CAP_FSETID writes to: a program's own write has
/// had them taken already, a header that is written later is none of its writes.
Result<void> EncryptedFile::put_back_attributes(const struct stat& before) const {
  TRY(put_back_privileges(before));
  const struct timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, before.st_mtim};
  return backing_.set_times(times);
}

Result<void> EncryptedFile::put_back_privileges(const struct stat& before) const {
  const mode_t bits = before.st_mode & (S_ISUID | S_ISGID);
  if (bits == 0) return {};
  const mode_t now = TRY(backing_.status()).st_mode;
  return (bits & ~now) != 0 ? backing_.set_mode((now | bits) & 07777) : Result<void>();
}

Result<void> EncryptedFile::sync(bool data_only) {
  MutexLock turn(commit_mutex_);
  bool journaled = false;
  bool straight = false;
  const BackingFile* journal_file = nullptr;
  {
    WriteLock lock(mutex_);
    TRY(commit_locked());
    journaled = body_.journal().used();
    straight = body_.unsynced();
    body_.set_unsynced(false);
    if (journaled) journal_file = &body_.journal().file();
  }
  // Reads and writes go on meanwhile.
  if (!journaled || straight || !data_only) {
    if (auto synced = backing_.sync(data_only); !synced) {
      WriteLock lock(mutex_);
      body_.set_unsynced(true);
      return synced;
    }
  }
  {
    WriteLock lock(mutex_);
    on_disk_ = true;
    if (!journaled) {
      slots_.mark_durable();
      return {};
    }
    if (straight) {
      // The header before the journal's: the journal begins after it, and is nothing without it.
      slots_.mark_durable();
      TRY(mark_settled());
    }
    TRY(body_.journal().name());
  }
  return journal_file->sync(true);
}

/// What the journal's last commit counts on beside the journal is on the disk.
Result<void> EncryptedFile::mark_settled() {
  return body_.journal().commit(sealed_slot(slots_.current(), *keys_), true);
}

bool EncryptedFile::unsettled() {
  ReadLock lock(mutex_);
  return body_.journal().used() || !retired_.empty() || body_.freed();
}

Result<void> EncryptedFile::settle_if_needed() {
  return needs_settling_.load(std::memory_order_relaxed) ? settle() : Result<void>();
}

Result<void> EncryptedFile::settle() {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  return settle_locked();
}

Result<void> EncryptedFile::settle_locked() {
  TRY(commit_locked());
  TRY(release_freed());
  TRY(apply_journal());
  body_.journal().remove();
  needs_settling_ = false;
  return {};
}

void EncryptedFile::abandon() {
  MutexLock turn(commit_mutex_);
  WriteLock lock(mutex_);
  body_.journal().remove();
}

/// The header that is current stands in a slot on the disk, and nothing else counts.
Result<void> EncryptedFile::sync_file() {
  TRY(backing_.sync(true));
  slots_.mark_durable();
  on_disk_ = true;
  body_.set_unsynced(false);
  body_.count_only_on(geometry_.backing_size(slots_.current().plain_size));
  return {};
}

/// Everything is committed. What stands in the journal goes to its place, when it is known to be on
/// the disk there: until the file is synced it can be done again.
Result<void> EncryptedFile::apply_journal() {
  Journal& journal = body_.journal();
  if (!journal.used()) return {};
  if (body_.unsynced()) {
    TRY(backing_.sync(true));
    slots_.mark_durable();
    TRY(mark_settled());
  }
  TRY(journal.name());
  TRY(journal.file().sync(true));
  TRY(write_applied());
  return journal.empty();
}

/// The journal is on the disk.
Result<void> EncryptedFile::write_applied() {
  const struct stat before = TRY(backing_.status());
  TRY(body_.apply());
  // Holes at the end leave nothing to write.
  const std::uint64_t end = geometry_.backing_size(slots_.current().plain_size);
  if (static_cast<std::uint64_t>(before.st_size) < end &&
      static_cast<std::uint64_t>(TRY(backing_.status()).st_size) < end) {
    TRY(backing_.truncate(end));
  }
  TRY(slots_.write(backing_, *keys_));
  TRY(put_back_attributes(before));
  TRY(sync_file());
  body_.forget_all();
  return {};
}

/// Before the backing is cut, or what became a hole is written straight: no header that could be
/// the file's after a crash counts on what goes. A file of which nothing is on the disk has nothing
/// to lose.
Result<void> EncryptedFile::release_freed() {
  const std::uint64_t end = geometry_.backing_size(size_.load(std::memory_order_relaxed));
  if (!body_.counts_on_more_than(end)) return {};
  TRY(apply_journal());
  if (!body_.counts_on_more_than(end)) return {};
  if (on_disk_) return sync_file();
  body_.count_only_on(geometry_.backing_size(slots_.current().plain_size));
  return {};
}

}  // namespace coffer

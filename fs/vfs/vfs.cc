#include "fs/vfs/vfs.h"

#include <unistd.h>

#include <cerrno>

namespace coffer {
namespace {

/// The directory of journals, made if it is not there and may be.
Result<std::shared_ptr<const BackingDir>> journal_directory(const BackingDir& private_dir,
                                                            bool read_only) {
  auto dir = private_dir.open_dir(kJournalDir);
  if (dir || dir.error().code != Code::kNotFound) return dir;
  if (read_only) return std::shared_ptr<const BackingDir>();
  TRY(private_dir.make_dir(kJournalDir, 0700));
  return private_dir.open_dir(kJournalDir);
}

}  // namespace

Vfs::Vfs(std::shared_ptr<const BackingDir> root, std::unique_ptr<JournalDir> journals,
         std::shared_ptr<const BackingDir> private_dir, StoreId store, const AeadEngine& engine,
         KeyBroker& broker, Recorder* recorder, const Options& options, bool encrypted_names,
         BackingId root_id)
    : options_(options),
      store_(store),
      broker_(broker),
      recorder_(recorder),
      root_(std::move(root)),
      nodes_(options.node_cache_bytes),
      journals_(std::move(journals)),
      content_{.engine = engine,
               .nodes = nodes_,
               .scratch = scratch_,
               .crew = crew_,
               .journals = *journals_,
               .store = store},
      names_(broker, store, encrypted_names),
      inodes_(root_id),
      directories_(options.directory_cache),
      new_files_(root_),
      xattrs_(engine, std::move(private_dir)) {}

Vfs::~Vfs() { broker_.when_changed(nullptr); }

Who Vfs::who(const Caller& caller, mode_t umask) const {
  return Who(caller, umask, broker_.sources());
}

Result<std::unique_ptr<Vfs>> Vfs::create(const std::string& root, StoreId store,
                                         const AeadEngine& engine, KeyBroker& broker,
                                         Recorder* recorder, const Options& options) {
  Syscalls& calls = options.calls != nullptr ? *options.calls : real_syscalls();
  auto backing = TRY(BackingDir::open_root(calls, root));
  auto private_dir = backing->open_dir(kPrivateDir);
  if (!private_dir) return Error{Code::kNotAStore, 0, root + " is not a coffer store"};
  auto journals = TRY(JournalDir::open(TRY(journal_directory(**private_dir, options.read_only)),
                                       !options.read_only));
  const bool encrypted = TRY(broker.policy())->names() == NamesMode::kEncrypted;
  const BackingId root_id = backing_id(TRY(backing->status()));
  std::unique_ptr<Vfs> vfs(new Vfs(std::move(backing), std::move(journals), *private_dir, store,
                                   engine, broker, recorder, options, encrypted, root_id));
  if (!options.read_only) {
    if (auto made = (*private_dir)->make_dir(kTemporaryDir, 0700);
        !made && made.error().code != Code::kExists) {
      return std::move(made).error();
    }
    vfs->temporary_ = TRY((*private_dir)->open_dir(kTemporaryDir));
    TRY(vfs->empty_temporary());
  }
  broker.when_changed([raw = vfs.get()] { raw->reconsider_all(); });
  return vfs;
}

Result<void> Vfs::require_writable() const {
  if (options_.read_only) return errno_error(EROFS, "mounted read-only");
  return {};
}

Result<void> Vfs::remove_journal(FileId file) {
  TRY(require_writable());
  MutexLock turn(journals_->settling());
  return journals_->discard(file);
}

Result<struct statvfs> Vfs::filesystem() {
  struct statvfs status = TRY(root_->filesystem());
  status.f_namemax = kMaxNameLength;
  return status;
}

Result<void> Vfs::finish() {
  Result<void> outcome;
  settle_removed();
  for (const auto& admission : admissions_.all()) note_close(*admission);
  for (const auto& file : files_.all()) {
    auto settled = file->content().settle();
    if (settled) {
      note_state(*file);  // a deleted file that is still open ends with the program
    } else {
      options_.report(settled.error());
      outcome = std::move(settled);
    }
  }
  // Once more for the states that come of dropping bindings after the first.
  for (int round = 0; round < 2 && recorder_ != nullptr; ++round) {
    if (auto flushed = recorder_->flush(); !flushed) outcome = std::move(flushed);
  }
  // Of directories nothing is recorded.
  if (xattrs_.retired() > 0) {
    if (auto synced = sync_backing(); !synced) outcome = std::move(synced);
  }
  return outcome;
}

}  // namespace coffer

#include "fs/vfs/vfs.h"

#include <unistd.h>

#include <cerrno>

namespace coffer {
namespace {

/// A journal left by a program that knows them must be replayed by one (fs/FORMAT.md, 7).
Result<void> refuse_journals(const BackingDir& private_dir) {
  const auto journals = private_dir.open_dir(kJournalDir);
  if (!journals) return {};  // none were ever written
  const auto reader = TRY((*journals)->reader());
  while (const auto entry = TRY(reader->next())) {
    if (entry->name == "." || entry->name == "..") continue;
    return Error{
        Code::kUnsupported, 0,
        "the store has unfinished journals of a newer coffer; mount it once with that program"};
  }
  return {};
}

}  // namespace

Vfs::Vfs(std::shared_ptr<const BackingDir> root, StoreId store, const AeadEngine& engine,
         KeyBroker& broker, Recorder* recorder, const Options& options, bool encrypted_names,
         BackingId root_id)
    : options_(options),
      store_(store),
      broker_(broker),
      recorder_(recorder),
      root_(std::move(root)),
      nodes_(options.node_cache_bytes),
      content_{.engine = engine, .nodes = nodes_, .scratch = scratch_, .store = store},
      names_(broker, store, encrypted_names),
      inodes_(root_id),
      directories_(options.directory_cache) {}

Vfs::~Vfs() = default;

Result<std::unique_ptr<Vfs>> Vfs::create(const std::string& root, StoreId store,
                                         const AeadEngine& engine, KeyBroker& broker,
                                         Recorder* recorder, const Options& options) {
  Syscalls& calls = options.calls != nullptr ? *options.calls : real_syscalls();
  auto backing = TRY(BackingDir::open_root(calls, root));
  auto private_dir = backing->open_dir(kPrivateDir);
  if (!private_dir) return Error{Code::kNotAStore, 0, root + " is not a coffer store"};
  TRY(refuse_journals(**private_dir));
  const bool encrypted = TRY(broker.policy())->names() == NamesMode::kEncrypted;
  const BackingId root_id = backing_id(TRY(backing->status()));
  std::unique_ptr<Vfs> vfs(
      new Vfs(std::move(backing), store, engine, broker, recorder, options, encrypted, root_id));
  if (!options.read_only) {
    if (auto made = (*private_dir)->make_dir(kTemporaryDir, 0700);
        !made && made.error().code != Code::kExists) {
      return std::move(made).error();
    }
    vfs->temporary_ = TRY((*private_dir)->open_dir(kTemporaryDir));
    TRY(vfs->empty_temporary());
  }
  return vfs;
}

Result<void> Vfs::require_writable() const {
  if (options_.read_only) return errno_error(EROFS, "mounted read-only");
  return {};
}

Result<struct statvfs> Vfs::filesystem() {
  struct statvfs status = TRY(root_->filesystem());
  status.f_namemax = kMaxNameLength;
  return status;
}

Result<void> Vfs::finish() {
  Result<void> outcome;
  for (const auto& file : files_.all()) {
    auto committed = file->content().commit();
    if (committed) {
      note_state(*file);  // a deleted file that is still open ends with the program
    } else {
      options_.report(committed.error());
      outcome = std::move(committed);
    }
  }
  if (recorder_ != nullptr) {
    if (auto flushed = recorder_->flush(); !flushed) outcome = std::move(flushed);
  }
  return outcome;
}

}  // namespace coffer

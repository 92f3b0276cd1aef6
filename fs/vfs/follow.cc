// A read-only mount beside another program that writes to the store (fs/SEMANTICS.md): how its open
// files follow the changes.

#include <thread>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// How long a file that is being read may stay behind what was committed to it. The kernel asks for
/// attributes as often (kTimeout in fs/fuse/operations.cc).
constexpr std::chrono::milliseconds kFollowInterval{1000};

/// A file that another program changes is read again so often, with pauses of 1, 2, 4 … 32 ms where
/// nothing new has been found: about 200 ms in all.
constexpr int kFollowAttempts = 10;
/// Each opening is audited.
constexpr int kOpenBesideAttempts = 4;

void pause_after(int attempt) {
  std::this_thread::sleep_for(std::chrono::milliseconds(1 << std::min(attempt, 5)));
}

}  // namespace

Result<void> Vfs::follow(OpenFile& file) {
  if (!options_.read_only) return {};
  EncryptedFile& content = file.content();
  if (!TRY(content.overtaken())) return {};
  const FileKeys& keys = content.keys();
  // Before the header is read: what is on record then, the header has, too.
  const FileRecord record = TRY(broker_.recorded(keys.file, keys.dek_version));
  TRY(content.refresh({.recorded = record.generation,
                       .noted = 0,
                       .written_now = options_.writing() == Writing::kNow}));
  inodes_.note_changed(file.inode(), content.committed().generation);
  views_.note_changed(file.inode(), content.committed().generation);
  return {};
}

Result<void> Vfs::follow_to_end(OpenFile& file) {
  for (int attempt = 0;; ++attempt) {
    auto followed = follow(file);
    if (followed || !try_again_beside(followed.error(), attempt, kFollowAttempts)) return followed;
  }
}

template <typename Use>
auto Vfs::following(OpenFile& file, const Use& use) -> decltype(use(file.content())) {
  EncryptedFile& content = file.content();
  if (!options_.read_only) return use(content);
  // A failure shows in what is read, if it is of any consequence.
  if (file.is_due(kFollowInterval)) (void)follow(file);
  for (int attempt = 0;; ++attempt) {
    const std::uint64_t before = content.revision();
    auto done = use(content);
    if (done || done.error().code != Code::kCorrupt || attempt >= kFollowAttempts) return done;
    auto followed = follow(file);
    // Of damage nothing is new.
    if (followed && content.revision() == before) return done;
    if (followed) continue;
    if (!try_again_beside(followed.error(), attempt, kFollowAttempts)) {
      return std::move(followed).error();
    }
  }
}

Result<std::size_t> Vfs::read(FileHandle& handle, std::uint64_t offset, MutableBytes out) {
  TRY(handle.admission->check());
  if (!handle.rights().contains(Right::kRead)) return errno_error(EBADF);
  const std::size_t length = TRY(
      following(*handle.file, [&](EncryptedFile& content) { return content.read(offset, out); }));
  handle.admission->count_read(length);
  return length;
}

Result<std::uint64_t> Vfs::seek(FileHandle& handle, std::uint64_t offset, int whence) {
  TRY(handle.admission->check());
  return following(*handle.file, [&](EncryptedFile& content) -> Result<std::uint64_t> {
    if (whence == SEEK_DATA) return content.seek_data(offset);
    if (whence == SEEK_HOLE) return content.seek_hole(offset);
    return errno_error(EINVAL);
  });
}

Result<void> Vfs::check_seen(InodeId inode, FileId file, const CommittedState& state) const {
  const std::uint64_t seen = inodes_.noted_generation(inode, file);
  if (state.generation >= seen) return {};
  return Error{Code::kRolledBack, EIO,
               "the file is older (generation " + std::to_string(state.generation) +
                   ") than it was seen here before (" + std::to_string(seen) +
                   "): it was put back in the backing directory"};
}

bool Vfs::note_opened(const FileHandle& handle) {
  EncryptedFile& content = handle.file->content();
  const FileId file = content.keys().file;
  // Where this mount writes, all changes of what it has go through Views.
  const std::uint64_t generation = options_.read_only ? content.committed().generation : 0;
  const bool same =
      !options_.read_only || inodes_.note_opened(handle.file->inode(), file, generation);
  const InodeId known_as = handle.known_as();
  return Views::is_view(known_as) ? views_.opened(known_as, file, generation) : same;
}

bool Vfs::open_again_beside(const Error& error, int attempt) const {
  return try_again_beside(error, attempt, kOpenBesideAttempts);
}

bool Vfs::try_again_beside(const Error& error, int attempt, int attempts) const {
  if (!options_.read_only || !may_be_under_way(error) || attempt >= attempts) return false;
  if (options_.writing() == Writing::kNone) return false;
  pause_after(attempt);
  return true;
}

bool Vfs::may_be_unfinished() const {
  return options_.after_crash || (options_.read_only && options_.writing() == Writing::kNow);
}

}  // namespace coffer

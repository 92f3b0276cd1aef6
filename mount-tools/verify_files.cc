// The part of the Verifier that reads contents and matches them with keys. Names are in
// verifier.cc.

#include <fcntl.h>

#include "fs/names/stored.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/quarantine.h"
#include "mount-tools/sound_bytes.h"
#include "mount-tools/verifier.h"

namespace coffer {
namespace {

/// How often a file is read again that was written to while it was read.
constexpr int kReadAttempts = 3;

}  // namespace

/// An inode that is known by two names is refused by both if one is not its own; to tell which, a
/// file that is refused so is looked at once more while no other is held.
void Verifier::verify_file(const File& file) {
  {
    ReadLock others(alone_);
    if (verify_file(file, false)) return;
  }
  WriteLock alone(alone_);
  (void)verify_file(file, true);
}

bool Verifier::verify_file(const File& file, bool alone) {
  const Who who = vfs_.who(caller_);
  const std::string path = join_path(file.place->path, file.name);
  Finding finding{.path = path, .message = file.damage, .scope = file.place->names->scope()};
  if (const auto stored = file.place->names->encode_name(file.place->id, file.name))
    finding.backing = join_backing(file.place->backing, stored->text);
  const auto inode = find_damaged(vfs_, who, path);
  if (!inode) {
    finding.cause = inode.error().code;
    finding.message = inode.error().message();
    saw_unknown();
    note(std::move(finding));
    return true;
  }
  for (int attempt = 1;; ++attempt) {
    auto opened = vfs_.open(who, inode->get(), O_RDONLY);
    if (!opened) {
      if (opened.error().code == Code::kMoved && !alone) return false;
      note(look_into(who, file, inode->get(), opened.error()));
      return true;
    }
    const OpenHandle handle(vfs_, std::move(*opened));
    EncryptedFile& content = handle.get().file->content();
    finding.file = content.keys().file;
    finding.version = content.keys().dek_version;
    saw(*finding.file);
    const auto before = content.backing().status();
    const Losses losses = read_all(content);
    const auto attributes = vfs_.xattr_names(who, inode->get());
    if (losses.none() && attributes) {
      vouches(finding.file->view(), content.xattrs());
      check_tail(content, finding);
    } else {
      const auto after = content.backing().status();
      const bool written_to = before && after &&
                              (before->st_ctim.tv_sec != after->st_ctim.tv_sec ||
                               before->st_ctim.tv_nsec != after->st_ctim.tv_nsec);
      if (written_to && attempt < kReadAttempts) continue;
      if (losses.none()) finding.kind = FindingKind::kAttributes;
      const Error& first = losses.none() ? attributes.error() : *losses.first;
      finding.cause = first.code;
      finding.message = first.message();
      finding.lost = losses.ranges;
    }
    if (!finding.message.empty()) note(std::move(finding));
    return true;
  }
}

/// What there is to say of a file that `open` refuses.
Finding Verifier::look_into(const Who& who, const File& file, InodeId inode, const Error& refused) {
  Finding finding{.cause = refused.code,
                  .path = join_path(file.place->path, file.name),
                  .message = refused.message(),
                  .scope = file.place->names->scope()};
  if (const auto stored = file.place->names->encode_name(file.place->id, file.name))
    finding.backing = join_backing(file.place->backing, stored->text);
  // Damaged, which is reported; but not gone, which would be another finding.
  const auto claimed = vfs_.claimed_file(who, inode);
  if (claimed) {
    finding.file = *claimed;
    saw(*claimed);
  }
  const auto inspected = vfs_.inspect(who, inode, Right::kRead);
  if (!inspected) {
    if (!claimed) saw_unknown();
    if (refused.code == Code::kKeyUnavailable && claimed && !has_key(*claimed))
      finding.kind = FindingKind::kMissingKey;
    return finding;
  }
  if (inspected->content == nullptr) {
    // The file id in it is as good as any other of its bytes. Without a body it holds nothing.
    const auto [directory, stored] = split_backing(finding.backing);
    const auto dir = open_backing_dir(vfs_.backing_root(), directory);
    const auto status = dir ? (*dir)->status_of(stored) : Result<struct stat>(dir.error());
    if (!status || status->st_size > static_cast<off_t>(kBodyOffset)) saw_unknown();
    if (status && status->st_size == 0 && StoreLock::is_noted(store_.config().private_dir())) {
      finding.kind = FindingKind::kLeftover;
      finding.cause = Code::kNotFound;
      finding.message = "a file whose creation had not reached the disk";
      return finding;
    }
    finding.beyond_use = true;
    return finding;
  }
  finding.file = inspected->content->keys().file;
  finding.version = inspected->content->keys().dek_version;
  saw(*finding.file);
  if (inspected->key_state == KeyState::kDeactivated) finding.kind = FindingKind::kPutBack;
  finding.lost = read_all(*inspected->content).ranges;
  return finding;
}

Losses Verifier::read_all(EncryptedFile& content) {
  // Nothing is done with the bytes, which can't fail.
  return *read_sound(content, progress_, [](std::uint64_t, Bytes) { return Result<void>(); });
}

/// By itself it is harmless, unless it gives the backing file a size that no file has.
void Verifier::check_tail(EncryptedFile& content, Finding& finding) {
  const auto tail = content.uncommitted_bytes();
  finding.has_tail = tail && *tail > 0;
  if (!finding.has_tail || !finding.message.empty()) return;
  finding.kind = FindingKind::kTail;
  finding.message = std::to_string(*tail) +
                    " bytes behind the end of the file, of a write that was never committed";
}

bool Verifier::has_key(FileId file) {
  bool found = false;
  const auto visited = store_.session().keyring->visit_keys(
      [&](const KeyRow& key) {
        found = key.file == file;
        return false;
      },
      file);
  return !visited || found;
}

void Verifier::saw(FileId file) {
  MutexLock lock(mutex_);
  seen_.insert(file);
}

void Verifier::saw_unknown() {
  MutexLock lock(mutex_);
  report_.all_files_known = false;
}

void Verifier::claim(const BackingDir& dir, const std::string& stored, const std::string& backing,
                     FindingKind why) {
  const auto file = dir.open_file(stored, false);
  const auto raw = file ? read_raw_header(*file) : Result<RawHeader>(file.error());
  const auto header = raw ? peek_header(*raw) : Result<FileHeader>(raw.error());
  // One too short for a header is no file of ours, or none any more.
  if (!header) {
    if (header.error().code != Code::kCorrupt || raw) saw_unknown();
    return;
  }
  misplaced_.try_emplace(header->file, Misplaced{backing, why});
}

void Verifier::claim_below(const BackingDir& dir, const std::string& backing, FindingKind why) {
  const auto reader = dir.reader();
  if (!reader) return saw_unknown();
  while (true) {
    const auto entry = (*reader)->next();
    if (!entry) return saw_unknown();
    if (!entry->has_value()) return;
    const std::string stored((*entry)->name);
    if (stored == "." || stored == ".." || ScopeNames::is_own_file(stored)) continue;
    const auto status = dir.status_of(stored);
    if (!status) {
      saw_unknown();
    } else if (S_ISDIR(status->st_mode)) {
      const auto below = dir.open_dir(stored);
      if (!below) {
        saw_unknown();
      } else {
        claim_below(**below, join_backing(backing, stored), why);
      }
    } else if (S_ISREG(status->st_mode)) {
      claim(dir, stored, join_backing(backing, stored), why);
    }
  }
}

/// What lies in .coffer: what an earlier repair set aside, and what a crash left.
void Verifier::scan_private(const Who& who) {
  for (const std::string& backing : quarantined_items(vfs_.backing_root())) {
    Finding finding{.kind = FindingKind::kQuarantined,
                    .cause = Code::kCorrupt,
                    .backing = backing,
                    .message = "it was set aside by an earlier repair"};
    const auto [directory, stored] = split_backing(backing);
    const auto dir = open_backing_dir(vfs_.backing_root(), directory);
    const auto status = dir ? (*dir)->status_of(stored) : Result<struct stat>(dir.error());
    // Without a body it holds nothing, whosever it was.
    if (status && S_ISREG(status->st_mode) && status->st_size > static_cast<off_t>(kBodyOffset)) {
      claim(**dir, stored, backing, FindingKind::kQuarantined);
      const auto inspected = vfs_.inspect_backing(who, **dir, stored, backing);
      // Whose it was is not known if nothing in it holds.
      if (!inspected || inspected->content == nullptr) saw_unknown();
    }
    note(std::move(finding));
  }
  for (const std::string& name : stored_names(vfs_.backing_root(), temporary_path())) {
    note({.kind = FindingKind::kLeftover,
          .cause = Code::kNotFound,
          .backing = join_backing(temporary_path(), name),
          .message = "a crash left it half made, or half removed"});
  }
}

/// By the files that they belong to.
std::unordered_set<FileId> Verifier::journals() const {
  std::unordered_set<FileId> found;
  for (const std::string& name : stored_names(vfs_.backing_root(), journal_path())) {
    const auto id = from_hex(name);
    if (id && id->size() == sizeof(FileId)) found.insert(FileId::from(*id));
  }
  return found;
}

/// What became of the journals that lay there at the beginning. For a run over the whole store.
void Verifier::check_journals() {
  const std::unordered_set<FileId> now = journals();
  for (const FileId& file : journals_) {
    const bool is_there = seen_.contains(file) || misplaced_.contains(file);
    if (is_there && !now.contains(file)) ++report_.journals_applied;
    if (is_there || !now.contains(file) || !report_.all_files_known) continue;
    note({.kind = FindingKind::kJournal,
          .cause = Code::kNotFound,
          .backing = join_backing(journal_path(), file.hex()),
          .message = "a crash left it, and its file is gone",
          .file = file,
          .scope = kRootScope});
  }
}

/// Live keys whose file was not seen. For a run over the whole store.
Result<void> Verifier::check_keys() {
  return store_.session().keyring->visit_keys([&](const KeyRow& key) {
    if (seen_.contains(key.file)) return true;
    if (key.state == KeyState::kPreActivation) ++report_.spare_keys;
    if (key.state != KeyState::kActive) return true;
    Finding finding{.kind = FindingKind::kMissingFile,
                    .cause = Code::kNotFound,
                    .message = "key of file " + key.file.hex() +
                               ": the file is gone from the backing directory, and no deletion is "
                               "on record (one in the last second before a crash may not be)",
                    .file = key.file,
                    .version = key.version,
                    .scope = key.scope};
    const auto misplaced = misplaced_.find(key.file);
    if (misplaced != misplaced_.end()) {
      // Below a damaged directory, or set aside: that is reported already.
      if (misplaced->second.why != FindingKind::kForeign) return true;
      finding.backing = misplaced->second.backing;
      finding.message = "key of file " + key.file.hex() +
                        ": the file lies where no name leads to it; put " + finding.backing +
                        " back where it was";
    }
    ++report_.keys_without_file;
    report_.findings.push_back(std::move(finding));
    return true;
  });
}

}  // namespace coffer

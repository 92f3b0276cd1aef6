#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// How often a file is read again because it was changed and closed while it was being opened.
constexpr int kOpenAttempts = 64;

Rights rights_of(int flags) {
  Rights rights;
  const int access = flags & O_ACCMODE;
  if (access != O_WRONLY) rights.add(Right::kRead);
  if (access != O_RDONLY || (flags & O_TRUNC) != 0) rights.add(Right::kWrite);
  return rights;
}

/// The broker's: it names the path already, and was audited.
bool is_refusal(const Error& error, const std::string& path) {
  return error.context.starts_with(path + ": ");
}

/// "generation 7 taken over from …", for the log.
std::string told(const Recovery& recovery) {
  std::string text;
  if (recovery.from_journal > 0 || recovery.journal_bytes > 0) {
    text = std::to_string(recovery.from_journal) + " commits taken over from its journal (" +
           std::to_string(recovery.journal_bytes) + " bytes)";
  }
  const auto add = [&text](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  if (recovery.checked_whole) add("read whole and checked");
  if (recovery.dropped > 0) {
    add(std::to_string(recovery.dropped) + " commits dropped that had not reached the disk");
  }
  if (recovery.damaged) add("and found damaged");
  return text;
}

}  // namespace

Result<std::unique_ptr<FileHandle>> Vfs::open(const Who& who, InodeId known_as, int flags) {
  const bool own = TRY(check_view(who, known_as));
  auto handle = TRY(open_as_it_is(who, known_as, flags));
  if (handle->file->take_resized() && options_.for_kernel && !options_.read_only &&
      !Views::is_view(known_as) && (flags & O_TRUNC) == 0) {
    // What the kernel was told of its size was wrong. It looks the file up again and comes back.
    let_go(handle->file);
    return errno_error(ESTALE, "its size was not what it seemed");
  }
  handle->may_keep_pages &= own;
  return handle;
}

Result<std::unique_ptr<FileHandle>> Vfs::open_as_it_is(const Who& who, InodeId known_as,
                                                       int flags) {
  const std::uint64_t changes = broker_.changes();
  const Rights rights = rights_of(flags);
  if (rights.contains(Right::kWrite)) TRY(require_writable());
  const InodeId inode = views_.file(known_as);
  if (const auto known = inodes_.find(inode); known.has_value() && S_ISDIR(known->type)) {
    return errno_error(EISDIR);
  }
  std::optional<GrantId> grant;
  auto file = TRY(
      acquire(who, inode,
              {.rights = rights, .writable = rights.contains(Right::kWrite), .let_in_by = &grant}));
  if (Views::is_view(known_as) && rights.contains(Right::kWrite)) {
    // He may write by now, or no name leads him here: but what is written to is no view.
    let_go(file);
    return errno_error(ESTALE, "others know the file by this");
  }
  if ((flags & O_TRUNC) != 0) {
    if (auto cut = cut_to_nothing(who, *file); !cut) {
      let_go(file);
      return std::move(cut).error();
    }
  }
  auto handle = make_handle(who, std::move(file), known_as, rights, grant, changes);
  if (!handle) {
    if ((flags & O_TRUNC) != 0) let_see(inode);
    return handle;
  }
  (*handle)->pages_hold &= note_opened(**handle);
  return handle;
}

Result<std::unique_ptr<FileHandle>> Vfs::make_handle(const Who& who, std::shared_ptr<OpenFile> file,
                                                     InodeId known_as, Rights rights,
                                                     std::optional<GrantId> grant,
                                                     std::uint64_t changes) {
  const FileKeys& keys = file->content().keys();
  const ScopeFlags flags = flags_of(keys.scope);
  auto admission = admit(who,
                         {.scope = keys.scope,
                          .rights = rights,
                          .inode = file->inode(),
                          .known_as = known_as,
                          .key = DekId{keys.file, keys.dek_version},
                          .grant = grant,
                          .flags = flags},
                         changes);
  if (!admission) {
    let_go(file);
    return std::move(admission).error();
  }
  return std::make_unique<FileHandle>(FileHandle{.file = std::move(file),
                                                 .admission = std::move(*admission),
                                                 .pages_hold = !flags.strict,
                                                 .may_keep_pages = !flags.strict});
}

/// An empty file is modified by it too, as `> stamp` means it to be.
Result<void> Vfs::cut_to_nothing(const Who& who, const OpenFile& file) {
  // The kernel sees to this where a file is written or cut otherwise, but not with an open.
  if (who.uid() != 0) {
    const mode_t mode = TRY(file.content().backing().status()).st_mode & 07777;
    const mode_t group = (mode & S_IXGRP) != 0 ? S_ISGID : 0;
    if ((mode & (S_ISUID | group)) != 0) TRY(file.content().set_mode(mode & ~(S_ISUID | group)));
  }
  if (file.content().size() > 0) return file.content().truncate(0);
  return file.content().touch();
}

Result<std::shared_ptr<OpenFile>> Vfs::acquire(const Who& who, InodeId inode,
                                               const OpenRequest& request) {
  for (int attempt = 0; attempt < kOpenAttempts; ++attempt) {
    std::shared_ptr<OpenFile> file = files_.acquire(inode);
    if (file != nullptr) {
      auto joined = join(who, *file, request);
      if (joined) joined = follow_to_end(*file);
      if (joined) joined = check_names(who, *file);
      if (!joined) {
        let_go(file);
        if (open_again_beside(joined.error(), attempt)) continue;
        return std::move(joined).error();
      }
    } else {
      const std::uint64_t before = files_.before_reading(inode);
      std::shared_ptr<OpenFile> opened;
      auto found = at_place(who, inode, [&](const Spot& spot) -> Result<void> {
        opened = TRY(open_at(who, inode, spot, request));
        return {};
      });
      if (!found) {
        // Not rolled back, if it was changed and recorded between the reading of its header and of
        // its record; not damaged or moved, if a commit was under way while the header was read.
        const bool overtaken =
            files_.find(inode) != nullptr || files_.before_reading(inode) != before;
        if (may_be_under_way(found.error()) && overtaken) continue;
        if (open_again_beside(found.error(), attempt)) continue;
        return std::move(found).error();
      }
      if (inodes_.has_several_places(inode)) TRY(check_names(who, *opened));
      const OpenFile* const first = opened.get();
      file = files_.insert(inode, std::move(opened), before);
      if (file == nullptr) continue;
      if (file.get() == first && options_.for_kernel && !options_.read_only) {
        if (auto mended = file->content().mend_length(); !mended) {
          let_go(file);
          return std::move(mended).error();
        }
      }
    }
    // Another's descriptor may be for reading alone.
    if (request.writable) {
      if (auto writable = file->content().make_writable(); !writable) {
        let_go(file);
        return std::move(writable).error();
      }
    }
    return file;
  }
  return errno_error(EAGAIN, inodes_.path(inode) + " changes too fast to be opened");
}

/// A file that is open already: its key is there, but whether this caller gets it is decided all
/// the same.
Result<void> Vfs::join(const Who& who, const OpenFile& file, const OpenRequest& request) {
  const FileKeys& keys = file.content().keys();
  const std::string path = inodes_.path(file.inode());
  TRY(broker_.release(keys.file, keys.dek_version,
                      {keys.scope, who.identity(), request.rights, path, request.let_in_by}));
  return {};
}

Result<std::shared_ptr<OpenFile>> Vfs::open_at(const Who& who, InodeId inode, const Spot& spot,
                                               const OpenRequest& request) {
  const AccessRequest access{spot.directory->scope, who.identity(), request.rights, spot.path,
                             request.let_in_by};
  BackingFile backing = TRY(spot.backing().open_file(spot.stored.text, request.writable));
  const struct stat status = TRY(backing.status());
  const auto known = inodes_.find(inode);
  if (!known.has_value() || backing_id(status) != known->backing) return errno_error(ESTALE);
  if (!S_ISREG(status.st_mode)) return errno_error(EINVAL, spot.path);

  const auto open = [&]() -> Result<std::shared_ptr<OpenFile>> {
    auto [content, generation] = TRY(open_content(std::move(backing), spot, access));
    TRY(check_seen(inode, content->keys().file, content->committed()));
    notice_xattrs(*content, spot.path);
    if (content->recovery().has_value()) {
      options_.tell(spot.path + ": after a crash: " + told(*content->recovery()));
    }
    const Geometry geometry(content->chunk_log2());
    const bool resized =
        geometry.backing_size(content->size()) != static_cast<std::uint64_t>(status.st_size);
    auto file = std::make_shared<OpenFile>(std::move(content), inodes_, inode, generation);
    if (resized) file->mark_resized();
    return file;
  };
  auto opened = open();
  if (opened || is_refusal(opened.error(), spot.path)) return opened;
  // Whoever may not have the file is told no more than that.
  TRY(broker_.check(access));
  return at_path(std::move(opened).error(), spot.path);
}

Result<Vfs::OpenedContent> Vfs::open_content(BackingFile backing, const Spot& spot,
                                             const AccessRequest& access) {
  const RawHeader raw = TRY(read_raw_header(backing));
  const FileHeader claimed = TRY(peek_header(raw));
  TRY(check_scope(claimed, access.scope));
  if (claimed.chunk_log2 != TRY(chunk_log2(claimed.scope))) {
    return Error{Code::kCorrupt, EIO, "the file's chunk size is not its scope's"};
  }
  const auto [dek, keys, generations] = TRY(release_key(claimed, access, DekUse::kOrdinary));
  auto content = TRY(EncryptedFile::open(content_, std::move(backing), raw, keys, generations));
  if (!content->has_binding(spot.names->bind_file(dek.file, spot.directory->id, spot.name))) {
    return file_moved();
  }
  TRY(check_recorded(content->committed(), dek));
  return OpenedContent{std::move(content), dek.generation};
}

Result<void> Vfs::check_names(const Who& who, const OpenFile& file) {
  EncryptedFile& content = file.content();
  const FileKeys& keys = content.keys();
  return check_places(who, file.inode(), [&](const Spot& spot) -> Result<void> {
    const Binding binding = spot.names->bind_file(keys.file, spot.directory->id, spot.name);
    if (spot.directory->scope == keys.scope && content.has_binding(binding)) return {};
    return at_path(file_moved(), spot.path);
  });
}

Result<void> Vfs::check_scope(const FileHeader& claimed, ScopeId scope) const {
  if (claimed.store == store_ && claimed.scope == scope) return {};
  return Error{Code::kMoved, EIO, "the file belongs to another store or scope than it lies in"};
}

Result<Vfs::Released> Vfs::release_key(const FileHeader& claimed, const AccessRequest& access,
                                       DekUse use) {
  // Before the record is read: what was noted is recorded by then, or still noted.
  const Recorder::Noted noted = recorder_ == nullptr
                                    ? Recorder::Noted{}
                                    : recorder_->noted(claimed.file, claimed.dek_version);
  Dek dek = TRY(broker_.release(claimed.file, claimed.dek_version, access, use));
  auto keys = FileKeys::derive(content_.engine, TRY(suite_from_number(claimed.suite)), dek.key,
                               dek.file, dek.version, dek.scope);
  const KnownGenerations generations{
      .recorded = dek.generation,
      .noted = noted.generation,
      .noted_is_on_disk = noted.on_disk,
      .being_recorded = noted.being_recorded,
      .written_now = use == DekUse::kOrdinary && options_.writing() == Writing::kNow};
  return Released{std::move(dek), std::move(keys), generations};
}

Result<FileId> Vfs::claimed_file(const Who& who, InodeId inode) {
  FileId claimed;
  TRY(at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    const BackingFile backing = TRY(spot.backing().open_file(spot.stored.text, false));
    claimed = TRY(peek_header(TRY(read_raw_header(backing)))).file;
    return {};
  }));
  return claimed;
}

Result<Vfs::Created> Vfs::create_file(const Who& who, InodeId parent, std::string_view name,
                                      mode_t mode, int flags) {
  TRY(require_writable());
  const std::uint64_t changes = broker_.changes();
  const Spot at = TRY(spot(who, parent, name, Right::kWrite));
  Rights rights = rights_of(flags);
  Created created;
  std::optional<GrantId> grant;
  auto file = create_at(who, at, mode, {.rights = rights, .writable = true, .let_in_by = &grant},
                        created.entry);
  if (file) {
    auto handle = make_handle(who, std::move(*file), created.entry.inode, rights, grant, changes);
    if (!handle) {
      forget(created.entry.inode, 1);
      return std::move(handle).error();
    }
    created.handle = std::move(*handle);
    return created;
  }
  if (file.error().errno_value != EEXIST || (flags & O_EXCL) != 0) return std::move(file).error();
  // Somebody else made it first, and that is as good.
  created.entry = TRY(lookup(who, parent, name));
  auto handle = open_as_it_is(who, created.entry.inode, flags);  // its size is told below
  if (!handle) {
    forget(created.entry.inode, 1);
    return std::move(handle).error();
  }
  created.handle = std::move(*handle);
  (void)created.handle->file->take_resized();
  created.entry.attributes.st_size = static_cast<off_t>(created.handle->file->content().size());
  return created;
}

Result<std::shared_ptr<OpenFile>> Vfs::create_at(const Who& who, const Spot& spot, mode_t mode,
                                                 OpenRequest request, Entry& entry) {
  request.rights.add(Right::kWrite);
  Dek dek = TRY(broker_.release_new(
      {spot.directory->scope, who.identity(), request.rights, spot.path, request.let_in_by}));
  bool there = false;
  Hash xattrs{};
  const auto make = [&]() -> Result<std::shared_ptr<OpenFile>> {
    const Inherited inherited = TRY(inherit(who, spot, S_IFREG | (mode & 07777)));
    const struct stat parent = TRY(spot.backing().status());
    TRY(put_sidecar(spot.backing(), spot.stored));
    auto backing = TRY(spot.backing().create_file(spot.stored.text, 0600));
    there = true;
    auto content = TRY(make_content(spot, std::move(backing), dek));
    if (!inherited.xattrs.empty()) {
      const FileKeys& keys = content->keys();
      xattrs = TRY(save_xattrs({.id = keys.file.view(), .suite = keys.suite, .key = keys.xattrs},
                               inherited.xattrs));
      TRY(content->set_xattrs(xattrs));
    }
    TRY(give_to(who, spot.backing(), spot.stored.text, inherited.mode, parent));
    new_files_.add(spot.directory->backing, spot.stored.text);
    entry = TRY(entry_at(spot, TRY(content->backing().status())));
    return std::make_shared<OpenFile>(std::move(content), inodes_, entry.inode, 0);
  };
  auto made = make();
  if (!made) {
    if (there) there = !spot.backing().remove_file(spot.stored.text).ok();
    drop_unused_sidecar(spot);
    if (!there) retire_xattrs(dek.file.view(), xattrs);
    // A key that a file may be left with is not given to another.
    if (!there) broker_.take_back(std::move(dek));
    return made;
  }
  auto file = files_.insert(entry.inode, std::move(*made), files_.before_reading(entry.inode));
  if (file != nullptr) return file;
  // Others have opened, changed and closed the file already.
  request.writable = true;
  auto again = acquire(who, entry.inode, request);
  if (!again) forget(entry.inode, 1);
  return again;
}

Result<std::unique_ptr<EncryptedFile>> Vfs::make_content(const Spot& spot, BackingFile backing,
                                                         const Dek& dek) {
  const auto policy = TRY(broker_.policy());
  const ScopeRow* const scope = policy->scope(dek.scope);
  if (scope == nullptr)
    return Error{Code::kKeyUnavailable, ENOKEY, "the keystore has no such scope"};
  auto keys = FileKeys::derive(content_.engine, scope->settings.suite, dek.key, dek.file,
                               dek.version, dek.scope);
  return EncryptedFile::create(content_, std::move(backing), std::move(keys),
                               scope->settings.chunk_log2,
                               spot.names->bind_file(dek.file, spot.directory->id, spot.name));
}

Result<std::size_t> Vfs::write(FileHandle& handle, std::uint64_t offset, Bytes data) {
  TRY(handle.admission->check());
  if (!handle.rights().contains(Right::kWrite)) return errno_error(EBADF);
  const std::size_t written = TRY(handle.file->content().write(offset, data));
  handle.admission->count_written(written);
  return written;
}

Result<std::size_t> Vfs::write_back(FileHandle& handle, std::uint64_t offset, Bytes data) {
  TRY(check_write_back(handle));
  if (!handle.rights().contains(Right::kWrite)) return errno_error(EBADF);
  if (handle.file->ended()) return handle.admission->check().error();
  auto written = handle.file->content().write_back(offset, data);
  if (written) handle.admission->count_written(*written);
  if (!written || *written < data.size()) note_unwritten(handle.file->inode());
  return written;
}

Result<void> Vfs::allocate(FileHandle& handle, int mode, std::uint64_t offset,
                           std::uint64_t length) {
  TRY(handle.admission->check());
  if (!handle.rights().contains(Right::kWrite)) return errno_error(EBADF);
  EncryptedFile& content = handle.file->content();
  using Sizing = EncryptedFile::Sizing;
  using Room = EncryptedFile::Room;
  const Sizing sizing = (mode & FALLOC_FL_KEEP_SIZE) != 0 ? Sizing::kStays : Sizing::kGrows;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      return content.allocate(offset, length, sizing);
    case FALLOC_FL_PUNCH_HOLE:
      if (sizing == Sizing::kGrows) return errno_error(EOPNOTSUPP);
      return content.clear(offset, length, Room::kGivenBack);
    case FALLOC_FL_ZERO_RANGE:
      TRY(content.clear(offset, length, Room::kKept));
      return content.allocate(offset, length, sizing);
    default:
      return errno_error(EOPNOTSUPP);
  }
}

Result<void> Vfs::flush(FileHandle& handle) {
  const auto pass = gate_.enter(Gate::Way::kOpened);
  if (!pass || handle.file->ended()) return handle.file->outcome();
  return handle.file->content().commit();
}

Result<void> Vfs::sync(FileHandle& handle, bool data_only) {
  const auto pass = gate_.enter(Gate::Way::kOpened);
  if (!pass || handle.file->ended()) return handle.file->outcome();
  TRY(handle.file->content().sync(data_only));
  if (!handle.file->deleted()) note_state(*handle.file);
  return {};
}

}  // namespace coffer

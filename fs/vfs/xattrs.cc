// Extended attributes: of files and directories (fs/FORMAT.md, 10).

#include <sys/xattr.h>

#include <cerrno>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// Sidecars of removed objects that wait for the recorder to come by.
constexpr std::size_t kMostRetired = 4096;

constexpr std::string_view kUser = "user.";
constexpr std::string_view kTrusted = "trusted.";
constexpr std::string_view kSecurity = "security.";

/// As the kernel's filesystems say it, and nothing that a log should hear of.
Error no_such_attribute() { return {Code::kNotFound, ENODATA, ""}; }

bool in_namespace(std::string_view name, std::string_view prefix) {
  return name.size() > prefix.size() && name.starts_with(prefix);
}

bool is_carried(std::string_view name) {
  return name == kAccessAcl || name == kDefaultAcl || in_namespace(name, kUser) ||
         in_namespace(name, kTrusted) || in_namespace(name, kSecurity);
}

/// What programs keep in attributes is content. What the kernel asks for itself (capabilities,
/// labels) goes with the mode, and names go with names.
Right right_to_read(std::string_view name) {
  return name.starts_with(kUser) || name.starts_with(kTrusted) ? Right::kRead : Right::kList;
}

bool has_attributes(mode_t type) { return S_ISREG(type) || S_ISDIR(type); }

/// Whoever passes through a directory on the way to a granted scope has its ACL asked for by the
/// kernel: that is allowed as its lookup is.
Result<void> decide(NamesCache& names, KeyBroker& broker, const Who& who, ScopeId scope,
                    Right right, const std::string& path) {
  if (right != Right::kList) return broker.check({scope, who.identity(), Rights::of(right), path});
  TRY(names.look_up(who, scope, right, path));
  return {};
}

XattrOwner owner_of(const FileKeys& keys) {
  return {.id = keys.file.view(), .suite = keys.suite, .key = keys.xattrs};
}

}  // namespace

bool Vfs::may_have_xattrs() {
  if (saw_xattrs_.load(std::memory_order_relaxed)) return true;
  const auto policy = broker_.policy();
  return policy.ok() && (*policy)->xattrs();
}

void Vfs::notice_xattrs(EncryptedFile& content, const std::string& path) {
  if (all_zero(content.xattrs()) || may_have_xattrs()) return;
  // Another process may have set the first a moment ago.
  (void)broker_.reload();
  if (may_have_xattrs()) return;
  if (saw_xattrs_.exchange(true)) return;
  options_.report(
      Error{Code::kRolledBack, 0,
            path + ": the file has extended attributes and the keystore has no record "
                   "that any file of the store may: it was put back to an earlier state; "
                   "restore the newer one, or set an attribute to have it recorded again"});
}

Result<mode_t> Vfs::type_of(InodeId inode) const {
  const auto known = inodes_.find(inode);
  if (!known.has_value()) return errno_error(ESTALE);
  return known->type;
}

Result<std::shared_ptr<const KnownXattrs>> Vfs::xattrs_of(const Who& who, InodeId inode,
                                                          Right right) {
  static const auto kNone = std::make_shared<const KnownXattrs>();
  if (!may_have_xattrs()) return kNone;
  const mode_t type = TRY(type_of(inode));
  if (!has_attributes(type)) return kNone;
  if (auto known = xattr_cache_.find(inode)) {
    // That there are none is no more than the mode says, which nobody is refused.
    if (known->set.empty()) return known;
    TRY(decide(names_, broker_, who, known->scope, right, inodes_.path(inode)));
    return known;
  }
  const std::uint64_t before = xattr_cache_.before_reading();
  const auto open = files_.find(inode);
  if (open) (void)follow(*open);
  if (open && all_zero(open->content().xattrs())) return kNone;
  auto known = kNone;
  // The header of one that is open may stand in its journal alone.
  if (S_ISDIR(type) || open || !claims_no_xattrs(who, inode)) {
    known = std::make_shared<const KnownXattrs>(TRY(S_ISDIR(type)
                                                        ? read_directory_xattrs(who, inode, right)
                                                        : read_file_xattrs(who, inode, right)));
  }
  // Beside a mount that writes nothing can be kept.
  if (!options_.read_only) xattr_cache_.put(inode, known, before);
  return known;
}

/// By its header, which is not authenticated here, no more than a size is for stat: whoever makes
/// it say so breaks its MAC, and the file can't be opened. No key is released to find nothing. A
/// newer header may stand in a journal: of one that a crash left, or another program's.
bool Vfs::claims_no_xattrs(const Who& who, InodeId inode) {
  bool none = false;
  const auto peeked = at_place(who, inode, [&](const Spot& spot) -> Result<void> {
    const BackingFile backing = TRY(spot.backing().open_file(spot.stored.text, false));
    const FileHeader claimed = TRY(peek_header(TRY(read_raw_header(backing))));
    none = all_zero(claimed.xattrs) && !TRY(journals_->find(claimed.file)).has_value();
    return {};
  });
  return peeked.ok() && none;
}

Result<KnownXattrs> Vfs::read_file_xattrs(const Who& who, InodeId inode, Right right) {
  const auto file = TRY(acquire(who, inode, {.rights = Rights::of(right), .writable = false}));
  EncryptedFile& content = file->content();
  const auto read = [&]() -> Result<XattrSet> {
    while (true) {
      const Hash hash = content.xattrs();
      if (all_zero(hash)) return XattrSet{};
      auto set = xattrs_.load(owner_of(content.keys()), hash);
      // One that was replaced meanwhile is gone.
      if (!set) (void)follow(*file);
      if (set || content.xattrs() == hash) return set;
    }
  };
  auto set = read();
  const ScopeId scope = content.keys().scope;
  let_go(file);
  if (!set) return at_path(std::move(set).error(), inodes_.path(inode));
  return KnownXattrs{.scope = scope, .set = std::move(*set)};
}

Result<KnownXattrs> Vfs::read_directory_xattrs(const Who& who, InodeId inode, Right right) {
  // One that was removed has none, whoever still works in it.
  const auto place = inodes_.find(inode);
  if (inode != kRootInode && place.has_value() && !place->place.has_value()) return KnownXattrs{};
  const auto dir = TRY(directory(who, inode));
  const std::string path = inodes_.path(inode);
  TRY(decide(names_, broker_, who, dir->scope, right, path));
  return load_directory_xattrs(*dir, *TRY(names_for(who, dir->scope, path)), path);
}

Result<KnownXattrs> Vfs::load_directory_xattrs(const Directory& dir, const ScopeNames& names,
                                               const std::string& path) {
  const Suite suite = TRY(scope_suite(dir.scope));
  const SecretBytes key = names.directory_xattr_key(dir.id, suite);
  const auto record = [&] { return read_directory_record(*dir.backing, names); };
  while (true) {
    const Hash hash = TRY(record()).xattrs;
    if (all_zero(hash)) return KnownXattrs{.scope = dir.scope, .set = {}};
    auto set = xattrs_.load({.id = dir.id.view(), .suite = suite, .key = key}, hash);
    if (set) return KnownXattrs{.scope = dir.scope, .set = std::move(*set)};
    if (TRY(record()).xattrs == hash) return at_path(std::move(set).error(), path);
  }
}

Result<ByteVector> Vfs::xattr(const Who& who, InodeId known_as, std::string_view name) {
  if (!is_carried(name)) return errno_error(EOPNOTSUPP);
  const auto known = TRY(xattrs_of(who, views_.file(known_as), right_to_read(name)));
  const auto found = known->set.find(name);
  if (found == known->set.end()) return no_such_attribute();
  return found->second;
}

Result<std::vector<std::string>> Vfs::xattr_names(const Who& who, InodeId known_as) {
  const InodeId inode = views_.file(known_as);
  const auto known = TRY(xattrs_of(who, inode, Right::kList));
  if (known->set.empty()) return std::vector<std::string>();
  // Who may only pass is told no names.
  TRY(broker_.check({known->scope, who.identity(), Rights::of(Right::kList), inodes_.path(inode)}));
  std::vector<std::string> names;
  for (const auto& [name, value] : known->set) {
    // As xattr(7) has it, these are for the superuser to see.
    if (name.starts_with(kTrusted) && who.uid() != 0) continue;
    names.push_back(name);
  }
  return names;
}

Result<void> Vfs::set_xattr(const Who& who, InodeId known_as, std::string_view name, Bytes value,
                            int flags) {
  if (!is_carried(name)) return errno_error(EOPNOTSUPP);
  const InodeId inode = TRY(to_change(who, known_as));
  if (name == kAccessAcl || name == kDefaultAcl) return set_acl(who, inode, name, value);
  return change_xattrs(who, inode, [&](XattrSet& set) -> Result<void> {
    const auto found = set.find(name);
    if ((flags & XATTR_CREATE) != 0 && found != set.end()) return errno_error(EEXIST);
    if ((flags & XATTR_REPLACE) != 0 && found == set.end()) return no_such_attribute();
    set.insert_or_assign(std::string(name), ByteVector(value.begin(), value.end()));
    return {};
  });
}

Result<void> Vfs::remove_xattr(const Who& who, InodeId known_as, std::string_view name) {
  if (!is_carried(name)) return errno_error(EOPNOTSUPP);
  const InodeId inode = TRY(to_change(who, known_as));
  if (!may_have_xattrs()) return no_such_attribute();
  return change_xattrs(who, inode, [&](XattrSet& set) -> Result<void> {
    const auto found = set.find(name);
    if (found == set.end()) return no_such_attribute();
    set.erase(found);
    return {};
  });
}

Result<void> Vfs::change_xattrs(const Who& who, InodeId inode, const XattrEdit& edit) {
  TRY(require_writable());
  const mode_t type = TRY(type_of(inode));
  if (!has_attributes(type)) return errno_error(EOPNOTSUPP);
  xattr_cache_.drop(inode);
  auto changed = S_ISDIR(type) ? change_directory_xattrs(who, inode, edit)
                               : change_file_xattrs(who, inode, edit);
  xattr_cache_.drop(inode);
  return changed;
}

Result<void> Vfs::set_acl(const Who& who, InodeId inode, std::string_view name, Bytes value) {
  TRY(require_writable());
  const Acl acl = TRY(Acl::decode(value));
  const mode_t type = TRY(type_of(inode));
  if (!has_attributes(type)) return errno_error(EOPNOTSUPP);
  const auto keep = [&](XattrSet& set) -> Result<void> {
    set.insert_or_assign(std::string(name), acl.encode());
    return {};
  };
  if (name == kDefaultAcl) {
    if (!S_ISDIR(type)) return errno_error(EACCES);
    return change_xattrs(who, inode, keep);
  }
  const struct stat status = TRY(attributes(who, inode));
  mode_t mode = acl.mode(status.st_mode) & 07777;
  // As chmod(2): setgid is for members of the group to give.
  if (who.uid() != 0 && !who.is_member(status.st_gid)) mode &= ~static_cast<mode_t>(S_ISGID);
  const auto change_mode = [&]() -> Result<void> {
    if (mode == (status.st_mode & 07777)) return {};
    AttributeChange change;
    change.mode = mode;
    return change_stored_attributes(who, inode, change);
  };
  if (!acl.is_mode()) {
    TRY(change_xattrs(who, inode, keep));
    return change_mode();
  }
  // One that says no more than the mode is not kept. The mode first: without the list its bits of
  // the group are no mask any more.
  TRY(change_mode());
  auto removed = remove_xattr(who, inode, name);
  if (!removed && removed.error().errno_value == ENODATA) return {};
  return removed;
}

Result<void> Vfs::follow_mode(const Who& who, InodeId inode, mode_t mode) {
  if (!may_have_xattrs() || !has_attributes(TRY(type_of(inode)))) return {};
  const auto known = TRY(xattrs_of(who, inode, Right::kList));
  const auto found = known->set.find(kAccessAcl);
  if (found == known->set.end()) return {};
  Acl acl = TRY(Acl::decode(found->second));
  acl.set_mode(mode);
  if (acl.encode() == found->second) return {};
  return change_xattrs(who, inode, [&](XattrSet& set) -> Result<void> {
    set.insert_or_assign(std::string(kAccessAcl), acl.encode());
    return {};
  });
}

Result<std::optional<Acl>> Vfs::default_acl(const Spot& spot) {
  if (!may_have_xattrs()) return std::optional<Acl>();
  auto known = xattr_cache_.find(spot.parent);
  if (known == nullptr) {
    const std::uint64_t before = xattr_cache_.before_reading();
    known = std::make_shared<const KnownXattrs>(
        TRY(load_directory_xattrs(*spot.directory, *spot.names, inodes_.path(spot.parent))));
    xattr_cache_.put(spot.parent, known, before);
  }
  const auto found = known->set.find(kDefaultAcl);
  if (found == known->set.end()) return std::optional<Acl>();
  return std::optional<Acl>(TRY(Acl::decode(found->second)));
}

Result<Vfs::Inherited> Vfs::inherit(const Who& who, const Spot& spot, mode_t mode) {
  Inherited made{.mode = mode & ~who.umask(), .xattrs = {}};
  const auto from = TRY(default_acl(spot));
  if (!from.has_value()) return made;
  Acl acl = *from;
  made.mode = acl.narrow(mode);
  if (!S_ISREG(mode) && !S_ISDIR(mode)) {
    // It can have no list: its group gets no more than the list gives it.
    made.mode &= ~static_cast<mode_t>(S_IRWXG) | (acl.group_permissions() << 3U);
    return made;
  }
  if (!acl.is_mode()) made.xattrs.emplace(kAccessAcl, acl.encode());
  if (S_ISDIR(mode)) made.xattrs.emplace(kDefaultAcl, from->encode());
  return made;
}

/// The sidecar with what `edit` makes of the set behind `old`, not vouched for yet.
Result<Hash> Vfs::write_xattrs(const XattrOwner& owner, const Hash& old, const XattrEdit& edit) {
  XattrSet set;
  if (!all_zero(old)) set = TRY(xattrs_.load(owner, old));
  TRY(edit(set));
  TRY(check_xattr_limits(set));
  return save_xattrs(owner, set);
}

void Vfs::retire_xattrs(Bytes id, const Hash& hash) {
  if (xattrs_.retire(id, hash) <= kMostRetired) return;
  if (auto synced = sync_backing(); !synced) options_.report(synced.error());
}

Result<void> Vfs::sync_backing() {
  auto retired = xattrs_.take_retired();
  auto synced = new_files_.sync_filesystem();
  if (!synced) {
    xattrs_.keep_retired(std::move(retired));
    return synced;
  }
  for (const auto& [id, hash] : retired) xattrs_.drop(id, hash);
  return {};
}

Result<Hash> Vfs::save_xattrs(const XattrOwner& owner, const XattrSet& set) {
  if (set.empty()) return Hash{};
  // Before the first header that names some, older programs must know that they can't read it, and
  // the keystore that it has to be looked for.
  const auto policy = TRY(broker_.policy());
  if (!policy->xattrs()) TRY(options_.begin_xattrs());
  return xattrs_.save(owner, set);
}

Result<void> Vfs::change_file_xattrs(const Who& who, InodeId inode, const XattrEdit& edit) {
  const auto file = TRY(acquire(who, inode, kForWriting));
  EncryptedFile& content = file->content();
  const auto change = [&]() -> Result<void> {
    const XattrOwner owner = owner_of(content.keys());
    const Hash old = content.xattrs();
    const Hash next = TRY(write_xattrs(owner, old, edit));
    // Should this fail, the header may name the new sidecar all the same: it stays.
    TRY(content.set_xattrs(next));
    if (all_zero(old)) return {};
    // A power cut may bring the old header back as long as the new one is not on the disk.
    TRY(content.sync(false));
    xattrs_.drop(owner.id, old);
    return {};
  };
  auto changed = change();
  let_go(file);
  if (!changed && changed.error().code == Code::kCorrupt) {
    return at_path(std::move(changed).error(), inodes_.path(inode));
  }
  return changed;
}

Result<void> Vfs::change_directory_xattrs(const Who& who, InodeId inode, const XattrEdit& edit) {
  const auto change = [&](const BackingDir& in, const std::string& stored,
                          const std::string& path) -> Result<void> {
    const auto dir = TRY(directory(who, inode));
    TRY(broker_.check({dir->scope, who.identity(), Rights::of(Right::kWrite), path}));
    const auto names = TRY(names_for(who, dir->scope, path));
    const Suite suite = TRY(scope_suite(dir->scope));
    const SecretBytes key = names->directory_xattr_key(dir->id, suite);
    const LentDirectory lent =
        TRY(LentDirectory::lend(in, stored, TRY(dir->backing->status()).st_mode));
    const XattrOwner owner{.id = dir->id.view(), .suite = suite, .key = key};
    const Hash old = TRY(read_directory_record(*dir->backing, *names)).xattrs;
    const Hash next = TRY(write_xattrs(owner, old, edit));
    TRY(rewrite_record(*dir, *names, [&](DirectoryRecord& record) -> Result<void> {
      record.xattrs = next;
      return {};
    }));
    xattrs_.drop(owner.id, old);
    return {};
  };
  if (inode == kRootInode) return change(*root_, ".", "/");
  return at_place(who, inode, [&](const Spot& spot) {
    return change(spot.backing(), spot.stored.text, spot.path);
  });
}

}  // namespace coffer

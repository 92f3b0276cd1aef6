#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "fs/backing/backing_dir.h"
#include "fs/content/encrypted_file.h"
#include "fs/content/xattr_store.h"
#include "fs/names/stored.h"
#include "fs/vfs/acl.h"
#include "fs/vfs/admission.h"
#include "fs/vfs/audience.h"
#include "fs/vfs/background.h"
#include "fs/vfs/directory.h"
#include "fs/vfs/file_locks.h"
#include "fs/vfs/gate.h"
#include "fs/vfs/inode_table.h"
#include "fs/vfs/link_locks.h"
#include "fs/vfs/new_files.h"
#include "fs/vfs/open_file.h"
#include "fs/vfs/removed_nodes.h"
#include "fs/vfs/types.h"
#include "fs/vfs/views.h"
#include "fs/vfs/xattr_cache.h"
#include "keystore/broker/key_broker.h"
#include "keystore/broker/recorder.h"

namespace coffer {

/// Names of the format's own things in a backing root (fs/FORMAT.md, 1).
inline constexpr const char* kPrivateDir = ".coffer";
inline constexpr const char* kTemporaryDir = "tmp";
inline constexpr const char* kJournalDir = "journal";

/// Whether another program has the store open for writing.
enum class Writing {
  kNone,
  kPerhaps,  ///< one did, and did not come to its end, or is where its lock can't be seen
  kNow,
};

/// What an open directory reads from. One reader at a time.
struct DirectoryHandle {
  InodeId inode;
  std::shared_ptr<const Directory> directory;
  std::shared_ptr<Admission> admission;  ///< with the names it is listed by
  Mutex mutex;
  std::unique_ptr<BackingDirReader> reader GUARDED_BY(mutex);
};

/// One entry of a listing.
struct ListedEntry {
  std::string_view name;
  std::uint64_t inode_number = 0;
  mode_t type = 0;        ///< S_IFMT bits; 0 where the backing does not say
  std::int64_t next = 0;  ///< position after this entry
  bool foreign = false;   ///< not the store's: does not authenticate here; `name` is the stored one
};

/// The filesystem itself, in plaintext terms, without FUSE: inodes in, Results out. Every operation
/// that opens, lists or changes something decides by the caller's identity first. Thread-safe; the
/// caller keeps changes of one directory apart, as the kernel does (fs/LOCKING.md).
class Vfs {
 public:
  struct Options {
    bool read_only = false;
    /// Directories kept open; each costs a descriptor.
    std::size_t directory_cache = 1024;
    std::size_t node_cache_bytes = std::size_t{32} << 20U;
    Syscalls* calls = nullptr;  ///< null: the real ones
    /// Who asks keeps what it was told, as the kernel does. Sizes: a file that a crash left with
    /// another size than a lookup shows is mended when it is opened, and asked for again (ESTALE).
    /// And pages, for all who open the same inode: those who can't write to a file know it by
    /// views, each audience by its own.
    bool for_kernel = false;
    /// The key of a file that is removed while nobody has it open is looked up, and noted as
    /// deactivated, by a thread of its own: who removes it does not wait for that.
    bool retires_later = false;
    /// The last program that wrote to the store did not come to its end.
    bool after_crash = false;
    /// Of a read-only one: says who is at work beside it. Called by several threads at once.
    std::function<Writing()> writing = [] { return Writing::kNone; };
    /// Called before the first object of the store gets an extended attribute: raises the store's
    /// format and has the keystore note it (fs/FORMAT.md, 8 and 10), durably. By several threads at
    /// once, perhaps, and again after a failure.
    std::function<Result<void>()> begin_xattrs = [] { return errno_error(EOPNOTSUPP); };
    /// Hears of failures that no caller waits for.
    std::function<void(const Error&)> report = [](const Error&) {};
    /// Hears of what was done without being asked: recoveries after a crash.
    std::function<void(const std::string&)> tell = [](const std::string&) {};
  };

  /// The filesystem of the backing directory `root`. `engine`, `broker` and `recorder` outlive it;
  /// `recorder` is null where the keystore can't be written. kNotAStore if `root` has no directory
  /// record.
  static Result<std::unique_ptr<Vfs>> create(const std::string& root, StoreId store,
                                             const AeadEngine& engine, KeyBroker& broker,
                                             Recorder* recorder, const Options& options);
  ~Vfs();
  Vfs(const Vfs&) = delete;
  Vfs& operator=(const Vfs&) = delete;

  /// A caller of whom as much will be read as the grants in force ask for. A grant that asks for
  /// more, made before the decision, finds that unknown: it lets nobody in, and denies in doubt.
  [[nodiscard]] Who who(const Caller& caller, mode_t umask = 0) const;

  // Inodes and attributes (lookup.cc, attributes.cc)
  Result<Entry> lookup(const Who& who, InodeId parent, std::string_view name);
  /// For what `lookup` finds to be kCorrupt: enough to remove or rename it by. The size is 0 and
  /// not to be believed.
  Result<Entry> lookup_damaged(const Who& who, InodeId parent, std::string_view name);
  void forget(InodeId inode, std::uint64_t references);
  Result<struct stat> attributes(const Who& who, InodeId inode);
  /// `handle` if the change came through one.
  Result<struct stat> change_attributes(const Who& who, InodeId inode,
                                        const AttributeChange& change, const FileHandle* handle);
  Result<struct statvfs> filesystem();
  [[nodiscard]] std::string path(InodeId inode) const { return inodes_.path(views_.file(inode)); }

  // Files (files.cc)
  /// `flags` as open(2)'s: access mode, O_TRUNC. ESTALE, once, if a crash had left the file with
  /// another size than a lookup showed, or the inode is another audience's: it is to be looked up
  /// again, as the kernel does by itself.
  Result<std::unique_ptr<FileHandle>> open(const Who& who, InodeId known_as, int flags);
  struct Created {
    Entry entry;
    std::unique_ptr<FileHandle> handle;
  };
  /// `flags` as open(2)'s, O_EXCL included.
  Result<Created> create_file(const Who& who, InodeId parent, std::string_view name, mode_t mode,
                              int flags);
  /// The file id that a file's header claims, authentic or not: to tell which file a damaged one
  /// was.
  Result<FileId> claimed_file(const Who& who, InodeId inode);
  Result<std::size_t> read(FileHandle& handle, std::uint64_t offset, MutableBytes out);
  /// May be short after an error (see EncryptedFile::write).
  Result<std::size_t> write(FileHandle& handle, std::uint64_t offset, Bytes data);
  /// What a program changed through a mapping of the file, whenever the kernel writes it.
  Result<std::size_t> write_back(FileHandle& handle, std::uint64_t offset, Bytes data);
  /// `whence` is SEEK_DATA or SEEK_HOLE; all else is the kernel's.
  Result<std::uint64_t> seek(FileHandle& handle, std::uint64_t offset, int whence);
  /// As fallocate(2): to make room, to punch a hole, to make zeros. EOPNOTSUPP for other modes.
  Result<void> allocate(FileHandle& handle, int mode, std::uint64_t offset, std::uint64_t length);
  /// What close(2) waits for: everything written can be read by the next who opens.
  Result<void> flush(FileHandle& handle);
  Result<void> sync(FileHandle& handle, bool data_only);
  void release(std::unique_ptr<FileHandle> handle);

  /// Those that programs have on files, to which nobody is let by this alone. Those who wait are
  /// answered when what they have open is withdrawn.
  FileLocks& file_locks() { return file_locks_; }

  // Strict scopes (strict.cc)
  /// Before each use of what is open: in a strict scope it is decided anew by who uses it, and
  /// whether who opened it may still have it, by the grants as they are at this moment.
  Result<void> decide_use(const Who& who, Admission& admission, Right right);
  /// True if whoever was told attributes of an inode may keep them for a while.
  [[nodiscard]] bool attributes_hold(InodeId inode);

  // Withdrawal (withdrawal.cc)
  enum class Kept {
    kAttributes,
    kPages,   ///< and attributes
    kCopies,  ///< and whatever else may have the same content
  };
  /// `drop` makes the kernel forget what it keeps of an inode, and returns when it has; null if
  /// nobody keeps any. Called by several threads, but for attributes by none that answers requests;
  /// after the return from here the one before is called no more, and all `when_seen` is answered.
  void set_page_cache(std::function<void(InodeId, Kept)> drop);

  // Views (view_changes.cc)
  /// After a file was written to: calls `answer` once all who have it open find that. At once where
  /// all know it by one number, else from another thread.
  template <typename Answer>
  void when_seen(InodeId file, const Answer& answer) {
    auto older = views_.written(file);
    if (older.empty())
      answer();
    else
      drop_then(file, std::move(older), answer);
  }
  /// The same, but nobody waits: before `when_all_seen`.
  void let_see(InodeId file) {
    when_seen(file, [] {});
  }
  /// Calls `answer` once all find what was written before.
  template <typename Answer>
  void when_all_seen(InodeId file, const Answer& answer) {
    if (views_.of(file).empty())
      answer();
    else
      drop_then(file, {}, answer);
  }
  /// From here on nothing waits for the kernel to drop pages; returns when nothing does any more,
  /// for which requests must be answered meanwhile.
  void end_page_cache();

  // Locking (lock.cc)
  /// What each operation on a mount has first, for as long as it takes. kKeyUnavailable for what is
  /// new, kRevoked for what comes by a handle, while the mount is locked or about to be. `flush`,
  /// `sync` and `release` see to it themselves; forgetting, `filesystem` and the root's attributes
  /// need none.
  Result<Gate::Pass> enter(Gate::Way way);
  struct LockOptions {
    /// How long to wait for what is under way, and for the disk.
    std::chrono::milliseconds patience = std::chrono::seconds(20);
    /// Drops the keys at once, whatever could not be saved.
    bool force = false;
  };
  struct LockedOut {
    bool was_locked = false;
    std::vector<std::shared_ptr<Admission>> withdrawn = {};
    std::vector<std::string> unsaved = {};  ///< paths; none unless by force
    /// Operations that do not end have keys still, which go when they do.
    bool under_way = false;
  };
  /// Saves what is open, withdraws it for good, has the kernel drop its pages, and drops every key,
  /// the broker's included. Whatever comes meanwhile and after fails at once. Without `force` an
  /// error leaves the mount as it was, though what was open may be withdrawn: that of the first
  /// file that can't be saved, or kBusy. For a thread that answers no requests.
  Result<LockedOut> lock(const LockOptions& how);
  /// A line of the audit log for each.
  void note_withdrawn(const LockedOut& out);
  /// The broker's keys are there again. kBusy while operations from before the lock are under way.
  Result<void> unlock();
  [[nodiscard]] bool locked() const { return gate_.state() == Gate::State::kShut; }
  /// How many operations the lock has kept out.
  [[nodiscard]] std::uint64_t kept_out() const { return gate_.kept_out(); }
  /// Every entry the kernel may keep: its directory and name.
  [[nodiscard]] std::vector<Place> known_places() const { return inodes_.all_places(); }

  // Damage (inspect.cc)
  /// A file as it lies there, whether or not `open` would have it.
  struct Inspected {
    /// What authenticates under the file's key. Null if nothing does, though the key is here: or
    /// there is nothing that could be the header of any file.
    std::unique_ptr<EncryptedFile> content = {};
    /// Why `open` refuses it: kRolledBack, kMoved, kRevoked (deleted and put back), kCorrupt (cut
    /// off, or the newer of its headers is not the one that holds).
    std::optional<Error> objection = {};
    bool at_its_place = false;  ///< what it was reached by is one of its names
    KeyState key_state = KeyState::kActive;
    std::uint64_t recorded_generation = 0;
  };
  /// Decided and audited as `open`; `right` is kRead, or kWrite for what is to be written to.
  /// Errors leave it open what the file is: a refusal, a key that is not there, a header of another
  /// store or format. Not for files that are open.
  Result<Inspected> inspect(const Who& who, InodeId inode, Right right);
  /// The same of a backing file that no name need lead to, for reading: it lies in `dir` as
  /// `stored`; `shown` is what the log calls it. Whose it is, its header says.
  Result<Inspected> inspect_backing(const Who& who, const BackingDir& dir,
                                    const std::string& stored, std::string_view shown);
  /// The backing directory of the root.
  [[nodiscard]] const BackingDir& backing_root() const { return *root_; }
  // Extended attributes (xattrs.cc), of regular files and directories; nothing else has any, and
  // EOPNOTSUPP if it is to be given some. A decision for `list` or `read` precedes what they say
  // (see there), one for `write` each change.
  /// ENODATA if there is none of that name.
  Result<ByteVector> xattr(const Who& who, InodeId inode, std::string_view name);
  Result<std::vector<std::string>> xattr_names(const Who& who, InodeId inode);
  /// An access ACL changes the mode as well, as chmod(2) changes the ACL. `flags` as setxattr(2)'s.
  /// ERANGE, E2BIG, ENOSPC over the limits of xattr_set.h. Durable, but for the first an object
  /// gets, when it returns.
  Result<void> set_xattr(const Who& who, InodeId inode, std::string_view name, Bytes value,
                         int flags);
  Result<void> remove_xattr(const Who& who, InodeId inode, std::string_view name);

  // Names (namespace.cc, rename.cc, unlink.cc)
  Result<Entry> make_directory(const Who& who, InodeId parent, std::string_view name, mode_t mode);
  /// Fifos, sockets, devices and empty files.
  Result<Entry> make_node(const Who& who, InodeId parent, std::string_view name, mode_t mode,
                          dev_t device);
  Result<Entry> make_symlink(const Who& who, InodeId parent, std::string_view name,
                             std::string_view target);
  Result<std::string> read_symlink(const Who& who, InodeId inode);
  Result<Entry> link(const Who& who, InodeId inode, InodeId new_parent, std::string_view new_name);
  Result<void> unlink(const Who& who, InodeId parent, std::string_view name);
  Result<void> remove_directory(const Who& who, InodeId parent, std::string_view name);
  /// `flags` as renameat2's: RENAME_NOREPLACE or RENAME_EXCHANGE.
  Result<void> rename(const Who& who, InodeId parent, std::string_view name, InodeId new_parent,
                      std::string_view new_name, unsigned flags);
  /// Makes `name` the root directory of a scope: `names` are the scope's, `dir` the directory id
  /// that the keystore has for it.
  Result<Entry> make_scope_root(const Who& who, InodeId parent, std::string_view name,
                                const ScopeNames& names, DirId dir, mode_t mode);

  // Listings (listing.cc)
  Result<std::unique_ptr<DirectoryHandle>> open_directory(const Who& who, InodeId inode);
  /// Calls `take` for entries from `position` on, until it returns false or there are no more.
  /// Entries that are not the store's are left out unless asked for.
  Result<void> list(DirectoryHandle& handle, std::int64_t position,
                    const std::function<bool(const ListedEntry&)>& take, bool foreign_too = false);
  /// The lookup of a listed entry, without another decision.
  Result<Entry> lookup_listed(DirectoryHandle& handle, std::string_view name);
  Result<void> sync_directory(DirectoryHandle& handle);

  /// Returns when the keys of the files that were removed before are noted as deactivated.
  void settle_removed() { retiring_.drain(); }
  /// Settles the files that were closed with a journal.
  void settle_closed();
  /// The same, and everything on the backing filesystem is on the disk then: for the recorder,
  /// about once a second.
  Result<void> make_durable();
  /// Removes the journal that a crash left of a file that is gone.
  Result<void> remove_journal(FileId file);
  /// Journals that a crash left and no opening has settled yet.
  [[nodiscard]] std::size_t journals_left() const { return journals_->left(); }
  /// Commits every open file and waits until all of it is on record: before the program ends.
  Result<void> finish();

  struct Counts {
    std::size_t inodes = 0;
    std::size_t open_files = 0;
  };
  [[nodiscard]] Counts counts() const { return {inodes_.size(), files_.size()}; }
  [[nodiscard]] bool read_only() const { return options_.read_only; }

 private:
  /// A directory entry on the way to be used: its directory, the scope's names, the entry's stored
  /// name.
  struct Spot {
    std::shared_ptr<const Directory> directory;
    std::shared_ptr<const ScopeNames> names;
    InodeId parent;
    std::string name;
    StoredText stored;
    std::string path;  ///< of the entry, in plaintext
    [[nodiscard]] Place place() const { return {parent, name, stored.text}; }
    [[nodiscard]] const BackingDir& backing() const { return *directory->backing; }
  };

  /// Removed files that wait for their keys to be retired; each costs a descriptor.
  static constexpr std::size_t kMostRetiring = 256;
  /// Files whose pages the kernel is to drop.
  static constexpr std::size_t kMostDropping = 65536;
  static constexpr std::size_t kShowing = 8;
  /// The room of a larger one is free again before its removal is answered.
  static constexpr off_t kMostRetiredLater = 64 * 1024;

  /// An object whose bindings follow it from place to place (rename.cc).
  class Movable;

  Vfs(std::shared_ptr<const BackingDir> root, std::unique_ptr<JournalDir> journals,
      std::shared_ptr<const BackingDir> private_dir, StoreId store, const AeadEngine& engine,
      KeyBroker& broker, Recorder* recorder, const Options& options, bool encrypted_names,
      BackingId root_id);

  // withdrawal.cc
  /// For a handle about to be given out, which the broker decided about when there had been
  /// `changes`. kRevoked or kExpired if that does not hold any more.
  Result<std::shared_ptr<Admission>> admit(const Who& who, const Admission::To& to,
                                           std::uint64_t changes);
  /// True if it was withdrawn now.
  bool reconsider(Admission& admission);
  /// By the broker's thread, whenever grants may have changed; by that of `groups_`, when control
  /// groups are gone.
  void reconsider_all();
  void drop(InodeId inode, Kept what);
  Result<void> check_write_back(const FileHandle& handle);

  // view_changes.cc
  void drop_then(InodeId file, std::vector<InodeId> older, std::function<void()> answer);
  /// Those who may write to a file share its pages, and find what the others write through
  /// mappings; nobody else shares any with another audience.
  [[nodiscard]] Audience audience_for(const Identity& who, ScopeId scope);
  /// True if some callers may know files of this type by views.
  [[nodiscard]] bool sets_apart(mode_t mode);
  /// Has the caller know a file that was looked up by the number that is his.
  void take_view(const Identity& who, ScopeId scope, Entry& entry);
  Result<ScopeId> scope_of(const Who& who, InodeId inode);
  /// False if the caller is to know the file by another number, but this was reached by no name:
  /// nothing of it may be kept. ESTALE if it can be looked up.
  Result<bool> check_view(const Who& who, InodeId known_as);
  /// The inode that a caller is about to change by a name. ESTALE if he is to know it by another
  /// number: the kernel keeps changes of one inode apart, and so not those of two views.
  Result<InodeId> to_change(const Who& who, InodeId known_as);

  // strict.cc
  [[nodiscard]] ScopeFlags flags_of(ScopeId scope);
  /// What a lookup that was refused answers: in a strict scope, that there is no such name.
  Error hide(ScopeId scope, Error refused);
  /// Decides about an inode that was found before, if it lies in a strict scope.
  Result<void> decide_to_show(const Who& who, InodeId inode);
  /// After the last handle of a file is closed: nothing of its content is kept.
  void purge(InodeId inode);

  // lock.cc
  Error open_again(Error why, const LockedOut& out);
  /// Commits what was written, by way of mappings too, while everything can still be used.
  Result<void> save_open_files();
  /// The same to the end, once nobody can.
  Result<void> settle_open_files();
  /// Their keys go, and all else that was made of keys. The paths of those that were not saved.
  std::vector<std::string> end_open_files();
  [[nodiscard]] Result<void> check_written() const;
  /// A handle that is closed while nobody may pass.
  void leave(std::unique_ptr<FileHandle> handle);
  void let_go_of_left();
  /// What a program wrote to a mapping is lost.
  void note_unwritten(InodeId inode) { unwritten_.store(inode.value); }

  // resolve.cc: from inodes to backing directories and names.
  Result<std::shared_ptr<const Directory>> directory(const Who& who, InodeId inode);
  Result<std::shared_ptr<const Directory>> open_directory_of(const Who& who, InodeId inode);
  Result<std::shared_ptr<const Directory>> authenticate(const Who& who, const std::string& path,
                                                        std::shared_ptr<const BackingDir> backing,
                                                        const Directory* parent,
                                                        std::string_view name);
  Result<void> check_scope_claim(const DirectoryRecord& record, const Directory* parent);
  /// A scope's names as held, or released to the caller.
  Result<std::shared_ptr<const ScopeNames>> names_for(const Who& who, ScopeId scope,
                                                      const std::string& path);
  /// Decides `right` in the parent's scope and encodes the name. To look for one (`list`) where a
  /// strict scope refuses it is to find nothing.
  Result<Spot> spot(const Who& who, InodeId parent, std::string_view name, Right right);
  /// The spot of a known inode, without a decision.
  Result<Spot> spot_of(const Who& who, const Place& place);
  /// Runs `use` on the inode's spot; again if the inode was moved meanwhile. ESTALE if it has none.
  Result<void> at_place(const Who& who, InodeId inode,
                        const std::function<Result<void>(const Spot&)>& use);
  /// Replaces the record by what `change` makes of it, durably; the directory's times stay.
  Result<void> rewrite_record(const Directory& directory, const ScopeNames& names,
                              const std::function<Result<void>(DirectoryRecord&)>& change);
  [[nodiscard]] Result<unsigned> chunk_log2(ScopeId scope) const;
  [[nodiscard]] Result<Suite> scope_suite(ScopeId scope) const;
  [[nodiscard]] Result<void> require_writable() const;

  // attributes.cc
  /// True if the entry is a file of which the backing has nothing but the name: its creation had
  /// not reached the disk when the power went. It is not there, and goes.
  bool drop_unborn(const Spot& spot, const struct stat& status);
  bool is_unborn(const DirectoryHandle& handle, std::string_view name, std::string_view stored);
  /// The attributes of an open file, whose backing may be ahead of what its size is.
  Result<struct stat> status_of_open(OpenFile& file);
  /// The backing's attributes in plaintext terms.
  Result<struct stat> plain_status(const Directory& directory, const std::string& stored,
                                   struct stat status);
  Result<Entry> entry_at(const Spot& spot, const struct stat& status);
  Result<void> change_size(const Who& who, InodeId inode, std::uint64_t size,
                           const FileHandle* handle);
  Result<void> change_stored_attributes(const Who& who, InodeId inode,
                                        const AttributeChange& change);
  /// Gives a new object to the caller, as a kernel's filesystem would (setgid directories
  /// included).
  Result<void> give_to(const Who& who, const BackingDir& in, const std::string& stored, mode_t mode,
                       const struct stat& parent) const;

  // xattrs.cc
  using XattrEdit = std::function<Result<void>(XattrSet&)>;
  /// False only if no object of the store has any: then none needs to be opened to say so.
  bool may_have_xattrs();
  /// Of a file just opened: what the keystore should know of is seen from then on, and reported.
  void notice_xattrs(EncryptedFile& content, const std::string& path);
  [[nodiscard]] Result<mode_t> type_of(InodeId inode) const;
  Result<std::shared_ptr<const KnownXattrs>> xattrs_of(const Who& who, InodeId inode, Right right);
  bool claims_no_xattrs(const Who& who, InodeId inode);
  Result<KnownXattrs> read_file_xattrs(const Who& who, InodeId inode, Right right);
  Result<KnownXattrs> read_directory_xattrs(const Who& who, InodeId inode, Right right);
  Result<void> change_xattrs(const Who& who, InodeId inode, const XattrEdit& edit);
  Result<void> change_file_xattrs(const Who& who, InodeId inode, const XattrEdit& edit);
  Result<void> change_directory_xattrs(const Who& who, InodeId inode, const XattrEdit& edit);
  Result<void> set_acl(const Who& who, InodeId inode, std::string_view name, Bytes value);
  /// The access ACL, if there is one, as chmod(2) of `mode` leaves it.
  Result<void> follow_mode(const Who& who, InodeId inode, mode_t mode);
  /// Of a directory that the caller may make something in.
  Result<std::optional<Acl>> default_acl(const Spot& spot);
  /// What a new object gets by its directory's default ACL, or else by the caller's umask.
  struct Inherited {
    mode_t mode = 0;
    XattrSet xattrs;
  };
  Result<Inherited> inherit(const Who& who, const Spot& spot, mode_t mode);
  Result<Hash> save_xattrs(const XattrOwner& owner, const XattrSet& set);
  Result<KnownXattrs> load_directory_xattrs(const Directory& directory, const ScopeNames& names,
                                            const std::string& path);
  Result<Hash> write_xattrs(const XattrOwner& owner, const Hash& old, const XattrEdit& edit);
  /// Of an object that was removed: its sidecar goes when that is on the disk.
  void retire_xattrs(Bytes id, const Hash& hash);
  /// Puts everything on the backing filesystem on the disk, and drops what waited for that.
  Result<void> sync_backing();

  // files.cc
  struct OpenRequest {
    Rights rights;
    bool writable;                                ///< the descriptor has to be for writing, too
    std::optional<GrantId>* let_in_by = nullptr;  ///< as AccessRequest's
  };
  static constexpr OpenRequest kForWriting{
      .rights = Rights::of(Right::kWrite), .writable = true, .let_in_by = nullptr};
  /// As `open`, whatever the kernel knows of its size.
  Result<std::unique_ptr<FileHandle>> open_as_it_is(const Who& who, InodeId known_as, int flags);
  /// The file of an inode with one more handle counted. Each time decided and audited.
  Result<std::shared_ptr<OpenFile>> acquire(const Who& who, InodeId inode,
                                            const OpenRequest& request);
  /// kMoved if the header is of another store or scope.
  [[nodiscard]] Result<void> check_scope(const FileHeader& claimed, ScopeId scope) const;
  struct Released {
    Dek dek;
    std::shared_ptr<const FileKeys> keys;
    KnownGenerations generations;
  };
  /// The keys of the file that a header claims to be of, and what is on record of that.
  Result<Released> release_key(const FileHeader& claimed, const AccessRequest& access, DekUse use);
  /// That an inode may be found at every place that it is known at and lies at now. Whoever names
  /// it does so by a name, and only the inode is passed on: one name that is good must not stand
  /// for another that is not. `check` is about one place.
  Result<void> check_places(const Who& who, InodeId inode,
                            const std::function<Result<void>(const Spot&)>& check);
  Result<void> check_names(const Who& who, const OpenFile& file);
  struct OpenedContent {
    std::unique_ptr<EncryptedFile> content;
    std::uint64_t recorded_generation = 0;
  };
  /// The file at a spot, its key released: authentic, at its place, and no older than is on record.
  Result<OpenedContent> open_content(BackingFile backing, const Spot& spot,
                                     const AccessRequest& access);
  Result<std::shared_ptr<OpenFile>> open_at(const Who& who, InodeId inode, const Spot& spot,
                                            const OpenRequest& request);
  /// Takes the handle that was counted on the file, or lets go of it.
  Result<std::unique_ptr<FileHandle>> make_handle(const Who& who, std::shared_ptr<OpenFile> file,
                                                  InodeId known_as, Rights rights,
                                                  std::optional<GrantId> grant,
                                                  std::uint64_t changes);
  /// Writes the line of its close, once. A failure is reported: nobody waits for it.
  void note_close(Admission& admission);
  Result<void> join(const Who& who, const OpenFile& file, const OpenRequest& request);
  /// Commits, notes the state for the record, and counts one handle less: at once, or when the
  /// file's journal was applied.
  void let_go(const std::shared_ptr<OpenFile>& file);
  void drop_handle(const std::shared_ptr<OpenFile>& file);
  /// Leaves it to the recorder's thread to settle the file, for which one handle of it is kept;
  /// false, and nothing done, if that is not to be.
  bool linger(const std::shared_ptr<OpenFile>& file);
  /// True if it was kept, and its handle is the caller's now.
  bool stop_lingering(const std::shared_ptr<OpenFile>& file);
  std::vector<std::shared_ptr<OpenFile>> take_lingering();
  /// Applies the journal and drops retired bindings, now.
  Result<void> settle(OpenFile& file);
  /// Reports what nobody waits for.
  void report_of(const OpenFile& file, Result<void> outcome);
  static FileRecord record_of(const OpenFile& file, const CommittedState& committed);
  /// What became of the file, for the record.
  void note_state(OpenFile& file);
  /// inspect.cc: the file behind the first of these headers that holds.
  Result<Inspected> open_first(BackingFile backing, const RawHeader& raw,
                               const std::vector<FileHeader>& claims, const AccessRequest& access);
  /// Takes the backing only if the header holds.
  Result<Inspected> open_claimed(BackingFile& backing, const RawHeader& raw,
                                 const FileHeader& claim, const AccessRequest& access);
  static Result<void> cut_to_nothing(const Who& who, const OpenFile& file);
  Result<std::shared_ptr<OpenFile>> create_at(const Who& who, const Spot& spot, mode_t mode,
                                              OpenRequest request, Entry& entry);
  Result<std::unique_ptr<EncryptedFile>> make_content(const Spot& spot, BackingFile backing,
                                                      const Dek& dek);

  // follow.cc: a read-only mount beside another program that writes.
  /// Brings an open file up to the state that another program has committed to it. Nothing to do if
  /// this mount writes.
  Result<void> follow(OpenFile& file);
  /// The same, again for a while if the file was being changed meanwhile.
  Result<void> follow_to_end(OpenFile& file);
  /// Runs `use` on the file's content; again if it failed for a change of another program's.
  template <typename Use>
  auto following(OpenFile& file, const Use& use) -> decltype(use(file.content()));
  /// kRolledBack if this mount has seen a newer state of the file.
  Result<void> check_seen(InodeId inode, FileId file, const CommittedState& state) const;
  /// True if the kernel's pages of the file are those of the state that was opened.
  bool note_opened(const FileHandle& handle);
  /// True if what failed is to be tried again, after a pause: another program may have been at work
  /// on the file.
  [[nodiscard]] bool try_again_beside(const Error& error, int attempt, int attempts) const;
  [[nodiscard]] bool open_again_beside(const Error& error, int attempt) const;
  /// True if there may be files that are not whole: after a crash, or while they are being made.
  [[nodiscard]] bool may_be_unfinished() const;

  // namespace.cc
  /// After an entry could not be made: the sidecar goes, unless it is that of an entry that was
  /// there before.
  static void drop_unused_sidecar(const Spot& spot);
  [[nodiscard]] Result<void> refuse_scope_roots(const Spot& spot) const;
  Result<void> check_empty(const Spot& spot, const struct stat& status);
  void retire_record_xattrs(const ScopeNames& names, const std::string& temporary);
  /// Takes an empty directory out of the tree and removes it.
  Result<void> discard_directory(const Spot& spot, const struct stat& status);
  /// Makes the directory `dir` of the scope whose names are `names`.
  Result<Entry> place_directory(const Who& who, const Spot& spot, const ScopeNames& names,
                                DirId dir_id, mode_t mode);
  /// A name in .coffer/tmp that nothing else has.
  static std::string temporary_name();
  Result<void> empty_temporary() const;

  // unlink.cc
  /// What is about to lose a name. Its inode number does not come back for another object while
  /// this is held.
  struct Doomed {
    std::optional<InodeId> inode = {};
    /// With a handle counted. Null if it is no file, or its key can't be had: a damaged one can
    /// still be removed.
    std::shared_ptr<OpenFile> file = nullptr;
    /// Of a file about to lose its last name that nobody has open: its key is retired later.
    std::optional<BackingFile> unopened = {};
    UniqueFd pinned = {};  ///< of all else
  };
  Doomed hold_for_unlink(const Who& who, const Spot& spot, const struct stat& status);
  [[nodiscard]] bool can_retire_later(const Doomed& doomed, const struct stat& status) const;
  /// After the entry at `spot`, of which `status` was, is gone.
  void finish_unlink(Doomed doomed, const Who& who, const Spot& spot, const struct stat& status);
  /// The file was deleted with the entry at `spot`, or is no longer to be found there.
  void drop_link(OpenFile& file, const Spot& spot);
  /// Of a fifo, socket or device, which `pinned` is: a program may have it open.
  void keep_node(std::optional<InodeId> inode, const struct stat& status, UniqueFd pinned);
  void retire_later(BackingFile removed, const Who& who, const Spot& spot);
  /// Its key is deactivated, as soon as its end is on the disk.
  Result<void> retire(BackingFile removed, const Identity& who, const Spot& spot);

  // rename.cc
  static Result<std::optional<struct stat>> status_if_there(const Spot& spot);
  Result<void> move(const Who& who, const Spot& from, const Spot& to, const struct stat& status,
                    const std::optional<struct stat>& victim, unsigned flags);
  Result<void> carry(Movable& object, const Spot& from, const Spot& to,
                     const std::optional<struct stat>& victim, unsigned flags);
  Result<void> exchange(const Who& who, const Spot& from, const Spot& to,
                        const struct stat& from_status, const struct stat& to_status);

  const Options options_;
  const StoreId store_;
  KeyBroker& broker_;
  Recorder* const recorder_;
  const std::shared_ptr<const BackingDir> root_;
  std::shared_ptr<const BackingDir> temporary_;  // .coffer/tmp; null if read-only

  NodeCache nodes_;
  ScratchPool scratch_;
  Crew crew_;
  const std::unique_ptr<JournalDir> journals_;
  const ContentContext content_;
  NamesCache names_;
  InodeTable inodes_;
  DirectoryCache directories_;
  OpenFileTable files_;
  NewFiles new_files_;
  RemovedNodes removed_nodes_;
  Admissions admissions_;
  FileLocks file_locks_;
  Audiences audiences_;
  Views views_;
  LinkLocks links_;
  SharedMutex pages_mutex_;  // shared while they are dropped
  std::function<void(InodeId, Kept)> pages_ GUARDED_BY(pages_mutex_);
  std::atomic<bool> page_cache_ends_ = false;
  Mutex settling_;  // before all others
  Gate gate_;
  Mutex locking_;  // one lock or unlock at a time; before settling_
  bool locked_ GUARDED_BY(locking_) = false;
  std::atomic<bool> ending_ = false;          // files have keys that are to go
  std::atomic<std::uint64_t> unwritten_ = 0;  // an inode; 0: none since it was looked at last
  Mutex left_mutex_;
  std::vector<std::unique_ptr<FileHandle>> left_ GUARDED_BY(left_mutex_);
  Mutex lingering_mutex_;
  std::vector<std::shared_ptr<OpenFile>> lingering_ GUARDED_BY(lingering_mutex_);
  XattrStore xattrs_;
  XattrCache xattr_cache_;
  std::atomic<bool> saw_xattrs_{false};  // without the keystore's knowledge
  Mutex records_;                        // while a directory's record is read and replaced
  SharedMutex moving_;  // exclusive while a rename changes backing and table; see fs/LOCKING.md
  Background dropping_{kMostDropping};
  /// when_seen, by file: one that hangs holds up few others. No write may wait for these.
  std::array<Background, kShowing> showing_;
  Background saving_{kMostDropping};
  Background retiring_{kMostRetiring};               // what it does needs all the others
  GroupWatch groups_{[this] { reconsider_all(); }};  // and so does this
};

}  // namespace coffer

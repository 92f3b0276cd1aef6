#include "fs/fuse/operations.h"

#include <fcntl.h>

#include <memory>

#include "fs/fuse/lock_operations.h"
#include "fs/fuse/serve.h"

namespace coffer {
namespace {

/// How long the kernel may believe names and attributes, in seconds. All changes go through this
/// mount, or it is read-only; what is bounded by it is how long a change of the backing behind its
/// back, by the one who writes to the store too, stays unnoticed.
constexpr double kTimeout = 1.0;

double timeout(bool holds) { return holds ? kTimeout : 0; }

fuse_entry_param entry_param(const Entry& entry) {
  fuse_entry_param param{};
  param.ino = entry.inode.value;
  param.attr = entry.attributes;
  param.attr_timeout = timeout(entry.attributes_hold);
  param.entry_timeout = timeout(!entry.strict);
  return param;
}

void forget_entry(Vfs& vfs, const Entry& entry) { vfs.forget(entry.inode, 1); }

template <typename Handle>
void keep_handle(fuse_file_info& info, std::unique_ptr<Handle>& handle) {
  info.fh = reinterpret_cast<std::uint64_t>(handle.get());
}

template <typename Handle>
std::unique_ptr<Handle> take_handle(const fuse_file_info* info) {
  return std::unique_ptr<Handle>(reinterpret_cast<Handle*>(info->fh));
}

/// As much of a buffer as an answer may have.
MutableBytes first_of(const ScratchPool::Buffer& buffer, std::size_t size) {
  return buffer.bytes().first(std::min(size, ScratchPool::kBufferSize));
}

int reply_with(fuse_req_t request, const ScratchPool::Buffer& buffer, std::size_t length) {
  return fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.bytes().data()), length);
}

template <typename Work>
void serve_entry(fuse_req_t request, const Operation& operation, fuse_ino_t inode,
                 Work&& work) noexcept {
  serve(
      request, operation, inode, work,
      [request](const Entry& entry) {
        const fuse_entry_param param = entry_param(entry);
        return fuse_reply_entry(request, &param);
      },
      forget_entry);
}

void do_init(void* user_data, fuse_conn_info* connection) noexcept {
  const auto want = [connection](unsigned capability) {
    if ((connection->capable & capability) != 0) connection->want |= capability;
  };
  want(FUSE_CAP_ASYNC_READ);
  want(FUSE_CAP_ASYNC_DIO);
  want(FUSE_CAP_ATOMIC_O_TRUNC);
  want(FUSE_CAP_PARALLEL_DIROPS);
  want(FUSE_CAP_READDIRPLUS);
  want(FUSE_CAP_READDIRPLUS_AUTO);
  want(FUSE_CAP_EXPLICIT_INVAL_DATA);
  want(FUSE_CAP_CACHE_SYMLINKS);
  want(FUSE_CAP_POSIX_LOCKS);
  want(FUSE_CAP_FLOCK_LOCKS);
  // A default ACL takes the umask's place: which of the two it is, is known here.
  want(FUSE_CAP_POSIX_ACL);
  want(FUSE_CAP_DONT_MASK);
  // Pages are dropped when we say so, not whenever a time looks new; splicing costs more than
  // copying; and a writeback cache would hide who writes. Privileges are dropped by the kernel,
  // which asks for the mode to be changed.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
                                             FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                             FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV);
  if (static_cast<FuseContext*>(user_data)->vfs.read_only()) {
    // Others may change what is mounted here, and nobody tells the kernel: it is to drop what it
    // has of a file whose size or time has moved, and to keep no symlink's target.
    connection->want &=
        ~static_cast<unsigned>(FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_CACHE_SYMLINKS);
    want(FUSE_CAP_AUTO_INVAL_DATA);
  }
  connection->max_write = ScratchPool::kBufferSize;
  connection->max_background = 64;
  connection->congestion_threshold = 48;
}

/// What is damaged is found as well, so that it can be removed; but whoever asks for its attributes
/// gets the error.
Result<fuse_entry_param> find_entry(Vfs& vfs, const Who& who, InodeId parent, const char* name) {
  auto found = vfs.lookup(who, parent, name);
  if (found) return entry_param(*found);
  if (found.error().code != Code::kCorrupt) return std::move(found).error();
  fuse_entry_param param = entry_param(TRY(vfs.lookup_damaged(who, parent, name)));
  param.attr_timeout = 0;
  return param;
}

void do_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  serve(
      request, "lookup", parent,
      [&](Vfs& vfs) { return find_entry(vfs, caller_of(request), InodeId{parent}, name); },
      [&](const fuse_entry_param& param) { return fuse_reply_entry(request, &param); },
      [](Vfs& vfs, const fuse_entry_param& param) { vfs.forget(InodeId{param.ino}, 1); });
}

void do_forget(fuse_req_t request, fuse_ino_t inode, std::uint64_t references) noexcept {
  context_of(request).vfs.forget(InodeId{inode}, references);
  fuse_reply_none(request);
}

void do_forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    context_of(request).vfs.forget(InodeId{forgets[i].ino}, forgets[i].nlookup);
  }
  fuse_reply_none(request);
}

double attributes_timeout(fuse_req_t request, fuse_ino_t inode) {
  return timeout(context_of(request).vfs.attributes_hold(InodeId{inode}));
}

void do_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  const Operation operation = inode == FUSE_ROOT_ID ? always("getattr")
                              : info != nullptr     ? through_handle("getattr")
                                                    : "getattr";
  serve(
      request, operation, inode,
      [&](Vfs& vfs) { return vfs.attributes(caller_of(request), InodeId{inode}); },
      [&](const struct stat& attributes) {
        return fuse_reply_attr(request, &attributes, attributes_timeout(request, inode));
      });
}

AttributeChange change_from(const struct stat& attributes, int to_set) {
  AttributeChange change;
  const auto wanted = [to_set](int bit) { return (to_set & bit) != 0; };
  constexpr struct timespec kNow = {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (wanted(FUSE_SET_ATTR_MODE)) change.mode = attributes.st_mode;
  if (wanted(FUSE_SET_ATTR_UID)) change.uid = attributes.st_uid;
  if (wanted(FUSE_SET_ATTR_GID)) change.gid = attributes.st_gid;
  if (wanted(FUSE_SET_ATTR_SIZE)) change.size = static_cast<std::uint64_t>(attributes.st_size);
  if (wanted(FUSE_SET_ATTR_ATIME)) change.access_time = attributes.st_atim;
  if (wanted(FUSE_SET_ATTR_ATIME_NOW)) change.access_time = kNow;
  if (wanted(FUSE_SET_ATTR_MTIME)) change.modification_time = attributes.st_mtim;
  if (wanted(FUSE_SET_ATTR_MTIME_NOW)) change.modification_time = kNow;
  return change;
}

void do_setattr(fuse_req_t request, fuse_ino_t inode, struct stat* attributes, int to_set,
                fuse_file_info* info) noexcept {
  serve(
      request, "setattr", inode,
      [&](Vfs& vfs) {
        const FileHandle* const handle = info != nullptr ? &handle_of<FileHandle>(info) : nullptr;
        return vfs.change_attributes(caller_of(request), InodeId{inode},
                                     change_from(*attributes, to_set), handle);
      },
      [&](const struct stat& changed) {
        const double holds = attributes_timeout(request, inode);
        if ((to_set & FUSE_SET_ATTR_SIZE) == 0) return fuse_reply_attr(request, &changed, holds);
        context_of(request).vfs.when_seen(InodeId{inode}, [request, changed, holds] {
          fuse_reply_attr(request, &changed, holds);
        });
        return 0;
      });
}

void do_readlink(fuse_req_t request, fuse_ino_t inode) noexcept {
  serve(
      request, "readlink", inode,
      [&](Vfs& vfs) { return vfs.read_symlink(caller_of(request), InodeId{inode}); },
      [&](const std::string& target) { return fuse_reply_readlink(request, target.c_str()); });
}

void do_mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
              dev_t device) noexcept {
  serve_entry(request, "mknod", parent, [&](Vfs& vfs) {
    return vfs.make_node(caller_of(request), InodeId{parent}, name, mode, device);
  });
}

void do_mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
  serve_entry(request, "mkdir", parent, [&](Vfs& vfs) {
    return vfs.make_directory(caller_of(request), InodeId{parent}, name, mode);
  });
}

void do_unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  serve_status(request, "unlink", parent,
               [&](Vfs& vfs) { return vfs.unlink(caller_of(request), InodeId{parent}, name); });
}

void do_rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  serve_status(request, "rmdir", parent, [&](Vfs& vfs) {
    return vfs.remove_directory(caller_of(request), InodeId{parent}, name);
  });
}

void do_symlink(fuse_req_t request, const char* target, fuse_ino_t parent,
                const char* name) noexcept {
  serve_entry(request, "symlink", parent, [&](Vfs& vfs) {
    return vfs.make_symlink(caller_of(request), InodeId{parent}, name, target);
  });
}

void do_rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) noexcept {
  serve_status(request, "rename", parent, [&](Vfs& vfs) {
    return vfs.rename(caller_of(request), InodeId{parent}, name, InodeId{new_parent}, new_name,
                      flags);
  });
}

void do_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent,
             const char* new_name) noexcept {
  serve_entry(request, "link", inode, [&](Vfs& vfs) {
    return vfs.link(caller_of(request), InodeId{inode}, InodeId{new_parent}, new_name);
  });
}

/// What is opened in a strict scope is not cached: each read(2) and write(2) comes here.
void say_how_cached(fuse_file_info& info, const FileHandle& handle) {
  info.direct_io = handle.may_keep_pages ? 0 : 1;
  info.keep_cache = handle.pages_hold ? 1 : 0;
}

/// Where nothing is to be committed and no locks end with it, a close takes no request.
bool close_is_heard(Vfs& vfs, const FileHandle& handle) {
  return handle.rights().contains(Right::kWrite) ||
         vfs.file_locks().may_have_locks(handle.file->id());
}

int reply_open(fuse_req_t request, fuse_file_info info, std::unique_ptr<FileHandle>& handle) {
  say_how_cached(info, *handle);
  info.noflush = close_is_heard(context_of(request).vfs, *handle) ? 0 : 1;
  keep_handle(info, handle);
  const int answered = fuse_reply_open(request, &info);
  if (answered == 0) (void)handle.release();  // the kernel has it now; do_release takes it back
  return answered;
}

void do_open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  serve(
      request, "open", inode,
      [&](Vfs& vfs) { return vfs.open(caller_of(request), InodeId{inode}, info->flags); },
      [&](std::unique_ptr<FileHandle>& handle) {
        if ((info->flags & O_TRUNC) == 0) return reply_open(request, *info, handle);
        Vfs& vfs = context_of(request).vfs;
        vfs.when_seen(InodeId{inode},
                      [&vfs, request, info = *info,
                       held = std::make_shared<std::unique_ptr<FileHandle>>(std::move(handle))] {
                        if (reply_open(request, info, *held) != 0) vfs.release(std::move(*held));
                      });
        return 0;
      },
      [](Vfs& vfs, std::unique_ptr<FileHandle>& handle) { vfs.release(std::move(handle)); });
}

void do_create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* info) noexcept {
  serve(
      request, "create", parent,
      [&](Vfs& vfs) {
        return vfs.create_file(caller_of(request), InodeId{parent}, name, mode, info->flags);
      },
      [&](Vfs::Created& created) {
        say_how_cached(*info, *created.handle);
        keep_handle(*info, created.handle);
        const fuse_entry_param param = entry_param(created.entry);
        const int answered = fuse_reply_create(request, &param, info);
        if (answered == 0) (void)created.handle.release();
        return answered;
      },
      [](Vfs& vfs, Vfs::Created& created) {
        vfs.release(std::move(created.handle));
        forget_entry(vfs, created.entry);
      });
}

Result<void> decide_read(fuse_req_t request, const FileHandle& handle, const fuse_file_info& info) {
  if (!handle.admission->to().flags.strict) return {};
  // Pages of the kernel's cache are asked for once and then for whoever comes, so there are none.
  // Of read(2) alone the kernel names the owner of the descriptor; what copies between descriptors
  // takes this errno for "do it by reading".
  if (info.lock_owner == 0) return errno_error(EINVAL, "nothing in a strict scope can be mapped");
  return context_of(request).vfs.decide_use(caller_of(request), *handle.admission, Right::kRead);
}

void do_read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
             fuse_file_info* info) noexcept {
  std::optional<ScratchPool::Buffer> buffer;
  bool purge = false;
  serve(
      request, through_handle("read"), inode,
      [&](Vfs& vfs) -> Result<std::size_t> {
        auto& handle = handle_of<FileHandle>(info);
        purge = handle.admission->to().flags.purge;
        TRY(decide_read(request, handle, *info));
        buffer.emplace(context_of(request).buffers.take());
        return vfs.read(handle, static_cast<std::uint64_t>(offset), first_of(*buffer, size));
      },
      [&](std::size_t length) { return reply_with(request, *buffer, length); });
  // The file may be closed by now, and what was not in use then is wiped.
  if (purge && buffer.has_value()) wipe(first_of(*buffer, size));
}

/// Of a write of dirty pages, or past them: the kernel has so many under way at once, reads ahead
/// counted, that it would send no read that the views' pages wait for. fsync waits for what is
/// left.
bool goes_beside_reads(const fuse_file_info& info) {
  return info.writepage != 0 || (info.flags & O_DIRECT) != 0;
}

void do_write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t size,
              off_t offset, fuse_file_info* info) noexcept {
  serve(
      request, through_handle("write"), inode,
      [&](Vfs& vfs) -> Result<std::size_t> {
        auto& handle = handle_of<FileHandle>(info);
        const auto at = static_cast<std::uint64_t>(offset);
        const Bytes bytes = as_bytes({data, size});
        const bool by_kernel = info->writepage != 0;
        if (!by_kernel) TRY(vfs.decide_use(caller_of(request), *handle.admission, Right::kWrite));
        auto written = by_kernel ? vfs.write_back(handle, at, bytes) : vfs.write(handle, at, bytes);
        // The buffer is this thread's, which keeps it for the next request.
        if (handle.admission->to().flags.purge)
          wipe({reinterpret_cast<std::uint8_t*>(const_cast<char*>(data)), size});
        if (!written) vfs.let_see(InodeId{inode});  // some may be all the same
        return written;
      },
      [&](std::size_t length) {
        Vfs& vfs = context_of(request).vfs;
        const auto answer = [request, length] { return fuse_reply_write(request, length); };
        if (goes_beside_reads(*info)) {
          vfs.let_see(InodeId{inode});
          return answer();
        }
        vfs.when_seen(InodeId{inode}, answer);
        return 0;
      });
}

void do_flush(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  answer_once(request, always("flush"), inode, [&](Vfs& vfs) -> Result<void> {
    auto& handle = handle_of<FileHandle>(info);
    Result<void> flushed;
    if (handle.rights().contains(Right::kWrite)) flushed = vfs.flush(handle);
    // By which the kernel says that a process closes a descriptor: its locks end here.
    vfs.file_locks().drop(handle.file->id(), LockOwner{info->lock_owner});
    TRY(std::move(flushed));
    vfs.when_all_seen(InodeId{inode}, [request] { fuse_reply_err(request, 0); });
    return {};
  });
}

void do_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, fuse_file_info* info) noexcept {
  answer_once(request, always("fsync"), inode, [&](Vfs& vfs) -> Result<void> {
    TRY(vfs.sync(handle_of<FileHandle>(info), data_only != 0));
    vfs.when_all_seen(InodeId{inode}, [request] { fuse_reply_err(request, 0); });
    return {};
  });
}

void do_lseek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence,
              fuse_file_info* info) noexcept {
  serve(
      request, through_handle("lseek"), inode,
      [&](Vfs& vfs) -> Result<std::uint64_t> {
        auto& handle = handle_of<FileHandle>(info);
        TRY(vfs.decide_use(caller_of(request), *handle.admission, Right::kList));
        return vfs.seek(handle, static_cast<std::uint64_t>(offset), whence);
      },
      [&](std::uint64_t found) { return fuse_reply_lseek(request, static_cast<off_t>(found)); });
}

void do_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                  fuse_file_info* info) noexcept {
  answer_once(request, through_handle("fallocate"), inode, [&](Vfs& vfs) -> Result<void> {
    auto& handle = handle_of<FileHandle>(info);
    TRY(vfs.decide_use(caller_of(request), *handle.admission, Right::kWrite));
    auto allocated = vfs.allocate(handle, mode, static_cast<std::uint64_t>(offset),
                                  static_cast<std::uint64_t>(length));
    if (allocated) {
      vfs.when_seen(InodeId{inode}, [request] { fuse_reply_err(request, 0); });
    } else {
      vfs.let_see(InodeId{inode});
    }
    return allocated;
  });
}

/// Its locks went when the request was received (end_locks).
void do_release(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  serve_status(request, always("release"), inode, [&](Vfs& vfs) -> Result<void> {
    vfs.release(take_handle<FileHandle>(info));
    return {};
  });
}

void do_opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  serve(
      request, "opendir", inode,
      [&](Vfs& vfs) { return vfs.open_directory(caller_of(request), InodeId{inode}); },
      [&](std::unique_ptr<DirectoryHandle>& handle) {
        keep_handle(*info, handle);
        const int answered = fuse_reply_open(request, info);
        if (answered == 0) (void)handle.release();
        return answered;
      });
}

/// Fills a listing's buffer; with attributes, each entry looked up on the way, if `plus`.
void list_into(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t position,
               fuse_file_info* info, bool plus) noexcept {
  std::optional<ScratchPool::Buffer> answer;
  serve(
      request, through_handle("readdir"), inode,
      [&](Vfs& vfs) -> Result<std::size_t> {
        auto& handle = handle_of<DirectoryHandle>(info);
        TRY(vfs.decide_use(caller_of(request), *handle.admission, Right::kList));
        answer.emplace(context_of(request).buffers.take());
        const MutableBytes buffer = first_of(*answer, size);
        auto* const out = reinterpret_cast<char*>(buffer.data());
        std::size_t used = 0;
        TRY(vfs.list(handle, position, [&](const ListedEntry& listed) {
          const std::string name(listed.name);
          const std::size_t room = buffer.size() - used;
          fuse_entry_param param{};
          param.attr.st_ino = listed.inode_number;
          param.attr.st_mode = listed.type;
          std::optional<Entry> entry;
          if (plus && name != "." && name != "..") {
            if (fuse_add_direntry_plus(request, nullptr, 0, name.c_str(), nullptr, 0) > room)
              return false;
            // One that can't be looked up is listed all the same; its error shows when it is asked
            // for. One that is gone by now is not.
            auto found = vfs.lookup_listed(handle, name);
            if (!found && found.error().code == Code::kNotFound) return true;
            if (found) {
              entry = *found;
              param = entry_param(*entry);
            }
          }
          const std::size_t needed =
              plus ? fuse_add_direntry_plus(request, out + used, room, name.c_str(), &param,
                                            listed.next)
                   : fuse_add_direntry(request, out + used, room, name.c_str(), &param.attr,
                                       listed.next);
          if (needed > room) {
            if (entry.has_value()) forget_entry(vfs, *entry);
            return false;
          }
          used += needed;
          return true;
        }));
        return used;
      },
      [&](std::size_t used) { return reply_with(request, *answer, used); });
}

void do_readdir(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t position,
                fuse_file_info* info) noexcept {
  list_into(request, inode, size, position, info, false);
}

void do_readdirplus(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t position,
                    fuse_file_info* info) noexcept {
  list_into(request, inode, size, position, info, true);
}

void do_releasedir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) noexcept {
  (void)inode;
  take_handle<DirectoryHandle>(info).reset();
  fuse_reply_err(request, 0);
}

void do_fsyncdir(fuse_req_t request, fuse_ino_t inode, int data_only,
                 fuse_file_info* info) noexcept {
  (void)data_only;
  serve_status(request, through_handle("fsyncdir"), inode,
               [&](Vfs& vfs) { return vfs.sync_directory(handle_of<DirectoryHandle>(info)); });
}

/// Answers as getxattr(2) and listxattr(2) do: with the length alone if the caller's buffer is of
/// none, ERANGE if it is too small.
int reply_xattr(fuse_req_t request, Bytes answer, std::size_t size) {
  if (size == 0) return fuse_reply_xattr(request, answer.size());
  if (answer.size() > size) return fuse_reply_err(request, ERANGE);
  return fuse_reply_buf(request, reinterpret_cast<const char*>(answer.data()), answer.size());
}

void do_getxattr(fuse_req_t request, fuse_ino_t inode, const char* name,
                 std::size_t size) noexcept {
  serve(
      request, "getxattr", inode,
      [&](Vfs& vfs) { return vfs.xattr(caller_of(request), InodeId{inode}, name); },
      [&](const ByteVector& value) { return reply_xattr(request, value, size); });
}

void do_listxattr(fuse_req_t request, fuse_ino_t inode, std::size_t size) noexcept {
  serve(
      request, "listxattr", inode,
      [&](Vfs& vfs) -> Result<std::string> {
        std::string list;
        for (const std::string& name : TRY(vfs.xattr_names(caller_of(request), InodeId{inode}))) {
          list.append(name).push_back('\0');
        }
        return list;
      },
      [&](const std::string& list) { return reply_xattr(request, as_bytes(list), size); });
}

void do_setxattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
                 std::size_t size, int flags) noexcept {
  serve_status(request, "setxattr", inode, [&](Vfs& vfs) {
    return vfs.set_xattr(caller_of(request), InodeId{inode}, name, as_bytes({value, size}), flags);
  });
}

void do_removexattr(fuse_req_t request, fuse_ino_t inode, const char* name) noexcept {
  serve_status(request, "removexattr", inode, [&](Vfs& vfs) {
    return vfs.remove_xattr(caller_of(request), InodeId{inode}, name);
  });
}

void do_statfs(fuse_req_t request, fuse_ino_t inode) noexcept {
  serve(
      request, always("statfs"), inode, [](Vfs& vfs) { return vfs.filesystem(); },
      [&](const struct statvfs& status) { return fuse_reply_statfs(request, &status); });
}

}  // namespace

const fuse_lowlevel_ops& fuse_operations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops{};
    ops.init = do_init;
    ops.lookup = do_lookup;
    ops.forget = do_forget;
    ops.forget_multi = do_forget_multi;
    ops.getattr = do_getattr;
    ops.setattr = do_setattr;
    ops.readlink = do_readlink;
    ops.mknod = do_mknod;
    ops.mkdir = do_mkdir;
    ops.unlink = do_unlink;
    ops.rmdir = do_rmdir;
    ops.symlink = do_symlink;
    ops.rename = do_rename;
    ops.link = do_link;
    ops.open = do_open;
    ops.create = do_create;
    ops.read = do_read;
    ops.write = do_write;
    ops.flush = do_flush;
    ops.fsync = do_fsync;
    ops.lseek = do_lseek;
    ops.fallocate = do_fallocate;
    ops.release = do_release;
    ops.opendir = do_opendir;
    ops.readdir = do_readdir;
    ops.readdirplus = do_readdirplus;
    ops.releasedir = do_releasedir;
    ops.fsyncdir = do_fsyncdir;
    ops.statfs = do_statfs;
    add_lock_operations(ops);
    ops.getxattr = do_getxattr;
    ops.listxattr = do_listxattr;
    ops.setxattr = do_setxattr;
    ops.removexattr = do_removexattr;
    return ops;
  }();
  return operations;
}

}  // namespace coffer

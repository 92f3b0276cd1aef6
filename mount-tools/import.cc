#include "mount-tools/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <vector>

#include "keystore/base/unique_fd.h"
#include "keystore/crypto/digest.h"
#include "mount-tools/parallel.h"
#include "mount-tools/transfer_xattrs.h"
#include "mount-tools/tree.h"

namespace coffer {
namespace {

constexpr std::size_t kBufferSize = std::size_t{1} << 20U;
/// A file up to this size is written under its own name at once; a larger one under a name of its
/// own, by which a later run finds what there is of it.
constexpr off_t kSmallFile = off_t{4} << 20U;
/// How much is written between commits, and at most lost when an import is killed.
constexpr std::uint64_t kCommitEvery = std::uint64_t{64} << 20U;

struct Item {
  std::string source;
  std::string path;  ///< in the store
  struct stat status;
};

struct SourceTree {
  std::vector<Item> directories;  // parents first
  std::vector<Item> files;
  std::vector<Item> others;  // symlinks, fifos, what can't be kept
};

/// Nothing else may begin once one of these came: every other file would fail as well.
bool ends_all(Code code) {
  return code == Code::kNoSpace || code == Code::kReadOnly || is_refusal(code);
}

class Importer {
 public:
  Importer(Vfs& vfs, const Caller& caller, Progress& progress)
      : vfs_(vfs), caller_(caller), progress_(progress), tally_(progress) {}

  TransferCounts run(const std::string& source, const std::string& path) {
    SourceTree tree;
    if (auto scanned = scan(source, path, tree); !scanned) {
      fail(source, scanned.error());
      return tally_.counts();
    }
    std::uint64_t bytes = 0;
    for (const Item& item : tree.files) bytes += static_cast<std::uint64_t>(item.status.st_size);
    progress_.expect(bytes, tree.files.size());

    if (auto made = make_parents(path); !made) {
      fail(path, made.error());
      return tally_.counts();
    }
    for (const Item& item : tree.directories) {
      if (auto made = make_directory(item); !made) {
        // Without the first there is no place for any other.
        if (!fail(item.source, made.error()) || item.path == path) return tally_.counts();
      }
    }
    for_each_in_parallel(tree.files.size(), [&](std::size_t i) {
      const Item& item = tree.files[i];
      auto copied = import_file(item);
      progress_.add_file();
      return copied ? true : fail(item.source, copied.error());
    });
    for (const Item& item : tree.others) {
      if (auto made = import_other(item); !made && !fail(item.source, made.error()))
        return tally_.counts();
    }
    // Their times last, deepest first: making what is in them has changed them.
    for (auto item = tree.directories.rbegin(); item != tree.directories.rend(); ++item) {
      if (auto set = set_directory_attributes(*item); !set) fail(item->source, set.error());
    }
    return tally_.counts();
  }

 private:
  static Result<void> scan(const std::string& source, const std::string& path, SourceTree& tree) {
    Item item{.source = source, .path = path, .status = {}};
    if (::lstat(source.c_str(), &item.status) != 0) return errno_error(errno);
    if (S_ISREG(item.status.st_mode)) {
      tree.files.push_back(std::move(item));
      return {};
    }
    if (!S_ISDIR(item.status.st_mode)) {
      tree.others.push_back(std::move(item));
      return {};
    }
    tree.directories.push_back(item);
    std::error_code failure;
    std::vector<std::string> names;
    for (auto entry = std::filesystem::directory_iterator(source, failure);
         !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
      names.push_back(entry->path().filename().string());
    }
    if (failure) return errno_error(failure.value(), "reading " + source);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names)
      TRY(scan(source + "/" + name, join_path(path, name), tree));
    return {};
  }

  /// False if nothing more is to be begun.
  bool fail(const std::string& what, const Error& error) {
    tally_.fail(what, error);
    return !ends_all(error.code);
  }

  /// The directories above what is imported; as mkdir -p.
  Result<void> make_parents(const std::string& path) {
    if (path == "/") return {};
    const std::string parent = split_path(path).first;
    if (parent == "/") return {};
    TRY(make_parents(parent));
    return make_directory(parent, 0755);
  }

  /// Those of the source get their own mode at the end.
  Result<void> make_directory(const Item& item) { return make_directory(item.path, 0700); }

  Result<void> make_directory(const std::string& path, mode_t mode) {
    const Who who = vfs_.who(caller_);
    if (path == "/") return {};
    const auto [parent_path, name] = split_path(path);
    const Found parent = TRY(find_path(vfs_, who, parent_path));
    auto made = vfs_.make_directory(who, parent.inode.get(), name, mode);
    if (made) {
      vfs_.forget(made->inode, 1);
      return {};
    }
    if (made.error().errno_value != EEXIST) return std::move(made).error();
    const Found there = TRY(find_path(vfs_, who, path));
    if (S_ISDIR(there.attributes.st_mode)) return {};
    return errno_error(ENOTDIR, path + " in the store");
  }

  static AttributeChange attributes_of(const Item& item) {
    AttributeChange change;
    change.mode = item.status.st_mode & 07777;
    if (::geteuid() == 0) {
      change.uid = item.status.st_uid;
      change.gid = item.status.st_gid;
    }
    change.access_time = item.status.st_atim;
    change.modification_time = item.status.st_mtim;
    return change;
  }

  Result<void> set_directory_attributes(const Item& item) {
    const Who who = vfs_.who(caller_);
    if (item.path == "/") return {};
    const Found found = TRY(find_path(vfs_, who, item.path));
    TRY(vfs_.change_attributes(who, found.inode.get(), attributes_of(item), nullptr));
    return copy_xattrs(who, item, found.inode.get());
  }

  Result<void> copy_xattrs(const Who& who, const Item& item, InodeId inode) {
    XattrsLeftOut left_out;
    const XattrSet set = TRY(read_outer_xattrs(item.source, left_out));
    for (std::string& name : TRY(store_xattrs(vfs_, who, inode, set)))
      left_out.push_back(std::move(name));
    tally_.left_out(item.source, left_out);
    return {};
  }

  Result<void> import_file(const Item& item) {
    const Who who = vfs_.who(caller_);
    const auto [parent_path, name] = split_path(item.path);
    const Found parent = TRY(find_path(vfs_, who, parent_path));
    bool there = false;
    if (auto existing = vfs_.lookup(who, parent.inode.get(), name)) {
      const InodeRef ref(vfs_, existing->inode);
      there = true;
      if (S_ISDIR(existing->attributes.st_mode))
        return errno_error(EISDIR, item.path + " in the store");
      if (S_ISREG(existing->attributes.st_mode) && same_state(existing->attributes, item.status)) {
        progress_.add_bytes(static_cast<std::uint64_t>(item.status.st_size));
        tally_.count(&TransferCounts::unchanged);
        return {};
      }
    } else if (existing.error().code != Code::kNotFound) {
      return std::move(existing).error();
    }
    const UniqueFd source(::open(item.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!source.valid()) return errno_error(errno);
    const bool direct = !there && item.status.st_size <= kSmallFile;
    const std::string written_as = direct ? name : partial_name(item);
    if (auto copied = copy(who, item, source, parent.inode.get(), written_as); !copied) {
      // What a full disk cut short is no use to anyone; what a kill cut short is taken up again.
      if (direct || copied.error().code == Code::kNoSpace) {
        (void)vfs_.unlink(who, parent.inode.get(), written_as);
      }
      return copied;
    }
    if (!direct) TRY(vfs_.rename(who, parent.inode.get(), written_as, parent.inode.get(), name, 0));
    tally_.count(&TransferCounts::copied);
    return {};
  }

  /// The same for the same file in the same state, so that a later run finds it; another once the
  /// source has changed.
  static std::string partial_name(const Item& item) {
    const ByteVector state = ByteWriter()
                                 .text(item.path)
                                 .le(static_cast<std::uint64_t>(item.status.st_size))
                                 .le(static_cast<std::uint64_t>(item.status.st_mtim.tv_sec))
                                 .le(static_cast<std::uint64_t>(item.status.st_mtim.tv_nsec))
                                 .take();
    return ".import-" + to_hex(Bytes(sha256(state)).first(12)) + ".partial";
  }

  Result<void> copy(const Who& who, const Item& item, const UniqueFd& source, InodeId parent,
                    const std::string& name) {
    auto created = TRY(vfs_.create_file(who, parent, name, 0600, O_RDWR));
    const InodeRef ref(vfs_, created.entry.inode);
    const OpenHandle handle(vfs_, std::move(created.handle));
    // Whole buffers of it are there for sure; they were committed.
    std::uint64_t done = handle.get().file->content().size() / kBufferSize * kBufferSize;
    done =
        std::min(done, static_cast<std::uint64_t>(item.status.st_size) / kBufferSize * kBufferSize);
    progress_.add_bytes(done);
    TRY(copy_data(source, handle.get(), done, item));
    AttributeChange change = attributes_of(item);
    TRY(vfs_.flush(handle.get()));
    TRY(vfs_.change_attributes(who, ref.get(), change, &handle.get()));
    return copy_xattrs(who, item, ref.get());
  }

  /// From `offset` to the end; holes stay holes.
  Result<void> copy_data(const UniqueFd& source, FileHandle& handle, std::uint64_t offset,
                         const Item& item) {
    const auto size = static_cast<std::uint64_t>(item.status.st_size);
    ByteVector buffer(kBufferSize);
    std::uint64_t uncommitted = 0;
    while (offset < size) {
      const off_t data = ::lseek(source.get(), static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // nothing but a hole to the end
      if (data > static_cast<off_t>(offset)) {
        progress_.add_bytes(static_cast<std::uint64_t>(data) - offset);
        offset = static_cast<std::uint64_t>(data);
      }
      const std::size_t wanted =
          std::min<std::uint64_t>(kBufferSize - offset % kBufferSize, size - offset);
      const ssize_t length =
          ::pread(source.get(), buffer.data(), wanted, static_cast<off_t>(offset));
      if (length < 0 && errno == EINTR) continue;
      if (length < 0) return errno_error(errno, "reading");
      if (length == 0) return Error{Code::kIo, 0, "it became shorter while it was read"};
      const Bytes part(buffer.data(), static_cast<std::size_t>(length));
      if (TRY(vfs_.write(handle, offset, part)) != part.size()) return errno_error(ENOSPC);
      offset += part.size();
      uncommitted += part.size();
      progress_.add_bytes(part.size());
      if (uncommitted >= kCommitEvery) {
        TRY(vfs_.flush(handle));
        uncommitted = 0;
      }
    }
    if (handle.file->content().size() != size) TRY(handle.file->content().truncate(size));
    return {};
  }

  Result<void> import_other(const Item& item) {
    const Who who = vfs_.who(caller_);
    if (!S_ISLNK(item.status.st_mode) && !S_ISFIFO(item.status.st_mode)) {
      progress_.say("coffer: " + item.source + ": sockets and devices are left out");
      tally_.count(&TransferCounts::skipped);
      return {};
    }
    const auto [parent_path, name] = split_path(item.path);
    const Found parent = TRY(find_path(vfs_, who, parent_path));
    std::string target;
    if (S_ISLNK(item.status.st_mode)) {
      std::error_code failure;
      target = std::filesystem::read_symlink(item.source, failure).string();
      if (failure) return errno_error(failure.value());
    }
    if (auto existing = vfs_.lookup(who, parent.inode.get(), name)) {
      const InodeRef ref(vfs_, existing->inode);
      if ((existing->attributes.st_mode & S_IFMT) != (item.status.st_mode & S_IFMT)) {
        return errno_error(EEXIST, item.path + " in the store");
      }
      if (!S_ISLNK(item.status.st_mode) || TRY(vfs_.read_symlink(who, ref.get())) == target) {
        tally_.count(&TransferCounts::unchanged);
        return {};
      }
      TRY(vfs_.unlink(who, parent.inode.get(), name));
    }
    const Entry made =
        S_ISLNK(item.status.st_mode)
            ? TRY(vfs_.make_symlink(who, parent.inode.get(), name, target))
            : TRY(vfs_.make_node(who, parent.inode.get(), name, item.status.st_mode, 0));
    const InodeRef ref(vfs_, made.inode);
    AttributeChange change = attributes_of(item);
    if (S_ISLNK(item.status.st_mode)) change.mode.reset();
    TRY(vfs_.change_attributes(who, ref.get(), change, nullptr));
    tally_.count(&TransferCounts::copied);
    return {};
  }

  Vfs& vfs_;
  const Caller caller_;
  Progress& progress_;
  TransferTally tally_;
};

}  // namespace

TransferCounts import_tree(Vfs& vfs, const Caller& caller, const std::string& source,
                           const std::string& path, Progress& progress) {
  return Importer(vfs, caller, progress).run(source, path);
}

}  // namespace coffer

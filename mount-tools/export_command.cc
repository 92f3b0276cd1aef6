#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"
#include "keystore/cli/store_config.h"
#include "keystore/crypto/digest.h"
#include "mount-tools/commands.h"
#include "mount-tools/parallel.h"
#include "mount-tools/transfer.h"
#include "mount-tools/transfer_xattrs.h"
#include "mount-tools/tree.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

constexpr std::size_t kBufferSize = std::size_t{1} << 20U;
constexpr std::string_view kPartialSuffix = ".coffer-partial";

struct ExportOptions {
  std::string source;
  std::string destination;
  bool json = false;
  PassphraseOptions passphrase;
};

struct Item {
  std::string path;    ///< in the store
  std::string target;  ///< outside
  struct stat status;
};

/// Where a file is written before it is whole: the same for each run, so that the next can carry
/// on, and never too long a name.
std::string partial_path(const std::string& target) {
  const std::size_t name_at = target.find_last_of('/') + 1;
  const std::string name = target.substr(name_at);
  if (name.size() + kPartialSuffix.size() <= NAME_MAX) return target + std::string(kPartialSuffix);
  return target.substr(0, name_at) + to_hex(sha256(as_bytes(name))) + std::string(kPartialSuffix);
}

/// Copies what lies in a store out of it. Everything is written beside its final name and renamed,
/// so that no half of a file is ever taken for the whole.
class Exporter {
 public:
  Exporter(Vfs& vfs, const Caller& caller, Progress& progress)
      : vfs_(vfs), caller_(caller), progress_(progress), tally_(progress) {}

  TransferCounts run(const std::string& path, const std::string& target) {
    const Who who = vfs_.who(caller_);
    if (auto scanned = scan(who, path, target); !scanned) fail(path, scanned.error());
    std::uint64_t bytes = 0;
    for (const Item& item : files_) bytes += static_cast<std::uint64_t>(item.status.st_size);
    progress_.expect(bytes, files_.size());
    for_each_in_parallel(files_.size(), [&](std::size_t i) {
      auto copied = export_file(files_[i]);
      progress_.add_file();
      return copied ? true : fail(files_[i].path, copied.error());
    });
    for (const Item& item : others_) {
      if (auto made = export_other(item); !made) fail(item.path, made.error());
    }
    std::reverse(directories_.begin(), directories_.end());  // the deepest first
    for (const Item& item : directories_) {
      if (auto set = set_directory_attributes(item); !set) fail(item.path, set.error());
    }
    return tally_.counts();
  }

 private:
  Result<void> scan(const Who& who, const std::string& path, const std::string& target) {
    const Found found = TRY(find_path(vfs_, who, path));
    const Item item{.path = path, .target = target, .status = found.attributes};
    if (S_ISREG(item.status.st_mode)) {
      files_.push_back(item);
      return {};
    }
    if (!S_ISDIR(item.status.st_mode)) {
      others_.push_back(item);
      return {};
    }
    if (::mkdir(target.c_str(), 0700) != 0) {
      if (errno != EEXIST) return errno_error(errno, "making " + target);
      struct stat there {};
      // A symlink there could lead the export anywhere.
      if (::lstat(target.c_str(), &there) != 0 || !S_ISDIR(there.st_mode))
        return errno_error(ENOTDIR, target);
    }
    directories_.push_back(item);
    for (const std::string& name : TRY(list_names(vfs_, who, found.inode.get()))) {
      if (auto below = scan(who, join_path(path, name), target + "/" + name); !below) {
        fail(join_path(path, name), below.error());
      }
    }
    return {};
  }

  /// False if nothing more is to be begun: there is no room for any other. A refusal is one
  /// file's alone.
  bool fail(const std::string& what, const Error& error) {
    tally_.fail(what, error);
    return error.code != Code::kNoSpace && error.code != Code::kReadOnly;
  }

  Result<void> set_directory_attributes(const Item& item) {
    const Found found = TRY(find_path(vfs_, vfs_.who(caller_), item.path));
    return set_all_attributes(item, found.inode.get(), item.target);
  }

  Result<void> set_all_attributes(const Item& item, InodeId inode, const std::string& target) {
    const XattrSet set = TRY(read_stored_xattrs(vfs_, vfs_.who(caller_), inode));
    XattrsLeftOut left_out = set_outer_xattrs(target, set);
    TRY(set_attributes(target, item.status));
    for (std::string& name : set_outer_privileges(target, set)) left_out.push_back(std::move(name));
    tally_.left_out(item.path, left_out);
    return {};
  }

  Result<void> export_file(const Item& item) {
    struct stat there {};
    if (::lstat(item.target.c_str(), &there) == 0 && S_ISREG(there.st_mode) &&
        same_state(there, item.status)) {
      progress_.add_bytes(static_cast<std::uint64_t>(item.status.st_size));
      tally_.count(&TransferCounts::unchanged);
      return {};
    }
    const Who who = vfs_.who(caller_);
    const Found found = TRY(find_path(vfs_, who, item.path));
    const OpenHandle handle(vfs_, TRY(vfs_.open(who, found.inode.get(), O_RDONLY)));
    const std::string partial = partial_path(item.target);
    const UniqueFd out(::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!out.valid()) return errno_error(errno, "creating " + partial);
    // As it is authenticated: what the listing gave was worked out from the backing file's length.
    const std::uint64_t size = handle.get().file->content().size();
    if (auto copied = copy_data(handle.get(), out, size); !copied) {
      if (copied.error().code == Code::kNoSpace || copied.error().code == Code::kCorrupt)
        ::unlink(partial.c_str());
      return copied;
    }
    TRY(set_all_attributes(item, found.inode.get(), partial));
    if (::rename(partial.c_str(), item.target.c_str()) != 0)
      return errno_error(errno, "renaming to " + item.target);
    tally_.count(&TransferCounts::copied);
    return {};
  }

  /// What an earlier run left is compared, not believed: the rest begins where it stops being the
  /// file's.
  Result<void> copy_data(FileHandle& handle, const UniqueFd& out, std::uint64_t size) {
    ByteVector buffer(kBufferSize);
    ByteVector present(kBufferSize);
    bool comparing = true;
    std::uint64_t offset = 0;
    while (offset < size) {
      const std::size_t length = TRY(vfs_.read(handle, offset, buffer));
      if (length == 0) return Error{Code::kIo, 0, "it became shorter while it was read"};
      const Bytes part = Bytes(buffer).first(length);
      if (comparing) {
        const ssize_t have = ::pread(out.get(), present.data(), length, static_cast<off_t>(offset));
        comparing =
            have == static_cast<ssize_t>(length) && equal(Bytes(present).first(length), part);
      }
      if (!comparing && !all_zero(part)) {
        if (::lseek(out.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return errno_error(errno);
        if (auto written = write_all(out.get(), part); !written) return written;
      } else if (!comparing) {
        // Zeros stay a hole, but what an earlier run left there goes.
        if (::ftruncate(out.get(), static_cast<off_t>(offset)) != 0) return errno_error(errno);
      }
      offset += length;
      progress_.add_bytes(length);
    }
    if (::ftruncate(out.get(), static_cast<off_t>(size)) != 0) return errno_error(errno, "writing");
    return {};
  }

  Result<void> export_other(const Item& item) {
    const Who who = vfs_.who(caller_);
    if (S_ISLNK(item.status.st_mode)) {
      const Found found = TRY(find_path(vfs_, who, item.path));
      const std::string target = TRY(vfs_.read_symlink(who, found.inode.get()));
      if (::symlink(target.c_str(), item.target.c_str()) != 0) {
        std::string there(target.size() + 1, '\0');
        const ssize_t length = ::readlink(item.target.c_str(), there.data(), there.size());
        if (errno != EEXIST || length != static_cast<ssize_t>(target.size()) ||
            !there.starts_with(target)) {
          return errno_error(errno == EINVAL ? EEXIST : errno, item.target);
        }
        tally_.count(&TransferCounts::unchanged);
        return {};
      }
    } else if (S_ISFIFO(item.status.st_mode)) {
      if (::mkfifo(item.target.c_str(), 0600) != 0 && errno != EEXIST)
        return errno_error(errno, item.target);
    } else {
      progress_.say("coffer: " + item.path + ": sockets and devices are left out");
      tally_.count(&TransferCounts::skipped);
      return {};
    }
    TRY(set_attributes(item.target, item.status));
    tally_.count(&TransferCounts::copied);
    return {};
  }

  Vfs& vfs_;
  const Caller caller_;
  Progress& progress_;
  std::vector<Item> directories_;
  std::vector<Item> files_;
  std::vector<Item> others_;
  TransferTally tally_;
};

Result<int> export_store(const ExportOptions& options) {
  const StorePath source = TRY(parse_store_path(options.source));
  const auto store = TRY(OpenStore::open_read_only(source.root, options.passphrase));
  std::string target = options.destination;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  {
    const Who who = store->vfs().who(Caller::self());
    const Found found = TRY(find_path(store->vfs(), who, source.path));
    if (!S_ISDIR(found.attributes.st_mode))
      target = file_target(target, split_path(source.path).second);
  }
  TransferCounts counts;
  double seconds = 0;
  std::uint64_t bytes = 0;
  {
    Progress progress("exporting");
    counts = Exporter(store->vfs(), Caller::self(), progress).run(source.path, target);
    seconds = progress.seconds();
    bytes = progress.bytes();
  }
  return report_transfer("exported", counts, bytes, seconds, options.json);
}

}  // namespace

void add_export_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "export", "Copy files out of a store, without a mount; run again to carry on");
  const auto options = std::make_shared<ExportOptions>();
  verb.add_option("STORE", options->source, "STORE or STORE:PATH")->required();
  verb.add_option("DST", options->destination, "Where to; a directory's contents are copied")
      ->required();
  verb.add_flag("--json", options->json, "The summary as JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, &chosen] { chosen.run = [options] { return export_store(*options); }; });
}

}  // namespace coffer

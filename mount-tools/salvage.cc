#include "mount-tools/salvage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/parallel.h"
#include "mount-tools/sound_bytes.h"
#include "mount-tools/transfer.h"
#include "mount-tools/tree.h"

namespace coffer {
namespace {

struct Salvageable {
  std::string path;       ///< in the store; empty if it is reached by its backing path
  std::string backing;    ///< the other way round
  std::string target;     ///< outside
  struct stat status {};  ///< all but the size

  [[nodiscard]] const std::string& shown() const { return path.empty() ? backing : path; }
};

class Salvager {
 public:
  Salvager(OpenStore& store, Progress& progress)
      : vfs_(store.vfs()), progress_(progress), caller_(Caller::self()) {}

  SalvageReport run(const std::string& path, bool backing, const std::string& target) {
    const Who who = vfs_.who(caller_);
    if (backing) {
      scan_backing(path, target);
    } else {
      scan(who, path, target);
    }
    progress_.expect(expected_bytes_, files_.size());
    for_each_in_parallel(files_.size(), [&](std::size_t i) {
      auto done = salvage_file(files_[i]);
      progress_.add_file();
      if (!done) note(files_[i], FindingKind::kFile, done.error());
      return done || (done.error().code != Code::kNoSpace && done.error().code != Code::kReadOnly);
    });
    for (auto item = directories_.rbegin(); item != directories_.rend(); ++item) {
      if (auto set = set_attributes(item->target, item->status); !set)
        note(*item, FindingKind::kDirectory, set.error());
    }
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const Finding& a, const Finding& b) {
                       return std::tie(a.path, a.backing) < std::tie(b.path, b.backing);
                     });
    report_.bytes = progress_.bytes();
    return std::move(report_);
  }

 private:
  void note(const Salvageable& item, FindingKind kind, const Error& error) {
    Finding finding{.kind = kind,
                    .cause = error.code,
                    .path = item.path,
                    .backing = item.backing,
                    .message = error.message()};
    MutexLock lock(mutex_);
    report_.findings.push_back(std::move(finding));
  }

  Result<void> make_directory(const Salvageable& item) {
    if (::mkdir(item.target.c_str(), 0700) != 0) {
      struct stat there {};
      if (errno != EEXIST || ::lstat(item.target.c_str(), &there) != 0 || !S_ISDIR(there.st_mode))
        return errno_error(EEXIST, item.target);
    }
    directories_.push_back(item);
    return {};
  }

  void scan(const Who& who, const std::string& path, const std::string& target) {
    Salvageable item{.path = path, .backing = {}, .target = target, .status = {}};
    auto inode = find_damaged(vfs_, who, path);
    const auto status =
        inode ? shown_status(who, inode->get()) : Result<struct stat>(inode.error());
    if (!status) return note(item, FindingKind::kFile, status.error());
    item.status = *status;
    if (S_ISREG(item.status.st_mode)) {
      expected_bytes_ += static_cast<std::uint64_t>(item.status.st_size);
      files_.push_back(item);
    } else if (S_ISLNK(item.status.st_mode)) {
      if (auto made = make_symlink(who, item, inode->get()); !made)
        note(item, FindingKind::kSymlink, made.error());
    } else if (S_ISDIR(item.status.st_mode)) {
      if (auto made = make_directory(item); !made)
        return note(item, FindingKind::kDirectory, made.error());
      const auto names = list_names(vfs_, who, inode->get());
      if (!names) return scan_unlisted(who, item, names.error());
      for (const std::string& name : *names) scan(who, join_path(path, name), target + "/" + name);
    }
  }

  /// That of a file too damaged to be shown has no size.
  Result<struct stat> shown_status(const Who& who, InodeId inode) {
    auto status = vfs_.attributes(who, inode);
    if (status || status.error().code != Code::kCorrupt) return status;
    struct stat damaged {};
    damaged.st_mode = S_IFREG | 0600;
    return damaged;
  }

  /// Without its record a directory's names can't be read; what the files hold can.
  void scan_unlisted(const Who& who, const Salvageable& item, const Error& why) {
    note(item, FindingKind::kDirectory, why);
    if (is_refusal(why.code)) return;
    const auto steps = steps_to(vfs_, who, item.path);
    if (steps) scan_backing_below(backing_path(*steps), item.target);
  }

  void scan_backing_below(const std::string& backing, const std::string& target) {
    for (const std::string& stored : stored_names(vfs_.backing_root(), backing)) {
      if (!ScopeNames::is_own_file(stored))
        scan_backing(join_backing(backing, stored), target + "/" + stored);
    }
  }

  void scan_backing(const std::string& backing, const std::string& target) {
    Salvageable item{.path = {}, .backing = backing, .target = target, .status = {}};
    const auto [directory, stored] = split_backing(backing);
    const auto dir = open_backing_dir(vfs_.backing_root(), directory);
    const auto status = dir ? (*dir)->status_of(stored) : Result<struct stat>(dir.error());
    if (!status) return note(item, FindingKind::kFile, status.error());
    item.status = *status;
    if (S_ISREG(item.status.st_mode)) {
      expected_bytes_ += static_cast<std::uint64_t>(item.status.st_size);
      files_.push_back(item);
    } else if (S_ISDIR(item.status.st_mode)) {
      if (auto made = make_directory(item); !made)
        return note(item, FindingKind::kDirectory, made.error());
      scan_backing_below(backing, target);
    } else {
      note(item, FindingKind::kSymlink,
           Error{Code::kUnsupported, 0, "only files can be read without their names"});
    }
  }

  Result<void> make_symlink(const Who& who, const Salvageable& item, InodeId inode) {
    const std::string target = TRY(vfs_.read_symlink(who, inode));
    if (::symlink(target.c_str(), item.target.c_str()) != 0) return errno_error(errno, item.target);
    return set_attributes(item.target, item.status);
  }

  Result<Vfs::Inspected> inspect(const Who& who, const Salvageable& item) {
    if (item.path.empty()) {
      const auto [directory, stored] = split_backing(item.backing);
      const auto dir = TRY(open_backing_dir(vfs_.backing_root(), directory));
      return vfs_.inspect_backing(who, *dir, stored, item.backing);
    }
    const InodeRef inode = TRY(find_damaged(vfs_, who, item.path));
    return vfs_.inspect(who, inode.get(), Right::kRead);
  }

  Result<void> salvage_file(const Salvageable& item) {
    const Who who = vfs_.who(caller_);
    const Vfs::Inspected inspected = TRY(inspect(who, item));
    Finding finding{.path = item.path, .backing = item.backing};
    if (inspected.objection.has_value()) {
      finding.cause = inspected.objection->code;
      finding.message = inspected.objection->message();
    }
    if (inspected.content == nullptr) {
      finding.beyond_use = true;
      finding.message += ": nothing of it can be read";
    } else {
      if (inspected.key_state == KeyState::kDeactivated) finding.kind = FindingKind::kPutBack;
      if (inspected.objection.has_value())
        finding.message += "; what was copied may not be current";
      const Losses losses = TRY(copy(*inspected.content, item));
      finding.lost = losses.ranges;
      finding.unvouched = losses.unvouched;
      if (losses.first.has_value() && !inspected.objection.has_value()) {
        finding.cause = losses.first->code;
        finding.message = losses.first->message();
      }
    }
    MutexLock lock(mutex_);
    if (inspected.content != nullptr) ++report_.files;
    for (const ByteRange& range : finding.lost) report_.bytes_lost += range.end - range.begin;
    if (!finding.message.empty()) report_.findings.push_back(std::move(finding));
    return {};
  }

  Result<Losses> copy(EncryptedFile& content, const Salvageable& item) {
    const char* const path = item.target.c_str();
    const UniqueFd out(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!out.valid()) {
      if (errno != EEXIST) return errno_error(errno, item.target);
      return Error{Code::kExists, 0, item.target + " is there already; choose another place"};
    }
    Losses losses = TRY(read_sound(
        content, progress_,
        [&](std::uint64_t offset, Bytes sound) -> Result<void> {
          if (::lseek(out.get(), static_cast<off_t>(offset), SEEK_SET) < 0)
            return errno_error(errno, item.target);
          return write_all(out.get(), sound);
        },
        EncryptedFile::Vouching::kByChunkAlone));
    if (::ftruncate(out.get(), static_cast<off_t>(content.size())) != 0)
      return errno_error(errno, item.target);
    TRY(set_attributes(item.target, item.status));
    return losses;
  }

  Vfs& vfs_;
  Progress& progress_;
  const Caller caller_;
  std::vector<Salvageable> directories_;
  std::vector<Salvageable> files_;
  std::uint64_t expected_bytes_ = 0;
  Mutex mutex_;
  SalvageReport report_;  // under mutex_ while files are copied
};

}  // namespace

SalvageReport salvage(OpenStore& store, const std::string& path, bool backing,
                      const std::string& target, Progress& progress) {
  return Salvager(store, progress).run(path, backing, target);
}

}  // namespace coffer

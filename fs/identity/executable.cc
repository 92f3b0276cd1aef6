#include "fs/identity/executable.h"

#include <fcntl.h>

#include <utility>

#include "fs/identity/proc_files.h"
#include "keystore/access/selector.h"
#include "keystore/base/bytes.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr int kAttempts = 4;

/// Whether the kernel itself answers for the filesystem that the file is on. To read one of another
/// process's may be to wait for oneself.
bool may_be_read(int dir, const FoundFile& found, MountKind own) {
  if (own != MountKind::kNone) return own == MountKind::kOther;
  const UniqueFd file(::openat(dir, "mountinfo", O_RDONLY | O_CLOEXEC));
  const auto text = file.valid() ? read_records(file.get()) : std::nullopt;
  return text.has_value() && kind_in(parse_mounts(*text), found.mount) == MountKind::kOther;
}

struct Looked {
  Executable executable;
  bool lasting = true;
};

/// Where the file lies, if it can be reached from here.
void add_path(Executable& executable, MountKind own) {
  // Of a file whose name was removed it is not known where it lay.
  if (own == MountKind::kNone || !executable.link.ends_with(" (deleted)"))
    executable.known.add(Sources::of(Source::kExecutable));
  if (own != MountKind::kNone && Selector::attested("unix:path:", executable.link).has_value())
    executable.path = executable.link;
}

void add_hash(Executable& executable, const Digest& digest) {
  executable.known.add(Sources::of(Source::kExecutableHash));
  executable.sha256 = to_hex(digest);
}

/// What is to be said of the file that `fd` holds.
std::optional<Looked> look(int dir, int fd, Sources asked, OwnMounts& mounts,
                           ExecutableHashes& hashes) {
  const auto found = find_file(fd, "");
  auto link = read_link(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str());
  if (!found.has_value() || !link.has_value()) return std::nullopt;
  Looked looked;
  looked.executable.found = *found;
  looked.executable.link = std::move(*link);
  const MountKind own = mounts.kind_of(found->mount);
  if (asked.contains(Source::kExecutable)) add_path(looked.executable, own);
  if (asked.contains(Source::kExecutableHash) && may_be_read(dir, *found, own)) {
    if (const auto hashed = hashes.of(fd, found->version)) {
      add_hash(looked.executable, hashed->digest);
      looked.lasting = hashed->lasting;
    }
  }
  return looked;
}

/// The hash alone of a file that others execute too, without opening it. Where it lies can't be
/// read beside it that way: the program may be another each time it is looked at.
std::optional<Executable> look_up_hash(int dir, OwnMounts& mounts, ExecutableHashes& hashes) {
  const auto found = find_file(dir, "exe");
  if (!found.has_value() || mounts.kind_of(found->mount) != MountKind::kOther) return std::nullopt;
  const auto digest = hashes.known(found->version);
  if (!digest.has_value()) return std::nullopt;
  Executable executable;
  executable.found = *found;
  add_hash(executable, *digest);
  return executable;
}

}  // namespace

bool ExecutableOfThread::is_still(int dir, Sources asked) const {
  if (!last_.has_value() || !lasting_ || !last_->known.cover(asked)) return false;
  if (find_file(dir, "exe") != last_->found) return false;
  // Another name of the same file is the same program, but at another place.
  return !asked.contains(Source::kExecutable) || read_link(dir, "exe") == last_->link;
}

const Executable* ExecutableOfThread::read(int dir, Sources asked, OwnMounts& mounts,
                                           ExecutableHashes& hashes) {
  asked.bits &= Sources::of(Source::kExecutable, Source::kExecutableHash).bits;
  if (is_still(dir, asked)) return &*last_;
  if (asked == Sources::of(Source::kExecutableHash)) {
    if (auto executable = look_up_hash(dir, mounts, hashes)) {
      last_ = std::move(executable);
      lasting_ = true;
      return &*last_;
    }
  }
  for (int i = 0; i < kAttempts; ++i) {
    const UniqueFd file(::openat(dir, "exe", O_PATH | O_CLOEXEC));
    if (!file.valid()) break;
    auto looked = look(dir, file.get(), asked, mounts, hashes);
    if (!looked.has_value()) break;
    if (find_file(dir, "exe") != looked->executable.found) continue;
    last_ = std::move(looked->executable);
    lasting_ = looked->lasting;
    return &*last_;
  }
  last_.reset();
  return nullptr;
}

}  // namespace coffer

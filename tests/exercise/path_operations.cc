#include "tests/exercise/path_operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>

namespace coffer::exercise {
namespace {

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%o", mode);
  return text;
}

mode_t random_mode(Twin& twin, bool directory) {
  Chooser& choose = twin.choose();
  auto mode = static_cast<mode_t>(choose.below(01000));
  if (choose.one_in(6)) mode |= static_cast<mode_t>(choose.below(8)) << 9U;
  // What becomes of this bit without the other is the FUSE client's own affair, and of no meaning.
  if (!directory && (mode & S_IXGRP) == 0) mode &= ~static_cast<mode_t>(S_ISGID);
  if (twin.as_root()) return mode;
  // Who is not root would lock himself out, and the comparison with him.
  return mode | (directory ? 0700 : 0600);
}

/// Whether times of an entry and its directory change by what is done between: both are set to one
/// moment long past, and compared with it afterwards.
class TimesWatched {
 public:
  TimesWatched(Twin& twin, std::string path)
      : twin_(twin), paths_{path, parent_of(path)}, on_(twin.choose().one_in(6)) {
    if (!on_) return;
    twin_.with_all_rights([this] {
      for (const std::string& watched : paths_) set(watched);
    });
  }
  void compare(const std::string& what) const {
    if (!on_) return;
    for (const std::string& watched : paths_) {
      bool kept[2];
      bool there = true;
      for (const Side side : {kTested, kOracle}) {
        struct stat status {};
        there = there &&
                ::fstatat(twin_.root(side), watched.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
        kept[side] = status.st_mtim.tv_sec == kLongAgo;
      }
      const auto say = [](bool is) { return is ? "mtime kept" : "mtime changed"; };
      if (there) {
        twin_.require(kept[kTested] == kept[kOracle], "times of [" + watched + "] after " + what,
                      say(kept[kTested]), say(kept[kOracle]));
      }
    }
  }

 private:
  static constexpr time_t kLongAgo = 1'000'000'000;
  void set(const std::string& path) const {
    const timespec times[2] = {{kLongAgo, 0}, {kLongAgo, 0}};
    for (const Side side : {kTested, kOracle}) {
      (void)::utimensat(twin_.root(side), path.c_str(), times, AT_SYMLINK_NOFOLLOW);
    }
  }
  Twin& twin_;
  const std::array<std::string, 2> paths_;
  const bool on_;
};

/// Makes a call of one path on both sides, and looks at what it did.
void on_path(Twin& twin, const std::string& what, const std::string& path,
             const std::function<long(int root)>& call) {
  const TimesWatched times(twin, path);
  (void)twin.both(what, [&](Side side) { return outcome_of(call(twin.root(side))); });
  times.compare(what);
  twin.compare_status(path);
}

void make_directory(Twin& twin) {
  const std::string path = twin.new_path();
  const mode_t mode = random_mode(twin, true);
  on_path(twin, "mkdir [" + path + "] " + octal(mode), path,
          [&](int root) { return ::mkdirat(root, path.c_str(), mode); });
}

void remove_one(Twin& twin, const std::string& path, bool as_directory) {
  on_path(twin, (as_directory ? "rmdir [" : "unlink [") + path + "]", path, [&](int root) {
    return ::unlinkat(root, path.c_str(), as_directory ? AT_REMOVEDIR : 0);
  });
}

void remove(Twin& twin) {
  const std::string path = twin.any_path();
  remove_one(twin, path, twin.choose().one_in(3));
}

void move(Twin& twin) {
  const std::string from = twin.any_path();
  const std::string to = twin.choose().one_in(2) ? twin.any_path() : twin.new_path();
  constexpr std::array<unsigned, 4> kFlags = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const unsigned flags = kFlags[twin.choose().below(kFlags.size())];
  const TimesWatched target(twin, to);
  on_path(twin, "rename [" + from + "] [" + to + "] flags " + std::to_string(flags), from,
          [&](int root) { return ::renameat2(root, from.c_str(), root, to.c_str(), flags); });
  target.compare("being renamed to");
  twin.compare_status(to);
}

void make_link(Twin& twin) {
  const std::string from = twin.any_path();
  const auto status = twin.status(from, false);
  if (status && S_ISLNK(status->st_mode)) return;  // EPERM here (fs/FORMAT.md, 4)
  const std::string to = twin.choose().one_in(6) ? twin.any_path() : twin.new_path();
  on_path(twin, "link [" + from + "] [" + to + "]", to,
          [&](int root) { return ::linkat(root, from.c_str(), root, to.c_str(), 0); });
  twin.compare_status(from);
}

void make_symlink(Twin& twin) {
  const std::string path = twin.new_path();
  std::string target = twin.random_name();
  switch (twin.choose().below(8)) {
    case 0:
      target = "../" + target;
      break;
    case 1:
      target += "/" + twin.random_name();
      break;
    case 2:
      target = "/nowhere/" + std::string(1 + twin.choose().below(4086), 't');
      break;
    case 3:
      target.resize(1 + twin.choose().below(4095), 'u');
      break;
    default:
      break;
  }
  on_path(twin, "symlink [" + path + "] to " + target.substr(0, 40), path,
          [&](int root) { return ::symlinkat(target.c_str(), root, path.c_str()); });
}

void read_link(Twin& twin) {
  const std::string path = twin.any_path();
  (void)twin.both("readlink [" + path + "]", [&](Side side) {
    char target[4200];
    Outcome outcome =
        outcome_of(::readlinkat(twin.root(side), path.c_str(), target, sizeof target));
    if (outcome.error == 0) outcome.data.assign(target, static_cast<std::size_t>(outcome.result));
    return outcome;
  });
}

void change_mode(Twin& twin) {
  const std::string path = twin.any_path();
  const auto status = twin.status(path, true);
  const mode_t mode = random_mode(twin, status && S_ISDIR(status->st_mode));
  on_path(twin, "chmod [" + path + "] " + octal(mode), path,
          [&](int root) { return ::fchmodat(root, path.c_str(), mode, 0); });
}

void change_owner(Twin& twin) {
  const std::string path = twin.any_path();
  constexpr std::array<uid_t, 5> kIds = {0, 12345, 12346, 2000, static_cast<uid_t>(-1)};
  const uid_t uid = kIds[twin.choose().below(kIds.size())];
  const gid_t gid = kIds[twin.choose().below(kIds.size())];
  const int flags = twin.choose().one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
  on_path(twin,
          "chown [" + path + "] " + std::to_string(static_cast<int>(uid)) + ":" +
              std::to_string(static_cast<int>(gid)) + " flags " + std::to_string(flags),
          path, [&](int root) { return ::fchownat(root, path.c_str(), uid, gid, flags); });
}

void change_times(Twin& twin) {
  const std::string path = twin.any_path();
  Chooser& choose = twin.choose();
  const auto moment = [&choose] {
    timespec time{static_cast<time_t>(choose.below(4'000'000'000)),
                  static_cast<long>(choose.below(1'000'000'000))};
    if (choose.one_in(5)) time.tv_nsec = choose.one_in(2) ? UTIME_NOW : UTIME_OMIT;
    return time;
  };
  const timespec times[2] = {moment(), moment()};
  const int flags = choose.one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
  const std::string what = "utimens [" + path + "] flags " + std::to_string(flags);
  (void)twin.both(what, [&](Side side) {
    Outcome outcome = outcome_of(::utimensat(twin.root(side), path.c_str(), times, flags));
    struct stat status {};
    if (outcome.error != 0 || ::fstatat(twin.root(side), path.c_str(), &status, flags) != 0)
      return outcome;
    const auto shown = [](const timespec& set, const timespec& got) {
      return set.tv_nsec == UTIME_NOW || set.tv_nsec == UTIME_OMIT
                 ? std::string()
                 : std::to_string(got.tv_sec) + "." + std::to_string(got.tv_nsec) + " ";
    };
    // The time of access is the kernel's own to move on (relatime), but not by this.
    outcome.data = shown(times[0], status.st_atim) + shown(times[1], status.st_mtim);
    return outcome;
  });
}

void cut(Twin& twin) {
  const std::string path = twin.any_path();
  const auto status = twin.status(path, true);
  if (status && !S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return;
  const auto size = static_cast<off_t>(twin.choose().one_in(8) ? twin.choose().below(2'000'000)
                                                               : twin.choose().below(40'000));
  on_path(twin, "truncate [" + path + "] " + std::to_string(size), path, [&](int root) {
    const std::string whole = "/proc/self/fd/" + std::to_string(root) + "/" + path;
    return ::truncate(whole.c_str(), size);
  });
}

void make_node(Twin& twin) {
  const std::string path = twin.new_path();
  constexpr std::array<mode_t, 5> kTypes = {S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR, S_IFBLK};
  // No S_ISGID: the umask may take the x that belongs to it.
  const mode_t mode = kTypes[twin.choose().below(kTypes.size())] |
                      (random_mode(twin, false) & ~static_cast<mode_t>(S_ISGID));
  const dev_t device = S_ISCHR(mode) || S_ISBLK(mode) ? makedev(1, 3) : 0;
  on_path(twin, "mknod [" + path + "] " + octal(mode), path,
          [&](int root) { return ::mknodat(root, path.c_str(), mode, device); });
}

void check_access(Twin& twin) {
  const std::string path = twin.any_path();
  const auto mode = static_cast<int>(twin.choose().below(8));
  (void)twin.both("access [" + path + "] " + std::to_string(mode), [&](Side side) {
    return outcome_of(::faccessat(twin.root(side), path.c_str(), mode, AT_EACCESS));
  });
}

/// All names by readdir, and again from a place in the middle.
void list(Twin& twin) {
  const std::string path = twin.any_directory();
  const std::uint64_t chosen = twin.choose().next();
  (void)twin.both("list and seekdir [" + path + "]", [&](Side side) {
    const int fd = ::openat(twin.root(side), path.empty() ? "." : path.c_str(),
                            O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    Outcome outcome = outcome_of(fd < 0 ? -1 : 0);
    if (fd < 0) return outcome;
    DIR* const stream = ::fdopendir(fd);
    std::vector<std::string> order;
    std::vector<long> positions = {::telldir(stream)};
    std::map<std::string, unsigned char> types;
    while (const dirent* const entry = ::readdir(stream)) {
      order.emplace_back(entry->d_name);
      positions.push_back(::telldir(stream));
      types[entry->d_name] = entry->d_type;
    }
    const std::size_t from = chosen % positions.size();
    ::seekdir(stream, positions[from]);
    for (std::size_t i = from; i < order.size(); ++i) {
      const dirent* const entry = ::readdir(stream);
      if (entry == nullptr || order[i] != entry->d_name) outcome.data += "seekdir went astray\n";
      if (entry == nullptr) break;
    }
    ::closedir(stream);
    for (const auto& [name, type] : types) outcome.data += name + '/' + std::to_string(type) + '\n';
    return outcome;
  });
}

void ask_filesystem(Twin& twin) {
  struct statvfs status {};
  const bool asked = ::fstatvfs(twin.root(kTested), &status) == 0;
  twin.require(asked && status.f_namemax == 255 && status.f_blocks > 0 &&
                   status.f_bfree <= status.f_blocks && status.f_bavail <= status.f_bfree &&
                   status.f_bsize > 0,
               "statfs", "numbers that make no sense", "");
}

}  // namespace

void remove_some(Twin& twin, std::uint64_t tries) {
  twin.become(0);
  for (std::uint64_t i = 0; i < tries; ++i) {
    const std::string path = twin.any_path(true);
    const auto status = twin.status(path, false);
    if (status) remove_one(twin, path, S_ISDIR(status->st_mode));
  }
}

void operate_on_path(Twin& twin) {
  struct Weighted {
    unsigned weight;
    void (*run)(Twin&);
  };
  static constexpr std::array kAll = {Weighted{10, make_directory},
                                      Weighted{18, remove},
                                      Weighted{16, move},
                                      Weighted{8, make_link},
                                      Weighted{6, make_symlink},
                                      Weighted{5, read_link},
                                      Weighted{8, change_mode},
                                      Weighted{6, change_owner},
                                      Weighted{5, change_times},
                                      Weighted{8, cut},
                                      Weighted{4, make_node},
                                      Weighted{4, check_access},
                                      Weighted{5, list},
                                      Weighted{1, ask_filesystem}};
  unsigned total = 0;
  for (const Weighted& one : kAll) total += one.weight;
  auto chosen = static_cast<unsigned>(twin.choose().below(total));
  for (const Weighted& one : kAll) {
    if (chosen < one.weight) return one.run(twin);
    chosen -= one.weight;
  }
}

}  // namespace coffer::exercise

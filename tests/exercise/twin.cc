#include "tests/exercise/twin.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace coffer::exercise {
namespace {

constexpr std::size_t kLogged = 20'000;
constexpr std::size_t kShown = 60;

std::string describe(const Outcome& outcome) {
  std::string text =
      outcome.error != 0 ? error_name(outcome.error) : "result " + std::to_string(outcome.result);
  if (!outcome.data.empty()) {
    text += ", " + std::to_string(outcome.data.size()) + " bytes: ";
    const std::size_t shown = std::min<std::size_t>(outcome.data.size(), 48);
    text += to_hex(as_bytes(outcome.data).first(shown));
  }
  return text;
}

std::string describe(const struct stat& status) {
  char text[200];
  std::snprintf(text, sizeof text, "mode %o uid %u gid %u links %lu size %lld rdev %lx",
                status.st_mode, status.st_uid, status.st_gid,
                static_cast<unsigned long>(status.st_nlink),
                S_ISDIR(status.st_mode) ? 0LL : static_cast<long long>(status.st_size),
                static_cast<unsigned long>(status.st_rdev));
  return text;
}

std::string first_difference(const std::string& a, const std::string& b) {
  const auto at = std::mismatch(
      a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  return " (" + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
         " bytes, the first difference at " + std::to_string(at.first - a.begin()) + ")";
}

const char* relative(const std::string& path) { return path.empty() ? "." : path.c_str(); }

int must_open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) return fd;
  std::perror(path.c_str());
  std::exit(2);
}

}  // namespace

Outcome outcome_of(long result) {
  return {.result = result, .error = result == -1 ? errno : 0, .data = {}};
}

std::string error_name(int error) {
  const char* const name = error == 0 ? "ok" : ::strerrorname_np(error);
  return name != nullptr ? name : std::to_string(error);
}

Twin::Twin(const std::string& tested, const std::string& oracle, std::uint64_t seed,
           std::string words)
    : roots_{must_open(tested), must_open(oracle)},
      seed_(seed),
      words_(std::move(words)),
      choose_(seed),
      as_root_(::geteuid() == 0) {
  users_.push_back({::geteuid(), ::getegid(), {}});
  if (!as_root_) return;
  users_.push_back({12345, 12345, {2000}});
  users_.push_back({12346, 2000, {}});
}

void Twin::begin(std::uint64_t number) {
  number_ = number;
  become(as_root_ && choose_.one_in(3) ? 1 + choose_.below(2) : 0);
  if (choose_.one_in(50)) {
    constexpr std::array<mode_t, 4> kMasks = {0, 022, 027, 077};
    ::umask(kMasks[choose_.below(kMasks.size())]);
  }
}

void Twin::become(std::size_t user) {
  user_ = user;
  if (!as_root_) return;
  const User& who = users_[user];
  if (::seteuid(0) != 0 || ::setgroups(who.groups.size(), who.groups.data()) != 0 ||
      ::setegid(who.gid) != 0 || ::seteuid(who.uid) != 0) {
    std::perror("becoming another user");
    std::exit(2);
  }
}

void Twin::with_all_rights(const std::function<void()>& change) {
  const bool raised = as_root_ && ::seteuid(0) == 0;
  change();
  if (raised && ::seteuid(user().uid) != 0) std::exit(2);
}

std::optional<Outcome> Twin::both(const std::string& what,
                                  const std::function<Outcome(Side)>& call) {
  current_ = std::to_string(number_) + " uid " + std::to_string(user().uid) + ": " + what;
  auto outcome = check(what, call);
  log_.push_back(current_ + (outcome ? " → " + error_name(outcome->error) : " is not offered"));
  if (log_.size() > kLogged) log_.pop_front();
  return outcome;
}

std::optional<Outcome> Twin::check(const std::string& what,
                                   const std::function<Outcome(Side)>& call) {
  const Outcome tested = call(kTested);
  if (tested.error == EOPNOTSUPP) return std::nullopt;
  const Outcome oracle = call(kOracle);
  if (tested != oracle) {
    require(false, what,
            describe(tested) + (tested.error == 0 && oracle.error == 0
                                    ? first_difference(tested.data, oracle.data)
                                    : ""),
            describe(oracle));
  }
  return oracle;
}

void Twin::require(bool same, const std::string& what, const std::string& tested,
                   const std::string& oracle) {
  if (same) return;
  std::fprintf(
      stderr,
      "\nDIFFERENT in operation %llu of seed %llu\n  %s\n  %s\n  tested: %s\n  oracle: %s\n",
      static_cast<unsigned long long>(number_), static_cast<unsigned long long>(seed_),
      current_.c_str(), what.c_str(), tested.c_str(), oracle.c_str());
  std::fprintf(stderr, "again: %s\nthe last operations:\n", words_.c_str());
  const std::size_t from = log_.size() - std::min(log_.size(), kShown);
  // Those before that name the same entry, if it can be told what that is.
  const std::size_t begin = what.find('[');
  const std::size_t end = what.find(']');
  if (begin != std::string::npos && end != std::string::npos) {
    const std::string path = what.substr(begin, end - begin + 1);
    for (std::size_t i = 0; i < from; ++i) {
      if (log_[i].find(path) != std::string::npos) std::fprintf(stderr, "  %s\n", log_[i].c_str());
    }
    std::fputs("  …\n", stderr);
  }
  for (std::size_t i = from; i < log_.size(); ++i) std::fprintf(stderr, "  %s\n", log_[i].c_str());
  std::exit(1);
}

std::string Twin::random_name() {
  if (choose_.one_in(12)) {  // too long for the backing to hold encrypted as it is, and beyond
    static constexpr std::array<std::size_t, 8> kLengths = {174, 175, 176, 177, 200, 254, 255, 256};
    std::string name(kLengths[choose_.below(kLengths.size())], 'l');
    name[choose_.below(3)] = 'm';
    return name;
  }
  if (choose_.one_in(10)) {
    static const std::array<std::string, 9> kOdd = {
        "new\nline",   "\x01\x7f\xff\xfe", " ",     "-rf", "%s%n",
        "back\\slash", "ünïcödé",          "\"'`$", "...."};
    return kOdd[choose_.below(kOdd.size())];
  }
  return "n" + std::to_string(choose_.below(24));
}

std::string Twin::any_directory(bool deep) {
  std::string path;
  // Now and then as deep as there are directories.
  const std::uint64_t most = deep || choose_.one_in(20) ? 100 : 2 + choose_.below(4);
  for (std::uint64_t level = 0; level < most && !choose_.one_in(deep ? 12 : 3); ++level) {
    std::vector<std::string> below;
    for (const auto& [name, type] : list_directory(roots_[kOracle], path)) {
      if (type == DT_DIR) below.push_back(name);
    }
    if (below.empty()) break;
    path += (path.empty() ? "" : "/") + below[choose_.below(below.size())];
  }
  return path;
}

std::string Twin::any_path(bool deep) {
  const std::string directory = any_directory(deep);
  const auto names = list_directory(roots_[kOracle], directory);
  if (deep && names.empty()) return directory;
  const std::string name = names.empty() || choose_.one_in(16)
                               ? random_name()
                               : names[choose_.below(names.size())].first;
  return directory.empty() ? name : directory + "/" + name;
}

std::string Twin::new_path() {
  const std::string directory = any_directory();
  return directory.empty() ? random_name() : directory + "/" + random_name();
}

std::optional<struct stat> Twin::status(const std::string& path, bool follow) const {
  struct stat found {};
  if (::fstatat(roots_[kOracle], relative(path), &found, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
    return std::nullopt;
  return found;
}

void Twin::compare_status(const std::string& path) {
  (void)check("lstat [" + path + "]", [&](Side side) {
    struct stat found {};
    Outcome outcome =
        outcome_of(::fstatat(roots_[side], relative(path), &found, AT_SYMLINK_NOFOLLOW));
    if (outcome.error == 0) outcome.data = describe(found);
    return outcome;
  });
}

void Twin::compare_content(const std::string& path) {
  const auto found_there = status(path, false);
  if (!found_there || !S_ISREG(found_there->st_mode)) return;
  (void)check("content of [" + path + "]", [&](Side side) {
    const int fd =
        ::openat(roots_[side], path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    Outcome outcome = outcome_of(fd < 0 ? -1 : 0);
    if (fd < 0) return outcome;
    struct stat found {};
    (void)::fstat(fd, &found);
    outcome.data.resize(static_cast<std::size_t>(found.st_size) + 1);
    std::size_t done = 0;
    for (ssize_t length = 1; length > 0; done += static_cast<std::size_t>(length)) {
      length = ::pread(fd, outcome.data.data() + done, outcome.data.size() - done,
                       static_cast<off_t>(done));
      if (length < 0) {
        outcome = outcome_of(-1);
        break;
      }
    }
    outcome.data.resize(outcome.error == 0 ? done : 0);
    ::close(fd);
    return outcome;
  });
}

void Twin::compare_trees() {
  become(0);
  entries_ = 0;
  compare_below("");
}

void Twin::compare_below(const std::string& directory) {
  compare_status(directory);
  (void)check("list [" + directory + "]", [&](Side side) {
    Outcome outcome;
    for (const auto& [name, type] : list_directory(roots_[side], directory)) {
      outcome.data += name + '/' + std::to_string(type) + '\n';
    }
    return outcome;
  });
  for (const auto& [name, type] : list_directory(roots_[kOracle], directory)) {
    ++entries_;
    const std::string path = directory.empty() ? name : directory + "/" + name;
    if (type == DT_DIR) {
      compare_below(path);
      continue;
    }
    compare_status(path);
    if (type == DT_REG) compare_content(path);
    if (type != DT_LNK) continue;
    (void)check("readlink [" + path + "]", [&](Side side) {
      char target[4200];
      Outcome outcome = outcome_of(::readlinkat(roots_[side], path.c_str(), target, sizeof target));
      if (outcome.error == 0) outcome.data.assign(target, static_cast<std::size_t>(outcome.result));
      return outcome;
    });
  }
}

std::vector<std::pair<std::string, unsigned char>> list_directory(int root,
                                                                  const std::string& path) {
  std::vector<std::pair<std::string, unsigned char>> names;
  const int fd = ::openat(root, relative(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return names;
  DIR* const stream = ::fdopendir(fd);
  while (const dirent* const entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name, entry->d_type);
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace coffer::exercise

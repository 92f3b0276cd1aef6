#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/fs_random.h"

namespace coffer::exercise {

using testing::Chooser;

/// What an operation came to on one side: its result or errno, and the bytes it gave.
struct Outcome {
  long result = 0;
  int error = 0;  ///< 0 if it succeeded
  std::string data;
  bool operator==(const Outcome&) const = default;
};

/// Of a call that returns -1 and sets errno.
Outcome outcome_of(long result);
/// errno by name, "ok" for none.
std::string error_name(int error);

/// Which of the two trees: the filesystem under test, and the one that is believed.
enum Side : std::size_t { kTested = 0, kOracle = 1 };

/// Two trees to which the same operations are applied, one after the other, and compared. Ends the
/// program at the first difference, with all that is needed to see it again. One thread.
class Twin {
 public:
  struct User {
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
  };

  /// Two directories that hold the same. `words` is the command that this run is repeated with.
  Twin(const std::string& tested, const std::string& oracle, std::uint64_t seed, std::string words);

  Chooser& choose() { return choose_; }
  [[nodiscard]] int root(Side side) const { return roots_[side]; }
  [[nodiscard]] bool as_root() const { return as_root_; }

  /// Begins operation number `number`: as one of the users, with one of the umasks.
  void begin(std::uint64_t number);
  /// The user of this operation.
  [[nodiscard]] const User& user() const { return users_[user_]; }
  void become(std::size_t user);
  /// Runs `change` as root, where there is one.
  void with_all_rights(const std::function<void()>& change);

  /// Runs `call` on the tested side and on the oracle and compares what came of it. What the tested
  /// side does not offer (EOPNOTSUPP) is not tried on the other; nothing is returned then.
  std::optional<Outcome> both(const std::string& what, const std::function<Outcome(Side)>& call);
  /// The same for a look at what is there: it is not among the operations that are shown.
  std::optional<Outcome> check(const std::string& what, const std::function<Outcome(Side)>& call);
  /// Ends the program unless `same`.
  void require(bool same, const std::string& what, const std::string& tested,
               const std::string& oracle);

  /// A path in the trees, without symlinks on its way: often of something that is there.
  std::string any_path(bool deep = false);
  /// Near the root more often than not, or `deep` down.
  std::string any_directory(bool deep = false);
  /// A path where often nothing is yet.
  std::string new_path();
  /// Of one that is there in the oracle, by its lstat; nothing if there is none.
  [[nodiscard]] std::optional<struct stat> status(const std::string& path, bool follow) const;
  std::string random_name();

  /// What lstat shows and both sides have to agree on.
  void compare_status(const std::string& path);
  /// All bytes, if it is a regular file.
  void compare_content(const std::string& path);
  /// Names, types, attributes, contents and targets of everything.
  void compare_trees();

  [[nodiscard]] std::uint64_t entries() const { return entries_; }

 private:
  void compare_below(const std::string& directory);

  std::array<int, 2> roots_{};
  std::uint64_t seed_;
  std::string words_;
  Chooser choose_;
  bool as_root_;
  std::vector<User> users_;
  std::size_t user_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t entries_ = 0;
  std::deque<std::string> log_;
  std::string current_;
};

/// The entries of a directory but "." and "..", sorted: name and type.
std::vector<std::pair<std::string, unsigned char>> list_directory(int root,
                                                                  const std::string& path);

}  // namespace coffer::exercise

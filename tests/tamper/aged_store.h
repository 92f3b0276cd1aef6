#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/store_paths.h"
#include "tests/support/store_whole.h"

namespace coffer::tamper {

/// What a reader can learn of one entry: its type, and its content or target. Nothing if it was
/// refused.
struct Seen {
  mode_t type = 0;
  std::string value;
  std::string refused;  ///< the error, for people
  bool operator==(const Seen&) const = default;
};
/// All that can be reached, by plaintext path.
using View = std::map<std::string, Seen>;

/// A store with a past: files of many sizes and shapes, directories, symlinks and names of all
/// lengths, in several states of which the last counts. Every state of the backing directory and of
/// the keystore is kept, so that parts of an older one can be put back. What is damaged is mended
/// from the copy of the last.
class AgedStore {
 public:
  explicit AgedStore(NamesMode names);

  /// One entry of the last state.
  struct Object {
    std::string path;     ///< in plaintext; "" is the root
    std::string backing;  ///< below the backing directory
    mode_t type = 0;
    ino_t inode = 0;
  };
  [[nodiscard]] const std::vector<Object>& objects() const { return objects_; }
  [[nodiscard]] std::vector<const Object*> objects(mode_t type) const;
  /// What each state showed; the last is the truth.
  [[nodiscard]] const std::vector<View>& states() const { return states_; }
  [[nodiscard]] const View& truth() const { return states_.back(); }

  /// A path of the backing directory as it lies there; of an older state; of the whole copy.
  [[nodiscard]] std::string at(const std::string& backing) const;
  [[nodiscard]] std::string old(std::size_t state, const std::string& backing) const;
  [[nodiscard]] std::size_t old_states() const { return states_.size() - 1; }
  [[nodiscard]] std::string keystore() const { return store_.beside("keystore.db"); }
  [[nodiscard]] std::string old_keystore(std::size_t state) const;

  /// What a fresh opening of the store shows; nothing but an error if it can't be opened.
  Result<View> look(const std::set<std::string>& subtrees);

  /// Puts these paths of the backing directory, and the keystore, back as they were.
  void mend(const std::set<std::string>& backing_paths, bool keystore);

 private:
  void fill();
  void change_once();
  void change_twice();
  void keep_state();
  void find_objects(const testing::PathUser& user, const std::string& path,
                    const std::string& backing);

  testing::WholeStore store_;
  std::vector<Object> objects_;
  std::vector<View> states_;
};

/// Copies a file, symlink, fifo or whole directory; `to` is replaced.
void copy_entry(const std::string& from, const std::string& to);
void remove_entry(const std::string& path);

}  // namespace coffer::tamper

#pragma once

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "tests/power/history.h"
#include "tests/support/fs_power.h"
#include "tests/support/fs_random.h"
#include "tests/support/store_paths.h"
#include "tests/support/store_whole.h"

namespace coffer::testing {

/// What a user does, and how often.
enum class Step {
  kAppend,
  kOverwriteChunk,  ///< a whole one, aligned
  kOverwrite,       ///< anywhere
  kShrink,
  kGrow,
  kRewrite,  ///< O_TRUNC, then written anew
  kPunch,    ///< a hole, mostly of whole chunks
  kZero,     ///< FALLOC_FL_ZERO_RANGE, past the end too
  kCreate,
  kReplace,  ///< written beside, fsynced, renamed over
  kRename,
  kLink,
  kUnlink,
  kExchange,  ///< RENAME_EXCHANGE
  kMakeSymlink,
  kRenameSymlink,
  kMakeDirectory,
  kRenameDirectory,
  kRemoveDirectory,
  kSync,
  kDataSync,
  kSyncDirectory,
  kSetAttribute,     ///< an extended attribute, of a file or directory
  kRemoveAttribute,  ///< one of them
  kClose,
  kRecord,  ///< what the keystore is told a second after a last close
  kRemount,
};

struct Workload {
  const char* name;
  std::vector<std::pair<Step, unsigned>> steps;  ///< with weights
  bool long_names = false;                       ///< and targets, so that they need sidecars
  bool large_file = false;                       ///< one with two leaves among the files
};

inline std::ostream& operator<<(std::ostream& out, const Workload& workload) {
  return out << workload.name;
}

/// All there are, by name.
const std::vector<Workload>& workloads();

/// A user of a store whose backing is logged, who keeps a history. Steps that make no sense at the
/// moment are left out.
class PowerUser {
 public:
  PowerUser(WholeStore& store, const Workload& workload, std::uint64_t seed);

  /// What is there before the log begins.
  void prepare();
  /// From now on through `log`; `opening` is how to open the store again.
  void begin(const PowerLog& log, const StoreOpening& opening);
  void step();
  /// Closes what is open.
  void end();
  /// All that was done so far was brought to the disk.
  void synced_all() { history_.synced_all(now()); }

  [[nodiscard]] const History& history() const { return history_; }
  /// "[12,15) append /f3 +200", the steps around a moment.
  [[nodiscard]] std::string steps_around(Moment moment) const;

 private:
  struct Done {
    std::string text;
    Moment begun;
    Moment returned;
  };

  void take(Step step);
  void change_names(Step step);
  void write_at(ObjectId file, std::uint64_t offset, std::size_t count);
  void set_size(ObjectId file, std::uint64_t size);
  void rewrite(ObjectId file);
  void allocate(ObjectId file, int mode, std::uint64_t offset, std::uint64_t length);
  void sync(ObjectId file, bool data_only);
  void sync_directory();
  void create();
  void replace();
  void rename(ObjectKind kind);
  void exchange();
  void link();
  void unlink();
  void make_symlink();
  void make_directory();
  void remove_directory();
  void change_attribute(bool removing);

  /// The file's handle: one that is open, or one opened for this.
  HeldFile& open(ObjectId file);
  void close_some();
  void record();
  void remount();
  [[nodiscard]] std::optional<EntryName> any_entry(ObjectKind kind);
  [[nodiscard]] ObjectId any_directory();
  [[nodiscard]] EntryName fresh_name();
  [[nodiscard]] bool is_below(ObjectId directory, ObjectId top) const;
  [[nodiscard]] std::string filling(std::size_t count);

  [[nodiscard]] Moment now() const { return log_ == nullptr ? 0 : log_->position(); }
  PathUser me() { return PathUser(store_.vfs()); }
  void note(std::string text, Moment begun) { done_.push_back({std::move(text), begun, now()}); }

  WholeStore& store_;
  const Workload& workload_;
  Chooser chooser_;
  const PowerLog* log_ = nullptr;
  StoreOpening opening_;
  History history_;
  std::map<ObjectId, HeldFile> open_;
  std::vector<Done> done_;
  unsigned names_made_ = 0;
};

}  // namespace coffer::testing

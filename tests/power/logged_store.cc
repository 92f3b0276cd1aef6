#include "tests/power/logged_store.h"

#include <algorithm>
#include <set>

#include "keystore/base/atomic_file.h"
#include "tests/support/fs_random.h"
#include "tests/support/keystore_store.h"
#include "tests/support/store_paths.h"

namespace coffer::testing {
namespace {

/// A walk through a store that lost power.
class Inspection {
 public:
  Inspection(Vfs& vfs, const History& history, const PowerLoss& loss)
      : user_(vfs), history_(history), loss_(loss) {}

  std::vector<std::string> run() {
    walk(kRootObject, "/");
    if (const std::string why = attributes_flaw(kRootObject, "/"); !why.empty()) flaw("/: " + why);
    if (!flaws_.empty()) return std::move(flaws_);  // what else is missing follows from them
    for (const ObjectId object : history_.must_exist(loss_)) {
      if (!found_.contains(object)) flaw("nowhere to be found: " + history_.describe(object));
    }
    return std::move(flaws_);
  }

  /// Readable files by path, with their content; of links of one file the first.
  [[nodiscard]] const std::map<std::string, std::string>& files() const { return files_; }

 private:
  void flaw(std::string text) { flaws_.push_back(std::move(text)); }

  void walk(ObjectId dir, const std::string& path) {
    const auto listed = user_.list(path);
    if (!listed) return flaw("directory can't be listed: " + path + ": " + text_of(listed.error()));
    std::set<std::string> names(listed->begin(), listed->end());
    for (const std::string& name : history_.names_ever(dir)) {
      const bool there = names.erase(name) != 0;
      check(EntryName{dir, name}, (path == "/" ? "/" : path + "/") + name, there);
    }
    for (const std::string& name : names) flaw("a name that never was: " + path + " " + name);
  }

  void check(const EntryName& entry, const std::string& path, bool there) {
    const auto candidates = history_.candidates(entry, loss_);
    if (!there) {
      if (!candidates.contains(std::nullopt)) flaw("name lost: " + described(path, candidates));
      return;
    }
    const auto status = user_.status(path);
    if (!status) return flaw("unreadable name: " + path + ": " + text_of(status.error()));
    if (candidates == std::set<std::optional<ObjectId>>{std::nullopt})
      return flaw("name came back: " + path);
    if (S_ISDIR(status->st_mode)) return check_directory(path, candidates);
    const auto kind = S_ISLNK(status->st_mode) ? ObjectKind::kSymlink : ObjectKind::kFile;
    const auto content = kind == ObjectKind::kFile ? user_.get(path) : user_.read_symlink(path);
    if (!content && may_be_unfinished(candidates, content.error())) return;
    if (!content)
      return flaw("unreadable file: " + described(path, candidates) + ": " +
                  text_of(content.error()));
    if (kind == ObjectKind::kFile && inodes_.insert(status->st_ino).second) files_[path] = *content;
    std::string why = "it was never there";
    bool possible = false;
    for (const auto& candidate : candidates) {
      if (!candidate.has_value() || history_.kind(*candidate) != kind) continue;
      why = history_.why_not(*candidate, *content, loss_);
      if (why.empty() && kind == ObjectKind::kFile) why = attributes_flaw(*candidate, path);
      if (!why.empty()) continue;
      possible = true;
      found_.insert(*candidate);
    }
    if (!possible) flaw("content lost: " + described(path, candidates) + ": " + why);
  }

  /// Empty, or why the attributes can't be this object's.
  [[nodiscard]] std::string attributes_flaw(ObjectId object, const std::string& path) const {
    const auto read = [&]() -> Result<Attributes> {
      Attributes attributes;
      for (const std::string& name : TRY(user_.xattr_names(path)))
        attributes[name] = TRY(user_.xattr(path, name));
      return attributes;
    };
    const auto attributes = read();
    if (!attributes) return "unreadable attributes: " + text_of(attributes.error());
    return history_.why_not(object, *attributes, loss_);
  }

  /// A file that was made and of which nothing was ever promised: its name may be there without
  /// its header (fs/SEMANTICS.md). It says so, and can be removed.
  [[nodiscard]] bool may_be_unfinished(const std::set<std::optional<ObjectId>>& candidates,
                                       const Error& error) const {
    if (!candidates.contains(std::nullopt) || error.code != Code::kCorrupt) return false;
    const std::vector<ObjectId> promised = history_.must_exist(loss_);
    return std::any_of(candidates.begin(), candidates.end(), [&](const auto& candidate) {
      return candidate.has_value() &&
             std::find(promised.begin(), promised.end(), *candidate) == promised.end() &&
             history_.why_not(*candidate, "", loss_).empty();
    });
  }

  void check_directory(const std::string& path,
                       const std::set<std::optional<ObjectId>>& candidates) {
    for (const auto& candidate : candidates) {
      if (!candidate.has_value() || history_.kind(*candidate) != ObjectKind::kDirectory) continue;
      found_.insert(*candidate);
      if (const std::string why = attributes_flaw(*candidate, path); !why.empty())
        flaw("attributes lost: " + described(path, candidates) + ": " + why);
      return walk(*candidate, path);
    }
    flaw("a directory in place of a file: " + path);
  }

  [[nodiscard]] std::string described(const std::string& path,
                                      const std::set<std::optional<ObjectId>>& candidates) const {
    std::string text = path.substr(0, 80) + " (";
    for (const auto& candidate : candidates) {
      text += candidate.has_value() ? history_.describe(*candidate) + "; " : "nothing; ";
    }
    return text + ")";
  }

  static std::string text_of(const Error& error) {
    // Most begin with the path.
    const std::string message = error.message();
    const auto path_end = message.starts_with('/') ? message.find(": ") : std::string::npos;
    return outcome_of(error) + " " +
           (path_end == std::string::npos ? message : message.substr(path_end + 2));
  }

  const PathUser user_;
  const History& history_;
  const PowerLoss& loss_;
  std::set<ObjectId> found_;
  std::set<ino_t> inodes_;
  std::map<std::string, std::string> files_;
  std::vector<std::string> flaws_;
};

/// Writes to every file, syncs, and says what it holds then.
Result<std::map<std::string, std::string>> use(const PathUser& user, const PowerLoss& loss,
                                               std::map<std::string, std::string> files) {
  Chooser chooser(loss.seed);
  for (auto& [path, content] : files) {
    const HeldFile file = TRY(user.open(path));
    const std::uint64_t offset = chooser.below(content.size() + 1);
    const std::string data(chooser.between(1, 5000), 'u');
    TRY(file.write(offset, data));
    if (content.size() < offset + data.size()) content.resize(offset + data.size());
    content.replace(offset, data.size(), data);
    if (chooser.one_in(2)) TRY(user.vfs().sync(file.handle(), true));
    TRY(file.flush());
    if (TRY(user.get(path)) != content) return Error{Code::kIo, EIO, "other content than written"};
  }
  TRY(user.put("/made after the loss", "new"));
  files["/made after the loss"] = "new";
  return files;
}

Result<void> compare(const PathUser& user, const std::map<std::string, std::string>& files) {
  for (const auto& [path, content] : files) {
    if (TRY(user.get(path)) != content) return Error{Code::kIo, EIO, path + ": other content"};
  }
  return {};
}

}  // namespace

LoggedStore::LoggedStore(WholeStore& store)
    : store_(store), log_(store.backing()), keystore_(store.beside("keystore.db")) {
  keep_keystore(0);
  log_.before_event = [this](Moment moment) { keep_keystore(moment); };
}

void LoggedStore::keep_keystore(Moment moment) {
  const std::int64_t version = keystore_.number("PRAGMA data_version");
  if (version == keystore_version_) return;
  keystore_version_ = version;
  keystores_[moment] = keystore_.whole();
}

Result<void> LoggedStore::make_durable() {
  if (std::this_thread::get_id() != thread_) return Error{Code::kIo, EAGAIN, "not now"};
  return store_.vfs().make_durable();
}

StoreOpening LoggedStore::opening() {
  return {.calls = &log_, .make_durable = [this] { return make_durable(); }, .after_crash = true};
}

std::unique_ptr<WholeStore> LoggedStore::after(const PowerLoss& loss) const {
  auto store = std::make_unique<WholeStore>(store_.id(), StoreMaking{});
  store->allow_reports();
  state_after_power_loss(log_, loss).write(store->backing());
  const auto keystore = std::prev(keystores_.upper_bound(loss.position));
  must_be(create_file(store->beside("keystore.db"), keystore->second, 0600), "keystore");
  return store;
}

std::vector<std::string> broken_promises_as_open(WholeStore& store, const History& history,
                                                 const PowerLoss& loss) {
  return Inspection(store.vfs(), history, loss).run();
}

std::vector<std::string> broken_promises(WholeStore& store, const History& history,
                                         const PowerLoss& loss) {
  const auto failed = [](const char* what, const Error& error) {
    return std::vector<std::string>{std::string(what) + ": " + outcome_of(error) + " " +
                                    error.message()};
  };
  if (auto opened = store.try_open({.after_crash = true}); !opened)
    return failed("store does not open", opened.error());
  Inspection inspection(store.vfs(), history, loss);
  std::vector<std::string> flaws = inspection.run();
  const auto used = use(PathUser(store.vfs()), loss, inspection.files());
  if (!used) {
    flaws.push_back(failed("can't be used", used.error()).front());
    return flaws;
  }
  if (auto finished = store.vfs().finish(); !finished)
    return failed("can't be unmounted", finished.error());
  store.close();
  if (auto opened = store.try_open(); !opened)
    return failed("store does not open again", opened.error());
  if (auto same = compare(PathUser(store.vfs()), *used); !same)
    flaws.push_back(failed("differs when opened again", same.error()).front());
  return flaws;
}

}  // namespace coffer::testing

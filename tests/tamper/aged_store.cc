#include "tests/tamper/aged_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/support/fs_random.h"
#include "tests/support/keystore_store.h"
#include "tests/support/store_paths.h"
#include "tests/support/store_tree.h"

namespace coffer::tamper {
namespace {

namespace fs = std::filesystem;
using testing::must_be;
using testing::PathUser;

std::string text(std::uint64_t seed, std::size_t length) {
  const ByteVector bytes = testing::Chooser(seed).bytes(length);
  return std::string(as_text(bytes));
}

void write_at(const PathUser& user, const std::string& path, std::uint64_t offset,
              const std::string& data) {
  const auto file = must_be(user.open(path, O_RDWR), "opening a file to change");
  must_be(file.write(offset, data), "changing a file");
  must_be(file.flush(), "changing a file");
}

void look_below(const PathUser& user, const std::string& path, View& view) {
  const auto status = user.status(path);
  if (!status) {
    view[path] = {.type = 0, .value = {}, .refused = status.error().message()};
    return;
  }
  Seen seen{.type = status->st_mode & S_IFMT, .value = {}, .refused = {}};
  const auto keep = [&seen](Result<std::string> value) {
    if (value) {
      seen.value = std::move(*value);
    } else {
      seen.refused = value.error().message();
    }
  };
  std::vector<std::string> names;
  if (S_ISREG(seen.type)) keep(user.get(path));
  if (S_ISLNK(seen.type)) keep(user.read_symlink(path));
  if (S_ISDIR(seen.type)) {
    auto listed = user.list(path);
    if (listed) {
      names = std::move(*listed);
    } else {
      seen.refused = listed.error().message();
    }
  }
  view[path] = std::move(seen);
  for (const std::string& name : names) {
    look_below(user, path == "/" ? "/" + name : path + "/" + name, view);
  }
}

}  // namespace

AgedStore::AgedStore(NamesMode names) : store_({.names = names}) {
  store_.allow_reports();
  fill();
  keep_state();
  change_once();
  keep_state();
  change_twice();
  keep_state();
  {
    const PathUser user(store_.vfs());
    find_objects(user, "", "");
  }
  store_.close();
  must_be(look({}), "seeing the newest keystore");
}

void AgedStore::fill() {
  const PathUser user(store_.vfs());
  for (const char* const path :
       {"/a", "/a/deep", "/a/deep/er", "/b", "/empty", "/to-move", "/gone"}) {
    must_be(user.make_directory(path), "a directory");
  }
  constexpr std::size_t kGroup = 128 * 4096;
  constexpr std::size_t kSizes[] = {0,    1,      100,        4095,       4096,
                                    4097, 20'000, kGroup - 1, kGroup + 1, 2 * kGroup + 5000};
  for (std::size_t i = 0; i < std::size(kSizes); ++i) {
    must_be(user.put("/a/size-" + std::to_string(i), text(i, kSizes[i])), "a file");
  }
  for (const char* const name : {"same-1", "same-2"}) {
    must_be(user.put(std::string("/b/") + name, text(77, 30'000)), "a file");
  }
  const std::string long_name(200, 'n');
  for (const char* const directory : {"/b/", "/a/deep/"}) {
    must_be(user.put(directory + long_name, text(5, 9'000)), "a file of a long name");
    must_be(user.make_symlink("short", std::string(directory) + "link"), "a symlink");
    must_be(user.make_symlink(std::string(3'500, 't'), std::string(directory) + "long-link"),
            "a symlink");
  }
  must_be(user.make_directory("/a/" + std::string(255, 'd')), "a directory of a long name");
  must_be(user.put("/a/" + std::string(255, 'd') + "/inside", text(6, 5'000)), "a file");
  for (const char* const name :
       {"grown", "cut", "overwritten", "emptied", "linked", "to-rename", "to-remove"}) {
    must_be(user.put(std::string("/a/deep/er/") + name, text(8, 50'000)), "a file");
    must_be(user.put(std::string("/gone/") + name, text(9, 10'000)), "a file");
  }
  must_be(user.put("/to-move/inside", text(10, 12'000)), "a file");
  must_be(user.put("/sparse", "begin"), "a file");
  write_at(user, "/sparse", 3 * kGroup, "end");
  must_be(user.make_symlink("first", "/retargeted"), "a symlink");
  must_be(user.make_symlink("gone", "/removed-link"), "a symlink");
  must_be(user.make_node("/fifo", S_IFIFO | 0644), "a fifo");
}

void AgedStore::change_once() {
  const PathUser user(store_.vfs());
  for (const char* const directory : {"/a/deep/er/", "/gone/"}) {
    const std::string in = directory;
    write_at(user, in + "grown", 50'000, text(20, 70'000));
    AttributeChange cut;
    cut.size = 3'000;
    must_be(user.change(in + "cut", cut), "cutting a file");
    write_at(user, in + "overwritten", 8'192, text(21, 10'000));
    must_be(user.link(in + "linked", in + "second-name"), "a link");
    must_be(user.rename(in + "to-rename", in + "renamed"), "a rename");
  }
  must_be(user.put("/b/same-1", text(78, 30'000)), "replacing a file");
  must_be(user.unlink("/retargeted"), "removing a symlink");
  must_be(user.make_symlink("second", "/retargeted"), "a symlink");
  must_be(user.rename("/to-move", "/b/moved"), "moving a directory");
  must_be(user.rename("/b/" + std::string(200, 'n'), "/b/" + std::string(201, 'm')), "a rename");
}

void AgedStore::change_twice() {
  const PathUser user(store_.vfs());
  write_at(user, "/a/size-9", 4'096, text(30, 600'000));
  write_at(user, "/sparse", 4'096, text(31, 4'096));
  must_be(user.put("/a/deep/er/emptied", ""), "emptying a file");
  must_be(user.unlink("/a/deep/er/to-remove"), "removing a file");
  must_be(user.unlink("/removed-link"), "removing a symlink");
  must_be(user.rename("/a/deep/er/linked", "/b/linked"), "a rename");
  write_at(user, "/a/deep/er/overwritten", 0, text(32, 10'000));
  for (const std::string& name : must_be(user.list("/gone"), "a listing")) {
    must_be(user.unlink("/gone/" + name), "removing a file");
  }
  must_be(user.remove_directory("/gone"), "removing a directory");
  must_be(user.put("/b/new", text(33, 15'000)), "a file");
}

void AgedStore::keep_state() {
  // A keystore whose WAL is in it, and files whose state is on record.
  store_.reopen();
  View view;
  look_below(PathUser(store_.vfs()), "/", view);
  for (const auto& [path, seen] : view) {
    if (!seen.refused.empty()) must_be(Result<void>(Error{Code::kIo, 0, path}), "a whole state");
  }
  states_.push_back(std::move(view));
  store_.close();
  const std::string kept = store_.beside("state-" + std::to_string(states_.size() - 1));
  copy_entry(store_.backing(), kept);
  copy_entry(keystore(), kept + ".keystore");
  store_.open();
}

void AgedStore::find_objects(const PathUser& user, const std::string& path,
                             const std::string& backing) {
  const struct stat status = must_be(user.status(path.empty() ? "/" : path), "an entry");
  objects_.push_back({path, backing, status.st_mode & S_IFMT, status.st_ino});
  if (!S_ISDIR(status.st_mode)) return;
  for (const std::string& name : must_be(user.list(path.empty() ? "/" : path), "a listing")) {
    const std::string child = path + "/" + name;
    const std::string stored =
        testing::stored_name(at(backing), must_be(user.status(child), "an entry").st_ino);
    find_objects(user, child, backing.empty() ? stored : backing + "/" + stored);
  }
}

std::vector<const AgedStore::Object*> AgedStore::objects(mode_t type) const {
  std::vector<const Object*> found;
  for (const Object& object : objects_) {
    if (object.type == type && !object.path.empty()) found.push_back(&object);
  }
  return found;
}

std::string AgedStore::at(const std::string& backing) const { return store_.backing(backing); }

std::string AgedStore::old(std::size_t state, const std::string& backing) const {
  const std::string root = store_.beside("state-" + std::to_string(state));
  return backing.empty() ? root : root + "/" + backing;
}

std::string AgedStore::old_keystore(std::size_t state) const {
  return old(state, "") + ".keystore";
}

Result<View> AgedStore::look(const std::set<std::string>& subtrees) {
  TRY(store_.try_open({.read_only = true, .remembers = true}));
  View view;
  {
    const PathUser user(store_.vfs());
    for (const std::string& path : subtrees) look_below(user, path, view);
  }
  store_.close();
  return view;
}

void AgedStore::mend(const std::set<std::string>& backing_paths, bool keystore_too) {
  for (const std::string& path : backing_paths) {
    remove_entry(at(path));
    const std::string whole = old(states_.size() - 1, path);
    if (fs::exists(fs::symlink_status(whole))) copy_entry(whole, at(path));
  }
  if (!keystore_too) return;
  for (const char* const tail : {"", "-wal", "-shm", "-journal"}) remove_entry(keystore() + tail);
  copy_entry(old_keystore(states_.size() - 1), keystore());
}

void remove_entry(const std::string& path) { fs::remove_all(path); }

void copy_entry(const std::string& from, const std::string& to) {
  if (from == to) return;
  remove_entry(to);
  const fs::file_status status = fs::symlink_status(from);
  if (fs::is_symlink(status)) {
    fs::copy_symlink(from, to);
    return;
  }
  if (fs::is_fifo(status)) {
    if (::mkfifo(to.c_str(), static_cast<mode_t>(status.permissions())) != 0) std::abort();
    return;
  }
  if (!fs::is_directory(status)) {
    fs::copy_file(from, to);
    return;
  }
  fs::create_directory(to);
  fs::permissions(to, status.permissions());
  for (const auto& entry : fs::directory_iterator(from)) {
    copy_entry(entry.path().string(), to + "/" + entry.path().filename().string());
  }
}

}  // namespace coffer::tamper

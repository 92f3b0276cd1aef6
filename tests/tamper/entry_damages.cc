// Damage to entries: what stands where, under which name, and what the format keeps beside it.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "fs/names/scope_names.h"
#include "fs/names/stored.h"
#include "tests/tamper/damage_parts.h"

namespace coffer::tamper {
namespace {

namespace fs = std::filesystem;

/// The other files that go with an entry of this stored name: sidecars of its name and target.
std::vector<std::string> companions(const AgedStore& store, const std::string& backing) {
  std::vector<std::string> found;
  const std::string name = name_of(backing);
  if (ScopeNames::is_long_name(name)) {
    found.push_back(join(directory_of(backing), ScopeNames::name_sidecar(name)));
  }
  std::error_code none;
  const fs::path target = fs::read_symlink(store.at(backing), none);
  if (!none && ScopeNames::is_long_target(target.string())) {
    found.push_back(join(directory_of(backing), target.string()));
  }
  return found;
}

const Object& any_entry(const AgedStore& store, Chooser& choose) {
  constexpr std::array<mode_t, 4> kTypes = {S_IFREG, S_IFREG, S_IFDIR, S_IFLNK};
  return any(store.objects(kTypes[choose.below(kTypes.size())]), choose);
}

bool within(const std::string& inner, const std::string& outer) {
  return inner == outer || inner.starts_with(outer + "/");
}

Touched exchange(const AgedStore& store, Chooser& choose) {
  const Object& one = any_entry(store, choose);
  const Object& other = any_entry(store, choose);
  if (within(one.backing, other.backing) || within(other.backing, one.backing)) return {};
  if (::renameat2(AT_FDCWD, store.at(one.backing).c_str(), AT_FDCWD,
                  store.at(other.backing).c_str(), RENAME_EXCHANGE) != 0) {
    std::abort();
  }
  Touched touched = of(store, one, "exchanged with " + other.path + ":");
  touch(store, other, touched);
  return touched;
}

/// An entry to the place of another, or to a name that there is not, in any directory.
Touched move_or_copy(const AgedStore& store, Chooser& choose) {
  const Object& from = any_entry(store, choose);
  const Object& to = any_entry(store, choose);
  const bool replacing = choose.one_in(2);
  const Object& directory = any(store.objects(S_IFDIR), choose);
  const std::string target = replacing ? to.backing : join(directory.backing, name_of(to.backing));
  if (within(target, from.backing) || within(from.backing, target)) return {};
  Touched touched =
      of(store, from, "to the place of " + to.path + ", below " + directory.path + ":");
  touched.backing.insert(target);
  for (const Object& object : store.objects()) {
    if (within(object.backing, target)) touch(store, object, touched);
  }
  // What stands there now had no name of its own in that directory.
  if (!replacing) touched.affected.insert(directory.path + "/" + name_of(to.path));
  std::vector<std::string> left = companions(store, from.backing);
  if (choose.one_in(2)) {
    copy_entry(store.at(from.backing), store.at(target));
  } else {
    remove_entry(store.at(target));
    fs::rename(store.at(from.backing), store.at(target));
  }
  for (const std::string& sidecar : left) {
    if (choose.one_in(2)) continue;
    const std::string beside = join(directory_of(target), name_of(sidecar));
    touched.backing.insert(beside);
    if (beside != sidecar) copy_entry(store.at(sidecar), store.at(beside));
  }
  return touched;
}

Touched remove(const AgedStore& store, Chooser& choose) {
  const Object& object = any_entry(store, choose);
  remove_entry(store.at(object.backing));
  return of(store, object, "removed:");
}

Touched change_type(const AgedStore& store, Chooser& choose) {
  const Object& object = any_entry(store, choose);
  const std::string path = store.at(object.backing);
  remove_entry(path);
  switch (choose.below(4)) {
    case 0:
      fs::create_directory(path);
      break;
    case 1:
      fs::create_symlink(choose.one_in(2) ? "/etc/passwd" : name_of(object.backing), path);
      break;
    case 2:
      put_content(path, choose.bytes(choose.below(20'000)));
      break;
    default:
      if (::mkfifo(path.c_str(), 0600) != 0) std::abort();
  }
  return of(store, object, "of another type:");
}

/// A whole entry of an older state, there again: a file, a symlink, a directory with all in it.
Touched put_back_entry(const AgedStore& store, Chooser& choose) {
  const std::size_t state = choose.below(store.old_states());
  std::vector<std::string> all;
  const std::string root = store.old(state, "");
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::end(entry); ++entry) {
    const std::string path = entry->path().string().substr(root.size() + 1);
    if (path == ".coffer") {
      entry.disable_recursion_pending();
    } else {
      all.push_back(path);
    }
  }
  std::sort(all.begin(), all.end());
  const std::string path = all[choose.below(all.size())];
  if (!fs::exists(fs::symlink_status(store.at(directory_of(path))))) return {};
  Touched touched;
  touched.what = "put back of state " + std::to_string(state) + ": " + path;
  touched.backing.insert(path);
  for (const std::string& sidecar : companions(store, path)) touched.backing.insert(sidecar);
  // What it was called then is for who looks to find out: all that its directory shows.
  for (const Object& object : store.objects()) {
    const bool is_parent = object.backing == directory_of(path) && S_ISDIR(object.type);
    if (is_parent || within(object.backing, path)) touch(store, object, touched);
  }
  copy_entry(store.old(state, path), store.at(path));
  if (ScopeNames::is_long_name(name_of(path))) {
    const std::string sidecar = join(directory_of(path), ScopeNames::name_sidecar(name_of(path)));
    touched.backing.insert(sidecar);
    copy_entry(store.old(state, sidecar), store.at(sidecar));
  }
  return touched;
}

Touched damage_record(const AgedStore& store, Chooser& choose) {
  const Object& directory =
      choose.one_in(6) ? store.objects().front() : any(store.objects(S_IFDIR), choose);
  const std::string record = join(directory.backing, kDirectoryRecordName);
  Touched touched;
  touched.affected.insert(directory.path.empty() ? "/" : directory.path);
  touched.backing.insert(record);
  switch (choose.below(4)) {
    case 0: {
      ByteVector bytes = content_of(store.at(record));
      bytes[choose.below(bytes.size())] ^= static_cast<std::uint8_t>(1U << choose.below(8));
      put_content(store.at(record), bytes);
      touched.what = "a bit of the record of ";
      break;
    }
    case 1: {
      const Object& other = any(store.objects(S_IFDIR), choose);
      copy_entry(store.at(join(other.backing, kDirectoryRecordName)), store.at(record));
      touched.what = "the record of " + other.path + " as that of ";
      break;
    }
    case 2: {
      const std::string older = store.old(choose.below(store.old_states()), record);
      if (!fs::exists(older)) return {};
      copy_entry(older, store.at(record));
      touched.what = "an older record of ";
      break;
    }
    default:
      remove_entry(store.at(record));
      touched.what = "no record of ";
  }
  touched.what += directory.path;
  return touched;
}

Touched damage_sidecar(const AgedStore& store, Chooser& choose) {
  std::vector<std::pair<const Object*, std::string>> sidecars;
  for (const Object& object : store.objects()) {
    for (const std::string& sidecar : companions(store, object.backing)) {
      sidecars.emplace_back(&object, sidecar);
    }
  }
  if (sidecars.empty()) return {};
  const auto& [object, sidecar] = sidecars[choose.below(sidecars.size())];
  const auto& [other, other_sidecar] = sidecars[choose.below(sidecars.size())];
  Touched touched = of(store, *object, "sidecar of");
  touched.backing.insert(sidecar);
  ByteVector bytes = content_of(store.at(sidecar));
  switch (choose.below(4)) {
    case 0:
      remove_entry(store.at(sidecar));
      return touched;
    case 1:
      bytes[choose.below(bytes.size())] ^= 4;
      break;
    case 2:
      bytes.resize(choose.below(bytes.size()));
      break;
    default:
      touch(store, *other, touched);
      touched.backing.insert(other_sidecar);
      put_content(store.at(other_sidecar), bytes);
      bytes = content_of(store.old(store.old_states(), other_sidecar));
  }
  put_content(store.at(sidecar), bytes);
  return touched;
}

Touched retarget(const AgedStore& store, Chooser& choose) {
  const Object& link = any(store.objects(S_IFLNK), choose);
  std::string text = fs::read_symlink(store.at(link.backing)).string();
  if (choose.one_in(3)) {
    text = "../../etc/passwd";
  } else {
    const std::size_t at = choose.below(text.size());
    text[at] = text[at] == 'A' ? 'B' : 'A';
    if (choose.one_in(3)) text.resize(1 + choose.below(text.size()));
  }
  remove_entry(store.at(link.backing));
  fs::create_symlink(text, store.at(link.backing));
  return of(store, link, "target altered:");
}

/// A name that is not the store's, or not in this directory.
Touched rename_entry(const AgedStore& store, Chooser& choose) {
  const Object& object = any_entry(store, choose);
  std::string name = name_of(object.backing);
  const std::size_t at = choose.below(name.size());
  name[at] = name[at] == 'A' ? 'B' : 'A';
  const std::string to = join(directory_of(object.backing), name);
  fs::rename(store.at(object.backing), store.at(to));
  Touched touched = of(store, object, "stored name altered:");
  touched.backing.insert(to);
  // With plain names this is a name like any other.
  touched.affected.insert(object.path.substr(0, object.path.rfind('/') + 1) + name);
  return touched;
}

Touched plant(const AgedStore& store, Chooser& choose) {
  const Object& directory =
      choose.one_in(3) ? store.objects().front() : any(store.objects(S_IFDIR), choose);
  constexpr std::array<const char*, 6> kNames = {"planted",         "AAAAAAAAAAAAAAAAAAAAAAAA",
                                                 ".coffer.dir.new", ".coffer.name.x",
                                                 ".coffer.long.x",  "x y"};
  const std::string name = kNames[choose.below(kNames.size())];
  const std::string path = join(directory.backing, name);
  if (choose.one_in(3)) {
    fs::create_directory(store.at(path));
  } else if (choose.one_in(2)) {
    fs::create_symlink("/etc/passwd", store.at(path));
  } else {
    put_content(store.at(path), choose.bytes(choose.below(9'000)));
  }
  Touched touched;
  touched.what = "planted " + path;
  touched.backing.insert(path);
  touched.affected.insert(directory.path + "/" + name);
  return touched;
}

}  // namespace

std::span<const Damage> all_damages() {
  static constexpr std::array kDamages = {Damage{"bytes altered", alter_bytes},
                                          Damage{"bytes altered", alter_bytes},
                                          Damage{"file cut", cut},
                                          Damage{"file extended", extend},
                                          Damage{"blocks moved", move_blocks},
                                          Damage{"blocks moved", move_blocks},
                                          Damage{"older bytes put back", put_back_bytes},
                                          Damage{"older bytes put back", put_back_bytes},
                                          Damage{"entries exchanged", exchange},
                                          Damage{"entry moved or copied", move_or_copy},
                                          Damage{"entry removed", remove},
                                          Damage{"entry of another type", change_type},
                                          Damage{"older entry put back", put_back_entry},
                                          Damage{"older entry put back", put_back_entry},
                                          Damage{"directory record", damage_record},
                                          Damage{"sidecar", damage_sidecar},
                                          Damage{"symlink retargeted", retarget},
                                          Damage{"stored name altered", rename_entry},
                                          Damage{"something planted", plant},
                                          Damage{"keystore", damage_keystore}};
  return kDamages;
}

}  // namespace coffer::tamper

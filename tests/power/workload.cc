#include "tests/power/workload.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>

#include "tests/support/keystore_store.h"

namespace coffer::testing {
namespace {

constexpr std::size_t kLargestFile = 40'000;
/// Behind the first leaf, which covers 128 chunks.
constexpr std::size_t kLargeFile = 128 * 4096 + 9000;
constexpr std::size_t kMostFiles = 8;
constexpr std::size_t kMostOpen = 4;

}  // namespace

PowerUser::PowerUser(WholeStore& store, const Workload& workload, std::uint64_t seed)
    : store_(store), workload_(workload), chooser_(seed) {}

void PowerUser::prepare() {
  for (int i = 0; i < 3; ++i) {
    create();
    const EntryName entry = history_.entries().back();
    const bool large = workload_.large_file && i == 0;
    write_at(*history_.at(entry), 0, large ? kLargeFile : chooser_.below(kLargestFile));
  }
  open_.clear();
}

void PowerUser::begin(const PowerLog& log, const StoreOpening& opening) {
  log_ = &log;
  opening_ = opening;
  history_.synced_all(0);
}

void PowerUser::end() { open_.clear(); }

void PowerUser::step() {
  unsigned total = 0;
  for (const auto& [step, weight] : workload_.steps) total += weight;
  std::uint64_t choice = chooser_.below(total);
  for (const auto& [step, weight] : workload_.steps) {
    if (choice < weight) return take(step);
    choice -= weight;
  }
}

void PowerUser::take(Step step) {
  const auto entry = any_entry(ObjectKind::kFile);
  const ObjectId file = entry.has_value() ? *history_.at(*entry) : kRootObject;
  const std::uint64_t size = entry.has_value() ? history_.content(file).size() : 0;
  switch (step) {
    case Step::kClose:
      return close_some();
    case Step::kRecord:
      return record();
    case Step::kRemount:
      return remount();
    case Step::kSyncDirectory:
      return sync_directory();
    case Step::kSetAttribute:
    case Step::kRemoveAttribute:
      return change_attribute(step == Step::kRemoveAttribute);
    default:
      break;
  }
  if (step >= Step::kCreate && step <= Step::kRemoveDirectory) return change_names(step);
  if (!entry.has_value()) return;
  switch (step) {
    case Step::kAppend:
      return write_at(file, size, chooser_.between(1, chooser_.one_in(2) ? 300 : 9000));
    case Step::kOverwriteChunk:
      return write_at(file, chooser_.below(size / 4096 + 1) * 4096, 4096);
    case Step::kOverwrite:
      return write_at(file, chooser_.below(size + 1), chooser_.between(1, 9000));
    case Step::kShrink:
      return set_size(file, chooser_.one_in(3) ? size / 4096 * 4096 : chooser_.below(size + 1));
    case Step::kGrow:
      return set_size(file, size + chooser_.between(1, 10'000));
    case Step::kRewrite:
      return rewrite(file);
    case Step::kPunch:
      return allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, chooser_.below(size + 1),
                      chooser_.between(1, chooser_.one_in(4) ? size + 1 : 20'000));
    case Step::kZero:
      return allocate(file, FALLOC_FL_ZERO_RANGE, chooser_.below(size + 1),
                      chooser_.between(1, 12'000));
    case Step::kSync:
      return sync(file, false);
    default:
      return sync(file, true);
  }
}

void PowerUser::change_names(Step step) {
  switch (step) {
    case Step::kCreate:
      return create();
    case Step::kReplace:
      return replace();
    case Step::kRename:
      return rename(ObjectKind::kFile);
    case Step::kExchange:
      return exchange();
    case Step::kMakeSymlink:
      return make_symlink();
    case Step::kRenameSymlink:
      return rename(ObjectKind::kSymlink);
    case Step::kLink:
      return link();
    case Step::kUnlink:
      return unlink();
    case Step::kMakeDirectory:
      return make_directory();
    case Step::kRenameDirectory:
      return rename(ObjectKind::kDirectory);
    default:
      return remove_directory();
  }
}

HeldFile& PowerUser::open(ObjectId file) {
  const auto found = open_.find(file);
  if (found != open_.end()) return found->second;
  const std::string path = history_.path(*history_.names(file).begin());
  return open_.emplace(file, must_be(me().open(path, O_RDWR), path.c_str())).first->second;
}

void PowerUser::close_some() {
  while (!open_.empty()) {
    const Moment begun = now();
    const ObjectId file = open_.begin()->first;
    open_.erase(open_.begin());
    note("close of file " + std::to_string(file), begun);
    if (open_.size() <= kMostOpen && chooser_.one_in(2)) break;
  }
}

void PowerUser::record() {
  const Moment begun = now();
  must_be(store_.recorder().flush(), "recording");
  note("record in the keystore", begun);
}

void PowerUser::remount() {
  const Moment begun = now();
  open_.clear();
  store_.reopen(opening_);
  note("remount", begun);
}

void PowerUser::write_at(ObjectId file, std::uint64_t offset, std::size_t count) {
  std::string content = history_.content(file);
  const std::string data = filling(count);
  if (content.size() < offset + count) content.resize(offset + count);
  content.replace(offset, count, data);
  HeldFile& held = open(file);
  const Moment begun = now();
  const std::size_t done = must_be(held.write(offset, data), "write");
  if (done != count) std::abort();
  history_.change(file, std::move(content), begun);
  note("write of file " + std::to_string(file) + " " + std::to_string(offset) + "+" +
           std::to_string(count),
       begun);
}

void PowerUser::set_size(ObjectId file, std::uint64_t size) {
  HeldFile& held = open(file);
  const Moment begun = now();
  AttributeChange change;
  change.size = size;
  must_be(store_.vfs().change_attributes(me().who(), held.inode(), change, &held.handle()),
          "truncate");
  std::string content = history_.content(file);
  content.resize(size);
  history_.change(file, std::move(content), begun);
  note("truncate of file " + std::to_string(file) + " to " + std::to_string(size), begun);
}

void PowerUser::allocate(ObjectId file, int mode, std::uint64_t offset, std::uint64_t length) {
  HeldFile& held = open(file);
  const Moment begun = now();
  must_be(store_.vfs().allocate(held.handle(), mode, offset, length), "fallocate");
  std::string content = history_.content(file);
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) {
    content.resize(std::max<std::size_t>(content.size(), offset + length));
  }
  const std::size_t end = std::min<std::size_t>(content.size(), offset + length);
  if (offset < end)
    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), end - offset, '\0');
  history_.change(file, std::move(content), begun);
  note("zeros in file " + std::to_string(file) + " " + std::to_string(offset) + "+" +
           std::to_string(length),
       begun);
}

void PowerUser::rewrite(ObjectId file) {
  const Moment begun = now();
  const std::string path = history_.path(*history_.names(file).begin());
  const HeldFile held = must_be(me().open(path, O_WRONLY | O_TRUNC), path.c_str());
  history_.change(file, "", begun);
  note("O_TRUNC of file " + std::to_string(file), begun);
  write_at(file, 0, chooser_.between(1, kLargestFile));
}

void PowerUser::sync(ObjectId file, bool data_only) {
  HeldFile& held = open(file);
  const Moment begun = now();
  must_be(store_.vfs().sync(held.handle(), data_only), "sync");
  history_.synced(file, data_only, now());
  note((data_only ? "fdatasync of file " : "fsync of file ") + std::to_string(file), begun);
}

void PowerUser::sync_directory() {
  const ObjectId dir = any_directory();
  const std::string path = dir == kRootObject ? "/" : history_.path(*history_.names(dir).begin());
  const Moment begun = now();
  const auto handle = must_be(me().open_directory(path), path.c_str());
  must_be(store_.vfs().sync_directory(*handle), "fsync of a directory");
  history_.synced_directory(dir, now());
  note("fsync of directory " + std::to_string(dir), begun);
}

void PowerUser::create() {
  if (history_.entries().size() >= kMostFiles) return;
  const EntryName entry = fresh_name();
  const Moment begun = now();
  HeldFile held = must_be(me().create(history_.path(entry)), "create");
  const ObjectId file = history_.make(entry, ObjectKind::kFile, "", begun);
  open_.emplace(file, std::move(held));
  note("create of file " + std::to_string(file) + " in " + std::to_string(entry.dir), begun);
}

void PowerUser::replace() {
  const auto old = any_entry(ObjectKind::kFile);
  if (!old.has_value()) return;
  const EntryName beside = fresh_name();
  Moment begun = now();
  HeldFile held = must_be(me().create(history_.path(beside)), "create");
  const ObjectId file = history_.make(beside, ObjectKind::kFile, "", begun);
  open_.emplace(file, std::move(held));
  note("create of file " + std::to_string(file) + " to replace another", begun);
  write_at(file, 0, chooser_.between(1, kLargestFile));
  sync(file, chooser_.one_in(2));
  begun = now();
  must_be(me().rename(history_.path(beside), history_.path(*old)), "rename over");
  history_.rename(beside, *old, begun);
  note("rename of file " + std::to_string(file) + " over another", begun);
}

void PowerUser::rename(ObjectKind kind) {
  const auto from = any_entry(kind);
  if (!from.has_value()) return;
  const ObjectId object = *history_.at(*from);
  EntryName to = fresh_name();
  if (kind == ObjectKind::kDirectory && is_below(to.dir, object)) to.dir = kRootObject;
  const Moment begun = now();
  must_be(me().rename(history_.path(*from), history_.path(to)), "rename");
  history_.rename(*from, to, begun);
  note("rename of " + std::to_string(object) + " from " + std::to_string(from->dir) + " to " +
           std::to_string(to.dir),
       begun);
}

void PowerUser::exchange() {
  const auto one = any_entry(ObjectKind::kFile);
  const auto other = any_entry(chooser_.one_in(3) ? ObjectKind::kSymlink : ObjectKind::kFile);
  if (!one.has_value() || !other.has_value() || history_.at(*one) == history_.at(*other)) return;
  const Moment begun = now();
  must_be(me().rename(history_.path(*one), history_.path(*other), RENAME_EXCHANGE), "exchange");
  history_.exchange(*one, *other, begun);
  note("exchange of " + std::to_string(*history_.at(*other)) + " and " +
           std::to_string(*history_.at(*one)),
       begun);
}

void PowerUser::link() {
  const auto from = any_entry(ObjectKind::kFile);
  if (!from.has_value() || history_.entries().size() >= kMostFiles) return;
  const EntryName to = fresh_name();
  const ObjectId file = *history_.at(*from);
  const Moment begun = now();
  must_be(me().link(history_.path(*from), history_.path(to)), "link");
  history_.link(file, to, begun);
  note("link of file " + std::to_string(file), begun);
}

void PowerUser::unlink() {
  const auto entry = any_entry(chooser_.one_in(4) ? ObjectKind::kSymlink : ObjectKind::kFile);
  if (!entry.has_value()) return;
  const ObjectId file = *history_.at(*entry);
  const Moment begun = now();
  must_be(me().unlink(history_.path(*entry)), "unlink");
  history_.unlink(*entry, begun);
  if (history_.names(file).empty()) open_.erase(file);
  note("unlink of file " + std::to_string(file), begun);
}

void PowerUser::make_symlink() {
  if (history_.entries().size() >= kMostFiles) return;
  const EntryName entry = fresh_name();
  std::string target = "t" + std::to_string(names_made_);
  if (workload_.long_names && chooser_.one_in(2)) target.resize(chooser_.between(3000, 4000), 't');
  const Moment begun = now();
  must_be(me().make_symlink(target, history_.path(entry)), "symlink");
  const ObjectId link = history_.make(entry, ObjectKind::kSymlink, std::move(target), begun);
  note("symlink " + std::to_string(link) + " in " + std::to_string(entry.dir), begun);
}

void PowerUser::make_directory() {
  if (history_.entries().size() >= kMostFiles) return;
  const EntryName entry = fresh_name();
  const Moment begun = now();
  must_be(me().make_directory(history_.path(entry)), "mkdir");
  const ObjectId dir = history_.make(entry, ObjectKind::kDirectory, "", begun);
  note("mkdir of " + std::to_string(dir) + " in " + std::to_string(entry.dir), begun);
}

void PowerUser::remove_directory() {
  for (const EntryName& entry : history_.entries()) {
    const ObjectId dir = *history_.at(entry);
    const auto all = history_.entries();
    const bool used = std::any_of(all.begin(), all.end(),
                                  [&](const EntryName& other) { return other.dir == dir; });
    if (history_.kind(dir) != ObjectKind::kDirectory || used) continue;
    const Moment begun = now();
    must_be(me().remove_directory(history_.path(entry)), "rmdir");
    history_.unlink(entry, begun);
    note("rmdir of " + std::to_string(dir), begun);
    return;
  }
}

void PowerUser::change_attribute(bool removing) {
  const auto entry = chooser_.one_in(3) ? std::nullopt : any_entry(ObjectKind::kFile);
  const ObjectId object = entry.has_value() ? *history_.at(*entry) : any_directory();
  const std::string path = entry.has_value()       ? history_.path(*entry)
                           : object == kRootObject ? "/"
                                                   : history_.path(*history_.names(object).begin());
  Attributes attributes = history_.attributes(object);
  if (removing && attributes.empty()) return;
  const bool had_some = !attributes.empty();
  const Moment begun = now();
  std::string name = "user." + std::string(1, static_cast<char>('a' + chooser_.below(3)));
  if (removing) {
    name = attributes.begin()->first;
    must_be(me().remove_xattr(path, name), "removexattr");
    attributes.erase(name);
  } else {
    attributes[name] = filling(chooser_.below(chooser_.one_in(4) ? 9000 : 40));
    must_be(me().set_xattr(path, name, attributes[name]), "setxattr");
  }
  history_.change_attributes(object, std::move(attributes), begun);
  if (had_some || history_.kind(object) == ObjectKind::kDirectory)
    history_.attributes_synced(object, now());
  note((removing ? "removexattr of " : "setxattr of ") + std::to_string(object), begun);
}

std::optional<EntryName> PowerUser::any_entry(ObjectKind kind) {
  std::vector<EntryName> fitting;
  for (const EntryName& entry : history_.entries()) {
    if (history_.kind(*history_.at(entry)) == kind) fitting.push_back(entry);
  }
  if (fitting.empty()) return {};
  return fitting[chooser_.below(fitting.size())];
}

ObjectId PowerUser::any_directory() {
  const auto entry = chooser_.one_in(2) ? any_entry(ObjectKind::kDirectory) : std::nullopt;
  return entry.has_value() ? *history_.at(*entry) : kRootObject;
}

/// Never one that was there before: what a directory's entry leads to is then plain.
EntryName PowerUser::fresh_name() {
  std::string name = "n" + std::to_string(names_made_++);
  if (workload_.long_names && chooser_.one_in(2)) {
    name.resize(chooser_.between(176, 255), 'l');
  }
  return {any_directory(), std::move(name)};
}

bool PowerUser::is_below(ObjectId directory, ObjectId top) const {
  while (directory != kRootObject && directory != top) {
    directory = history_.names(directory).begin()->dir;
  }
  return directory == top;
}

std::string PowerUser::filling(std::size_t count) {
  return std::string(as_text(chooser_.bytes(count)));
}

std::string PowerUser::steps_around(Moment moment) const {
  std::string text;
  for (std::size_t i = 0; i < done_.size(); ++i) {
    const Done& done = done_[i];
    if (done.returned + 60 < moment || done.begun > moment) continue;
    text += "  [" + std::to_string(done.begun) + "," + std::to_string(done.returned) + ") " +
            done.text + "\n";
  }
  return text;
}

}  // namespace coffer::testing

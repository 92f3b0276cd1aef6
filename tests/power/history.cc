#include "tests/power/history.h"

#include <algorithm>
#include <cstdlib>

namespace coffer::testing {
namespace {

constexpr std::size_t kChunk = 4096;

/// The part of `content` in a chunk, of a file cut to `size`.
std::string_view chunk_of(std::string_view content, std::size_t chunk, std::size_t size) {
  const std::string_view cut = content.substr(0, size);
  return chunk * kChunk < cut.size() ? cut.substr(chunk * kChunk, kChunk) : std::string_view();
}

}  // namespace

template <typename T>
std::size_t History::Versions<T>::first_possible(const PowerLoss& loss) const {
  std::size_t first = 0;
  for (const Promise& promise : promises[loss.journaling == Journaling::kAnyOrder ? 1 : 0]) {
    if (promise.returned <= loss.position) first = std::max(first, promise.version);
  }
  return first;
}

template <typename T>
std::size_t History::Versions<T>::end_of_possible(const PowerLoss& loss) const {
  std::size_t end = first_possible(loss) + 1;
  while (end < all.size() && all[end].begun < loss.position) ++end;
  return end;
}

History::History() {
  objects_.push_back({.kind = ObjectKind::kDirectory,
                      .contents = {},
                      .names = {},
                      .attributes = {},
                      .made_at = {}});
  objects_[kRootObject].names.add({}, 0);
  objects_[kRootObject].attributes.add({}, 0);
}

void History::set(const EntryName& entry, std::optional<ObjectId> object, Moment begun) {
  const auto [place, fresh] = entries_.try_emplace(entry);
  if (fresh) place->second.add(std::nullopt, 0);
  place->second.add(object, begun);
}

void History::set_names(ObjectId object, std::set<EntryName> names, Moment begun) {
  objects_[object].names.add(std::move(names), begun);
}

ObjectId History::make(const EntryName& entry, ObjectKind kind, std::string content, Moment begun) {
  const ObjectId object = objects_.size();
  objects_.push_back(
      {.kind = kind, .contents = {}, .names = {}, .attributes = {}, .made_at = entry});
  objects_[object].contents.add(std::move(content), begun);
  objects_[object].attributes.add({}, begun);
  set_names(object, {}, begun);
  set_names(object, {entry}, begun);
  set(entry, object, begun);
  return object;
}

void History::link(ObjectId object, const EntryName& entry, Moment begun) {
  auto now = names(object);
  now.insert(entry);
  set_names(object, std::move(now), begun);
  set(entry, object, begun);
}

void History::unlink(const EntryName& entry, Moment begun) {
  const ObjectId object = at(entry).value();
  auto now = names(object);
  now.erase(entry);
  set_names(object, std::move(now), begun);
  set(entry, std::nullopt, begun);
}

void History::rename(const EntryName& from, const EntryName& to, Moment begun) {
  const ObjectId object = at(from).value();
  if (const auto replaced = at(to)) {
    auto left = names(*replaced);
    left.erase(to);
    set_names(*replaced, std::move(left), begun);
  }
  auto now = names(object);
  now.erase(from);
  now.insert(to);
  set_names(object, std::move(now), begun);
  set(from, std::nullopt, begun);
  set(to, object, begun);
}

void History::exchange(const EntryName& one, const EntryName& other, Moment begun) {
  const ObjectId first = at(one).value();
  const ObjectId second = at(other).value();
  const auto move = [&](ObjectId object, const EntryName& from, const EntryName& to) {
    auto now = names(object);
    now.erase(from);
    now.insert(to);
    set_names(object, std::move(now), begun);
    set(to, object, begun);
  };
  move(first, one, other);
  move(second, other, one);
}

void History::change(ObjectId file, std::string content, Moment begun) {
  objects_[file].contents.add(std::move(content), begun);
}

void History::change_attributes(ObjectId object, Attributes attributes, Moment begun) {
  objects_[object].attributes.add(std::move(attributes), begun);
}

void History::attributes_synced(ObjectId object, Moment returned) {
  auto& attributes = objects_[object].attributes;
  attributes.promise(attributes.all.size() - 1, returned, true);
}

void History::promise_entry(const EntryName& entry, std::size_t version, Moment returned,
                            bool without_order) {
  entries_.at(entry).promise(version, returned, without_order);
}

void History::promise_existence(ObjectId object, std::size_t version, Moment returned) {
  if (object == kRootObject) return;
  auto& own = objects_[object].names;
  own.promise(version, returned, false);
  const Moment changed = own.all[version].begun;
  for (const EntryName& name : own.all[version].value) {
    // The directory above as it was when this name was made.
    const auto& above = objects_[name.dir].names.all;
    std::size_t then = above.size() - 1;
    while (then > 0 && above[then].begun > changed) --then;
    promise_existence(name.dir, then, returned);
  }
}

void History::synced(ObjectId file, bool data_only, Moment returned) {
  Object& object = objects_[file];
  object.contents.promise(object.contents.all.size() - 1, returned, true);
  attributes_synced(file, returned);
  if (data_only) {
    promise_existence(file, 1, returned);
    const auto& versions = entries_.at(object.made_at).all;
    const auto made = std::find_if(versions.begin(), versions.end(),
                                   [&](const auto& version) { return version.value == file; });
    promise_entry(object.made_at, static_cast<std::size_t>(made - versions.begin()), returned,
                  false);
    return;
  }
  promise_existence(file, object.names.all.size() - 1, returned);
  for (const EntryName& name : names(file)) {
    promise_entry(name, entries_.at(name).all.size() - 1, returned, false);
  }
}

void History::synced_directory(ObjectId dir, Moment returned) {
  promise_existence(dir, objects_[dir].names.all.size() - 1, returned);
  for (auto& [name, entry] : entries_) {
    if (name.dir != dir) continue;
    entry.promise(entry.all.size() - 1, returned, true);
    if (const auto object = entry.all.back().value) {
      promise_existence(*object, objects_[*object].names.all.size() - 1, returned);
    }
  }
}

void History::synced_all(Moment returned) {
  for (auto& [name, entry] : entries_) entry.promise(entry.all.size() - 1, returned, true);
  for (Object& object : objects_) {
    object.names.promise(object.names.all.size() - 1, returned, true);
    object.attributes.promise(object.attributes.all.size() - 1, returned, true);
    if (!object.contents.all.empty())
      object.contents.promise(object.contents.all.size() - 1, returned, true);
  }
}

const std::string& History::content(ObjectId file) const {
  return objects_[file].contents.all.back().value;
}

const Attributes& History::attributes(ObjectId object) const {
  return objects_[object].attributes.all.back().value;
}

std::set<EntryName> History::names(ObjectId object) const {
  return objects_[object].names.all.back().value;
}

std::optional<ObjectId> History::at(const EntryName& entry) const {
  const auto found = entries_.find(entry);
  return found == entries_.end() ? std::nullopt : found->second.all.back().value;
}

std::vector<EntryName> History::entries() const {
  std::vector<EntryName> now;
  for (const auto& [name, entry] : entries_) {
    if (entry.all.back().value.has_value()) now.push_back(name);
  }
  return now;
}

std::string History::path(const EntryName& entry) const {
  if (entry.dir == kRootObject) return "/" + entry.name;
  const auto above = names(entry.dir);
  return (above.empty() ? "(removed)" : path(*above.begin())) + "/" + entry.name;
}

std::vector<std::string> History::names_ever(ObjectId dir) const {
  std::vector<std::string> ever;
  for (const auto& [name, entry] : entries_) {
    if (name.dir == dir) ever.push_back(name.name);
  }
  return ever;
}

std::set<std::optional<ObjectId>> History::candidates(const EntryName& entry,
                                                      const PowerLoss& loss) const {
  const auto found = entries_.find(entry);
  if (found == entries_.end()) return {std::nullopt};
  const Entry& versions = found->second;
  std::set<std::optional<ObjectId>> possible;
  for (std::size_t i = versions.first_possible(loss); i < versions.end_of_possible(loss); ++i) {
    possible.insert(versions.all[i].value);
  }
  return possible;
}

std::string History::why_not(ObjectId object, std::string_view content,
                             const PowerLoss& loss) const {
  const auto& versions = objects_[object].contents;
  const std::size_t first = versions.first_possible(loss);
  const std::size_t end = versions.end_of_possible(loss);
  const auto of = [&](std::size_t i) { return std::string_view(versions.all[i].value); };
  const auto range = [&] {
    return " (versions " + std::to_string(first) + " to " + std::to_string(end - 1) + " of " +
           std::to_string(versions.all.size() - 1) + ")";
  };
  bool size_possible = false;
  for (std::size_t i = first; i < end; ++i) size_possible |= of(i).size() == content.size();
  if (!size_possible) {
    std::string sizes;
    for (std::size_t i = first; i < end; ++i) sizes += " " + std::to_string(of(i).size());
    return "size " + std::to_string(content.size()) + ", possible are" + sizes + range();
  }
  for (std::size_t chunk = 0; chunk * kChunk < content.size(); ++chunk) {
    bool possible = false;
    for (std::size_t i = first; i < end && !possible; ++i) {
      possible = chunk_of(of(i), chunk, content.size()) == chunk_of(content, chunk, content.size());
    }
    if (!possible) return "chunk " + std::to_string(chunk) + " is of no version" + range();
  }
  return "";
}

std::string History::why_not(ObjectId object, const Attributes& attributes,
                             const PowerLoss& loss) const {
  const auto& versions = objects_[object].attributes;
  const std::size_t first = versions.first_possible(loss);
  const std::size_t end = versions.end_of_possible(loss);
  for (std::size_t i = first; i < end; ++i) {
    if (versions.all[i].value == attributes) return "";
  }
  std::string found;
  for (const auto& [name, value] : attributes) found += " " + name + "=" + value.substr(0, 8);
  return "attributes" + found + " are of no version (" + std::to_string(first) + " to " +
         std::to_string(end - 1) + " of " + std::to_string(versions.all.size() - 1) + ")";
}

std::vector<ObjectId> History::must_exist(const PowerLoss& loss) const {
  std::vector<ObjectId> ids;
  if (loss.journaling == Journaling::kAnyOrder) return ids;
  for (ObjectId id = 1; id < objects_.size(); ++id) {
    const auto& versions = objects_[id].names;
    bool always = true;
    for (std::size_t i = versions.first_possible(loss); i < versions.end_of_possible(loss); ++i) {
      always &= !versions.all[i].value.empty();
    }
    if (always) ids.push_back(id);
  }
  return ids;
}

std::string History::describe(ObjectId object) const {
  constexpr const char* kKinds[] = {"file ", "directory ", "symlink "};
  std::string text =
      kKinds[static_cast<std::size_t>(objects_[object].kind)] + std::to_string(object);
  text += ", names:";
  for (const auto& version : objects_[object].names.all) {
    text += " [" + std::to_string(version.begun) + "]";
    for (const EntryName& name : version.value) text += " " + path(name).substr(0, 60);
  }
  return text;
}

}  // namespace coffer::testing

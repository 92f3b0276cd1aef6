// What is compared.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/tree_driver.h"

namespace coffer::testing {
namespace {

std::vector<std::string> names_of(const ReferenceNode& directory) {
  std::vector<std::string> names;
  for (const auto& [name, node] : directory.entries) names.push_back(name);
  return names;
}

std::string number(std::uint64_t value) { return std::to_string(value); }

}  // namespace

void TreeDriver::compare_status(const struct stat& status, const ReferenceNode& node,
                                const std::string& what) {
  const auto differ = [&](const char* which, std::uint64_t is, std::uint64_t should_be) {
    if (is != should_be)
      fail(what + ": " + which + " is " + number(is) + ", should be " + number(should_be));
  };
  differ("mode", status.st_mode, node.mode);
  differ("owner", status.st_uid, node.uid);
  if (node.is_file() || node.is_symlink()) {
    differ("size", static_cast<std::uint64_t>(status.st_size), node.content.size());
  }
  if (!node.is_directory()) {
    differ("links", status.st_nlink, node.links);
  } else if (node.parent != nullptr && status.st_nlink != 1) {  // 1: a backing that does not count
    const auto below =
        std::count_if(node.entries.begin(), node.entries.end(),
                      [](const auto& entry) { return entry.second->is_directory(); });
    differ("links", status.st_nlink, 2 + static_cast<std::uint64_t>(below));
  }
  if (node.modified.has_value()) {
    differ("modification time, seconds", static_cast<std::uint64_t>(status.st_mtim.tv_sec),
           static_cast<std::uint64_t>(node.modified->tv_sec));
    differ("modification time, ns", static_cast<std::uint64_t>(status.st_mtim.tv_nsec),
           static_cast<std::uint64_t>(node.modified->tv_nsec));
  }
}

void TreeDriver::compare_entry(const Result<Entry>& made, const NodePtr& parent,
                               const std::string& name) {
  compare_status(made->attributes, *ReferenceTree::find(*parent, name), "made");
  vfs_->forget(made->inode, 1);
}

void TreeDriver::status() {
  const auto entry = some_entry();
  if (!entry.has_value()) return;
  begin("stat " + in_quotes(path_of(*entry)));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  const auto status = vfs_->attributes(who(), inode->id());
  if (agree(status, 0)) compare_status(*status, *entry->node, "stat");
}

void TreeDriver::read_symlink() {
  const auto entry = some_entry(choose_.one_in(8) ? 0 : S_IFLNK);
  if (!entry.has_value()) return;
  begin("readlink " + in_quotes(path_of(*entry)));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  const auto target = vfs_->read_symlink(who(), inode->id());
  if (!agree(target, entry->node->is_symlink() ? 0 : EINVAL)) return;
  if (*target != entry->node->content) fail("another target");
}

/// What was looked up long ago is what it was, wherever it lies now.
void TreeDriver::check_kept() {
  if (kept_.empty()) return;
  Kept& kept = kept_[choose_.below(kept_.size())];
  const ReferenceNode& node = *kept.node;
  const std::string name = number(kept.inode->id().value);
  begin("stat of kept " + name);
  const auto status = vfs_->attributes(who(), kept.inode->id());
  const bool open = std::any_of(handles_.begin(), handles_.end(),
                                [&](const Handle& handle) { return handle.node == kept.node; });
  // A fifo is kept as long as somebody may have it open, which nobody is told of.
  if (node.links == 0 && !open && (node.is_file() || node.is_symlink())) {
    agree(status, ESTALE);
    return;
  }
  // A place that was lost may have been the only one that was known; a removed directory may have
  // been forgotten.
  const bool may_be_stale = node.links == 0 || kept.links_lost != node.links_lost;
  if (may_be_stale && !open && outcome_of(status) == "ESTALE") {
    agree(status, ESTALE);
  } else if (agree(status, 0)) {
    if (node.links > 0 || !node.is_directory()) compare_status(*status, node, "kept");
  }
  if (node.links == 0 || failed_) return;
  const std::string path = path_of(kept.node);
  begin("lookup " + in_quotes(path) + " of kept " + name);
  const InodeReference again = look_up(path);
  if (again == nullptr) return;
  if (again->id() != kept.inode->id()) fail("another inode, " + number(again->id().value));
  kept.links_lost = node.links_lost;
}

void TreeDriver::check_handle() {
  const Handle* const handle = some_handle(0);
  if (handle == nullptr) return;
  begin("fstat " + number(handle->file.inode().value));
  const auto status = vfs_->attributes(who(), handle->file.inode());
  if (!agree(status, 0)) return;
  compare_status(*status, *handle->node, "open");
  if (handle->access != O_WRONLY) compare_content(handle->file.inode(), *handle->node, "open");
}

/// Reads on in small steps, each from where the last one ended, and looks up what is listed, as
/// readdirplus does.
Result<std::vector<std::string>> TreeDriver::names_in(DirectoryHandle& handle,
                                                      const ReferenceNode& directory) {
  std::vector<std::string> names;
  std::int64_t position = 0;
  for (bool more = true; more;) {
    std::uint64_t left = choose_.between(1, 5);
    more = false;
    TRY(vfs_->list(handle, position, [&](const ListedEntry& listed) {
      if (left-- == 0) {
        more = true;
        return false;
      }
      position = listed.next;
      const std::string name(listed.name);
      names.push_back(name);
      if (name == "." || name == ".." || !choose_.one_in(4)) return true;
      const auto entry = vfs_->lookup_listed(handle, name);
      const NodePtr node = ReferenceTree::find(directory, name);
      if (!agree(entry, 0)) return true;
      if (node != nullptr) compare_status(entry->attributes, *node, "listed");
      if (listed.inode_number != entry->attributes.st_ino) fail("listed with another number");
      if (listed.type != 0 && listed.type != (entry->attributes.st_mode & S_IFMT))
        fail("listed as another type");
      vfs_->forget(entry->inode, 1);
      return true;
    }));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void TreeDriver::list() {
  const NodePtr directory = some_parent();
  begin("list " + path_of_parent(directory));
  const InodeReference inode = reach(directory);
  if (inode == nullptr) return;
  const auto handle = vfs_->open_directory(who(), inode->id());
  if (!agree(handle, directory->is_directory() ? 0 : ENOTDIR)) return;
  const auto names = names_in(**handle, *directory);
  if (!agree(names, 0)) return;
  std::vector<std::string> expected = names_of(*directory);
  expected.emplace_back(".");
  expected.emplace_back("..");
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(*names, expected);
  if (*names != expected) fail("the listing");
}

void TreeDriver::list_on() {
  if (!listing_.has_value()) {
    const NodePtr directory = some_directory();
    begin("open listing " + path_of_parent(directory));
    InodeReference inode = look_up(path_of(directory));
    if (inode == nullptr) return;
    auto handle = vfs_->open_directory(who(), inode->id());
    if (!agree(handle, 0)) return;
    const std::vector<std::string> names = names_of(*directory);
    directory->touched.clear();
    listing_.emplace(Listing{.inode = std::move(inode),
                             .handle = std::move(*handle),
                             .directory = directory,
                             .at_start = {names.begin(), names.end()},
                             .seen = {}});
    return;
  }
  if (listing_->directory->links == 0 && listing_->directory != tree_.root())
    return listing_.reset();
  begin("list on");
  std::uint64_t left = choose_.between(1, 4);
  bool ended = true;
  const auto listed =
      vfs_->list(*listing_->handle, listing_->position, [&](const ListedEntry& entry) {
        if (left-- == 0) {
          ended = false;
          return false;
        }
        ++listing_->seen[std::string(entry.name)];
        listing_->position = entry.next;
        return true;
      });
  if (agree(listed, 0) && ended) finish_listing();
}

/// What was there all the time was listed once, and what never was there was not.
void TreeDriver::finish_listing() {
  const std::set<std::string>& touched = listing_->directory->touched;
  for (const std::string& name : listing_->at_start) {
    if (touched.contains(name)) continue;
    const int times = listing_->seen[name];
    if (times != 1) fail(in_quotes(name) + " was listed " + std::to_string(times) + " times");
  }
  for (const auto& [name, times] : listing_->seen) {
    if (name == "." || name == ".." || touched.contains(name) || listing_->at_start.contains(name))
      continue;
    fail(in_quotes(name) + " was listed");
  }
  listing_.reset();
}

void TreeDriver::compare_content(InodeId inode, const ReferenceNode& node,
                                 const std::string& what) {
  auto handle = vfs_->open(who(), inode, O_RDONLY);
  if (!handle) return fail(what + ": open: " + handle.error().message());
  ByteVector content(node.content.size() + 1);
  const auto length = vfs_->read(**handle, 0, content);
  if (!length) {
    fail(what + ": read: " + length.error().message());
  } else if (as_text(Bytes(content).first(*length)) != node.content) {
    fail(what + ": another content");
  }
  vfs_->release(std::move(*handle));
}

void TreeDriver::compare_directory(const NodePtr& directory, InodeId inode,
                                   std::map<ino_t, const ReferenceNode*>& numbers) {
  const auto handle = vfs_->open_directory(who(), inode);
  if (!agree(handle, 0)) return;
  auto names = names_in(**handle, *directory);
  if (!agree(names, 0)) return;
  std::erase_if(*names, [](const std::string& name) { return name == "." || name == ".."; });
  EXPECT_EQ(*names, names_of(*directory));
  if (*names != names_of(*directory)) return fail("the names in " + in_quotes(path_of(directory)));
  for (const auto& [name, node] : directory->entries) {
    const std::string path = in_quotes(path_of(directory) + "/" + name);
    const auto entry = vfs_->lookup(who(), inode, name);
    if (!entry) return fail(path + ": lookup: " + entry.error().message());
    const HeldInode held(*vfs_, entry->inode);
    compare_status(entry->attributes, *node, path);
    if (numbers.emplace(entry->attributes.st_ino, node.get()).first->second != node.get()) {
      fail(path + ": has the number of something else");
    }
    for (const Handle& open : handles_) {
      if (open.node == node && open.file.inode() != held.id())
        fail(path + ": is open as another inode");
    }
    if (node->is_file()) compare_content(held.id(), *node, path);
    if (node->is_symlink()) {
      const auto target = vfs_->read_symlink(who(), held.id());
      if (!target) return fail(path + ": readlink: " + target.error().message());
      if (*target != node->content) fail(path + ": another target");
    }
    if (node->is_directory()) compare_directory(node, held.id(), numbers);
    if (failed_) return;
  }
}

void TreeDriver::compare_all() {
  if (failed_) return;
  begin("compare all");
  const InodeReference top = look_up(path_of(tree_.root()));
  if (top == nullptr) return;
  std::map<ino_t, const ReferenceNode*> numbers;
  compare_directory(tree_.root(), top->id(), numbers);
  for (const Handle& handle : handles_) {
    if (!failed_)
      compare_content(handle.file.inode(), *handle.node,
                      "open " + number(handle.file.inode().value));
  }
}

}  // namespace coffer::testing

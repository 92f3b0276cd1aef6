#include "tests/model/reference_tree.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>

namespace coffer::testing {
namespace {

constexpr std::size_t kLongestName = 255;

int check_new_name(const ReferenceNode& parent, const std::string& name) {
  if (name.size() > kLongestName) return ENAMETOOLONG;
  if (!parent.is_directory()) return ENOTDIR;
  return 0;
}

void collect(const NodePtr& directory, std::vector<ReferenceEntry>& entries) {
  for (const auto& [name, node] : directory->entries) {
    entries.push_back({directory, name, node});
    if (node->is_directory()) collect(node, entries);
  }
}

}  // namespace

ReferenceTree::ReferenceTree(uid_t uid) : uid_(uid), root_(std::make_shared<ReferenceNode>()) {
  root_->mode = S_IFDIR | 0700;
  root_->uid = uid;
}

std::string ReferenceTree::path(const ReferenceNode& directory) const {
  if (&directory == root_.get()) return "";
  for (const auto& [name, node] : directory.parent->entries) {
    if (node.get() == &directory) return path(*directory.parent) + "/" + name;
  }
  std::abort();
}

std::vector<ReferenceEntry> ReferenceTree::entries() const {
  std::vector<ReferenceEntry> entries;
  collect(root_, entries);
  return entries;
}

std::vector<NodePtr> ReferenceTree::directories() const {
  std::vector<NodePtr> found = {root_};
  for (const ReferenceEntry& entry : entries()) {
    if (entry.node->is_directory()) found.push_back(entry.node);
  }
  return found;
}

NodePtr ReferenceTree::find(const ReferenceNode& parent, const std::string& name) {
  const auto found = parent.entries.find(name);
  return found == parent.entries.end() ? nullptr : found->second;
}

void ReferenceTree::put(const NodePtr& parent, const std::string& name, const NodePtr& node) {
  parent->entries[name] = node;
  parent->modified.reset();
  parent->touched.insert(name);
  ++node->links;
  if (node->is_directory()) node->parent = parent.get();
}

NodePtr ReferenceTree::take(const NodePtr& parent, const std::string& name) {
  const NodePtr node = find(*parent, name);
  parent->entries.erase(name);
  parent->modified.reset();
  parent->touched.insert(name);
  --node->links;
  node->parent = nullptr;
  return node;
}

int ReferenceTree::make(const NodePtr& parent, const std::string& name, mode_t mode,
                        std::string content) {
  if (const int wrong = check_new_name(*parent, name); wrong != 0) return wrong;
  if (find(*parent, name) != nullptr) return EEXIST;
  const auto node = std::make_shared<ReferenceNode>();
  node->mode = mode;
  node->uid = uid_;
  node->content = std::move(content);
  put(parent, name, node);
  return 0;
}

int ReferenceTree::open(ReferenceNode& node, int flags) {
  if (node.is_directory()) return EISDIR;
  if (node.is_symlink()) return ELOOP;
  if (!node.is_file()) return EINVAL;
  if ((flags & O_TRUNC) != 0) truncate(node, 0);
  return 0;
}

int ReferenceTree::link(const NodePtr& node, const NodePtr& parent, const std::string& name) {
  if (const int wrong = check_new_name(*parent, name); wrong != 0) return wrong;
  if (node->is_directory() || node->is_symlink()) return EPERM;  // a symlink: fs/FORMAT.md, 5
  if (find(*parent, name) != nullptr) return EEXIST;
  put(parent, name, node);
  return 0;
}

int ReferenceTree::unlink(const NodePtr& parent, const std::string& name) {
  if (const int wrong = check_new_name(*parent, name); wrong != 0) return wrong;
  const NodePtr node = find(*parent, name);
  if (node == nullptr) return ENOENT;
  if (node->is_directory()) return EISDIR;
  take(parent, name);
  ++node->links_lost;
  return 0;
}

int ReferenceTree::remove_directory(const NodePtr& parent, const std::string& name) {
  if (const int wrong = check_new_name(*parent, name); wrong != 0) return wrong;
  const NodePtr node = find(*parent, name);
  if (node == nullptr) return ENOENT;
  if (!node->is_directory()) return ENOTDIR;
  if (!node->entries.empty()) return ENOTEMPTY;
  take(parent, name);
  ++node->links_lost;
  return 0;
}

bool ReferenceTree::is_at_or_above(const ReferenceNode& upper, const ReferenceNode* lower) {
  for (; lower != nullptr; lower = lower->parent) {
    if (lower == &upper) return true;
  }
  return false;
}

/// Where two errors are due, the order of their checks is of no matter: the kernel finds those that
/// concern the shape of the tree before it asks a filesystem.
int ReferenceTree::rename(const NodePtr& from, const std::string& name, const NodePtr& to,
                          const std::string& new_name, unsigned flags) {
  if (const int wrong = check_new_name(*from, name); wrong != 0) return wrong;
  if (const int wrong = check_new_name(*to, new_name); wrong != 0) return wrong;
  const NodePtr node = find(*from, name);
  const NodePtr there = find(*to, new_name);
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (node == nullptr) return ENOENT;
  if (there != nullptr && (flags & RENAME_NOREPLACE) != 0) return EEXIST;
  if (there == nullptr && exchange) return ENOENT;
  if (node == there) return 0;
  if (there != nullptr && !exchange) {
    if (there->is_directory() && !node->is_directory()) return EISDIR;
    if (!there->is_directory() && node->is_directory()) return ENOTDIR;
    if (!there->entries.empty()) return ENOTEMPTY;
  }
  const bool into_itself = is_at_or_above(*node, to.get());
  const bool out_of_itself = exchange && is_at_or_above(*there, from.get());
  if (into_itself || out_of_itself) {
    // Refused by the kernel, so that nobody sees that the backing was tried.
    from->modified.reset();
    to->modified.reset();
    return EINVAL;
  }

  take(from, name);
  if (there != nullptr) take(to, new_name);
  put(to, new_name, node);
  if (exchange) {
    put(from, name, there);
  } else if (there != nullptr) {
    ++there->links_lost;
  }
  return 0;
}

std::string ReferenceTree::read(const ReferenceNode& file, std::uint64_t offset,
                                std::size_t length) {
  if (offset >= file.content.size()) return {};
  return file.content.substr(offset, length);
}

void ReferenceTree::write(ReferenceNode& file, std::uint64_t offset, std::string_view data) {
  if (data.empty()) return;
  if (file.content.size() < offset + data.size()) file.content.resize(offset + data.size(), '\0');
  std::copy(data.begin(), data.end(), file.content.begin() + static_cast<std::ptrdiff_t>(offset));
  file.modified.reset();
}

void ReferenceTree::truncate(ReferenceNode& file, std::uint64_t size) {
  file.content.resize(size, '\0');
  file.modified.reset();
}

}  // namespace coffer::testing

#include "tests/model/tree_driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

namespace coffer::testing {
namespace {

constexpr std::size_t kMostEntries = 70;
constexpr std::size_t kMostHandles = 12;
constexpr std::size_t kMostKept = 12;
constexpr std::uint64_t kTooLarge = (std::uint64_t{1} << 50U) + 1;

const char* name_of_access(int access) {
  return access == O_RDONLY ? "r" : access == O_WRONLY ? "w" : "rw";
}

}  // namespace

void TreeDriver::step() {
  using Operation = void (TreeDriver::*)();
  struct Weighted {
    unsigned weight;
    Operation operation;
  };
  static constexpr std::array kOperations = {
      Weighted{14, &TreeDriver::create},
      Weighted{10, &TreeDriver::open},
      Weighted{18, &TreeDriver::write},
      Weighted{10, &TreeDriver::read},
      Weighted{4, &TreeDriver::truncate_by_handle},
      Weighted{4, &TreeDriver::truncate_by_path},
      Weighted{2, &TreeDriver::sync},
      Weighted{3, &TreeDriver::flush},
      Weighted{7, &TreeDriver::close},
      Weighted{8, &TreeDriver::make_directory},
      Weighted{5, &TreeDriver::make_symlink},
      Weighted{2, &TreeDriver::make_fifo},
      Weighted{1, &TreeDriver::make_empty_file},
      Weighted{6, &TreeDriver::link},
      Weighted{8, &TreeDriver::unlink},
      Weighted{5, &TreeDriver::remove_directory},
      Weighted{20, &TreeDriver::rename},
      Weighted{3, &TreeDriver::change_mode},
      Weighted{1, &TreeDriver::change_owner},
      Weighted{4, &TreeDriver::change_times},
      Weighted{5, &TreeDriver::keep},
      Weighted{4, &TreeDriver::drop},
      Weighted{5, &TreeDriver::status},
      Weighted{3, &TreeDriver::read_symlink},
      Weighted{6, &TreeDriver::check_kept},
      Weighted{5, &TreeDriver::check_handle},
      Weighted{3, &TreeDriver::list},
      Weighted{6, &TreeDriver::list_on},
  };
  static constexpr unsigned kTotal = [] {
    unsigned total = 0;
    for (const Weighted& each : kOperations) total += each.weight;
    return total;
  }();
  if (failed_) return;
  ++steps_;
  if (tree_.entries().size() > kMostEntries) {
    choose_.one_in(3) ? remove_directory() : unlink();
    return;
  }
  auto at = static_cast<unsigned>(choose_.below(kTotal));
  for (const Weighted& each : kOperations) {
    if (at < each.weight) return (this->*each.operation)();
    at -= each.weight;
  }
}

void TreeDriver::create() {
  const NodePtr parent = some_parent();
  const std::string name = some_name_in(*parent);
  const auto mode = static_cast<mode_t>(0600 | choose_.below(0200));
  int flags = choose_.one_in(3) ? O_WRONLY : O_RDWR;
  if (!choose_.one_in(3)) flags |= O_EXCL;
  if (choose_.one_in(3)) flags |= O_TRUNC;
  const NodePtr there = ReferenceTree::find(*parent, name);
  // A fifo that is there the kernel opens itself.
  if (there != nullptr && S_ISFIFO(there->mode)) flags |= O_EXCL;
  begin("create " + path_of_parent(parent) + in_quotes(name) +
        ((flags & O_EXCL) != 0 ? " O_EXCL" : "") + ((flags & O_TRUNC) != 0 ? " O_TRUNC" : ""));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  auto created = vfs_->create_file(who(), in->id(), name, mode, flags | O_CREAT);
  int expected = tree_.make(parent, name, S_IFREG | mode);
  if (expected == EEXIST && (flags & O_EXCL) == 0) expected = ReferenceTree::open(*there, flags);
  if (!agree(created, expected)) return;
  const NodePtr node = ReferenceTree::find(*parent, name);
  compare_status(created->entry.attributes, *node, "created");
  keep_handle(HeldFile(*vfs_, HeldInode(*vfs_, created->entry.inode), std::move(created->handle)),
              node, flags & O_ACCMODE);
}

void TreeDriver::open() {
  const auto entry = some_entry(choose_.one_in(20) ? 0 : S_IFREG);
  if (!entry.has_value() || S_ISFIFO(entry->node->mode)) return;
  const int access = std::array{O_RDONLY, O_WRONLY, O_RDWR}[choose_.below(3)];
  const int flags = access | (access != O_RDONLY && choose_.one_in(6) ? O_TRUNC : 0);
  begin("open " + in_quotes(path_of(*entry)) + " " + name_of_access(access) +
        ((flags & O_TRUNC) != 0 ? " O_TRUNC" : ""));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  auto opened = vfs_->open(who(), inode->id(), flags);
  if (!agree(opened, ReferenceTree::open(*entry->node, flags))) return;
  const InodeReference own = look_up(path_of(*entry));
  if (own == nullptr) return;
  if (own->id() != inode->id()) fail("the same file has two inodes");
  keep_handle(HeldFile(*vfs_, std::move(*own), std::move(*opened)), entry->node, access);
}

void TreeDriver::keep_handle(HeldFile file, const NodePtr& node, int access) {
  if (handles_.size() == kMostHandles) {
    handles_.erase(handles_.begin() + static_cast<std::ptrdiff_t>(choose_.below(kMostHandles)));
  }
  handles_.push_back({.file = std::move(file), .node = node, .access = access});
}

void TreeDriver::write() {
  Handle* const handle = some_handle(0);
  if (handle == nullptr) return;
  const std::uint64_t offset = some_offset(*handle->node);
  const std::string data = some_data();
  begin("write " + std::to_string(handle->file.inode().value) + " " + std::to_string(data.size()) +
        " at " + std::to_string(offset));
  const auto written = handle->file.write(offset, data);
  if (!agree(written, handle->access == O_RDONLY ? EBADF : 0)) return;
  if (*written != data.size()) return fail("wrote " + std::to_string(*written));
  ReferenceTree::write(*handle->node, offset, data);
}

void TreeDriver::read() {
  Handle* const handle = some_handle(0);
  if (handle == nullptr) return;
  const std::uint64_t offset = some_offset(*handle->node);
  const std::size_t length = some_data().size();
  begin("read " + std::to_string(handle->file.inode().value) + " " + std::to_string(length) +
        " at " + std::to_string(offset));
  const auto content = handle->file.read(offset, length);
  if (!agree(content, handle->access == O_WRONLY ? EBADF : 0)) return;
  if (*content != ReferenceTree::read(*handle->node, offset, length)) fail("read something else");
}

void TreeDriver::truncate_by_handle() {
  Handle* const handle = some_handle(O_RDWR);
  if (handle == nullptr) return;
  const bool too_large = choose_.one_in(20);
  const std::uint64_t size = too_large ? kTooLarge : some_offset(*handle->node);
  begin("truncate " + std::to_string(handle->file.inode().value) + " to " + std::to_string(size));
  AttributeChange change;
  change.size = size;
  const auto status =
      vfs_->change_attributes(who(), handle->file.inode(), change, &handle->file.handle());
  if (!agree(status, too_large ? EFBIG : 0)) return;
  ReferenceTree::truncate(*handle->node, size);
  compare_status(*status, *handle->node, "truncated");
}

void TreeDriver::truncate_by_path() {
  const auto entry = some_entry(S_IFREG);
  if (!entry.has_value()) return;
  const std::uint64_t size = some_offset(*entry->node);
  begin("truncate " + in_quotes(path_of(*entry)) + " to " + std::to_string(size));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  AttributeChange change;
  change.size = size;
  const auto status = vfs_->change_attributes(who(), inode->id(), change, nullptr);
  if (!agree(status, 0)) return;
  ReferenceTree::truncate(*entry->node, size);
  compare_status(*status, *entry->node, "truncated");
}

void TreeDriver::sync() {
  Handle* const handle = some_handle(0);
  if (handle == nullptr) return;
  begin("fsync " + std::to_string(handle->file.inode().value));
  agree(vfs_->sync(handle->file.handle(), choose_.one_in(2)), 0);
}

void TreeDriver::flush() {
  Handle* const handle = some_handle(0);
  if (handle == nullptr) return;
  begin("flush " + std::to_string(handle->file.inode().value));
  agree(handle->file.flush(), 0);
}

void TreeDriver::close() {
  if (handles_.empty()) return;
  const auto at = handles_.begin() + static_cast<std::ptrdiff_t>(choose_.below(handles_.size()));
  begin("close " + std::to_string(at->file.inode().value));
  handles_.erase(at);
}

void TreeDriver::make_directory() {
  const NodePtr parent = some_parent();
  const std::string name = some_name();
  const auto mode = static_cast<mode_t>(0700 | choose_.below(0100));
  begin("mkdir " + path_of_parent(parent) + in_quotes(name));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  const auto made = vfs_->make_directory(who(), in->id(), name, mode);
  if (agree(made, tree_.make(parent, name, S_IFDIR | mode))) compare_entry(made, parent, name);
}

void TreeDriver::make_symlink() {
  const NodePtr parent = some_parent();
  const std::string name = some_name();
  const std::size_t length =
      choose_.one_in(4) ? choose_.between(3000, 4095) : choose_.between(1, 40);
  const std::string target = choose_.one_in(8) ? std::string(4000, 'y') : std::string(length, 'x');
  begin("symlink " + path_of_parent(parent) + in_quotes(name) + " to " + in_quotes(target));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  const auto made = vfs_->make_symlink(who(), in->id(), name, target);
  if (agree(made, tree_.make(parent, name, S_IFLNK | 0777, target)))
    compare_entry(made, parent, name);
}

void TreeDriver::make_fifo() {
  const NodePtr parent = some_parent();
  const std::string name = some_name();
  begin("mkfifo " + path_of_parent(parent) + in_quotes(name));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  const auto made = vfs_->make_node(who(), in->id(), name, S_IFIFO | 0620, 0);
  if (agree(made, tree_.make(parent, name, S_IFIFO | 0620))) compare_entry(made, parent, name);
}

void TreeDriver::make_empty_file() {
  const NodePtr parent = some_parent();
  const std::string name = some_name();
  begin("mknod " + path_of_parent(parent) + in_quotes(name));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  const auto made = vfs_->make_node(who(), in->id(), name, S_IFREG | 0640, 0);
  if (agree(made, tree_.make(parent, name, S_IFREG | 0640))) compare_entry(made, parent, name);
}

void TreeDriver::link() {
  const auto entry = some_entry(choose_.one_in(6) ? 0 : S_IFREG);
  if (!entry.has_value()) return;
  const NodePtr parent = some_parent();
  const std::string name = some_name();
  begin("link " + in_quotes(path_of(*entry)) + " " + path_of_parent(parent) + in_quotes(name));
  const InodeReference inode = reach(*entry);
  const InodeReference in = reach(parent);
  if (inode == nullptr || in == nullptr) return;
  const auto made = vfs_->link(who(), inode->id(), in->id(), name);
  if (!agree(made, tree_.link(entry->node, parent, name))) return;
  if (made->inode != inode->id()) fail("the link leads to another inode");
  compare_entry(made, parent, name);
}

void TreeDriver::unlink() {
  const NodePtr parent = some_parent();
  const std::string name = some_name_in(*parent);
  begin("unlink " + path_of_parent(parent) + in_quotes(name));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  agree(vfs_->unlink(who(), in->id(), name), tree_.unlink(parent, name));
}

void TreeDriver::remove_directory() {
  const auto chosen = some_entry(choose_.one_in(10) ? 0 : S_IFDIR);
  if (!chosen.has_value()) return;
  const NodePtr parent = chosen->parent;
  const std::string name = choose_.one_in(10) ? some_name() : chosen->name;
  begin("rmdir " + path_of_parent(parent) + in_quotes(name));
  const InodeReference in = reach(parent);
  if (in == nullptr) return;
  agree(vfs_->remove_directory(who(), in->id(), name), tree_.remove_directory(parent, name));
}

void TreeDriver::rename() {
  NodePtr from = some_parent();
  std::string name = some_name_in(*from);
  if (const auto chosen = some_entry(); chosen.has_value() && !choose_.one_in(8)) {
    from = chosen->parent;
    name = chosen->name;
  }
  const NodePtr to = choose_.one_in(3) ? from : some_parent();
  const std::string new_name = some_name_in(*to);
  const unsigned flags =
      std::array<unsigned, 5>{0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE}[choose_.below(5)];
  begin("rename " + path_of_parent(from) + in_quotes(name) + " " + path_of_parent(to) +
        in_quotes(new_name) +
        (flags == RENAME_NOREPLACE  ? " NOREPLACE"
         : flags == RENAME_EXCHANGE ? " EXCHANGE"
                                    : ""));
  const InodeReference in = reach(from);
  const InodeReference into = reach(to);
  if (in == nullptr || into == nullptr) return;
  agree(vfs_->rename(who(), in->id(), name, into->id(), new_name, flags),
        tree_.rename(from, name, to, new_name, flags));
}

void TreeDriver::change_mode() {
  const auto entry = some_entry();
  if (!entry.has_value() || entry->node->is_symlink()) return;
  ReferenceNode& node = *entry->node;
  // Whoever runs the test without being root still has to be let into directories.
  const mode_t bits = node.is_directory() ? 0700 | (choose_.one_in(4) ? S_ISVTX : 0U) : 0U;
  AttributeChange change;
  change.mode = bits | static_cast<mode_t>(choose_.below(01000));
  begin("chmod " + in_quotes(path_of(*entry)));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  const auto status = vfs_->change_attributes(who(), inode->id(), change, nullptr);
  if (!agree(status, 0)) return;
  node.mode = (node.mode & S_IFMT) | *change.mode;
  compare_status(*status, node, "changed");
}

void TreeDriver::change_owner() {
  const auto entry = some_entry();
  if (!entry.has_value() || ::geteuid() != 0) return;
  AttributeChange change;
  change.uid = static_cast<uid_t>(1000 + choose_.below(3));
  begin("chown " + in_quotes(path_of(*entry)));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  const auto status = vfs_->change_attributes(who(), inode->id(), change, nullptr);
  if (!agree(status, 0)) return;
  entry->node->uid = *change.uid;
  compare_status(*status, *entry->node, "changed");
}

void TreeDriver::change_times() {
  const auto entry = some_entry();
  if (!entry.has_value()) return;
  AttributeChange change;
  change.modification_time = some_time();
  if (choose_.one_in(2)) change.access_time = some_time();
  begin("utimens " + in_quotes(path_of(*entry)));
  const InodeReference inode = reach(*entry);
  if (inode == nullptr) return;
  const auto status = vfs_->change_attributes(who(), inode->id(), change, nullptr);
  if (!agree(status, 0)) return;
  entry->node->modified = change.modification_time;
  compare_status(*status, *entry->node, "changed");
}

void TreeDriver::keep() {
  const auto entry = some_entry();
  if (!entry.has_value()) return;
  begin("keep " + in_quotes(path_of(*entry)));
  InodeReference inode = look_up(path_of(*entry));
  if (inode == nullptr) return;
  if (kept_.size() == kMostKept)
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(choose_.below(kMostKept)));
  kept_.push_back(
      {.inode = std::move(inode), .node = entry->node, .links_lost = entry->node->links_lost});
}

void TreeDriver::drop() {
  if (kept_.empty()) return;
  const auto at = kept_.begin() + static_cast<std::ptrdiff_t>(choose_.below(kept_.size()));
  begin("drop " + std::to_string(at->inode->id().value));
  kept_.erase(at);
}

}  // namespace coffer::testing

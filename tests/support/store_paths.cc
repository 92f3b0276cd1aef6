#include "tests/support/store_paths.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/fuse/errno_map.h"

namespace coffer::testing {

Result<std::string> HeldFile::read(std::uint64_t offset, std::size_t length) const {
  ByteVector buffer(length);
  const std::size_t done = TRY(vfs_->read(*handle_, offset, buffer));
  return std::string(as_text(Bytes(buffer).first(done)));
}

std::pair<std::string, std::string> PathUser::split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

Result<HeldInode> PathUser::find(const std::string& path) const {
  HeldInode at(*vfs_, kRootInode);
  std::size_t start = 1;
  while (start < path.size()) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const Entry entry = TRY(vfs_->lookup(who(), at.id(), path.substr(start, end - start)));
    at = HeldInode(*vfs_, entry.inode);
    start = end + 1;
  }
  return at;
}

Result<struct stat> PathUser::status(const std::string& path) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->attributes(who(), inode.id());
}

Result<HeldFile> PathUser::open(const std::string& path, int flags) const {
  HeldInode inode = TRY(find(path));
  auto handle = vfs_->open(who(), inode.id(), flags);
  if (!handle && handle.error().errno_value == ESTALE) {
    // As the kernel does: it looks the path up anew, once.
    inode = TRY(find(path));
    handle = vfs_->open(who(), inode.id(), flags);
  }
  return HeldFile(*vfs_, std::move(inode), TRY(std::move(handle)));
}

Result<HeldFile> PathUser::create(const std::string& path, mode_t mode, int flags) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  Vfs::Created created = TRY(vfs_->create_file(who(), parent.id(), name, mode, flags));
  return HeldFile(*vfs_, HeldInode(*vfs_, created.entry.inode), std::move(created.handle));
}

Result<void> PathUser::taken(Result<Entry> entry) const {
  vfs_->forget(TRY(std::move(entry)).inode, 1);
  return {};
}

Result<void> PathUser::make_directory(const std::string& path, mode_t mode) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  return taken(vfs_->make_directory(who(), parent.id(), name, mode));
}

Result<void> PathUser::make_node(const std::string& path, mode_t mode, dev_t device) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  return taken(vfs_->make_node(who(), parent.id(), name, mode, device));
}

Result<void> PathUser::make_symlink(const std::string& target, const std::string& path) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  return taken(vfs_->make_symlink(who(), parent.id(), name, target));
}

Result<std::string> PathUser::read_symlink(const std::string& path) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->read_symlink(who(), inode.id());
}

Result<void> PathUser::link(const std::string& path, const std::string& new_path) const {
  const HeldInode inode = TRY(find(path));
  const auto [parent_path, name] = split(new_path);
  const HeldInode parent = TRY(find(parent_path));
  return taken(vfs_->link(who(), inode.id(), parent.id(), name));
}

Result<void> PathUser::unlink(const std::string& path) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  return vfs_->unlink(who(), parent.id(), name);
}

Result<void> PathUser::remove_directory(const std::string& path) const {
  const auto [parent_path, name] = split(path);
  const HeldInode parent = TRY(find(parent_path));
  return vfs_->remove_directory(who(), parent.id(), name);
}

Result<void> PathUser::rename(const std::string& path, const std::string& new_path,
                              unsigned flags) const {
  const auto [parent_path, name] = split(path);
  const auto [new_parent_path, new_name] = split(new_path);
  const HeldInode parent = TRY(find(parent_path));
  const HeldInode new_parent = TRY(find(new_parent_path));
  return vfs_->rename(who(), parent.id(), name, new_parent.id(), new_name, flags);
}

Result<void> PathUser::set_xattr(const std::string& path, std::string_view name,
                                 std::string_view value, int flags) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->set_xattr(who(), inode.id(), name, as_bytes(value), flags);
}

Result<std::string> PathUser::xattr(const std::string& path, std::string_view name) const {
  const HeldInode inode = TRY(find(path));
  const ByteVector value = TRY(vfs_->xattr(who(), inode.id(), name));
  return std::string(as_text(value));
}

Result<std::vector<std::string>> PathUser::xattr_names(const std::string& path) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->xattr_names(who(), inode.id());
}

Result<void> PathUser::remove_xattr(const std::string& path, std::string_view name) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->remove_xattr(who(), inode.id(), name);
}

Result<struct stat> PathUser::change(const std::string& path, const AttributeChange& change) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->change_attributes(who(), inode.id(), change, nullptr);
}

Result<std::unique_ptr<DirectoryHandle>> PathUser::open_directory(const std::string& path) const {
  const HeldInode inode = TRY(find(path));
  return vfs_->open_directory(who(), inode.id());
}

Result<std::vector<std::string>> PathUser::list(const std::string& path) const {
  const HeldInode inode = TRY(find(path));
  const auto handle = TRY(vfs_->open_directory(who(), inode.id()));
  std::vector<std::string> names;
  TRY(vfs_->list(*handle, 0, [&](const ListedEntry& entry) {
    if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
    return true;
  }));
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> PathUser::put(const std::string& path, std::string_view content) const {
  auto file = create(path, 0644, O_WRONLY | O_CREAT | O_EXCL);
  if (!file && file.error().errno_value == EEXIST) file = open(path, O_WRONLY | O_TRUNC);
  if (!file) return std::move(file).error();
  const std::size_t done = TRY(file->write(0, content));
  if (done != content.size()) return errno_error(EIO, "a short write");
  return file->flush();
}

Result<std::string> PathUser::get(const std::string& path) const {
  const HeldFile file = TRY(open(path, O_RDONLY));
  const struct stat status = TRY(vfs_->attributes(who(), file.inode()));
  std::string content = TRY(file.read(0, static_cast<std::size_t>(status.st_size) + 1));
  if (content.size() != static_cast<std::size_t>(status.st_size)) {
    return errno_error(EIO, "the file has another size than stat says");
  }
  return content;
}

std::string outcome_of(const Error& error) {
  const char* const name = ::strerrorname_np(to_errno(error));
  return name != nullptr ? name : "errno " + std::to_string(to_errno(error));
}

}  // namespace coffer::testing

#pragma once

#include <fcntl.h>

#include <string>
#include <utility>
#include <vector>

#include "fs/vfs/vfs.h"

namespace coffer::testing {

/// One reference to an inode, given back at the end.
class HeldInode {
 public:
  HeldInode(Vfs& vfs, InodeId inode) : vfs_(&vfs), inode_(inode) {}
  HeldInode(HeldInode&& other) noexcept
      : vfs_(std::exchange(other.vfs_, nullptr)), inode_(other.inode_) {}
  HeldInode& operator=(HeldInode&& other) noexcept {
    std::swap(vfs_, other.vfs_);
    std::swap(inode_, other.inode_);
    return *this;
  }
  HeldInode(const HeldInode&) = delete;
  HeldInode& operator=(const HeldInode&) = delete;
  ~HeldInode() {
    if (vfs_ != nullptr && inode_ != kRootInode) vfs_->forget(inode_, 1);
  }
  [[nodiscard]] InodeId id() const { return inode_; }

 private:
  Vfs* vfs_;
  InodeId inode_;
};

/// An open file with its inode; closed at the end.
class HeldFile {
 public:
  HeldFile(Vfs& vfs, HeldInode inode, std::unique_ptr<FileHandle> handle)
      : vfs_(&vfs), inode_(std::move(inode)), handle_(std::move(handle)) {}
  HeldFile(HeldFile&&) noexcept = default;
  HeldFile& operator=(HeldFile&& other) noexcept {
    close();
    vfs_ = other.vfs_;
    inode_ = std::move(other.inode_);
    handle_ = std::move(other.handle_);
    return *this;
  }
  HeldFile(const HeldFile&) = delete;
  HeldFile& operator=(const HeldFile&) = delete;
  ~HeldFile() { close(); }

  void close() {
    if (handle_ == nullptr) return;
    vfs_->release(std::move(handle_));
    inode_ = HeldInode(*vfs_, kRootInode);
  }
  [[nodiscard]] FileHandle& handle() const { return *handle_; }
  [[nodiscard]] InodeId inode() const { return inode_.id(); }

  Result<std::size_t> write(std::uint64_t offset, std::string_view text) const {
    return vfs_->write(*handle_, offset, as_bytes(text));
  }
  [[nodiscard]] Result<std::string> read(std::uint64_t offset = 0,
                                         std::size_t length = std::size_t{1} << 16) const;
  Result<void> flush() const { return vfs_->flush(*handle_); }

 private:
  Vfs* vfs_;
  HeldInode inode_;
  std::unique_ptr<FileHandle> handle_;
};

/// Works on a filesystem by paths, as a process does through the kernel: every name on the way is
/// looked up as the caller, every reference given back. "/" is the root; symlinks are not followed.
class PathUser {
 public:
  explicit PathUser(Vfs& vfs, const Caller& caller = Caller::self())
      : vfs_(&vfs), caller_(caller) {}

  /// "/a/b" → {"/a", "b"}.
  static std::pair<std::string, std::string> split(const std::string& path);

  Result<HeldInode> find(const std::string& path) const;
  Result<struct stat> status(const std::string& path) const;
  Result<HeldFile> open(const std::string& path, int flags = O_RDWR) const;
  Result<HeldFile> create(const std::string& path, mode_t mode = 0644,
                          int flags = O_RDWR | O_CREAT | O_EXCL) const;
  Result<void> make_directory(const std::string& path, mode_t mode = 0755) const;
  Result<void> make_node(const std::string& path, mode_t mode, dev_t device = 0) const;
  Result<void> make_symlink(const std::string& target, const std::string& path) const;
  Result<std::string> read_symlink(const std::string& path) const;
  Result<void> link(const std::string& path, const std::string& new_path) const;
  Result<void> unlink(const std::string& path) const;
  Result<void> remove_directory(const std::string& path) const;
  Result<void> rename(const std::string& path, const std::string& new_path,
                      unsigned flags = 0) const;
  /// Extended attributes; `flags` as setxattr(2)'s.
  Result<void> set_xattr(const std::string& path, std::string_view name, std::string_view value,
                         int flags = 0) const;
  Result<std::string> xattr(const std::string& path, std::string_view name) const;
  Result<std::vector<std::string>> xattr_names(const std::string& path) const;
  Result<void> remove_xattr(const std::string& path, std::string_view name) const;
  Result<struct stat> change(const std::string& path, const AttributeChange& change) const;
  Result<std::unique_ptr<DirectoryHandle>> open_directory(const std::string& path) const;
  /// Names but "." and "..", sorted.
  Result<std::vector<std::string>> list(const std::string& path) const;

  /// Makes the file, or replaces its content.
  Result<void> put(const std::string& path, std::string_view content) const;
  Result<std::string> get(const std::string& path) const;

  [[nodiscard]] Vfs& vfs() const { return *vfs_; }
  [[nodiscard]] Who who() const { return Who(caller_); }

 private:
  Result<void> taken(Result<Entry> entry) const;

  Vfs* vfs_;
  Caller caller_;
};

/// "ok", or the name of the errno that a process would see: what a failed expectation prints.
std::string outcome_of(const Error& error);
template <typename T>
std::string outcome_of(const Result<T>& result) {
  return result.ok() ? "ok" : outcome_of(result.error());
}

/// "ok", or the error's code by name.
template <typename T>
std::string code_of(const Result<T>& result) {
  return result.ok() ? "ok" : std::string(to_string(result.error().code));
}

}  // namespace coffer::testing

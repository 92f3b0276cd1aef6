#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fs/vfs/vfs.h"

namespace coffer {

/// One reference to an inode, given back at the end.
class InodeRef {
 public:
  InodeRef(Vfs& vfs, InodeId inode) : vfs_(&vfs), inode_(inode) {}
  InodeRef(InodeRef&& other) noexcept
      : vfs_(std::exchange(other.vfs_, nullptr)), inode_(other.inode_) {}
  InodeRef& operator=(InodeRef&& other) noexcept {
    std::swap(vfs_, other.vfs_);
    std::swap(inode_, other.inode_);
    return *this;
  }
  InodeRef(const InodeRef&) = delete;
  InodeRef& operator=(const InodeRef&) = delete;
  ~InodeRef() {
    if (vfs_ != nullptr && inode_ != kRootInode) vfs_->forget(inode_, 1);
  }
  [[nodiscard]] InodeId get() const { return inode_; }

 private:
  Vfs* vfs_;
  InodeId inode_;
};

/// An open file of the store, closed at the end.
class OpenHandle {
 public:
  OpenHandle(Vfs& vfs, std::unique_ptr<FileHandle> handle)
      : vfs_(&vfs), handle_(std::move(handle)) {}
  OpenHandle(OpenHandle&&) noexcept = default;
  OpenHandle& operator=(OpenHandle&&) = delete;
  OpenHandle(const OpenHandle&) = delete;
  OpenHandle& operator=(const OpenHandle&) = delete;
  ~OpenHandle() {
    if (handle_ != nullptr) vfs_->release(std::move(handle_));
  }
  [[nodiscard]] FileHandle& get() const { return *handle_; }

 private:
  Vfs* vfs_;
  std::unique_ptr<FileHandle> handle_;
};

/// What a path in the store leads to; symlinks are not followed.
struct Found {
  InodeRef inode;
  struct stat attributes;
};
Result<Found> find_path(Vfs& vfs, const Who& who, const std::string& path);

/// The same for what may be too damaged to be shown: whatever stands there, by its type alone.
Result<InodeRef> find_damaged(Vfs& vfs, const Who& who, const std::string& path);

/// "/a/b" → {"/a", "b"}.
std::pair<std::string, std::string> split_path(const std::string& path);
std::string join_path(const std::string& directory, const std::string& name);

/// The entries of a directory, "." and ".." left out, by name.
Result<std::vector<std::string>> list_names(Vfs& vfs, const Who& who, InodeId directory);

}  // namespace coffer

#pragma once

#include <atomic>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fs/vfs/audience.h"
#include "fs/vfs/shown_state.h"
#include "fs/vfs/types.h"
#include "keystore/base/mutex.h"

namespace coffer {

/// The numbers by which audiences know files apart from everyone: a view stands for the inode of a
/// regular file, and is an inode of its own to the kernel, which keeps pages, sizes and times by it
/// (fs/SEMANTICS.md, "Whose pages"). All else here knows the file's inode alone. Thread-safe.
class Views {
 public:
  [[nodiscard]] static bool is_view(InodeId inode) { return inode.value >= kFirst; }

  struct Found {
    InodeId view;
    bool is_new = false;  ///< it keeps one reference to the file's inode, the caller's
  };
  /// An audience's view of a file, made if it has none; takes one reference.
  Found of(InodeId file, Audience audience);
  /// Gives back references to a view. The file that a reference is to be given back to, if the view
  /// is gone with them.
  std::optional<InodeId> forget(InodeId view, std::uint64_t references);

  /// The inode of the file that a view is of, kNoInode if it is gone; what is no view, itself.
  [[nodiscard]] InodeId file(InodeId inode) const;
  /// kEveryone of what is no view.
  [[nodiscard]] Audience audience(InodeId inode) const;
  [[nodiscard]] std::vector<InodeId> all() const;
  /// All of a file.
  [[nodiscard]] std::vector<InodeId> of(InodeId file) const;
  /// True once there has been any.
  [[nodiscard]] bool any() const { return any_.load(std::memory_order_relaxed); }

  /// It was opened by one handle more, and shows this state of this file. True if all that the
  /// kernel may have kept of its pages is of that.
  bool opened(InodeId view, FileId file, std::uint64_t generation);
  /// By one less.
  void closed(InodeId view);
  /// All views of the file show this state from now on, while they are open.
  void note_changed(InodeId file, std::uint64_t generation);
  /// The file was written to: the views that may have older pages, which are to be dropped.
  std::vector<InodeId> written(InodeId file);

 private:
  // As libfuse and the kernel take any number. Those of files count from the other end.
  static constexpr std::uint64_t kFirst = std::uint64_t{1} << 63U;

  struct View {
    InodeId file;
    Audience audience;
    std::uint64_t references = 0;
    std::uint64_t handles = 0;
    bool has_pages = false;
    ShownState shown = {};
  };

  std::atomic<bool> any_ = false;
  mutable SharedMutex mutex_;
  std::unordered_map<InodeId, View> views_ GUARDED_BY(mutex_);
  std::unordered_map<InodeId, std::vector<InodeId>> files_ GUARDED_BY(mutex_);  // none empty
  std::uint64_t next_ GUARDED_BY(mutex_) = kFirst;
};

}  // namespace coffer

// What becomes of open files and directories when grants change: whoever is not to have them any
// more meets an error at the next use, and what the kernel keeps of their content is dropped, so
// that every use comes here.

#include "fs/vfs/vfs.h"

namespace coffer {

Result<std::shared_ptr<Admission>> Vfs::admit(const Who& who, const Admission::To& to,
                                              std::uint64_t changes) {
  auto admission =
      admissions_.add(who.shared_identity(), to, groups_.watch(*who.shared_identity()));
  // From here on changes find it. One that came after the decision may have looked for it too soon.
  if (broker_.changes() != changes || admission->lost_a_group()) reconsider(*admission);
  TRY(admission->check());
  admission->note_decided(changes);
  return admission;
}

bool Vfs::reconsider(Admission& admission) {
  const Admission::To& to = admission.to();
  const std::string path = inodes_.path(to.inode);
  const Identity who = admission.who_by_now();
  const auto refused = broker_.withdrawn({to.scope, who, to.rights, path}, to.key);
  if (!refused.has_value()) return false;
  admission.withdraw(refused->errno_value);
  file_locks_.reconsider();
  options_.tell("withdrawn from process " + std::to_string(admission.who().pid) + " of uid " +
                std::to_string(admission.who().uid) + ": " + refused->context);
  return true;
}

void Vfs::reconsider_all() {
  std::unordered_map<InodeId, std::vector<std::shared_ptr<Admission>>> withdrawn;
  for (auto& admission : admissions_.standing()) {
    if (reconsider(*admission) && admission->to().key.has_value())
      withdrawn[admission->to().known_as].push_back(admission);
  }
  for (auto& [inode, ended] : withdrawn) {
    // It may have to wait for the disk; decisions must not.
    auto work = [this, inode = inode, ended = std::move(ended)] {
      drop(inode, Kept::kCopies);
      for (const auto& admission : ended) admission->note_dropped();
    };
    if (!dropping_.add(work)) work();
  }
}

void Vfs::drop(InodeId inode, Kept what) {
  ReadLock lock(pages_mutex_);
  if (pages_ && !page_cache_ends_) pages_(inode, what);
}

void Vfs::set_page_cache(std::function<void(InodeId, Kept)> drop) {
  const bool ends = drop == nullptr;
  {
    WriteLock lock(pages_mutex_);
    pages_ = std::move(drop);
  }
  if (!ends) return;
  for (Background& showing : showing_) showing.drain();
}

Result<void> Vfs::check_write_back(const FileHandle& handle) {
  const Admission& admission = *handle.admission;
  // What was written to a mapping before the withdrawal is kept; and the kernel sends the pages of
  // all who have the file mapped by whichever handle it likes.
  if (!admission.dropped() || admissions_.someone_writes(admission.to().inode)) return {};
  // Others must not see what was not to be written.
  const InodeId inode = admission.to().known_as;
  (void)dropping_.add([this, inode] { drop(inode, Kept::kCopies); });
  return admission.check();
}

}  // namespace coffer

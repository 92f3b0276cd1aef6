// What becomes of open files and directories when grants change: whoever is not to have them any
// more meets an error at the next use, and what the kernel keeps of their content is dropped, so
// that every use comes here; and whose pages the kernel keeps together.

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
  options_.tell("withdrawn from process " + std::to_string(admission.who().pid) + " of uid " +
                std::to_string(admission.who().uid) + ": " + refused->context);
  return true;
}

void Vfs::reconsider_all() {
  std::unordered_map<InodeId, std::vector<std::shared_ptr<Admission>>> withdrawn;
  for (auto& admission : admissions_.standing()) {
    if (reconsider(*admission) && admission->to().key.has_value())
      withdrawn[admission->to().inode].push_back(admission);
  }
  for (auto& [inode, ended] : withdrawn) {
    // It may have to wait for the disk; decisions must not.
    auto work = [this, inode = inode, ended = std::move(ended)] {
      drop_pages(inode);
      for (const auto& admission : ended) admission->note_dropped();
    };
    if (!dropping_.add(work)) work();
  }
}

Audience Vfs::audience_for(const Identity& who, mode_t mode) {
  return has_audiences() && S_ISREG(mode) ? audiences_.of(who) : kEveryone;
}

Audience Vfs::audience_for(const Who& who, mode_t mode) {
  return has_audiences() && S_ISREG(mode) ? audiences_.of(who.identity()) : kEveryone;
}

Result<bool> Vfs::check_audience(const Who& who, InodeId inode) {
  if (!has_audiences()) return true;
  const auto known = inodes_.find(inode);
  if (!known.has_value() || !S_ISREG(known->type)) return true;
  if (known->audience == audiences_.find(who.identity())) return true;
  if (audiences_.insists(who.thread(), inode)) return false;
  return errno_error(ESTALE, "it is others' inode");
}

void Vfs::drop_pages(InodeId inode) {
  MutexLock lock(pages_mutex_);
  if (pages_) pages_(inode);
}

void Vfs::set_page_cache(std::function<void(InodeId)> drop) {
  MutexLock lock(pages_mutex_);
  pages_ = std::move(drop);
}

Result<void> Vfs::check_write_back(const FileHandle& handle) {
  const Admission& admission = *handle.admission;
  // What was written to a mapping before the withdrawal is kept; and the kernel sends the pages of
  // all who have the file mapped by whichever handle it likes.
  if (!admission.dropped() || admissions_.someone_writes(admission.to().inode)) return {};
  // Others must not see what was not to be written.
  const InodeId inode = admission.to().inode;
  (void)dropping_.add([this, inode] { drop_pages(inode); });
  return admission.check();
}

}  // namespace coffer

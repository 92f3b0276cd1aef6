#include "fs/vfs/admission.h"

#include <algorithm>

namespace coffer {

bool Admission::lost_a_group() const {
  return std::any_of(groups_.begin(), groups_.end(),
                     [](const auto& group) { return group->gone(); });
}

Identity Admission::who_by_now() const {
  Identity who = *who_;
  for (const auto& group : groups_) {
    if (!group->gone()) continue;
    for (const Selector& selector : group->group().selectors) {
      if (std::erase(who.selectors, selector) > 0) who.past.push_back(selector);
    }
  }
  std::sort(who.past.begin(), who.past.end());
  return who;
}

std::shared_ptr<Admission> Admissions::add(std::shared_ptr<const Identity> who,
                                           const Admission::To& to, GroupWatch::Groups groups) {
  auto made = std::make_unique<Admission>(std::move(who), to, std::move(groups));
  std::shared_ptr<Admission> shared(made.release(), [this](Admission* last) { drop(last); });
  MutexLock lock(mutex_);
  known_.emplace(shared.get(), shared);
  return shared;
}

void Admissions::drop(Admission* admission) {
  const std::unique_ptr<Admission> gone(admission);
  MutexLock lock(mutex_);
  known_.erase(admission);
}

std::vector<std::shared_ptr<Admission>> Admissions::standing() const {
  auto standing = all();
  std::erase_if(standing, [](const auto& admission) { return admission->withdrawn(); });
  return standing;
}

std::vector<std::shared_ptr<Admission>> Admissions::all() const {
  std::vector<std::shared_ptr<Admission>> all;
  MutexLock lock(mutex_);
  all.reserve(known_.size());
  for (const auto& [key, weak] : known_) {
    // One that is about to go is over; it waits for this lock.
    if (auto admission = weak.lock()) all.push_back(std::move(admission));
  }
  return all;
}

bool Admissions::someone_has(InodeId inode) const {
  MutexLock lock(mutex_);
  return std::any_of(known_.begin(), known_.end(),
                     [&](const auto& entry) { return entry.first->to().inode == inode; });
}

bool Admissions::someone_writes(InodeId inode) const {
  MutexLock lock(mutex_);
  return std::any_of(known_.begin(), known_.end(), [&](const auto& entry) {
    const Admission& admission = *entry.first;
    return admission.to().inode == inode && admission.to().rights.contains(Right::kWrite) &&
           !admission.withdrawn();
  });
}

}  // namespace coffer

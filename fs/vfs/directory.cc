#include "fs/vfs/directory.h"

#include <sys/stat.h>
#include <unistd.h>

namespace coffer {

Result<LentDirectory> LentDirectory::lend(const BackingDir& in, const std::string& stored,
                                          mode_t mode) {
  LentDirectory lent;
  if (::geteuid() == 0 || (mode & S_IRWXU) == S_IRWXU) return lent;
  auto dir = TRY(in.open_dir(stored));
  TRY(in.set_mode(stored, (mode & 07777) | S_IRWXU));
  lent.lent_ = std::move(dir);
  lent.mode_ = mode & 07777;
  return lent;
}

LentDirectory::~LentDirectory() {
  if (lent_ != nullptr) (void)lent_->set_mode(".", mode_);
}

std::shared_ptr<const Directory> DirectoryCache::find(InodeId inode) {
  MutexLock lock(mutex_);
  const auto found = where_.find(inode);
  if (found == where_.end()) return nullptr;
  newest_first_.splice(newest_first_.begin(), newest_first_, found->second);
  return found->second->second;
}

void DirectoryCache::put(InodeId inode, std::shared_ptr<const Directory> directory) {
  MutexLock lock(mutex_);
  if (const auto found = where_.find(inode); found != where_.end()) {
    newest_first_.erase(found->second);
    where_.erase(found);
  }
  newest_first_.emplace_front(inode, std::move(directory));
  where_[inode] = newest_first_.begin();
  if (newest_first_.size() > capacity_) {
    where_.erase(newest_first_.back().first);
    newest_first_.pop_back();
  }
}

void DirectoryCache::drop(InodeId inode) {
  MutexLock lock(mutex_);
  const auto found = where_.find(inode);
  if (found == where_.end()) return;
  newest_first_.erase(found->second);
  where_.erase(found);
}

void DirectoryCache::clear() {
  MutexLock lock(mutex_);
  where_.clear();
  newest_first_.clear();
}

Result<std::shared_ptr<const ScopeNames>> NamesCache::release(const AccessRequest& request,
                                                              KeyBroker::Lines lines) {
  return made_of(TRY(broker_.release_names(request, lines)), request.scope);
}

Result<std::shared_ptr<const ScopeNames>> NamesCache::look_up(const Who& who, ScopeId scope,
                                                              Right right, std::string_view path) {
  const Rights rights = Rights::of(right);
  if (auto secret = broker_.find_names({scope, who.identity_of_request(), rights, path}))
    return made_of(std::move(secret), scope);
  return release({scope, who.identity(), rights, path}, KeyBroker::Lines::kRefusals);
}

std::shared_ptr<const ScopeNames> NamesCache::made_of(std::shared_ptr<const SecretBytes> secret,
                                                      ScopeId scope) {
  {
    MutexLock lock(mutex_);
    const auto made = made_.find(scope);
    if (made != made_.end() && made->second.secret == secret) return made->second.names;
  }
  auto names = std::make_shared<const ScopeNames>(*secret, store_, scope, encrypted_);
  MutexLock lock(mutex_);
  made_[scope] = Made{.secret = std::move(secret), .names = names};
  return names;
}

void NamesCache::clear() {
  MutexLock lock(mutex_);
  made_.clear();
}

std::shared_ptr<const ScopeNames> NamesCache::held(ScopeId scope) {
  MutexLock lock(mutex_);
  const auto made = made_.find(scope);
  return made == made_.end() ? nullptr : made->second.names;
}

}  // namespace coffer

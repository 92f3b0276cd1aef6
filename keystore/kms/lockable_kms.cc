#include "keystore/kms/lockable_kms.h"

#include <cerrno>

namespace coffer {

Error keys_are_locked() {
  return {Code::kKeyUnavailable, ENOKEY, "the mount is locked; run: coffer unlock MOUNTPOINT"};
}

LockableKms::LockableKms(std::unique_ptr<MasterKms> master)
    : master_(std::move(master)), record_(master_->describe()) {}

Result<std::shared_ptr<MasterKms>> LockableKms::held() const {
  MutexLock lock(mutex_);
  if (master_ == nullptr) return keys_are_locked();
  return master_;
}

Result<ByteVector> LockableKms::wrap(const SecretBytes& key, const KeyContext& context) {
  const auto master = TRY(held());
  return master->wrap(key, context);
}

Result<std::vector<ByteVector>> LockableKms::wrap_all(std::span<const KeyInPlace> keys) {
  const auto master = TRY(held());
  return master->wrap_all(keys);
}

Result<SecretBytes> LockableKms::unwrap(Bytes wrapped, const KeyContext& context) {
  const auto master = TRY(held());
  return master->unwrap(wrapped, context);
}

Result<std::vector<SecretBytes>> LockableKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  const auto master = TRY(held());
  return master->unwrap_all(keys);
}

Result<ByteVector> LockableKms::rewrap(Bytes wrapped, const KeyContext& context) {
  const auto master = TRY(held());
  return master->rewrap(wrapped, context);
}

Result<std::vector<ByteVector>> LockableKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  const auto master = TRY(held());
  return master->rewrap_all(keys);
}

std::string LockableKms::version_of(Bytes wrapped) const {
  const auto master = held();
  return master ? (*master)->version_of(wrapped) : std::string();
}

Result<std::string> LockableKms::newest_version() {
  const auto master = TRY(held());
  return master->newest_version();
}

MasterKeyRecord LockableKms::describe() const {
  MutexLock lock(mutex_);
  return record_;
}

void LockableKms::let_go() {
  std::shared_ptr<MasterKms> last;  // wiped without the lock
  MutexLock lock(mutex_);
  last.swap(master_);
}

void LockableKms::take_up(std::unique_ptr<MasterKms> master) {
  MutexLock lock(mutex_);
  record_ = master->describe();
  master_ = std::move(master);
}

Result<void> LockableKms::exchange(std::unique_ptr<MasterKms> master) {
  std::shared_ptr<MasterKms> last = std::move(master);
  MutexLock lock(mutex_);
  if (master_ == nullptr) return keys_are_locked();
  record_ = last->describe();
  last.swap(master_);
  return {};
}

}  // namespace coffer

#pragma once

#include "keystore/base/mutex.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// A master key that can be let go of while the program runs, and be taken up again. Without it
/// every call is kKeyUnavailable.
class LockableKms final : public MasterKms {
 public:
  explicit LockableKms(std::unique_ptr<MasterKms> master);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override;
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  /// Of the one that it has, or had last.
  [[nodiscard]] MasterKeyRecord describe() const override;

  /// A call that is under way has it to its end.
  void let_go();
  void take_up(std::unique_ptr<MasterKms> master);
  /// Takes up another instead of the one that it has; kKeyUnavailable if it has none.
  Result<void> exchange(std::unique_ptr<MasterKms> master);

 private:
  Result<std::shared_ptr<MasterKms>> held() const;

  mutable Mutex mutex_;
  std::shared_ptr<MasterKms> master_ GUARDED_BY(mutex_);
  MasterKeyRecord record_ GUARDED_BY(mutex_);
};

/// What every use of a locked key meets.
Error keys_are_locked();

}  // namespace coffer

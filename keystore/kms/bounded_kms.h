#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "keystore/kms/call_bound.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// A master key that answers in time, whatever becomes of it: who waits for a key in the kernel
/// can't be killed. A call that takes longer than the deadline is kKmsUnavailable, and goes on by
/// itself; while some do, no more are begun. Of many keys several calls are under way at once.
/// Thread-safe if the master key is.
class BoundedKms final : public MasterKms {
 public:
  BoundedKms(std::shared_ptr<MasterKms> master, std::chrono::milliseconds deadline);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override;
  [[nodiscard]] std::size_t batch_size() const override { return master_->batch_size(); }
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override;
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] MasterKeyRecord describe() const override;
  Result<std::vector<KmsFact>> inspect() override;

 private:
  template <typename T>
  Result<T> in_time(std::function<Result<T>(MasterKms&)> call) const;
  /// What `call` makes of copies of `keys`, one for each.
  template <typename T>
  [[nodiscard]] Result<std::vector<T>> batch(
      std::span<const KeyInPlace> keys,
      Result<std::vector<T>> (MasterKms::*call)(std::span<const KeyInPlace>)) const;
  template <typename T>
  [[nodiscard]] Result<std::vector<T>> batch(
      std::span<const WrappedInPlace> keys,
      Result<std::vector<T>> (MasterKms::*call)(std::span<const WrappedInPlace>)) const;
  /// As few batches as can be, several of them at once.
  template <typename T, typename Key>
  [[nodiscard]] Result<std::vector<T>> some_or_one_by_one(
      std::span<const Key> keys,
      Result<std::vector<T>> (MasterKms::*call)(std::span<const Key>)) const;
  template <typename T, typename Key>
  [[nodiscard]] Result<std::vector<T>> in_batches(
      std::span<const Key> keys,
      Result<std::vector<T>> (MasterKms::*call)(std::span<const Key>)) const;

  const std::shared_ptr<MasterKms> master_;
  const CallBound bound_;
};

}  // namespace coffer

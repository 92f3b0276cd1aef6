#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "keystore/base/mutex.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// A master key that is asked again when trying again may help (kKmsUnavailable, and nothing else):
/// after a pause that doubles, with a random part, so that a thousand nodes do not come back at one
/// moment. Once it gave up, calls fail at once for a while. Thread-safe if the master key is.
class PatientKms final : public MasterKms {
 public:
  struct Patience {
    std::chrono::milliseconds total{5000};  ///< no attempt begins later than this
    std::chrono::milliseconds first_pause{100};
    std::chrono::milliseconds longest_pause{1600};
    std::chrono::milliseconds hold_off{2000};  ///< after giving up
  };

  PatientKms(std::shared_ptr<MasterKms> master, Patience patience);

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> wrap_all(std::span<const KeyInPlace> keys) override;
  Result<std::vector<SecretBytes>> unwrap_all(std::span<const WrappedInPlace> keys) override;
  Result<ByteVector> rewrap(Bytes wrapped, const KeyContext& context) override;
  Result<std::vector<ByteVector>> rewrap_all(std::span<const WrappedInPlace> keys) override;
  [[nodiscard]] std::string version_of(Bytes wrapped) const override;
  Result<std::string> newest_version() override;
  [[nodiscard]] std::size_t batch_size() const override { return master_->batch_size(); }
  [[nodiscard]] MasterKeyRecord describe() const override;
  /// Once.
  Result<std::vector<KmsFact>> inspect() override { return master_->inspect(); }

 private:
  using Time = std::chrono::steady_clock::time_point;

  template <typename T>
  Result<T> ask(const std::function<Result<T>()>& call);
  /// What the last one to give up heard, as long as that is not long ago.
  std::optional<Error> known_trouble();
  void give_up(const Error& error);
  void answered();

  const std::shared_ptr<MasterKms> master_;
  const Patience patience_;
  Mutex mutex_;
  std::optional<Error> trouble_ GUARDED_BY(mutex_);
  Time trouble_until_ GUARDED_BY(mutex_);
};

}  // namespace coffer

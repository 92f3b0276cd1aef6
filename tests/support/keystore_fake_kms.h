#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/kms/master_kms.h"

namespace coffer::testing {

/// A master key in memory that counts what it is asked, remembers the keys it was given to wrap (a
/// test searches files for them), and fails, throws or keeps callers waiting when told to.
/// Thread-safe. A forked child has the same master key.
class FakeKms final : public MasterKms {
 public:
  FakeKms();
  /// Another way to the same master key, with counters and failures of its own.
  explicit FakeKms(ByteVector master) : master_(std::move(master)) {}
  [[nodiscard]] const ByteVector& master() const { return master_; }
  /// The version that `describe` tells. To be said before others use it.
  void call_it(std::string version) { version_ = std::move(version); }

  Result<ByteVector> wrap(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unwrap(Bytes wrapped, const KeyContext& context) override;
  [[nodiscard]] MasterKeyRecord describe() const override;

  [[nodiscard]] std::size_t wraps();
  [[nodiscard]] std::size_t unwraps();
  [[nodiscard]] std::size_t unwraps(KeyContext::Purpose purpose);

  /// From now on every call fails with `error`; nothing: they succeed again.
  void fail_with(std::optional<Error> error);
  /// That many calls succeed, then all fail with kKeyUnavailable until fail_with(nullopt).
  void fail_after(std::size_t calls);
  /// Every call throws std::bad_alloc, as locked memory does when it is out.
  void run_out_of_memory(bool out);

  /// Callers wait from `hold` until `let_go`.
  void hold();
  void let_go();
  [[nodiscard]] std::size_t waiting();

  /// Every key that passed through here in the clear, and the master key itself.
  [[nodiscard]] std::vector<ByteVector> keys_seen();

 private:
  /// What stands before each call: waiting, failing, throwing.
  Result<void> admit();

  const ByteVector master_;
  std::string version_ = "1";

  Mutex mutex_;
  CondVar changed_;
  std::size_t wraps_ GUARDED_BY(mutex_) = 0;
  std::map<KeyContext::Purpose, std::size_t> unwraps_ GUARDED_BY(mutex_);
  std::optional<Error> failure_ GUARDED_BY(mutex_);
  std::optional<std::size_t> calls_left_ GUARDED_BY(mutex_);
  bool out_of_memory_ GUARDED_BY(mutex_) = false;
  bool held_ GUARDED_BY(mutex_) = false;
  std::size_t waiting_ GUARDED_BY(mutex_) = 0;
  std::vector<ByteVector> seen_ GUARDED_BY(mutex_);
};

}  // namespace coffer::testing

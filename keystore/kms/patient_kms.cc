#include "keystore/kms/patient_kms.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "keystore/crypto/random.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Between half of it and all.
milliseconds jittered(milliseconds pause) {
  std::array<std::uint8_t, 2> random{};
  random_bytes(random);
  const auto half = pause.count() / 2;
  return milliseconds(pause.count() - half * (random[0] * 256 + random[1]) / 65536);
}

}  // namespace

PatientKms::PatientKms(std::shared_ptr<MasterKms> master, Patience patience)
    : master_(std::move(master)), patience_(patience) {}

std::optional<Error> PatientKms::known_trouble() {
  MutexLock lock(mutex_);
  if (trouble_.has_value() && steady_clock::now() >= trouble_until_) trouble_.reset();
  return trouble_;
}

void PatientKms::give_up(const Error& error) {
  MutexLock lock(mutex_);
  trouble_ = error;
  trouble_until_ = steady_clock::now() + patience_.hold_off;
}

void PatientKms::answered() {
  MutexLock lock(mutex_);
  trouble_.reset();
}

template <typename T>
Result<T> PatientKms::ask(const std::function<Result<T>()>& call) {
  if (auto trouble = known_trouble()) return *std::move(trouble);
  const auto begun = steady_clock::now();
  milliseconds pause = patience_.first_pause;
  while (true) {
    auto outcome = call();
    if (outcome || outcome.error().code != Code::kKmsUnavailable) {
      answered();
      return outcome;
    }
    const milliseconds wait = jittered(pause);
    if (steady_clock::now() + wait - begun > patience_.total) {
      give_up(outcome.error());
      return outcome;
    }
    std::this_thread::sleep_for(wait);
    pause = std::min(2 * pause, patience_.longest_pause);
  }
}

Result<ByteVector> PatientKms::wrap(const SecretBytes& key, const KeyContext& context) {
  return ask<ByteVector>([&] { return master_->wrap(key, context); });
}

Result<SecretBytes> PatientKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return ask<SecretBytes>([&] { return master_->unwrap(wrapped, context); });
}

Result<std::vector<ByteVector>> PatientKms::wrap_all(std::span<const KeyInPlace> keys) {
  return ask<std::vector<ByteVector>>([&] { return master_->wrap_all(keys); });
}

Result<std::vector<SecretBytes>> PatientKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  return ask<std::vector<SecretBytes>>([&] { return master_->unwrap_all(keys); });
}

Result<std::vector<ByteVector>> PatientKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  return ask<std::vector<ByteVector>>([&] { return master_->rewrap_all(keys); });
}

Result<ByteVector> PatientKms::rewrap(Bytes wrapped, const KeyContext& context) {
  return ask<ByteVector>([&] { return master_->rewrap(wrapped, context); });
}

std::string PatientKms::version_of(Bytes wrapped) const { return master_->version_of(wrapped); }

Result<std::string> PatientKms::newest_version() {
  return ask<std::string>([&] { return master_->newest_version(); });
}

MasterKeyRecord PatientKms::describe() const { return master_->describe(); }

}  // namespace coffer

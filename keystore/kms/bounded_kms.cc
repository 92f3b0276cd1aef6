#include "keystore/kms/bounded_kms.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "keystore/base/mutex.h"

namespace coffer {
namespace {

/// Calls under way for one batch of many keys.
constexpr std::size_t kMostAtOnce = 8;

/// Runs `work`, which does not throw, on this thread and as many more as can be had.
void run_beside_each_other(std::size_t threads, const std::function<void()>& work) {
  std::vector<std::thread> others;
  try {
    while (others.size() + 1 < threads) others.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer will do.
  }
  work();
  for (std::thread& other : others) other.join();
}

/// Makes `count` calls, several of them at once; the first error, after which no more are begun.
Result<void> beside_each_other(std::size_t count,
                               const std::function<Result<void>(std::size_t)>& call) {
  std::atomic<std::size_t> next = 0;
  Mutex mutex;
  std::optional<Error> failure;
  run_beside_each_other(std::min(count, kMostAtOnce), [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      Result<void> done = Error{Code::kExhausted, ENOMEM, "keys of many files"};
      try {
        done = call(i);
      } catch (const std::bad_alloc&) {
        // As it says.
      }
      if (done) continue;
      MutexLock lock(mutex);
      if (!failure) failure = done.error();
      next = count;
      return;
    }
  });
  if (failure) return *std::move(failure);
  return {};
}

}  // namespace

BoundedKms::BoundedKms(std::shared_ptr<MasterKms> master, std::chrono::milliseconds deadline)
    : master_(std::move(master)), bound_(deadline) {}

template <typename T>
Result<T> BoundedKms::in_time(std::function<Result<T>(MasterKms&)> call) const {
  return bound_.run<T>(master_->describe().uri,
                       [call = std::move(call), master = master_] { return call(*master); });
}

Result<ByteVector> BoundedKms::wrap(const SecretBytes& key, const KeyContext& context) {
  const auto copy = std::make_shared<const SecretBytes>(key.clone());
  return in_time<ByteVector>(
      [copy, context](MasterKms& master) { return master.wrap(*copy, context); });
}

Result<std::vector<ByteVector>> BoundedKms::wrap_batch(std::span<const KeyInPlace> keys) const {
  // A call may outlive us, and those who gave us the keys.
  struct Copies {
    std::vector<SecretBytes> keys;
    std::vector<KeyInPlace> placed;
  };
  const auto copies = std::make_shared<Copies>();
  copies->keys.reserve(keys.size());
  for (const KeyInPlace& each : keys) {
    copies->keys.push_back(each.key->clone());
    copies->placed.push_back({&copies->keys.back(), each.context});
  }
  auto wrapped = TRY(in_time<std::vector<ByteVector>>(
      [copies](MasterKms& master) { return master.wrap_all(copies->placed); }));
  if (wrapped.size() == keys.size()) return wrapped;
  return Error{Code::kKmsUnavailable, 0, master_->describe().uri + ": not all keys were wrapped"};
}

Result<std::vector<ByteVector>> BoundedKms::wrap_all(std::span<const KeyInPlace> keys) {
  const std::size_t batch = std::max<std::size_t>(1, master_->batch_size());
  std::vector<ByteVector> wrapped(keys.size());
  TRY(beside_each_other((keys.size() + batch - 1) / batch, [&](std::size_t i) -> Result<void> {
    const std::size_t from = i * batch;
    auto some = TRY(wrap_batch(keys.subspan(from, std::min(batch, keys.size() - from))));
    std::move(some.begin(), some.end(), wrapped.begin() + static_cast<std::ptrdiff_t>(from));
    return {};
  }));
  return wrapped;
}

Result<std::vector<SecretBytes>> BoundedKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  std::vector<SecretBytes> unwrapped(keys.size());
  TRY(beside_each_other(keys.size(), [&](std::size_t i) -> Result<void> {
    unwrapped[i] = TRY(unwrap(keys[i].wrapped, keys[i].context));
    return {};
  }));
  return unwrapped;
}

Result<SecretBytes> BoundedKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return in_time<SecretBytes>([copy = ByteVector(wrapped.begin(), wrapped.end()), context](
                                  MasterKms& master) { return master.unwrap(copy, context); });
}

Result<ByteVector> BoundedKms::rewrap(Bytes wrapped, const KeyContext& context) {
  return in_time<ByteVector>([copy = ByteVector(wrapped.begin(), wrapped.end()),
                              context](MasterKms& master) { return master.rewrap(copy, context); });
}

Result<std::vector<ByteVector>> BoundedKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  std::vector<ByteVector> wrapped(keys.size());
  TRY(beside_each_other(keys.size(), [&](std::size_t i) -> Result<void> {
    wrapped[i] = TRY(rewrap(keys[i].wrapped, keys[i].context));
    return {};
  }));
  return wrapped;
}

std::string BoundedKms::version_of(Bytes wrapped) const { return master_->version_of(wrapped); }

Result<std::string> BoundedKms::newest_version() {
  return in_time<std::string>([](MasterKms& master) { return master.newest_version(); });
}

MasterKeyRecord BoundedKms::describe() const { return master_->describe(); }

Result<std::vector<KmsFact>> BoundedKms::inspect() {
  return in_time<std::vector<KmsFact>>([](MasterKms& master) { return master.inspect(); });
}

}  // namespace coffer

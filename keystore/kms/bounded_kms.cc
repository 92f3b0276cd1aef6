#include "keystore/kms/bounded_kms.h"

#include <algorithm>
#include <atomic>
#include <iterator>
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
  others.reserve(threads);
  try {
    while (others.size() + 1 < threads) others.emplace_back(work);
  } catch (const std::exception&) {
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

// A call may outlive us, and those who gave us the keys: hence the copies.

template <typename T>
Result<std::vector<T>> BoundedKms::batch(
    std::span<const KeyInPlace> keys,
    Result<std::vector<T>> (MasterKms::*call)(std::span<const KeyInPlace>)) const {
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
  return in_time<std::vector<T>>(
      [copies, call](MasterKms& master) { return (master.*call)(copies->placed); });
}

template <typename T>
Result<std::vector<T>> BoundedKms::batch(
    std::span<const WrappedInPlace> keys,
    Result<std::vector<T>> (MasterKms::*call)(std::span<const WrappedInPlace>)) const {
  struct Copies {
    std::vector<ByteVector> wrapped;
    std::vector<WrappedInPlace> placed;
  };
  const auto copies = std::make_shared<Copies>();
  copies->wrapped.reserve(keys.size());
  for (const WrappedInPlace& each : keys) {
    copies->wrapped.emplace_back(each.wrapped.begin(), each.wrapped.end());
    copies->placed.push_back({copies->wrapped.back(), each.context});
  }
  return in_time<std::vector<T>>(
      [copies, call](MasterKms& master) { return (master.*call)(copies->placed); });
}

/// A KMS may find only now that it takes fewer at once.
template <typename T, typename Key>
Result<std::vector<T>> BoundedKms::some_or_one_by_one(
    std::span<const Key> keys,
    Result<std::vector<T>> (MasterKms::*call)(std::span<const Key>)) const {
  auto some = batch<T>(keys, call);
  if (some || some.error().code != Code::kUnsupported || master_->batch_size() >= keys.size())
    return some;
  std::vector<T> all;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto one = TRY(batch<T>(keys.subspan(i, 1), call));
    std::ranges::move(one, std::back_inserter(all));
  }
  return all;
}

template <typename T, typename Key>
Result<std::vector<T>> BoundedKms::in_batches(
    std::span<const Key> keys,
    Result<std::vector<T>> (MasterKms::*call)(std::span<const Key>)) const {
  const std::size_t size = std::max<std::size_t>(1, master_->batch_size());
  std::vector<T> all(keys.size());
  TRY(beside_each_other((keys.size() + size - 1) / size, [&](std::size_t i) -> Result<void> {
    const auto asked = keys.subspan(i * size, std::min(size, keys.size() - i * size));
    auto some = TRY(some_or_one_by_one(asked, call));
    if (some.size() != asked.size()) {
      return Error{Code::kKmsUnavailable, 0,
                   master_->describe().uri + ": not all keys were answered for"};
    }
    std::ranges::move(some, all.begin() + static_cast<std::ptrdiff_t>(i * size));
    return {};
  }));
  return all;
}

Result<std::vector<ByteVector>> BoundedKms::wrap_all(std::span<const KeyInPlace> keys) {
  return in_batches(keys, &MasterKms::wrap_all);
}

Result<std::vector<SecretBytes>> BoundedKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  return in_batches(keys, &MasterKms::unwrap_all);
}

Result<std::vector<ByteVector>> BoundedKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  return in_batches(keys, &MasterKms::rewrap_all);
}

Result<SecretBytes> BoundedKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return in_time<SecretBytes>([copy = ByteVector(wrapped.begin(), wrapped.end()), context](
                                  MasterKms& master) { return master.unwrap(copy, context); });
}

Result<ByteVector> BoundedKms::rewrap(Bytes wrapped, const KeyContext& context) {
  return in_time<ByteVector>([copy = ByteVector(wrapped.begin(), wrapped.end()),
                              context](MasterKms& master) { return master.rewrap(copy, context); });
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

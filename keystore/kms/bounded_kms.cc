#include "keystore/kms/bounded_kms.h"

#include <exception>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "keystore/base/mutex.h"

namespace coffer {
namespace {

/// A thread each. One that hung may have been bad luck; more are the token or the network.
constexpr unsigned kMostLate = 4;

/// What a call and its caller share; whoever is later has it alone.
template <typename T>
struct Call {
  Mutex mutex;
  CondVar ended;
  std::optional<Result<T>> outcome GUARDED_BY(mutex);
  bool given_up GUARDED_BY(mutex) = false;
};

}  // namespace

BoundedKms::BoundedKms(std::shared_ptr<MasterKms> master, std::chrono::milliseconds deadline)
    : master_(std::move(master)),
      deadline_(deadline),
      late_(std::make_shared<std::atomic<unsigned>>(0)) {}

template <typename T>
Result<T> BoundedKms::in_time(std::function<Result<T>(MasterKms&)> call) const {
  const auto unavailable = [this](const std::string& why) {
    return Error{Code::kKmsUnavailable, 0, master_->describe().uri + ": " + why};
  };
  if (late_->load() >= kMostLate) return unavailable("earlier calls have not been answered yet");
  const auto shared = std::make_shared<Call<T>>();
  std::thread thread;
  try {
    thread = std::thread([shared, call = std::move(call), master = master_, late = late_] {
      std::optional<Result<T>> outcome;
      try {
        outcome = call(*master);
      } catch (const std::exception& failure) {
        outcome = Error{Code::kExhausted, ENOMEM, failure.what()};
      }
      MutexLock lock(shared->mutex);
      if (shared->given_up) --*late;
      shared->outcome = std::move(outcome);
      shared->ended.notify_one();
    });
  } catch (const std::system_error& failure) {
    return Error{Code::kExhausted, EAGAIN, failure.what()};
  }
  const auto until = std::chrono::steady_clock::now() + deadline_;
  {
    MutexLock lock(shared->mutex);
    while (!shared->outcome.has_value()) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= left.zero()) {
        shared->given_up = true;
        ++*late_;
        thread.detach();
        return unavailable("no answer for " + std::to_string(deadline_.count()) + " ms");
      }
      shared->ended.wait_for(shared->mutex, left);
    }
  }
  // At once, but not before: a thread that still ends while the process exits finds OpenSSL gone.
  thread.join();
  MutexLock lock(shared->mutex);
  return *std::move(shared->outcome);
}

Result<ByteVector> BoundedKms::wrap(const SecretBytes& key, const KeyContext& context) {
  const auto copy = std::make_shared<const SecretBytes>(key.clone());
  return in_time<ByteVector>(
      [copy, context](MasterKms& master) { return master.wrap(*copy, context); });
}

Result<SecretBytes> BoundedKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return in_time<SecretBytes>([copy = ByteVector(wrapped.begin(), wrapped.end()), context](
                                  MasterKms& master) { return master.unwrap(copy, context); });
}

MasterKeyRecord BoundedKms::describe() const { return master_->describe(); }

Result<std::vector<KmsFact>> BoundedKms::inspect() {
  return in_time<std::vector<KmsFact>>([](MasterKms& master) { return master.inspect(); });
}

}  // namespace coffer

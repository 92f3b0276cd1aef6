#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "keystore/base/mutex.h"
#include "keystore/base/result.h"

namespace coffer {

/// Calls of others' code that end in time, whatever becomes of them: each has a thread, and one
/// that takes too long goes on by itself. While some do, no more are begun. Thread-safe.
class CallBound {
 public:
  explicit CallBound(std::chrono::milliseconds deadline)
      : deadline_(deadline), late_(std::make_shared<std::atomic<unsigned>>(0)) {}

  /// The call's outcome; kKmsUnavailable, after the words `of`, if it is late. What the call refers
  /// to has to live as long as it does, and so to be its own.
  template <typename T>
  Result<T> run(const std::string& of, std::function<Result<T>()> call) const {
    if (late_->load() >= kMostLate) {
      return Error{Code::kKmsUnavailable, 0, of + ": earlier calls have not been answered yet"};
    }
    const auto shared = std::make_shared<Call<T>>();
    std::thread thread;
    try {
      thread = std::thread([shared, call = std::move(call), late = late_] {
        auto outcome = outcome_of(call);
        MutexLock lock(shared->mutex);
        if (shared->given_up) --*late;
        shared->outcome.emplace(std::move(outcome));
        shared->ended.notify_one();
      });
    } catch (const std::system_error& failure) {
      return Error{Code::kExhausted, EAGAIN, failure.what()};
    }
    if (!wait_for(*shared)) {
      thread.detach();
      return Error{Code::kKmsUnavailable, 0,
                   of + ": no answer for " + std::to_string(deadline_.count()) + " ms"};
    }
    // At once, but not before: a thread that still ends while the process exits finds OpenSSL gone.
    thread.join();
    MutexLock lock(shared->mutex);
    return *std::move(shared->outcome);
  }

 private:
  /// One that hung may have been bad luck; more are the token or the network.
  static constexpr unsigned kMostLate = 4;

  /// What a call and its caller share; whoever is later has it alone.
  template <typename T>
  struct Call {
    Mutex mutex;
    CondVar ended;
    std::optional<Result<T>> outcome GUARDED_BY(mutex);
    bool given_up GUARDED_BY(mutex) = false;
  };

  template <typename T>
  static Result<T> outcome_of(const std::function<Result<T>()>& call) {
    try {
      return call();
    } catch (const std::exception& failure) {
      return Error{Code::kExhausted, ENOMEM, failure.what()};
    }
  }

  template <typename T>
  bool wait_for(Call<T>& call) const {
    const auto until = std::chrono::steady_clock::now() + deadline_;
    MutexLock lock(call.mutex);
    while (!call.outcome.has_value()) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= left.zero()) {
        call.given_up = true;
        ++*late_;
        return false;
      }
      call.ended.wait_for(call.mutex, left);
    }
    return true;
  }

  const std::chrono::milliseconds deadline_;
  const std::shared_ptr<std::atomic<unsigned>> late_;  ///< calls past their deadline
};

}  // namespace coffer

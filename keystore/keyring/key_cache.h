#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "keystore/base/clock.h"
#include "keystore/base/mutex.h"
#include "keystore/base/result.h"

namespace coffer {

/// How long what the KMS unwrapped is used before the KMS is asked again, so that a revocation
/// there bites; and how much longer if the KMS can't be reached then. Seconds.
struct KeyLifetime {
  std::int64_t ttl_s = 900;
  std::int64_t grace_s = 0;
};

/// What the KMS unwrapped, for as long as it may be used. Of those who need one key that is not
/// there one asks, without a lock, and the others wait for his answer. Thread-safe.
template <typename Id, typename Key, typename Hash = std::hash<Id>>
class KeyCache {
 public:
  using Held = std::shared_ptr<const Key>;
  using Ask = std::function<Result<Key>(const Id&)>;  ///< of the keystore and the KMS

  /// `clock` outlives the cache.
  KeyCache(const Clock& clock, KeyLifetime lifetime) : clock_(clock), lifetime_(lifetime) {}

  /// The key, asked for if it has to be. The errors are `ask`'s; kKmsUnavailable is none while the
  /// last key may still serve.
  Result<Held> get(const Id& id, const Ask& ask) {
    MutexLock lock(mutex_);
    const auto kept = kept_.find(id);
    if (kept != kept_.end() && is_fresh(kept->second)) {
      kept->second.used = true;
      return kept->second.key;
    }
    const auto asking = asking_.find(id);
    if (asking == asking_.end()) return ask_for(id, ask);
    // Whoever asks finds out when it is over; the others need not wait for that.
    if (kept != kept_.end() && kept->second.late && is_in_grace(kept->second)) {
      return kept->second.key;
    }
    const std::shared_ptr<Answer> answer = asking->second;
    while (!answer->has_value()) answered_.wait(mutex_);
    return **answer;
  }

  /// Asks anew for keys that are in use and have less than a quarter of their time left; meanwhile
  /// they are used. One that the KMS refuses now is dropped at once. Keys past their time go.
  void refresh(const Ask& ask) {
    MutexLock lock(mutex_);
    std::vector<Id> due;
    std::erase_if(kept_, [&](const auto& each) REQUIRES(mutex_) {
      return !is_fresh(each.second) && !is_in_grace(each.second);
    });
    for (const auto& [id, kept] : kept_) {
      if (is_due(kept) && !asking_.contains(id)) due.push_back(id);
    }
    for (const Id& id : due) {
      if (!asking_.contains(id)) (void)ask_for(id, ask);
    }
  }

  /// Drops every key. What is being asked for is for those who wait for it, and not kept.
  void forget() {
    MutexLock lock(mutex_);
    kept_.clear();
    asking_.clear();
  }

 private:
  struct Kept {
    Held key;
    std::int64_t expires_at = 0;
    bool used = false;  ///< by others than who asked
    bool late = false;  ///< the KMS could not be reached when it was asked last
  };
  using Answer = std::optional<Result<Held>>;

  /// False too if the clock was set back.
  [[nodiscard]] bool is_fresh(const Kept& kept) const {
    const std::int64_t now = clock_.unix_seconds();
    return now < kept.expires_at && kept.expires_at - now <= lifetime_.ttl_s;
  }
  [[nodiscard]] bool is_in_grace(const Kept& kept) const {
    const std::int64_t now = clock_.unix_seconds();
    return now < kept.expires_at + lifetime_.grace_s && kept.expires_at - now <= lifetime_.ttl_s;
  }
  /// A key past its time that others still use for want of a better one as well.
  [[nodiscard]] bool is_due(const Kept& kept) const {
    if (!is_fresh(kept)) return true;
    return kept.used && kept.expires_at - clock_.unix_seconds() < lifetime_.ttl_s / 4;
  }
  static bool is_refusal_of_kms(Code code) {
    return code == Code::kKmsDenied || code == Code::kKmsKeyMissing ||
           code == Code::kKmsKeyDisabled || code == Code::kRevoked;
  }

  Result<Held> ask_for(const Id& id, const Ask& ask) REQUIRES(mutex_) {
    const auto answer = std::make_shared<Answer>();
    asking_[id] = answer;
    const std::int64_t now = clock_.unix_seconds();
    mutex_.unlock();
    std::optional<Result<Key>> asked;
    std::exception_ptr thrown;
    try {
      asked.emplace(ask(id));
    } catch (...) {
      // Those who wait get an answer all the same.
      thrown = std::current_exception();
      asked.emplace(Error{Code::kExhausted, ENOMEM, "asking for a key"});
    }
    mutex_.lock();
    const auto mine = asking_.find(id);
    const bool forgotten = mine == asking_.end() || mine->second != answer;
    if (!forgotten) asking_.erase(mine);
    answer->emplace(take(id, *std::move(asked), now, forgotten));
    answered_.notify_all();
    if (thrown != nullptr) std::rethrow_exception(thrown);
    return **answer;
  }

  Result<Held> take(const Id& id, Result<Key> asked, std::int64_t asked_at, bool forgotten)
      REQUIRES(mutex_) {
    if (asked) {
      auto key = std::make_shared<const Key>(*std::move(asked));
      if (!forgotten) kept_[id] = Kept{.key = key, .expires_at = asked_at + lifetime_.ttl_s};
      return key;
    }
    const auto kept = kept_.find(id);
    if (forgotten || kept == kept_.end()) return std::move(asked).error();
    const Code code = asked.error().code;
    if (code == Code::kKmsUnavailable && is_in_grace(kept->second)) {
      kept->second.late = true;
      return kept->second.key;
    }
    if (is_refusal_of_kms(code) || !is_fresh(kept->second)) kept_.erase(kept);
    return std::move(asked).error();
  }

  const Clock& clock_;
  const KeyLifetime lifetime_;
  Mutex mutex_;
  CondVar answered_;
  std::unordered_map<Id, Kept, Hash> kept_ GUARDED_BY(mutex_);
  std::unordered_map<Id, std::shared_ptr<Answer>, Hash> asking_ GUARDED_BY(mutex_);
};

}  // namespace coffer

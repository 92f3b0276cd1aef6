#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// For KeptCredential, and overloaded for its other types.
inline bool same_credential(const SecretBytes& a, const SecretBytes& b) {
  return constant_time_equal(a.expose(), b.expose());
}

/// What a node shows a KMS, got in calls of their own: it is kept, got anew before its end, and
/// once more when it is refused and another may help. Thread-safe; no lock is held while one is
/// got.
template <typename Credential>
class KeptCredential {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Now = std::function<Time()>;

  /// As it was got just now.
  struct Fresh {
    Credential credential;
    std::optional<std::chrono::seconds> lifetime;  ///< none: no end is known
    std::chrono::milliseconds renew_before{0};     ///< its end
  };
  struct Held {
    Held(Fresh fresh, Time now) : credential(std::move(fresh.credential)), since(now) {
      if (!fresh.lifetime) return;
      over_at = since + *fresh.lifetime;
      renew_at = over_at - fresh.renew_before;
    }
    const Credential credential;
    const Time since;
    Time over_at = Time::max();
    Time renew_at = Time::max();
    std::atomic<bool> accepted{false};  ///< for the caller to set: somebody took it
  };
  using HeldPtr = std::shared_ptr<Held>;

  explicit KeptCredential(Now now = std::chrono::steady_clock::now) : now_(std::move(now)) {}

  /// The one in use. `get` gives a Result<Fresh> where there is none, or it is over; also where it
  /// is to be renewed, and then it has the one in use (else null), which stays if that fails.
  template <typename Get>
  Result<HeldPtr> current(const Get& get) {
    HeldPtr usable;
    {
      const Time now = now_();
      MutexLock lock(mutex_);
      if (held_ != nullptr && now < held_->over_at) {
        if (now < renew_at_) return held_;
        // One asks; the others go on meanwhile.
        renew_at_ = now + std::min<Time::duration>(kBetweenRenewals, (held_->over_at - now) / 4);
        usable = held_;
      }
    }
    auto got = get(usable != nullptr ? &usable->credential : nullptr);
    if (got) return keep(*std::move(got));
    if (usable != nullptr && now_() < usable->over_at) return usable;
    return std::move(got).error();
  }

  /// Another than this one, which was refused: what others got meanwhile, or what `get` (a
  /// Result<Fresh>) gives now. Null if none would help: it never was taken, and is not old.
  template <typename Get>
  Result<HeldPtr> other_than(const HeldPtr& refused, const Get& get) {
    {
      MutexLock lock(mutex_);
      if (held_ != refused) return held_;
    }
    if (!refused->accepted && now_() < std::min(refused->over_at, refused->since + kHopeless))
      return HeldPtr();
    Fresh got = TRY(get());
    if (same_credential(got.credential, refused->credential)) return HeldPtr();
    return keep(std::move(got));
  }

 private:
  /// Another helps where this one is taken no more; not where it never was.
  static constexpr std::chrono::seconds kHopeless{30};
  /// At most, while it can't be renewed.
  static constexpr std::chrono::seconds kBetweenRenewals{10};

  HeldPtr keep(Fresh fresh) {
    auto held = std::make_shared<Held>(std::move(fresh), now_());
    MutexLock lock(mutex_);
    held_ = held;
    renew_at_ = held->renew_at;
    return held;
  }

  const Now now_;
  Mutex mutex_;
  HeldPtr held_ GUARDED_BY(mutex_);
  Time renew_at_ GUARDED_BY(mutex_);
};

}  // namespace coffer

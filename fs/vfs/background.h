#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>

#include "keystore/base/mutex.h"

namespace coffer {

/// Work that no caller waits for, done in the order it came by one thread, which begins with the
/// first of it. Thread-safe.
class Background {
 public:
  /// No more than `most` pieces of work wait.
  explicit Background(std::size_t most = SIZE_MAX) : most_(most) {}
  /// Does what is left.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// False if too much waits already: the caller is to do it himself. `work` must not throw.
  bool add(std::function<void()> work);
  /// Returns when all that was added before is done.
  void drain();

 private:
  void loop();

  const std::size_t most_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> waiting_ GUARDED_BY(mutex_);
  bool busy_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_ GUARDED_BY(mutex_);
};

}  // namespace coffer

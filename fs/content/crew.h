#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "keystore/base/mutex.h"

namespace coffer {

/// Threads that help one that has much to encrypt: the parts of one write that comes alone, by a
/// cipher that is slow on this machine. What is done before a sleeping thread would be there to
/// help is done without. Thread-safe; helps one at a time, and the others do their own.
class Crew {
 public:
  Crew() = default;
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  /// Calls `part`, which does not throw, for each number below `parts`, in no order and from
  /// several threads, and returns when all calls have.
  void run(std::size_t parts, const std::function<void(std::size_t)>& part);

 private:
  struct Work {
    const std::function<void(std::size_t)>& part;
    const std::size_t parts;
    std::atomic<std::size_t> next;
    unsigned helpers = 0;  ///< at work on it; guarded by mutex_

    [[nodiscard]] bool is_left() const { return next.load(std::memory_order_relaxed) < parts; }
    void take_parts() {
      for (std::size_t i = next++; i < parts; i = next++) part(i);
    }
  };

  void share(Work& work);
  void hire() REQUIRES(mutex_);
  void help();

  std::atomic_flag busy_;
  Mutex mutex_;
  CondVar wanted_;
  CondVar left_;
  Work* work_ GUARDED_BY(mutex_) = nullptr;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool hired_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace coffer

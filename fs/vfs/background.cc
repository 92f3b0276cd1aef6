#include "fs/vfs/background.h"

#include <utility>

namespace coffer {

Background::~Background() {
  std::thread thread;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
  }
  changed_.notify_all();
  if (thread.joinable()) thread.join();
}

bool Background::add(std::function<void()> work) {
  {
    MutexLock lock(mutex_);
    if (waiting_.size() >= most_) return false;
    // First, for it may fail: what was added is done.
    if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
    waiting_.push_back(std::move(work));
  }
  changed_.notify_all();
  return true;
}

void Background::drain() {
  MutexLock lock(mutex_);
  while (busy_ || !waiting_.empty()) changed_.wait(mutex_);
}

void Background::loop() {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(mutex_);
      busy_ = false;
      if (waiting_.empty()) changed_.notify_all();  // for `drain`
      while (waiting_.empty() && !stopping_) changed_.wait(mutex_);
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
      busy_ = true;
    }
    work();
  }
}

}  // namespace coffer

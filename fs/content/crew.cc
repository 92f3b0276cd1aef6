#include "fs/content/crew.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace coffer {
namespace {

using std::chrono::steady_clock;

/// By as many the others are judged.
constexpr std::size_t kTried = 16;
/// About three times what a sleeping thread needs to be there.
constexpr std::chrono::microseconds kWorthIt{100};
constexpr unsigned kMostHelpers = 3;

}  // namespace

Crew::~Crew() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Crew::run(std::size_t parts, const std::function<void(std::size_t)>& part) {
  const auto begun = steady_clock::now();
  const std::size_t tried = std::min(kTried, parts);
  for (std::size_t i = 0; i < tried; ++i) part(i);
  if (tried == parts) return;
  Work work{part, parts, tried};
  const auto rest = (steady_clock::now() - begun) * (parts - tried) / tried;
  if (rest < kWorthIt || busy_.test_and_set(std::memory_order_acquire)) {
    work.take_parts();
    return;
  }
  share(work);
  busy_.clear(std::memory_order_release);
}

void Crew::share(Work& work) {
  {
    MutexLock lock(mutex_);
    if (!hired_) hire();
    work_ = &work;
  }
  wanted_.notify_all();
  work.take_parts();
  MutexLock lock(mutex_);
  work_ = nullptr;
  while (work.helpers > 0) left_.wait(mutex_);
}

void Crew::hire() {
  hired_ = true;
  const unsigned wanted = std::min(kMostHelpers, std::thread::hardware_concurrency() - 1);
  try {
    while (threads_.size() < wanted) threads_.emplace_back([this] { help(); });
  } catch (const std::system_error&) {
    // Fewer will do.
  }
}

void Crew::help() {
  MutexLock lock(mutex_);
  while (true) {
    while (!stopping_ && (work_ == nullptr || !work_->is_left())) wanted_.wait(mutex_);
    if (stopping_) return;
    Work& work = *work_;
    ++work.helpers;
    mutex_.unlock();
    work.take_parts();
    mutex_.lock();
    if (--work.helpers == 0) left_.notify_all();
  }
}

}  // namespace coffer

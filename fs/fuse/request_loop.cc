#include "fs/fuse/request_loop.h"

#include <linux/fuse.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

namespace coffer {
namespace {

/// What is worth less than to put a thread to sleep and to call one, at most.
constexpr std::chrono::microseconds kLongestMoment{200};
/// How long a lead may be free while a request is answered that should not have taken a moment.
constexpr std::chrono::milliseconds kPatience{1};
/// One thread answers what another sent in between; more than that takes more threads.
constexpr unsigned kBacklog = 8;
/// Who gave way for longer than this shares his processor, and does better to sleep, this many
/// times.
constexpr std::chrono::microseconds kOthersTurn{50};
constexpr unsigned kCrowd = 32;

std::size_t operation_of(const fuse_buf& request) {
  fuse_in_header header{};
  if (request.size >= sizeof(header)) std::memcpy(&header, request.mem, sizeof(header));
  return header.opcode;
}

/// Those that ask a program to end, lest they interrupt what is done for a caller.
void leave_signals_to_others() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

void RequestLoop::Mean::add(Nanoseconds value) {
  const std::int64_t mean = value_.load(std::memory_order_relaxed);
  value_.store(mean + (value.count() - mean) / 8, std::memory_order_relaxed);
}

RequestLoop::Nanoseconds RequestLoop::Mean::value() const {
  return Nanoseconds(value_.load(std::memory_order_relaxed));
}

/// One thread's, for one request after another.
class RequestLoop::Buffer {
 public:
  explicit Buffer(RequestLoop& loop) : loop_(loop) {
    MutexLock lock(loop_.buffers_mutex_);
    loop_.buffers_.push_back(this);
  }
  ~Buffer() {
    {
      MutexLock lock(loop_.buffers_mutex_);
      std::erase(loop_.buffers_, this);
    }
    std::free(content.mem);  // NOLINT(cppcoreguidelines-no-malloc): libfuse's
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// From here to `leave` it holds a request.
  void use() {
    while (busy_.exchange(true)) ::sched_yield();  // it is being wiped
  }
  void leave() {
    busy_ = false;
    if (to_be_wiped_.load()) wipe_if_idle();
  }
  /// Now, or when it is left.
  void wipe() {
    to_be_wiped_ = true;
    wipe_if_idle();
  }

  fuse_buf content{};

 private:
  /// Whoever is last to look sees to it: `wipe`, or `leave`.
  void wipe_if_idle() {
    if (busy_.exchange(true)) return;
    if (to_be_wiped_.exchange(false) && content.mem != nullptr) {
      coffer::wipe({static_cast<std::uint8_t*>(content.mem), ::malloc_usable_size(content.mem)});
    }
    busy_ = false;
  }

  RequestLoop& loop_;
  std::atomic<bool> busy_ = false;
  std::atomic<bool> to_be_wiped_ = false;
};

RequestLoop::RequestLoop(RequestSource& source, unsigned threads)
    : source_(source),
      most_threads_(threads),
      processors_(std::max(1U, std::thread::hardware_concurrency())),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      call_(kLongestMoment / 2) {}

int RequestLoop::run() {
  if (!wake_.valid()) return -EMFILE;
  {
    MutexLock lock(mutex_);
    threads_.reserve(most_threads_);
  }
  work();
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    threads = std::move(threads_);
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(mutex_);
  return outcome_;
}

void RequestLoop::stop() noexcept {
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void RequestLoop::wipe_requests() {
  MutexLock lock(buffers_mutex_);
  for (Buffer* const buffer : buffers_) buffer->wipe();
}

void RequestLoop::work() {
  Buffer request(*this);
  bool answered = false;
  while (take_lead(answered)) {
    if (!next(request)) return;
    const std::size_t kind = operation_of(request.content) % answers_.size();
    leave_lead(kind);
    const auto begun = Clock::now();
    source_.process(request.content);
    answers_[kind].add(Clock::now() - begun);
    request.leave();
    answered = true;
  }
}

bool RequestLoop::take_lead(bool answered) {
  MutexLock lock(mutex_);
  if (answered) --answering_;
  if (led_) {
    ++idle_;
    while (!ended_ && !wait_for_lead()) {
    }
    --idle_;
  }
  if (ended_) return false;
  led_ = true;
  wanted_ = false;
  ++turn_;
  return true;
}

bool RequestLoop::wait_for_lead() {
  const bool watches = in_burst_ && !watched_;
  const std::uint64_t turn = turn_;
  bool called = true;
  if (watches) {
    watched_ = true;
    called = called_.wait_for(mutex_, kPatience);
    watched_ = false;
  } else {
    called_.wait(mutex_);
  }
  if (called && called_at_ != Clock::time_point{}) {
    call_.add(Clock::now() - called_at_);
    called_at_ = {};
  }
  // Not whether it was called: a call at the very end of its patience it does not hear.
  return !led_ && (wanted_ || turn_ == turn);
}

void RequestLoop::leave_lead(std::size_t kind) {
  const bool quick = last_wait_ < moment() && answers_[kind].value() < moment();
  MutexLock lock(mutex_);
  led_ = false;
  ++answering_;
  if (quick && (backlog_ < kBacklog || answering_ >= processors_)) {
    in_burst_ = true;
    if (watched_) return;  // else whoever is called will
  }
  call_another();
}

void RequestLoop::call_another() {
  if (idle_ > 0) {
    wanted_ = true;
    called_at_ = Clock::now();
    called_.notify_one();
  } else if (threads_.size() + 1 < most_threads_ && !ended_) {
    try {
      threads_.emplace_back([this] {
        leave_signals_to_others();
        work();
      });
    } catch (const std::exception&) {
      // Those that are there go on.
    }
  }
}

bool RequestLoop::next(Buffer& buffer) {
  const auto begun = Clock::now();
  int got = take(buffer);
  backlog_ = got > 0 ? backlog_ + 1 : 0;
  if (crowded_ > 0) {
    --crowded_;
  } else if (got == -EAGAIN && last_wait_ < moment()) {
    got = take_soon(buffer, begun);
  }
  while (got == -EAGAIN) {
    sleep();
    got = take(buffer);
  }
  last_wait_ = Clock::now() - begun;
  if (got <= 0) end(got);
  return got > 0;
}

int RequestLoop::take(Buffer& buffer) {
  buffer.use();
  const int got = stopping_ ? 0 : source_.receive(buffer.content);
  if (got <= 0) buffer.leave();
  return got == -EINTR ? -EAGAIN : got;
}

int RequestLoop::take_soon(Buffer& buffer, Clock::time_point begun) {
  auto looked = begun;
  while (true) {
    ::sched_yield();
    const int got = take(buffer);
    const auto now = Clock::now();
    if (now - looked > kOthersTurn) crowded_ = kCrowd;
    if (got != -EAGAIN || now - begun > moment() || crowded_ > 0) return got;
    looked = now;
  }
}

void RequestLoop::sleep() {
  {
    MutexLock lock(mutex_);
    in_burst_ = false;
  }
  pollfd both[2] = {{.fd = source_.fd(), .events = POLLIN, .revents = 0},
                    {.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  (void)::poll(both, 2, -1);
}

void RequestLoop::end(int outcome) {
  MutexLock lock(mutex_);
  ended_ = true;
  outcome_ = outcome;
  called_.notify_all();
}

RequestLoop::Nanoseconds RequestLoop::moment() const {
  return std::min<Nanoseconds>(kLongestMoment, 4 * call_.value());
}

}  // namespace coffer

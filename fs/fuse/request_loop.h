#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "fs/fuse/operations.h"
#include "keystore/base/mutex.h"
#include "keystore/base/unique_fd.h"

namespace coffer {

/// Where requests come from, and who answers them: libfuse's session. Thread-safe.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// Readable while a request waits, or at the end.
  [[nodiscard]] virtual int fd() const = 0;
  /// Takes one request without waiting: its length; 0 at the end; -EAGAIN or -EINTR if there is
  /// none; another -errno if that fails. `buffer.mem` is allocated where it is null, and the
  /// caller's to free.
  virtual int receive(fuse_buf& buffer) = 0;
  virtual void process(const fuse_buf& buffer) = 0;
};

/// The threads that take requests and answer them.
///
/// One at a time leads: it waits for a request, takes it, leaves the lead and answers. Whoever has
/// answered takes the lead if it is free. To wake a sleeping thread costs more than most answers,
/// so that one is called only where the answer takes long, or where requests wait time after time.
/// What comes in quick succession and is answered quickly is one thread's, which looks for the next
/// request for a moment before it sleeps, unless others want its processor. Another watches
/// meanwhile, and takes a lead that is left free for too long: a request that blocks against
/// expectation holds up the others for no more than that.
class RequestLoop {
 public:
  /// No more than `threads`, the one of `run` among them; they begin as they are needed.
  RequestLoop(RequestSource& source, unsigned threads);
  RequestLoop(const RequestLoop&) = delete;
  RequestLoop& operator=(const RequestLoop&) = delete;

  /// Answers requests until the source ends or `stop` is called: then 0, else -errno. Once.
  int run();
  /// From any thread, or a signal handler.
  void stop() noexcept;
  /// Leaves nothing of requests that were answered; of those that are being answered, when they
  /// are. From any thread.
  void wipe_requests();

 private:
  using Clock = std::chrono::steady_clock;
  using Nanoseconds = std::chrono::nanoseconds;

  /// A mean in which the last few count most. Threads that meet may lose a value.
  class Mean {
   public:
    explicit Mean(Nanoseconds first = std::chrono::milliseconds(1)) : value_(first.count()) {}
    void add(Nanoseconds value);
    [[nodiscard]] Nanoseconds value() const;

   private:
    std::atomic<std::int64_t> value_;
  };

  class Buffer;

  void work();
  /// Waits for the lead, after an answer or before the first; false at the end.
  bool take_lead(bool answered);
  bool wait_for_lead() REQUIRES(mutex_);
  /// By the leader, who is to answer a request of this kind now.
  void leave_lead(std::size_t kind);
  void call_another() REQUIRES(mutex_);
  /// By the leader: waits for a request and takes it; false at the end.
  bool next(Buffer& buffer);
  /// One that is there: what RequestSource::receive gives.
  int take(Buffer& buffer);
  /// The same for a moment from `begun` on, or until others want this processor.
  int take_soon(Buffer& buffer, Clock::time_point begun);
  void sleep();
  void end(int outcome);
  [[nodiscard]] Nanoseconds moment() const;

  RequestSource& source_;
  const unsigned most_threads_;
  const unsigned processors_;
  const UniqueFd wake_;  ///< readable once `stop` was called
  std::atomic<bool> stopping_ = false;
  std::array<Mean, 64> answers_;  ///< how long each kind of request takes
  Mean call_;                     ///< how long it takes a thread that is called to come
  // The leader's:
  Clock::duration last_wait_ = Clock::duration::max();
  unsigned crowded_ = 0;
  unsigned backlog_ = 0;  ///< how many requests in a row waited already

  Mutex mutex_;
  CondVar called_;
  bool led_ GUARDED_BY(mutex_) = false;
  std::uint64_t turn_ GUARDED_BY(mutex_) = 0;  ///< of the present or last leader
  bool in_burst_ GUARDED_BY(mutex_) = false;   ///< the lead may be free and nobody called
  bool watched_ GUARDED_BY(mutex_) = false;
  bool wanted_ GUARDED_BY(mutex_) = false;  ///< somebody was called, and has not come yet
  unsigned idle_ GUARDED_BY(mutex_) = 0;
  unsigned answering_ GUARDED_BY(mutex_) = 0;
  Clock::time_point called_at_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
  int outcome_ GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
  Mutex buffers_mutex_;
  std::vector<Buffer*> buffers_ GUARDED_BY(buffers_mutex_);
};

}  // namespace coffer

// The threads that take requests and answer them: from a socket here, where libfuse has /dev/fuse.

#include "fs/fuse/request_loop.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <latch>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace coffer {
namespace {

constexpr std::uint32_t kQuick = FUSE_LOOKUP;

/// Requests that a test sends: each says of which kind it is, and has a number.
class SentRequests : public RequestSource {
 public:
  using Answer = std::function<void(std::uint64_t number)>;

  explicit SentRequests(Answer answer) : answer_(std::move(answer)) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends.data()), 0);
    taken_ = UniqueFd(ends[0]);
    sent_ = UniqueFd(ends[1]);
  }
  void send(std::uint32_t kind, std::uint64_t number) {
    fuse_in_header header{};
    header.opcode = kind;
    header.unique = number;
    while (::send(sent_.get(), &header, sizeof(header), MSG_NOSIGNAL) < 0 && errno == EAGAIN)
      std::this_thread::yield();
  }
  void close() { ::shutdown(sent_.get(), SHUT_RDWR); }
  void fail(int reason) { failure_ = reason; }
  [[nodiscard]] int received() const { return received_; }
  [[nodiscard]] std::size_t threads() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

  [[nodiscard]] int fd() const override { return taken_.get(); }
  int receive(fuse_buf& buffer) override {
    ++received_;
    if (failure_ != 0) return -failure_;
    // libfuse's is allocated, and freed, in this way, too.
    if (buffer.mem == nullptr) buffer.mem = std::malloc(sizeof(fuse_in_header));  // NOLINT
    const auto got = ::recv(taken_.get(), buffer.mem, sizeof(fuse_in_header), 0);
    buffer.size = got > 0 ? static_cast<std::size_t>(got) : 0;
    return got >= 0 ? static_cast<int>(got) : -errno;
  }
  void process(const fuse_buf& buffer) override {
    {
      const std::lock_guard lock(mutex_);
      threads_.insert(std::this_thread::get_id());
    }
    answer_(static_cast<const fuse_in_header*>(buffer.mem)->unique);
  }

 private:
  Answer answer_;
  UniqueFd taken_;
  UniqueFd sent_;
  std::atomic<int> failure_ = 0;
  std::atomic<int> received_ = 0;
  std::mutex mutex_;
  std::set<std::thread::id> threads_;
};

class RequestLoopTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (running_.joinable()) stop();
  }
  void start(unsigned threads) {
    loop_.emplace(requests_, threads);
    running_ = std::thread([this] { outcome_ = loop_->run(); });
  }
  int stop() {
    loop_->stop();
    return outcome();
  }
  int outcome() {
    running_.join();
    return outcome_;
  }
  /// One after the other, each as soon as the one before is answered, until the loop has learnt
  /// that this kind takes no time.
  void send_a_burst() {
    for (std::uint64_t i = 0; i < 500; ++i) {
      const int before = answered_;
      requests_.send(kQuick, 0);
      wait_until([&] { return answered_ > before; });
    }
  }
  template <typename Condition>
  static void wait_until(Condition&& condition) {
    const auto begun = std::chrono::steady_clock::now();
    while (!condition() && std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
      std::this_thread::yield();
    ASSERT_TRUE(condition());
  }

  std::atomic<int> answered_ = 0;
  std::function<void(std::uint64_t)> answer_ = [](std::uint64_t) {};
  SentRequests requests_{[this](std::uint64_t number) {
    if (number != 0) answer_(number);
    ++answered_;
  }};
  std::optional<RequestLoop> loop_;
  std::thread running_;
  std::atomic<int> outcome_ = 1;
};

TEST_F(RequestLoopTest, AnswersEachRequestOnce) {
  constexpr std::uint64_t kEach = 5000;
  std::array<std::atomic<int>, 4 * kEach + 1> answers{};
  answer_ = [&](std::uint64_t number) { ++answers[number]; };
  start(4);
  std::vector<std::thread> senders;
  for (std::uint64_t sender = 0; sender < 4; ++sender) {
    senders.emplace_back([this, sender] {
      for (std::uint64_t i = 1; i <= kEach; ++i)
        requests_.send(static_cast<std::uint32_t>(i % 50), sender * kEach + i);
    });
  }
  for (std::thread& sender : senders) sender.join();
  wait_until([&] { return answered_ == 4 * kEach; });
  EXPECT_EQ(stop(), 0);
  for (std::uint64_t number = 1; number <= 4 * kEach; ++number) ASSERT_EQ(answers[number], 1);
  EXPECT_LE(requests_.threads(), 4U);
}

TEST_F(RequestLoopTest, EndsWithItsSource) {
  start(4);
  requests_.send(kQuick, 0);
  requests_.close();
  EXPECT_EQ(outcome(), 0);
  EXPECT_EQ(answered_, 1) << "what was sent is answered first";
}

TEST_F(RequestLoopTest, EndsWithItsSourceInABurst) {
  start(4);
  send_a_burst();
  requests_.close();
  EXPECT_EQ(outcome(), 0);
}

TEST_F(RequestLoopTest, SaysWhatFailed) {
  start(2);
  requests_.fail(ENOMEM);
  requests_.send(kQuick, 0);
  EXPECT_EQ(outcome(), -ENOMEM);
}

TEST_F(RequestLoopTest, StopsWhileItWaits) {
  start(4);
  send_a_burst();
  EXPECT_EQ(stop(), 0);
}

TEST_F(RequestLoopTest, StopsWhileRequestsKeepComing) {
  start(4);
  std::atomic<bool> done = false;
  std::thread sender([&] {
    while (!done) {
      requests_.send(kQuick, 0);
      std::this_thread::yield();
    }
  });
  wait_until([&] { return answered_ > 1000; });
  loop_->stop();
  wait_until([&] { return outcome_ == 0; });
  done = true;
  requests_.close();
  sender.join();
  EXPECT_EQ(outcome(), 0);
}

TEST_F(RequestLoopTest, ABlockedRequestHoldsUpNobody) {
  std::latch blocked(1);
  answer_ = [&](std::uint64_t) { blocked.wait(); };
  start(4);
  send_a_burst();
  // Nothing says of these that they will not be as quick as those before. All threads but one
  // block.
  for (int i = 1; i <= 3; ++i) requests_.send(kQuick, 1);
  const int before = answered_;
  for (int i = 0; i < 100; ++i) requests_.send(kQuick, 0);
  wait_until([&] { return answered_ == before + 100; });
  blocked.count_down();
  wait_until([&] { return answered_ == before + 103; });
}

/// Whoever is called may be about to give up watching at that very moment.
TEST_F(RequestLoopTest, ACallIsHeardWheneverItComes) {
  for (int gap = 0; gap < 400; ++gap) {
    std::latch blocked(1);
    answer_ = [&](std::uint64_t) { blocked.wait(); };
    start(2);
    for (int i = 0; i < 60; ++i) {
      const int before = answered_;
      requests_.send(kQuick, 0);
      wait_until([&] { return answered_ > before; });
    }
    std::this_thread::sleep_for(std::chrono::microseconds(600 + gap));
    const int before = answered_;
    requests_.send(FUSE_FSYNC, 1);  // of a kind that takes long, as far as is known
    requests_.send(kQuick, 0);
    wait_until([&] { return answered_ == before + 1; });
    blocked.count_down();
    EXPECT_EQ(stop(), 0);
  }
}

TEST_F(RequestLoopTest, RequestsThatNeedEachOtherAreAnsweredSideBySide) {
  for (const bool after_a_burst : {false, true}) {
    std::latch all(4);
    answer_ = [&](std::uint64_t) { all.arrive_and_wait(); };
    start(4);
    if (after_a_burst) send_a_burst();
    const int before = answered_;
    for (int i = 0; i < 4; ++i) requests_.send(kQuick, 1);
    wait_until([&] { return answered_ == before + 4; });
    EXPECT_EQ(stop(), 0);
  }
}

TEST_F(RequestLoopTest, OneThreadAnswersAllIfThereMayBeNoOther) {
  start(1);
  send_a_burst();
  EXPECT_EQ(stop(), 0);
  EXPECT_EQ(requests_.threads(), 1U);
}

TEST_F(RequestLoopTest, DoesNothingWhileNothingComes) {
  start(4);
  send_a_burst();
  // It looks for the next for a moment, and then no more.
  int before = 0;
  wait_until([&] {
    before = requests_.received();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return requests_.received() == before;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(requests_.received(), before);
}

}  // namespace
}  // namespace coffer

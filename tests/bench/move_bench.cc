// What it takes to move a store with many keys of direct scopes to another master key, and what
// others wait for meanwhile. By hand: move_bench KEYS [recovery]

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "keystore/keyring/master_keys.h"
#include "tests/support/keystore_store.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {
namespace {

using std::chrono::steady_clock;
using Progress = MasterKeys::Progress;

double seconds_since(steady_clock::time_point begun) {
  return std::chrono::duration<double>(steady_clock::now() - begun).count();
}

/// Asks for the write lock all the time, as a Keyring does, and notes the longest wait.
class Writer {
 public:
  explicit Writer(const std::string& path)
      : database_(must_be(Database::open(path, Database::Mode::kReadWrite))), thread_([this] {
          must_be(database_.execute("PRAGMA busy_timeout = 0;"));
          while (!done_) {
            const auto begun = steady_clock::now();
            while (!done_) {
              auto transaction = Transaction::begin(database_);
              if (transaction) must_be(transaction->commit());
              if (transaction) break;
              std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
            longest_ = std::max(longest_.load(), seconds_since(begun));
            ++turns_;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
          }
        }) {}
  ~Writer() {
    done_ = true;
    thread_.join();
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  /// Since the last time, and until who waits now does so no more.
  double longest() {
    for (const int turns = turns_; turns_ < turns + 2;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return longest_.exchange(0);
  }

 private:
  std::atomic<bool> done_ = false;
  std::atomic<int> turns_ = 0;
  std::atomic<double> longest_ = 0;
  Database database_;
  std::thread thread_;
};

/// Runs `move`, and tells of its copying and of what comes after it, by themselves.
void tell(const char* what, Writer& writer,
          const std::function<Result<Progress>(MasterKeys::GoOn)>& move) {
  auto begun = steady_clock::now();
  double copying = 0;
  double waited = 0;
  std::uint64_t keys = 0;
  (void)writer.longest();
  const auto go_on = [&](const Progress& progress) {
    if (progress.done == progress.keys && copying == 0) {
      keys = progress.keys;
      copying = seconds_since(begun);
      waited = writer.longest();
      begun = steady_clock::now();
    }
    return true;
  };
  if (!must_be(move(go_on), what).complete) std::abort();
  const double after = seconds_since(begun);
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  std::printf("%s: %.1f s for %llu keys (%.0f/s), longest wait of a writer %.3f s\n", what, copying,
              static_cast<unsigned long long>(keys), static_cast<double>(keys) / copying, waited);
  std::printf("%s: then %.1f s, longest wait of a writer %.3f s; most memory %ld MiB\n", what,
              after, writer.longest(), used.ru_maxrss / 1024);
}

class Bench {
 public:
  explicit Bench(std::uint64_t keys)
      : first_(master("first")), keyring_(make()), writer_(dir_.file("keystore.db")) {
    const auto begun = steady_clock::now();
    constexpr std::uint64_t kAtOnce = 4096;
    for (std::uint64_t made = 0; made < keys; made += kAtOnce) {
      const auto some = must_be(keyring_->make_deks(kRootScope, std::min(kAtOnce, keys - made)));
      last_ = some.back().file;
    }
    std::printf("made in %.1f s\n", seconds_since(begun));
  }

  void move() {
    const auto next = master("next");
    MasterKeys keys(*keyring_);
    tell("move", writer_, [&](auto go_on) { return keys.move_to(*next, go_on); });
    const auto begun = steady_clock::now();
    expect_opens(*next);
    std::printf("another node: %.3f s\n", seconds_since(begun));
  }

  void recover() {
    const auto recovery = master("recovery");
    {
      MasterKeys keys(*keyring_);
      tell("recovery add", writer_,
           [&](auto go_on) { return keys.set_recovery(*recovery, go_on); });
    }
    const auto peek = must_be(Keyring::peek(dir_.file("keystore.db")));
    const auto copies = must_be(RecoveredKms::open(*recovery, *peek.recovery, id_, peek.master));
    const auto keyring =
        must_be(Keyring::open(dir_.file("keystore.db"), Keyring::Access::kReadWrite, id_, *copies,
                              clock_, {}, {}, Keyring::IfOlder::kRefuse, Keyring::Source::kCopies));
    const auto next = master("next");
    MasterKeys keys(*keyring);
    tell("recovery", writer_, [&](auto go_on) { return keys.move_to(*next, go_on); });
    expect_opens(*next);
  }

 private:
  std::unique_ptr<MasterKms> master(const std::string& name) {
    return must_be(create_master("local:" + dir_.file(name), nullptr));
  }
  std::unique_ptr<Keyring> make() {
    Keyring::CreateOptions options;
    options.path = dir_.file("keystore.db");
    options.store = id_;
    options.root_scope.wrap = Wrap::kDirect;
    options.first_grant = everyone_grant(kRootScope);
    must_be(Keyring::create(options, *first_, clock_));
    return must_be(Keyring::open(options.path, Keyring::Access::kReadWrite, id_, *first_, clock_));
  }
  void expect_opens(MasterKms& master) {
    const auto keyring = must_be(
        Keyring::open(dir_.file("keystore.db"), Keyring::Access::kReadOnly, id_, master, clock_));
    must_be(keyring->dek(last_, KeyVersion{1}));
  }

  const TempDir dir_;
  const Clock clock_;
  const StoreId id_{};
  const std::unique_ptr<MasterKms> first_;
  const std::unique_ptr<Keyring> keyring_;
  Writer writer_;
  FileId last_;
};

}  // namespace
}  // namespace coffer::testing

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  coffer::testing::Bench bench(std::stoull(argv[1]));
  if (argc > 2 && argv[2] == std::string_view("recovery")) {
    bench.recover();
  } else {
    bench.move();
  }
}

// What a line of the audit log costs whoever waits for it: everything that opens a file.

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "keystore/audit/audit_log.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_store.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::require;
using testing::TempDir;

AuditEvent release(const std::string& path) {
  AuditEvent event;
  event.event = "release";
  event.decision = "allow";
  event.right = "read";
  event.scope = "/models";
  event.path = path;
  event.file = FileId{};
  event.uid = 1000;
  event.gid = 1000;
  event.pid = 4711;
  event.selectors = {"unix:uid:1000", "unix:gid:1000", "unix:supplementary_gid:2000"};
  event.grant = GrantId{12};
  event.key_version = KeyVersion{1};
  event.reason = "granted";
  return event;
}

/// Alone, or while another thread signs what is written, as a daemon does.
void BM_AuditAppend(benchmark::State& state) {
  const TempDir dir;
  const Clock clock;
  const auto log =
      must_be(AuditLog::open(dir.file("log"), StoreId{}, clock, testing::audit_keys()));
  const std::string path = "/models/llama/model-00001-of-00191.safetensors";
  std::atomic<bool> done{false};
  std::thread beat([&, signs = state.range(0) != 0] {
    for (int tenths = 1; signs && !done; ++tenths) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (tenths % 10 == 0) require(state, log->checkpoint().ok(), "a log was not signed");
    }
  });
  for (auto _ : state) require(state, log->append(release(path)).ok(), "a line was refused");
  done = true;
  beat.join();
  require(state, log->lines() == static_cast<std::uint64_t>(state.iterations()), "lines are gone");
}
BENCHMARK(BM_AuditAppend)->ArgName("signed")->Arg(0)->Arg(1);

}  // namespace
}  // namespace coffer

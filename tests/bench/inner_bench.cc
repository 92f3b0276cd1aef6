// The inner parts of coffer, each by itself and through the interface that the rest of the program
// uses. Beside Google Benchmark's own options it has none. Exit status 1 if a benchmark failed, or
// none was run.

#include <benchmark/benchmark.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "keystore/crypto/secret_bytes.h"
#include "tests/support/keystore_store.h"

namespace {

/// Shows what the format that was asked for shows, and counts what failed.
class CountingReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override { return shown_.ReportContext(context); }
  void ReportRuns(const std::vector<Run>& runs) override {
    failed_ +=
        std::count_if(runs.begin(), runs.end(), [](const Run& run) { return run.error_occurred; });
    shown_.ReportRuns(runs);
  }
  void Finalize() override { shown_.Finalize(); }

  [[nodiscard]] bool any_failed() const { return failed_ > 0; }

 private:
  benchmark::BenchmarkReporter& shown_ = *benchmark::CreateDefaultDisplayReporter();
  std::ptrdiff_t failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  coffer::testing::must_be(coffer::prepare_locked_memory(), "locked memory");
  CountingReporter reporter;
  const std::size_t run = benchmark::RunSpecifiedBenchmarks(&reporter);
  // What tests/support finds wrong it tells googletest.
  const bool set_up = !::testing::UnitTest::GetInstance()->Failed();
  return run > 0 && set_up && !reporter.any_failed() ? 0 : 1;
}

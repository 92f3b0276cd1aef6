// Who calls, by what the grants ask for: how long it takes to know.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "fs/identity/cgroup.h"
#include "fs/identity/identity_resolver.h"
#include "fs/identity/proc_files.h"
#include "keystore/base/unique_fd.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/child_process.h"

namespace coffer::testing {
namespace {

/// What sets of grants there are, from those that name uids alone to those that name everything.
struct Asked {
  const char* name;
  Sources sources;
};
constexpr Asked kAsked[] = {
    {"pid", Sources{}},
    {"groups", Sources::of(Source::kGroups)},
    {"names", Sources::of(Source::kUserName, Source::kGroupNames)},
    {"path", Sources::of(Source::kExecutable)},
    {"sha256", Sources::of(Source::kExecutableHash)},
    {"cgroup", Sources::of(Source::kCgroup)},
    {"container", Sources::of(Source::kCgroup, Source::kNamespaces)},
    {"host", Sources::of(Source::kHost)},
    {"cgroup+sha256", Sources::of(Source::kCgroup, Source::kExecutableHash)},
    {"all", Sources::all()},
};

/// Threads that are remembered; of one more than those none is found there.
constexpr int kRemembered = 8;

/// Argument 0: what is asked for. Argument 1: processes that take turns. One asks again and again,
/// and what was read of it is compared with what it says now; of nine none is remembered.
void identity_sources(benchmark::State& state) {
  const Asked& asked = kAsked[state.range(0)];
  std::vector<std::unique_ptr<ChildProcess>> processes;
  std::vector<Caller> waiting;
  for (int i = 0; i < state.range(1); ++i) {
    processes.push_back(std::make_unique<ChildProcess>([] { return true; }));
    require(state, processes.back()->ready(), "no process could be made");
    waiting.push_back({.uid = ::geteuid(), .gid = ::getegid(), .tid = processes.back()->pid()});
  }
  Rounds<Caller> callers(std::move(waiting));
  // The executable's content is read once, whoever executes it.
  Identity identity = resolve_identity(callers.next(), asked.sources);
  for (auto _ : state) {
    identity = resolve_identity(callers.next(), asked.sources);
    benchmark::DoNotOptimize(identity.pid);
  }
  state.SetLabel(std::string(asked.name) + (state.range(1) == 1 ? ", known" : ", not known"));
  require(state, identity.pid == callers.last().tid && identity.known == asked.sources,
          "it is not who called, or not all that was asked");
}
BENCHMARK(identity_sources)
    ->ArgNames({"asked", "processes"})
    ->ArgsProduct({benchmark::CreateDenseRange(0, std::size(kAsked) - 1, 1), {1, kRemembered + 1}});

/// What the kernel alone takes for the text of an open file of a thread's: less is not to be had.
void identity_reads(benchmark::State& state, const char* name) {
  const ChildProcess process([] { return true; });
  const std::string path = "/proc/" + std::to_string(process.pid()) + "/" + name;
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string buffer;
  for (auto _ : state) benchmark::DoNotOptimize(read_record(file.get(), buffer));
  require(state, read_record(file.get(), buffer).has_value(), "it can't be read");
}
BENCHMARK_CAPTURE(identity_reads, status, "status");
BENCHMARK_CAPTURE(identity_reads, cgroup, "cgroup");

/// Taking control groups apart, as a pod has them.
void identity_parse_cgroups(benchmark::State& state) {
  const std::string text =
      "0::/kubepods.slice/kubepods-burstable.slice/"
      "kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice/cri-containerd-" +
      std::string(64, 'a') + ".scope\n";
  std::optional<CgroupFacts> facts;
  for (auto _ : state) {
    facts = parse_cgroups(text);
    benchmark::DoNotOptimize(facts);
  }
  require(state, facts.has_value() && facts->container == std::string(64, 'a'), "it is no pod");
}
BENCHMARK(identity_parse_cgroups);

}  // namespace
}  // namespace coffer::testing

// A store loses power at random moments of a random user's work; what was promised has to be there
// when it is opened again, and it has to be usable.
//
// COFFER_POWER_STATES=2000 makes a long run of it; COFFER_POWER_WORKLOAD=overwrite,rename (or all
// of them: "*") chooses, COFFER_POWER_JOURNALING=whole the filesystem beneath, COFFER_POWER_SEED=7
// runs a failure again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "tests/model/model_counts.h"
#include "tests/power/logged_store.h"
#include "tests/power/workload.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

/// What a build runs, and has to pass.
struct Gate {
  const char* workload;
  const char* journalings;
};
// What a filesystem without any order of names leaves (any-order) is not promised: README.
constexpr Gate kGates[] = {{"append", "*"},
                           {"overwrite", "*"},
                           {"truncate", "whole,in-order,killed"},
                           {"punch", "whole,in-order,killed"},
                           {"create", "whole,in-order,killed"},
                           {"rename", "whole,in-order,killed"},
                           {"directories", "whole,in-order,killed"},
                           {"symlinks", "*"},
                           {"names", "whole,in-order,killed"},
                           {"attributes", "whole,in-order,killed"},
                           {"deletions", "*"},
                           {"all", "whole,in-order,killed"}};

constexpr int kStepsEach = 50;
constexpr std::uint64_t kStatesEach = 40;

std::uint64_t states_to_do() {
  return number_from("COFFER_POWER_STATES", COFFER_SANITIZED != 0 ? 80 : 200);
}

std::size_t failures_to_show() { return number_from("COFFER_POWER_SHOWN", 3); }

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  return words;
}

bool names(const std::string& list, const std::string& word) {
  const auto words = words_of(list);
  return list == "*" || std::find(words.begin(), words.end(), word) != words.end();
}

/// Nothing for a workload that no build runs.
const Gate* gate_of(const Workload& workload) {
  const auto* const gate = std::find_if(std::begin(kGates), std::end(kGates), [&](const Gate& one) {
    return std::string_view(one.workload) == workload.name;
  });
  return gate == std::end(kGates) ? nullptr : gate;
}

std::vector<Workload> chosen_workloads() {
  const std::string choice = environment("COFFER_POWER_WORKLOAD");
  std::vector<Workload> chosen;
  for (const Workload& workload : workloads()) {
    const bool gated = choice.empty() && gate_of(workload) != nullptr;
    if (gated || names(choice, workload.name)) chosen.push_back(workload);
  }
  return chosen;
}

std::vector<Journaling> chosen_journalings(const Workload& workload) {
  std::string choice = environment("COFFER_POWER_JOURNALING");
  const Gate* const gate = gate_of(workload);
  const bool gated = environment("COFFER_POWER_WORKLOAD").empty() && gate != nullptr;
  if (choice.empty()) choice = gated ? gate->journalings : "*";
  std::vector<Journaling> chosen;
  for (const Journaling journaling :
       {Journaling::kWhole, Journaling::kInOrder, Journaling::kAnyOrder, Journaling::kKilled}) {
    if (names(choice, to_text(journaling))) chosen.push_back(journaling);
  }
  return chosen;
}

/// Stores lie in memory where they can: the keystore of each is synced many times.
class InMemory : public ::testing::Environment {
 public:
  void SetUp() override {
    if (environment("TMPDIR").empty() && ::access("/dev/shm", W_OK) == 0)
      ::setenv("TMPDIR", "/dev/shm", 1);
  }
};
const ::testing::Environment* const kInMemory =
    ::testing::AddGlobalTestEnvironment(new InMemory);  // gtest owns it

/// What a flaw is about, without what differs from run to run.
std::string kind_of(const std::string& flaw) {
  const std::string own = flaw.substr(0, flaw.find(" [after a second"));
  std::string kind = own.substr(0, own.find(": "));
  const auto cause = own.rfind(": E");
  if (cause != std::string::npos) kind += own.substr(cause);
  std::replace_if(
      kind.begin(), kind.end(), [](char c) { return c >= '0' && c <= '9'; }, '#');
  return kind.substr(0, 140);
}

/// One store, one user's work on it, and losses in the midst of that.
class Round {
 public:
  Round(const Workload& workload, std::vector<Journaling> journalings, std::uint64_t seed)
      : journalings_(std::move(journalings)),
        chooser_(seed),
        user_(store_, workload, chooser_.next()) {
    store_.open();
    store_.allow_reports();
    user_.prepare();
    store_.close();
    logged_.emplace(store_);
    store_.open(logged_->opening());
    user_.begin(logged_->log(), logged_->opening());
  }

  LoggedStore& logged() { return *logged_; }

  void work() {
    for (int step = 0; step < kStepsEach; ++step) user_.step();
    user_.end();
    store_.close();
  }

  void sync_all() {
    const auto root = must_be(BackingDir::open_root(logged_->log(), store_.backing()), "the root");
    must_be(root->sync_filesystem(), "syncfs");
    user_.synced_all();
  }

  PowerLoss random_loss() { return loss_at(chooser_.between(0, logged_->log().position())); }
  PowerLoss loss_at_the_end() { return loss_at(logged_->log().position()); }

  std::vector<std::string> flaws_after(const PowerLoss& loss) {
    if (chooser_.one_in(4)) return flaws_after_another(loss);
    return broken_promises(*logged_->after(loss), user_.history(), loss);
  }

  std::string account_of(const PowerLoss& loss) const {
    std::string text = to_text(loss) + "\n" + user_.steps_around(loss.position) + " backing:\n";
    const std::size_t first = loss.position > 25 ? loss.position - 25 : 0;
    for (std::size_t i = first; i < loss.position; ++i) {
      text += "  " + std::to_string(i) + " " + to_text(logged_->log().events()[i]) + "\n";
    }
    return text;
  }

 private:
  PowerLoss loss_at(Moment position) {
    return {.position = position,
            .journaling = journalings_[chooser_.below(journalings_.size())],
            .seed = chooser_.next() % 1'000'000};
  }

  /// Power is lost once more, while the store is being opened or closed again.
  std::vector<std::string> flaws_after_another(const PowerLoss& loss) {
    const auto once = logged_->after(loss);
    LoggedStore again(*once);
    if (auto opened = once->try_open(again.opening()); !opened)
      return {"store does not open: " + opened.error().message()};
    once->close();
    const PowerLoss second{.position = chooser_.between(0, again.log().position()),
                           .journaling = loss.journaling,
                           .seed = loss.seed};
    auto flaws = broken_promises(*again.after(second), user_.history(), loss);
    for (std::string& flaw : flaws) flaw += " [after a second " + to_text(second) + "]";
    return flaws;
  }

  const std::vector<Journaling> journalings_;
  Chooser chooser_;
  WholeStore store_;
  std::optional<LoggedStore> logged_;
  PowerUser user_;
};

class PowerLost : public ::testing::TestWithParam<Workload> {};

TEST_P(PowerLost, LosesNothingThatWasPromised) {
  const std::uint64_t seed = number_from("COFFER_POWER_SEED", 1);
  std::map<std::string, std::size_t> kinds;
  std::string accounts;
  std::uint64_t failed = 0;
  std::uint64_t done = 0;
  for (std::uint64_t round = 0; done < states_to_do(); ++round) {
    Round run(GetParam(), chosen_journalings(GetParam()), seed + round);
    run.work();
    for (std::uint64_t i = 0; i < kStatesEach && done < states_to_do(); ++i, ++done) {
      const PowerLoss loss = run.random_loss();
      const auto flaws = run.flaws_after(loss);
      if (flaws.empty()) continue;
      ++failed;
      for (const std::string& flaw : flaws) {
        const std::string kind = std::string(to_text(loss.journaling)) + ": " + kind_of(flaw);
        if (kinds[kind]++ != 0 || kinds.size() > failures_to_show()) continue;
        accounts += "COFFER_POWER_SEED=" + std::to_string(seed + round) + ": " + flaw + "\n" +
                    run.account_of(loss) + "\n";
      }
    }
  }
  if (failed == 0) return;
  for (const auto& [kind, count] : kinds) accounts += std::to_string(count) + " x " + kind + "\n";
  ADD_FAILURE() << failed << " of " << done << " losses break a promise\n" << accounts;
}

/// A store of which all was synced at the end; how many of some losses then break a promise.
std::size_t losses_after_a_sync(const Workload& workload, bool disk_lies, std::string& account) {
  constexpr int kLosses = 10;
  Round run(workload, {Journaling::kWhole, Journaling::kInOrder, Journaling::kAnyOrder},
            number_from("COFFER_POWER_SEED", 1));
  run.logged().log().loses_barrier = [=](const PowerEvent&) { return disk_lies; };
  run.work();
  run.sync_all();
  std::size_t broken = 0;
  for (int i = 0; i < kLosses; ++i) {
    const PowerLoss loss = run.loss_at_the_end();
    const auto flaws = run.flaws_after(loss);
    for (const std::string& flaw : flaws) account += flaw + "\n";
    if (!flaws.empty()) ++broken;
  }
  return broken;
}

class PowerLostAfterASync : public ::testing::TestWithParam<Workload> {};

TEST_P(PowerLostAfterASync, LosesNothing) {
  std::string account;
  EXPECT_EQ(losses_after_a_sync(GetParam(), false, account), 0U) << account;
}

/// Or the test above, and the one before it, would prove nothing.
TEST_P(PowerLostAfterASync, IsNoticedIfTheDiskLied) {
  std::string account;
  EXPECT_GT(losses_after_a_sync(GetParam(), true, account), 0U);
}

std::string name_of(const ::testing::TestParamInfo<Workload>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(All, PowerLostAfterASync, ::testing::ValuesIn(workloads()), name_of);
INSTANTIATE_TEST_SUITE_P(Workloads, PowerLost, ::testing::ValuesIn(chosen_workloads()), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PowerLost);

}  // namespace
}  // namespace coffer

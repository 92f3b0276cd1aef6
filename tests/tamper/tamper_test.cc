// Random damage to the backing directory or the keystore: whatever is read afterwards is the truth
// or an error, and only of what was damaged.
//
// COFFER_TAMPER_DAMAGES   of each of the two stores
// COFFER_TAMPER_SEED
//
// What counts as harmless, beside the true value and an error (fs/FORMAT.md, 9):
//  - a name that is gone: the entry, its stored name or its sidecar was taken away or altered;
//  - a symlink that is as it was in an older state, at the place where it was then;
//  - a directory at a place where it was in an older state. What is found in it has to be true: a
//    file that still exists, with its present content.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>

#include "tests/model/model_counts.h"
#include "tests/support/sanitizers.h"
#include "tests/support/store_fixture.h"
#include "tests/tamper/damages.h"

namespace coffer::tamper {
namespace {

using testing::number_from;

bool within(const std::string& path, const std::set<std::string>& subtrees) {
  for (const std::string& top : subtrees) {
    if (top == "/" || path == top || path.starts_with(top + "/")) return true;
  }
  return false;
}

std::string describe(const Seen& seen) {
  if (!seen.refused.empty()) return "refused: " + seen.refused;
  char type[16];
  std::snprintf(type, sizeof type, "%o", seen.type);
  return "type " + std::string(type) + ", " + std::to_string(seen.value.size()) + " bytes " +
         to_hex(as_bytes(seen.value).first(std::min<std::size_t>(seen.value.size(), 24)));
}

/// How damage came out, by kind.
struct Tally {
  std::size_t damages = 0;
  std::size_t unopened = 0;  ///< the store as a whole was refused
  std::size_t refused = 0;   ///< something in it was
  std::size_t unseen = 0;    ///< a name was gone
  std::size_t older = 0;     ///< an older symlink or directory stood there again
  std::size_t no_effect = 0;
};

class Judge {
 public:
  Judge(const AgedStore& store, const Touched& touched) : store_(store), touched_(touched) {}

  /// Looks at all that is there, and at all that should be, below `subtrees`.
  void judge(const View& view, const std::set<std::string>& subtrees) {
    for (const auto& [path, seen] : view) judge_entry(path, seen);
    for (const auto& [path, truth] : store_.truth()) {
      if (!within(path, subtrees) || view.contains(path)) continue;
      ++unseen_;
      if (!within(path, touched_.affected)) {
        ADD_FAILURE() << touched_.what << "\nmade another entry disappear: " << path;
      }
    }
  }
  void count(Tally& tally) const {
    tally.refused += refused_ > 0 ? 1 : 0;
    tally.older += older_ > 0 ? 1 : 0;
    tally.unseen += unseen_ > 0 ? 1 : 0;
    tally.no_effect += refused_ + older_ + unseen_ == 0 ? 1 : 0;
  }

 private:
  void judge_entry(const std::string& path, const Seen& seen) {
    const auto truth = store_.truth().find(path);
    if (!seen.refused.empty()) {
      ++refused_;
      if (!within(path, touched_.affected)) {
        ADD_FAILURE() << touched_.what << "\nmade another entry unreadable: " << path << " "
                      << seen.refused;
      }
      return;
    }
    if (truth != store_.truth().end() && truth->second == seen) return;
    if (is_older(path, seen)) {
      ++older_;
      return;
    }
    ADD_FAILURE() << touched_.what << "\n"
                  << path << "\n  read as " << describe(seen) << "\n  and is "
                  << (truth == store_.truth().end() ? "not there" : describe(truth->second));
  }

  /// What version 1 can't know: see above.
  [[nodiscard]] bool is_older(const std::string& path, const Seen& seen) const {
    if (S_ISFIFO(seen.type)) return true;  // nothing is said of these (fs/FORMAT.md, 9)
    if (S_ISREG(seen.type)) return in_older_directory(path, seen);
    for (const View& state : store_.states()) {
      const auto then = state.find(path);
      if (then != state.end() && then->second == seen) return true;
    }
    return false;
  }

  /// A present file in a directory that was called otherwise before it was renamed.
  [[nodiscard]] bool in_older_directory(const std::string& path, const Seen& seen) const {
    const auto now = store_.truth().find(path);
    if (now != store_.truth().end()) return false;
    const std::string directory = path.substr(0, path.rfind('/'));
    if (store_.truth().contains(directory)) return false;
    for (const auto& [other, truth] : store_.truth()) {
      if (truth == seen && other.substr(other.rfind('/')) == path.substr(path.rfind('/')))
        return true;
    }
    return false;
  }

  const AgedStore& store_;
  const Touched& touched_;
  std::size_t refused_ = 0;
  std::size_t older_ = 0;
  std::size_t unseen_ = 0;
};

class Tamper : public ::testing::TestWithParam<NamesMode> {};

TEST_P(Tamper, NothingButTheTruthIsRead) {
  const std::uint64_t seed = number_from("COFFER_TAMPER_SEED", 1);
  const std::uint64_t damages =
      number_from("COFFER_TAMPER_DAMAGES", COFFER_SANITIZED != 0 ? 120 : 500);
  AgedStore store(GetParam());
  std::map<std::string, Tally> tallies;
  std::uint64_t inflicted = 0;
  for (std::uint64_t i = 0; inflicted < damages; ++i) {
    testing::Chooser choose(seed * 1'000'000 + i);
    const Damage& damage = all_damages()[choose.below(all_damages().size())];
    const Touched touched = damage.inflict(store, choose);
    if (touched.what.empty()) continue;
    ++inflicted;
    SCOPED_TRACE("seed " + std::to_string(seed) + ", damage " + std::to_string(i));
    Tally& tally = tallies[damage.name];
    ++tally.damages;
    // All of it now and then; else what was touched and something that was not.
    std::set<std::string> subtrees = touched.affected;
    subtrees.insert("/b");
    if (choose.one_in(4)) subtrees = {"/"};
    const auto view = store.look(subtrees);
    EXPECT_TRUE(!touched.older_keystore || testing::outcome(view) == "rolled-back")
        << touched.what << " was believed";
    if (view) {
      Judge judge(store, touched);
      judge.judge(*view, subtrees);
      judge.count(tally);
    } else {
      ++tally.unopened;
      EXPECT_TRUE(touched.affected.contains("/")) << touched.what << ": " << view.error().message();
    }
    store.mend(touched.backing, touched.keystore);
    if (HasFailure()) break;
  }
  const auto whole = store.look({"/"});
  ASSERT_TRUE(whole.ok()) << whole.error().message();
  EXPECT_TRUE(HasFailure() || *whole == store.truth()) << "the store was not mended";
  for (const auto& [name, tally] : tallies) {
    std::printf(
        "%-22s %5zu: store refused %zu, entries refused %zu, names gone %zu, older %zu, "
        "no effect %zu\n",
        name.c_str(), tally.damages, tally.unopened, tally.refused, tally.unseen, tally.older,
        tally.no_effect);
  }
}

INSTANTIATE_TEST_SUITE_P(Names, Tamper, ::testing::Values(NamesMode::kEncrypted, NamesMode::kPlain),
                         [](const auto& mode) { return std::string(to_string(mode.param)); });

}  // namespace
}  // namespace coffer::tamper

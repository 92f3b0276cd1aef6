// The same random operations on two directories that hold the same, one of them on the filesystem
// under test and one on a filesystem that is believed (ext4), each compared in all that a program
// can see. The trees are compared as a whole at both ends and now and then between; a run that is
// given trees of an earlier one goes on with them.
//
//   exercise_posix TESTED ORACLE OPERATIONS SEED
//
// The same seed on the same trees makes the same operations. Exit code 1: they differ, and stderr
// says in what.

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>

#include "tests/exercise/handle_operations.h"
#include "tests/exercise/path_operations.h"

namespace coffer::exercise {
namespace {

constexpr std::uint64_t kBetweenComparisons = 10'000;
constexpr std::uint64_t kManyEntries = 400;

void run(Twin& twin, std::uint64_t operations) {
  twin.compare_trees();
  Handles handles(twin);
  for (std::uint64_t number = 1; number <= operations; ++number) {
    twin.begin(number);
    if (twin.choose().one_in(3)) {
      operate_on_path(twin);
    } else {
      handles.operate();
    }
    if (twin.choose().one_in(200)) twin.compare_content(twin.any_path());
    if (number % kBetweenComparisons == 0) {
      twin.compare_trees();
      if (twin.entries() > kManyEntries) remove_some(twin, 2 * (twin.entries() - kManyEntries));
    }
  }
  handles.close_all();
  twin.compare_trees();
  std::printf("%llu operations, %llu entries\n", static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(twin.entries()));
}

}  // namespace
}  // namespace coffer::exercise

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: exercise_posix TESTED ORACLE OPERATIONS SEED\n", stderr);
    return 2;
  }
  ::umask(022);
  const std::uint64_t operations = std::strtoull(argv[3], nullptr, 10);
  const std::uint64_t seed = std::strtoull(argv[4], nullptr, 10);
  std::string words;
  for (int i = 0; i < argc; ++i) words += std::string(i > 0 ? " " : "") + argv[i];
  coffer::exercise::Twin twin(argv[1], argv[2], seed, words);
  coffer::exercise::run(twin, operations);
  return 0;
}

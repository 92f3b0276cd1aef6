// Giving up capabilities and the way to new ones.

#include "mount-tools/privileges.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

#include "tests/support/privileges.h"

namespace coffer {
namespace {

/// A line of /proc/self/status.
std::string status_of_self(const std::string& label) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(label + ":\t")) return line.substr(label.size() + 2);
  }
  return "?";
}

std::uint64_t set_of_self(const std::string& label) {
  return std::stoull(status_of_self(label), nullptr, 16);
}

int in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Privileges, OnlyWhatIsKeptIsLeft) {
  if (!testing::is_root()) GTEST_SKIP() << "needs root, to have some";
  EXPECT_EQ(in_child([] {
              constexpr std::uint64_t kKept = 1U << CAP_CHOWN | 1U << CAP_FOWNER;
              if (!give_up_privileges(std::array{CAP_CHOWN, CAP_FOWNER})) return 1;
              for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) {
                if (set_of_self(set) != kKept) return 2;
              }
              if (set_of_self("CapInh") != 0 || set_of_self("CapAmb") != 0) return 3;
              if (capability_names() != "chown,fowner") return 4;
              if (has_capability(CAP_SYS_ADMIN) || !has_capability(CAP_CHOWN)) return 5;
              // Nor by asking for more afterwards.
              if (!give_up_privileges(std::array{CAP_CHOWN, CAP_SYS_ADMIN})) return 6;
              return capability_names() == "chown" ? 0 : 7;
            }),
            0);
}

TEST(Privileges, WhoHasNoneKeepsNone) {
  if (!testing::is_root()) GTEST_SKIP() << "needs root, to become somebody";
  EXPECT_EQ(in_child([] {
              if (::setuid(testing::kNobody) != 0) return 1;
              if (!give_up_privileges(std::array{CAP_CHOWN})) return 2;
              return capability_names() == "none" && set_of_self("CapPrm") == 0 ? 0 : 3;
            }),
            0);
}

TEST(Privileges, NoNewOnes) {
  EXPECT_EQ(in_child([] {
              if (new_privileges_are_forbidden() || status_of_self("NoNewPrivs") != "0") return 1;
              if (!forbid_new_privileges()) return 2;
              return new_privileges_are_forbidden() && status_of_self("NoNewPrivs") == "1" ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace coffer

#include "fs/identity/control_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace coffer {

void PrintTo(const CgroupMount& mount, std::ostream* out) {
  *out << mount.controllers << " " << mount.root << " at " << mount.place;
}

void PrintTo(const ControlGroup& group, std::ostream* out) {
  *out << group.directory << " below " << group.place << ":";
  for (const Selector& selector : group.selectors) *out << " " << selector.text();
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kUnified =
    "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string kHybrid =
    "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup "
    "rw,xattr,release_agent=/lib/agent,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

std::vector<Selector> selectors(std::initializer_list<const char*> texts) {
  std::vector<Selector> all;
  for (const char* text : texts) all.push_back(*Selector::parse(text));
  return all;
}

std::vector<ControlGroup> behind(const std::string& cgroups, const std::string& mounts) {
  return groups_behind(cgroups, parse_cgroup_mounts(mounts));
}

TEST(CgroupMounts, AreThoseOfBothVersions) {
  EXPECT_THAT(parse_cgroup_mounts(kHybrid),
              ElementsAre(CgroupMount{"cpu,cpuacct", "/", "/sys/fs/cgroup/cpu,cpuacct"},
                          CgroupMount{"memory", "/", "/sys/fs/cgroup/memory"},
                          CgroupMount{"name=systemd", "/", "/sys/fs/cgroup/systemd"},
                          CgroupMount{"", "/", "/sys/fs/cgroup/unified"}));
}

TEST(CgroupMounts, WhatCanNotBeUnderstoodIsNone) {
  for (const char* line :
       {"", "41", "41 31 0:38 / /x rw -", "41 31 0:38 / /x rw - cgroup2", "- - - - - - - - -",
        "41 31 0:38 / /a\\040b rw - cgroup2 cgroup2 rw", "41 31 0:38 / /x rw - cgroup cgroup rw",
        "41 31 0:38 / /x rw - tmpfs cgroup2 rw"}) {
    EXPECT_THAT(parse_cgroup_mounts(line), IsEmpty()) << line;
  }
}

TEST(GroupsBehind, AreWhereTheNamesStand) {
  // Of a unit its own group, of a path the whole of it.
  EXPECT_THAT(
      behind("0::/system.slice/x.service/part\n", kUnified),
      ElementsAre(ControlGroup{"/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/x.service",
                               selectors({"systemd:id:x.service"})},
                  ControlGroup{"/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/x.service/part",
                               selectors({"cgroup:path:/system.slice/x.service/part"})}));
}

TEST(GroupsBehind, OfAJobAndItsStep) {
  EXPECT_THAT(
      behind("0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n", kUnified),
      ElementsAre(
          ControlGroup{"/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/slurmstepd.scope",
                       selectors({"systemd:id:slurmstepd.scope"})},
          ControlGroup{"/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7",
                       selectors({"slurm:job_id:7"})},
          ControlGroup{"/sys/fs/cgroup",
                       "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0",
                       selectors({"slurm:step:0"})},
          ControlGroup{
              "/sys/fs/cgroup",
              "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
              selectors({"cgroup:path:/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"})}));
}

TEST(GroupsBehind, InEachHierarchyThatSaysIt) {
  EXPECT_THAT(
      behind("4:memory:/slurm/uid_0/job_7/step_batch/task_0\n"
             "2:cpuacct,cpu:/slurm/uid_0/job_7/step_batch\n"
             "1:name=systemd:/\n0::/\n",
             kHybrid),
      ElementsAre(
          ControlGroup{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/slurm/uid_0/job_7",
                       selectors({"slurm:job_id:7"})},
          ControlGroup{"/sys/fs/cgroup/memory",
                       "/sys/fs/cgroup/memory/slurm/uid_0/job_7/step_batch",
                       selectors({"slurm:step:batch"})},
          ControlGroup{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7",
                       selectors({"slurm:job_id:7"})},
          ControlGroup{"/sys/fs/cgroup/cpu,cpuacct",
                       "/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/step_batch",
                       selectors({"slurm:step:batch"})}));
  // Where they disagree, nothing is known, and nothing stands behind it.
  EXPECT_THAT(behind("4:memory:/slurm/uid_0/job_7\n2:cpu,cpuacct:/slurm/uid_0/job_8\n", kHybrid),
              IsEmpty());
}

TEST(GroupsBehind, BelowTheGroupThatIsMounted) {
  const std::string inner =
      "41 31 0:38 /system.slice /groups rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
  EXPECT_THAT(behind("0::/system.slice/x.service\n", inner),
              ElementsAre(ControlGroup{
                  "/groups", "/groups/x.service",
                  selectors({"cgroup:path:/system.slice/x.service", "systemd:id:x.service"})}));
  for (const char* elsewhere : {"0::/system.slicer/x.service\n", "0::/user.slice/x.service\n"})
    EXPECT_THAT(behind(elsewhere, inner), IsEmpty()) << elsewhere;
}

TEST(GroupsBehind, WhatCanNotBeSeenOrSaysNothingHasNone) {
  EXPECT_THAT(behind("0::/system.slice/x.service\n", ""), IsEmpty());
  EXPECT_THAT(behind("0::/\n", kUnified), IsEmpty());
  EXPECT_THAT(behind("0::/../x.service\n", kUnified), IsEmpty());
  EXPECT_THAT(behind("nonsense", kUnified), IsEmpty());
  EXPECT_THAT(behind("7:pids:/docker/1\n", kHybrid), IsEmpty());
}

}  // namespace
}  // namespace coffer

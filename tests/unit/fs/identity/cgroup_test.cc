#include "fs/identity/cgroup.h"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace coffer {

void PrintTo(const CgroupFacts& facts, std::ostream* out) {
  const auto print = [&](const char* name, const std::optional<std::string>& value) {
    if (value.has_value()) *out << " " << name << "=" << *value;
  };
  print("path", facts.path);
  print("unit", facts.unit);
  print("job", facts.job);
  print("step", facts.step);
  print("docker", facts.docker);
  print("pod", facts.pod);
  print("container", facts.container);
  if (facts.like_a_container) *out << " (like a container)";
}

namespace {

const std::string kId = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961";
const std::string kPodUid = "2c48913c-b29f-11e7-9350-020968147796";
const std::string kPodSlice = "2c48913c_b29f_11e7_9350_020968147796";

CgroupFacts at_path(std::string path) {
  CgroupFacts facts;
  facts.path = std::move(path);
  return facts;
}

CgroupFacts in_unit(std::string path, std::string unit) {
  CgroupFacts facts = at_path(std::move(path));
  facts.unit = std::move(unit);
  return facts;
}

CgroupFacts in_container(CgroupFacts facts) {
  facts.like_a_container = true;
  return facts;
}

CgroupFacts in_pod(CgroupFacts facts) {
  facts.pod = kPodUid;
  facts.container = kId;
  return in_container(std::move(facts));
}

/// As v2 alone has it.
std::optional<CgroupFacts> parse_path(const std::string& path) {
  return parse_cgroups("0::" + path + "\n");
}

TEST(Cgroups, OfUnitsAreReadFromTheRootOn) {
  for (const auto& [path, unit] : std::vector<std::pair<std::string, std::string>>{
           {"/init.scope", "init.scope"},
           {"/system.slice/nginx.service", "nginx.service"},
           {"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"},
           {"/system.slice/nginx.service/worker/deeper", "nginx.service"},
           {"/user.slice/user-1000.slice/session-3.scope", "session-3.scope"},
           {"/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope",
            "user@1000.service"},
           {"/system.slice/docker.service", "docker.service"},
           {"/system.slice/containerd.service", "containerd.service"},
           {"/system.slice/docker-registry.service", "docker-registry.service"},
           {"/system.slice/_cgroup.procs.service", "cgroup.procs.service"},
           {"/nginx.service", "nginx.service"}}) {
    EXPECT_EQ(parse_path(path), in_unit(path, unit)) << path;
  }
  for (const char* path : {"/", "/user.slice", "/user.slice/user-1000.slice", "/joe/nginx.service",
                           "/system.slice/nginx", "/system.slice/.service"}) {
    EXPECT_EQ(parse_path(path), at_path(path)) << path;
  }
}

TEST(Cgroups, OfDockerHaveItsId) {
  CgroupFacts expected = in_container(at_path("/docker/" + kId));
  expected.docker = kId;
  EXPECT_EQ(parse_path("/docker/" + kId), expected);
  expected.path = "/docker/" + kId + "/docker/" + std::string(64, '0');
  EXPECT_EQ(parse_path(*expected.path), expected) << "the outer one";
  for (const std::string slice : {"/system.slice", "/batch.slice/batch-low.slice"}) {
    const std::string scope = "docker-" + kId + ".scope";
    expected = in_container(in_unit(slice + "/" + scope, scope));
    expected.docker = kId;
    EXPECT_EQ(parse_path(*expected.path), expected);
    expected.path = slice + "/" + scope + "/system.slice/nginx.service";
    EXPECT_EQ(parse_path(*expected.path), expected) << "a service manager in a container";
  }
}

TEST(Cgroups, OfPodsHaveUidAndContainer) {
  for (const std::string qos : {"", "/burstable", "/besteffort"}) {
    for (const std::string above : {"", "/kubelet"}) {
      const std::string path = above + "/kubepods" + qos + "/pod" + kPodUid + "/" + kId;
      EXPECT_EQ(parse_path(path), in_pod(at_path(path)));
      EXPECT_EQ(parse_path(path + "/inside"), in_pod(at_path(path + "/inside")));
    }
  }
  for (const std::string qos : {"", "-burstable", "-besteffort"}) {
    const std::string slice = qos.empty() ? "" : "/kubepods" + qos + ".slice";
    for (const std::string engine : {"cri-containerd", "crio", "docker"}) {
      const std::string scope = engine + "-" + kId + ".scope";
      const std::string path =
          "/kubepods.slice" + slice + "/kubepods" + qos + "-pod" + kPodSlice + ".slice/" + scope;
      EXPECT_EQ(parse_path(path), in_pod(in_unit(path, scope)));
      EXPECT_EQ(parse_path(path + "/inside"), in_pod(in_unit(path + "/inside", scope)));
    }
    const std::string joined =
        "kubepods" + qos + "-pod" + kPodSlice + ".slice:cri-containerd:" + kId;
    EXPECT_EQ(parse_path("/" + joined), in_pod(at_path("/" + joined)));
    const std::string own = "/system.slice/containerd.service/" + joined;
    EXPECT_EQ(parse_path(own), in_pod(in_unit(own, "containerd.service")));
  }
  // Where the node itself is a container with groups of its own to see.
  const std::string scope = "cri-containerd-" + kId + ".scope";
  const std::string kind =
      "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
      "kubelet-kubepods-besteffort-pod" +
      kPodSlice + ".slice/" + scope;
  EXPECT_EQ(parse_path(kind), in_pod(in_unit(kind, scope)));
}

TEST(Cgroups, OfAPodAloneHaveNoContainer) {
  const std::string path = "/kubepods.slice/kubepods-pod" + kPodSlice + ".slice";
  CgroupFacts expected = in_container(at_path(path));
  expected.pod = kPodUid;
  EXPECT_EQ(parse_path(path), expected);
  // The engine's own process beside the container.
  expected = in_container(
      in_unit(path + "/crio-conmon-" + kId + ".scope", "crio-conmon-" + kId + ".scope"));
  expected.pod = kPodUid;
  EXPECT_EQ(parse_path(*expected.path), expected);
}

TEST(Cgroups, OfSlurmHaveJobAndStep) {
  for (const std::string scope : {"slurmstepd.scope", "node1_slurmstepd.scope"}) {
    for (const std::string step : {"0", "batch", "extern", "interactive"}) {
      const std::string path = "/system.slice/" + scope + "/job_3385/step_" + step + "/user/task_0";
      CgroupFacts expected = in_unit(path, scope);
      expected.job = "3385";
      expected.step = step;
      EXPECT_EQ(parse_path(path), expected);
    }
  }
  for (const std::string top : {"slurm", "slurm_node1"}) {
    const std::string path = "/" + top + "/uid_1000/job_42/step_0";
    CgroupFacts expected = at_path("/system.slice/slurmd.service");
    expected.unit = "slurmd.service";
    expected.job = "42";
    expected.step = "0";
    EXPECT_EQ(parse_cgroups("9:freezer:" + path + "\n8:memory:" + path +
                            "/task_0\n7:pids:/\n"
                            "1:name=systemd:/system.slice/slurmd.service\n"),
              expected);
    // v2's only hierarchy has another shape.
    EXPECT_EQ(parse_path(path), at_path(path));
  }
}

TEST(Cgroups, OfBothVersionsAreReadWhereTheProcessIs) {
  const std::string controllers = "12:pids:/user.slice\n11:cpu,cpuacct:/\n";
  const std::string unit = "/system.slice/a.service";
  const CgroupFacts expected = in_unit(unit, "a.service");
  EXPECT_EQ(parse_cgroups(controllers + "1:name=systemd:" + unit + "\n0::" + unit + "\n"),
            expected);
  EXPECT_EQ(parse_cgroups(controllers + "1:name=systemd:" + unit + "\n0::/\n"), expected);
  EXPECT_EQ(parse_cgroups("0::/\n" + controllers + "1:name=systemd:" + unit + "\n"), expected);
  EXPECT_EQ(parse_cgroups(controllers + "1:name=systemd:" + unit + "\n"), expected);
  EXPECT_EQ(parse_cgroups(controllers + "0::" + unit + "\n1:name=systemd:/\n"), expected);
  EXPECT_EQ(parse_cgroups(controllers + "1:name=systemd:/\n0::/\n"), at_path("/"));
  EXPECT_EQ(parse_cgroups(controllers), CgroupFacts{}) << "no hierarchy says where it belongs";
  // Docker where no service manager runs.
  CgroupFacts docker = in_container({});
  docker.docker = kId;
  EXPECT_EQ(parse_cgroups("5:devices:/docker/" + kId + "\n4:memory:/docker/" + kId + "\n3:cpu:/\n"),
            docker);
}

TEST(Cgroups, ThatDisagreeAreNotBelieved) {
  const std::string other(64, '0');
  EXPECT_EQ(parse_cgroups("5:devices:/docker/" + kId + "\n4:memory:/docker/" + other + "\n"),
            in_container({}));
  EXPECT_EQ(
      parse_cgroups("5:devices:/slurm/uid_1/job_1/step_0\n4:memory:/slurm/uid_1/job_2/step_0\n"),
      CgroupFacts{});
  EXPECT_EQ(parse_cgroups("5:devices:/kubepods/pod" + kPodUid + "/" + kId +
                          "\n4:memory:/kubepods/pod" + kPodUid + "/" + other + "\n"),
            in_container({}));
}

/// Groups that a user made in what was given to him, named like something better.
TEST(Cgroups, MadeByAUserGiveHimNothing) {
  const std::string own = "/user.slice/user-1000.slice/user@1000.service";
  const std::string wanted[] = {
      "/docker/" + kId,
      "/system.slice/docker-" + kId + ".scope",
      "/docker-" + kId + ".scope",
      "/kubepods/pod" + kPodUid + "/" + kId,
      "/kubepods.slice/kubepods-pod" + kPodSlice + ".slice/crio-" + kId + ".scope",
      "/kubepods-pod" + kPodSlice + ".slice:cri-containerd:" + kId,
      "/system.slice/containerd.service/kubepods-pod" + kPodSlice + ".slice:cri-containerd:" + kId,
      "/kubelet/kubepods/pod" + kPodUid + "/" + kId,
      "/system.slice/slurmstepd.scope/job_1/step_0",
      "/slurmstepd.scope/job_1/step_0",
      "/slurm/uid_0/job_1/step_0",
      "/system.slice/nginx.service",
      "/nginx.service"};
  for (const std::string& shape : wanted) {
    for (const std::string& text : std::initializer_list<std::string>{
             "0::" + own + shape + "\n", "0::/\n1:name=systemd:" + own + shape + "\n",
             "1:name=systemd:" + own + "\n5:devices:" + own + shape + "\n"}) {
      const auto facts = parse_cgroups(text);
      ASSERT_TRUE(facts.has_value()) << text;
      EXPECT_EQ(facts->unit, "user@1000.service") << text;
      EXPECT_EQ(facts->job, std::nullopt) << text;
      EXPECT_EQ(facts->step, std::nullopt) << text;
      EXPECT_EQ(facts->docker, std::nullopt) << text;
      EXPECT_EQ(facts->pod, std::nullopt) << text;
      EXPECT_EQ(facts->container, std::nullopt) << text;
    }
    // So in a container whose root may make groups, and in a group that root gave away.
    for (const std::string& given : std::initializer_list<std::string>{
             "/docker/" + std::string(64, '0'), "/joe", "/lxc.payload.web"}) {
      const auto facts = parse_path(given + shape);
      ASSERT_TRUE(facts.has_value()) << given << shape;
      EXPECT_EQ(facts->unit, std::nullopt) << given << shape;
      EXPECT_EQ(facts->job, std::nullopt) << given << shape;
      EXPECT_NE(facts->docker, kId) << given << shape;
      EXPECT_EQ(facts->pod, std::nullopt) << given << shape;
      EXPECT_EQ(facts->container, std::nullopt) << given << shape;
    }
  }
}

TEST(Cgroups, NearlyOfTheRightShapeAreNot) {
  const std::string upper(64, 'A');
  for (const std::string& path : std::initializer_list<std::string>{
           "/docker/" + kId.substr(1),
           "/docker/" + upper,
           "/docker/" + kId + "0",
           "/docker",
           "/Docker/" + kId,
           "/system.slice/docker-" + kId,
           "/system.slice/docker-" + kId + ".service",
           "/system.slice/docker_" + kId + ".scope",
           "/kubepods/" + kId,
           "/kubepods/pod/" + kId,
           "/kubepods/pod" + kPodUid.substr(1) + "/" + kId,
           "/kubepods/other/pod" + kPodUid + "/" + kId,
           "/kubepods.slice/kubepods-burstable-pod" + kPodSlice + ".slice/crio-" + kId + ".scope",
           "/kubepods.slice/other-pod" + kPodSlice + ".slice/crio-" + kId + ".scope",
           "/system.slice/slurmstepd.scope/job_x/step_0",
           "/system.slice/slurmstepd.scope/job_01/step_0",
           "/system.slice/slurmstepd.scope/step_0",
           std::string("/system.slice/slurmstepd.scope"),
           "/system.slice/slurmstepd.scope.d/job_1/step_0",
           "/system.slice/xslurmstepd.scope/job_1/step_0",
           "/slurmstepd.scope/job_1/step_0"}) {
    const auto facts = parse_path(path);
    ASSERT_TRUE(facts.has_value()) << path;
    EXPECT_EQ(facts->docker, std::nullopt) << path;
    EXPECT_EQ(facts->pod, std::nullopt) << path;
    EXPECT_EQ(facts->container, std::nullopt) << path;
    EXPECT_EQ(facts->job, std::nullopt) << path;
    EXPECT_EQ(facts->step, std::nullopt) << path;
  }
}

TEST(Cgroups, OutsideOfWhatCanBeSeenSayNothing) {
  for (const char* path : {"/..", "/../system.slice/a.service", "/system.slice/../a.service",
                           "/system.slice//a.service", "/system.slice/a.service/",
                           "/system.slice/a.service (deleted)", "/a\x1b[31m/b", "/\xff"}) {
    EXPECT_EQ(parse_path(path), in_container({})) << path;
  }
}

TEST(Cgroups, LikeAContainersAreSeenAnywhere) {
  for (const std::string& path : std::initializer_list<std::string>{
           "/machine.slice/libpod-" + kId + ".scope/container", "/libpod_parent/libpod-" + kId,
           std::string("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-1.scope"),
           std::string("/machine.slice/systemd-nspawn@web.service/payload"),
           std::string("/machine.slice/machine-qemu\\x2d1.scope"), std::string("/lxc/web"),
           std::string("/lxc.payload.web/init.scope"), "/ecs/task/" + kId, "/whatever/" + kId,
           "/whatever/prefix-" + kId + ".service", std::string("/kubepods.slice"),
           std::string("/a/docker/b"), std::string("/system.slice/systemd-nspawn@x.service")}) {
    const auto facts = parse_path(path);
    ASSERT_TRUE(facts.has_value()) << path;
    EXPECT_TRUE(facts->like_a_container) << path;
    EXPECT_TRUE(parse_cgroups("3:cpu:" + path + "\n0::/\n")->like_a_container) << path;
  }
  for (const char* path :
       {"/", "/init.scope", "/system.slice/docker.service", "/system.slice/crio.service",
        "/system.slice/podman.service", "/user.slice/user-1000.slice/session-3.scope",
        "/process_api/e4ef14eb"}) {
    EXPECT_FALSE(parse_path(path)->like_a_container) << path;
  }
}

TEST(Cgroups, ThatAreNoneAreNotUnderstood) {
  for (const char* text : {"", "\n", "0", "0:", "0::", "0::\n", "0::a\n", "x::/\n", ":cpu:/\n",
                           "-1::/\n", "0::/\n\n", "0::/\n0\n", "0:/\n"}) {
    EXPECT_EQ(parse_cgroups(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_cgroups("0::/"), at_path("/")) << "the last line may end with the file";
  EXPECT_EQ(parse_path("/a:b::c"), at_path("/a:b::c"));
}

}  // namespace
}  // namespace coffer

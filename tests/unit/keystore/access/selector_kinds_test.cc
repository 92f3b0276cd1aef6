#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "keystore/access/selector.h"

namespace coffer {
namespace {

using namespace std::string_literals;

const std::string kHex64(64, 'a');
const std::string kHex32(32, '0');
constexpr const char* kPod = "2c48913c-b29f-11e7-9350-020968147796";

/// One kind: what stands before its values, values in its form, and values that are not.
struct KindCase {
  std::string prefix;
  Sources sources;
  std::vector<std::string> canonical;
  std::vector<std::string> refused;
};

std::vector<std::string> bad_accounts() {
  return {"",
          " ",
          " bob",
          "bob ",
          "a:b",
          "a/b",
          "a\nb",
          "a\tb",
          "a\0b"s,
          "\x7f",
          "b\xc3\xb6"
          "b",
          std::string(256, 'a')};
}

std::vector<std::string> bad_paths() {
  return {"",
          "a",
          "usr/bin",
          "//",
          "/a//b",
          "/a/",
          "/./a",
          "/a/.",
          "/a/..",
          "/../a",
          "/a\n",
          "/a\x7f",
          "/a\x1b[m",
          "/a\0"s,
          "/\x80",
          "/\xff",
          "/\xc3",
          "/\xc0\xaf",
          "/\xe2\x82",
          "/\xed\xa0\x80",
          "/\xf4\x90\x80\x80",
          "/\xf0\x80\x80\xaf",
          "/\xe0\x80\xaf",
          "/a\xc2\x85",
          "/a\xe2\x80\xae",
          "/a\xe2\x81\xa6",
          "/a\xe2\x80\xa8",
          "/a (deleted)",
          "/" + std::string(4095, 'a')};
}

std::vector<std::string> bad_hex64() {
  return {"",
          std::string(63, 'a'),
          std::string(65, 'a'),
          std::string(64, 'A'),
          std::string(63, 'a') + "g",
          std::string(63, 'a') + " ",
          "sha256:" + std::string(57, 'a')};
}

std::vector<KindCase> cases() {
  const auto paths = [](std::vector<std::string> more) {
    std::vector<std::string> all = bad_paths();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  return {
      {"unix:user:",
       Sources::of(Source::kUserName),
       {"root", "_apt", "joe.doe", "joe@corp.example", "CORP\\joe", "node$", "1000"},
       bad_accounts()},
      {"unix:group:",
       Sources::of(Source::kGroupNames),
       {"wheel", "domain users", "a"},
       bad_accounts()},
      {"unix:supplementary_group:",
       Sources::of(Source::kGroups, Source::kGroupNames),
       {"video", "CORP\\domain users"},
       bad_accounts()},
      {"unix:path:",
       Sources::of(Source::kExecutable),
       {"/usr/bin/python3.11", "/a", "/opt/x y/z", "/\xc3\xa9", "/...", "/.a/..b", "/a(deleted)",
        "/ (deleted)/a", "/" + std::string(4094, 'a')},
       paths({"/"})},
      {"unix:sha256:",
       Sources::of(Source::kExecutableHash),
       {kHex64, std::string(64, '0')},
       bad_hex64()},
      {"systemd:id:",
       Sources::of(Source::kCgroup),
       {"nginx.service", "session-3.scope", "user@1000.service", "a\\x2db.service", "init.scope",
        "docker-" + kHex64 + ".scope"},
       {"", "nginx", ".service", ".scope", "a.slice", "a.timer", "a/b.service", "a b.service",
        "nginx.service ", "nginx.Service", "\xc3\xa9.service", "a\n.service",
        std::string(250, 'a') + ".service"}},
      {"slurm:job_id:",
       Sources::of(Source::kCgroup),
       {"0", "3385", "4294967294"},
       {"", "01", "-1", "1_2", "job_1", "1.batch"}},
      {"slurm:step:",
       Sources::of(Source::kCgroup),
       {"0", "12", "batch", "extern", "interactive"},
       {"", "00", "Batch", "1a", "a1", "../x", "step_0", "TBD", std::string(33, 'a')}},
      {"docker:id:", Sources::of(Source::kCgroup), {kHex64}, bad_hex64()},
      {"k8s:pod-uid:",
       Sources::of(Source::kCgroup),
       {kPod},
       {"", kHex32, "2C48913C-b29f-11e7-9350-020968147796", "2c48913c_b29f_11e7_9350_020968147796",
        "2c48913c-b29f-11e7-9350-02096814779", "2c48913c-b29f-11e7-9350-0209681477961",
        "2c48913cb-29f-11e7-9350-020968147796", "pod2c48913c-b29f-11e7-9350-020968147796"}},
      {"k8s:container-id:", Sources::of(Source::kCgroup), {kHex64}, bad_hex64()},
      {"cgroup:path:",
       Sources::of(Source::kCgroup),
       {"/", "/system.slice/nginx.service", "/a b"},
       paths({"/../a"})},
      {"selinux:label:",
       Sources::of(Source::kLabel),
       {"system_u:system_r:init_t:s0", "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
        "a:b:c", "u:object_r:container_t:s0:c1,c2"},
       {"", "unconfined", "a:b", ":a:b", "a:b:", "a::b", "a:b:c ", "a:b:c\n", "a:b:c\0"s,
        "docker-default (enforce)", "a:b:" + std::string(1024, 'c')}},
      {"host:name:",
       Sources::of(Source::kHost),
       {"node-1", "node1.example.org", "a_b", "1"},
       {"", "Node-1", "-a", ".a", "a.", "a b", "a:b", "a/b", "n\xc3\xb6", std::string(254, 'a')}},
      {"host:machine-id:",
       Sources::of(Source::kHost),
       {kHex32},
       {"", std::string(31, 'a'), std::string(33, 'a'), std::string(32, 'F'), "uninitialized"}},
      {"container:none",
       Sources::of(Source::kCgroup, Source::kNamespaces),
       {""},
       {":", "x", " ", ":none"}},
  };
}

TEST(SelectorKinds, EachHasOneFormForItsValues) {
  for (const KindCase& kind : cases()) {
    for (const std::string& value : kind.canonical) {
      const auto selector = Selector::parse(kind.prefix + value);
      ASSERT_TRUE(selector.ok()) << kind.prefix << value;
      EXPECT_EQ(selector->text(), kind.prefix + value);
      EXPECT_EQ(selector->sources(), kind.sources) << kind.prefix;
      EXPECT_EQ(Selector::attested(kind.prefix, value), *selector) << kind.prefix << value;
    }
    for (const std::string& value : kind.refused) {
      const auto selector = Selector::parse(kind.prefix + value);
      ASSERT_FALSE(selector.ok()) << kind.prefix << value;
      EXPECT_EQ(selector.error().code, Code::kInvalid);
      EXPECT_NE(selector.error().context.find(kind.prefix + value + ": the value is "),
                std::string::npos)
          << selector.error().context;
      EXPECT_EQ(Selector::attested(kind.prefix, value), std::nullopt) << kind.prefix << value;
    }
  }
}

TEST(SelectorKinds, AnUnknownOneIsToldWhichThereAre) {
  for (const char* text :
       {"unix:shell:bash", "k8s:ns:default", "container:some", "docker:label:a", "unix:path",
        "selinux:user:a", "host:", "systemd:id", "slurm:sluid:s5K"}) {
    const auto selector = Selector::parse(text);
    ASSERT_FALSE(selector.ok()) << text;
    for (const KindCase& kind : cases()) {
      const std::string name = kind.prefix.substr(0, kind.prefix.find_last_not_of(':') + 1);
      EXPECT_NE(selector.error().context.find(" " + name), std::string::npos) << name;
    }
    EXPECT_EQ(Selector::attested(text, ""), std::nullopt) << text;
  }
}

TEST(SelectorKinds, AreNotMixedUpByTheirBeginnings) {
  // A kind is all of the text before the value, and no value carries another kind.
  EXPECT_EQ(Selector::attested("unix:", "uid:0"), std::nullopt);
  EXPECT_EQ(Selector::attested("unix:uid:0", ""), std::nullopt);
  EXPECT_EQ(Selector::attested("", "unix:uid:0"), std::nullopt);
  EXPECT_EQ(Selector::attested("unix:user:", "root:unix:uid:0"), std::nullopt);
}

TEST(SelectorKinds, WhatARequestTellsHasNoOtherSource) {
  EXPECT_EQ(Selector::unix_uid(0).sources(), Sources{});
  EXPECT_EQ(Selector::unix_gid(7).sources(), Sources{});
  EXPECT_EQ(Selector::unix_supplementary_gid(7).sources(), Sources::of(Source::kGroups));
}

TEST(Sources, AreASet) {
  Sources sources;
  EXPECT_TRUE(sources.cover(Sources{}));
  EXPECT_FALSE(sources.cover(Sources::of(Source::kHost)));
  sources.add(Sources::of(Source::kGroups, Source::kHost));
  EXPECT_TRUE(sources.contains(Source::kHost));
  EXPECT_FALSE(sources.contains(Source::kCgroup));
  EXPECT_TRUE(sources.cover(Sources::of(Source::kGroups)));
  EXPECT_FALSE(sources.cover(Sources::of(Source::kGroups, Source::kCgroup)));
  sources.remove(Source::kHost);
  EXPECT_EQ(sources, Sources::of(Source::kGroups));
  Sources all;
  for (const KindCase& kind : cases()) all.add(kind.sources);
  EXPECT_EQ(all, Sources::all()) << "each source is there for a selector";
}

TEST(Identity, MayHaveWhatIsNotKnownOfIt) {
  const Selector path = *Selector::parse("unix:path:/usr/bin/cat");
  const Selector group = *Selector::parse("unix:supplementary_group:video");
  Identity who;
  who.selectors = {Selector::unix_uid(5)};
  EXPECT_FALSE(who.may_have(path));
  EXPECT_TRUE(who.may_have(Selector::unix_uid(5)));
  who.known = Sources::of(Source::kExecutable, Source::kGroups);
  EXPECT_FALSE(who.may_have(path));
  EXPECT_TRUE(who.may_have(group)) << "the groups are known, but not how they are called";
  EXPECT_FALSE(who.has(group));
  EXPECT_FALSE(who.may_have(Selector::unix_uid(6))) << "a request always tells its uid";
}

}  // namespace
}  // namespace coffer

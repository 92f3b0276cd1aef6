#include "keystore/access/selector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace coffer {
namespace {

TEST(Selector, ParsesTheCanonicalForms) {
  for (const char* text :
       {"unix:uid:0", "unix:uid:1", "unix:uid:9", "unix:uid:10", "unix:uid:1000",
        "unix:uid:2147483648", "unix:uid:4294967294", "unix:gid:0", "unix:gid:4294967294",
        "unix:supplementary_gid:0", "unix:supplementary_gid:27"}) {
    const auto selector = Selector::parse(text);
    ASSERT_TRUE(selector.ok()) << text;
    EXPECT_EQ(selector->text(), text);
  }
}

TEST(Selector, RefusesEveryOtherForm) {
  const std::string_view refused[] = {
      "", "unix", "unix:", "unix:uid", "unix:uid:", ":", "::", "1000", "uid:1000", ":uid:1000",
      // values
      "unix:uid:00", "unix:uid:01", "unix:uid:-1", "unix:uid:+1", "unix:uid: 1", "unix:uid:1 ",
      "unix:uid:1\n", "unix:uid:0x10", "unix:uid:1e3", "unix:uid:1.0", "unix:uid:root",
      "unix:uid:1:2", "unix:uid:1,2", "unix:uid:*", "unix:uid:4294967295", "unix:uid:4294967296",
      "unix:uid:9999999999", "unix:uid:10000000000", "unix:uid:18446744073709551617",
      "unix:uid:\xd9\xa1", std::string_view("unix:uid:1\0", 11),
      std::string_view("unix:uid:\0001", 11), "unix:gid:", "unix:gid:01", "unix:gid:4294967295",
      "unix:supplementary_gid:", "unix:supplementary_gid:01", "unix:supplementary_gid:4294967295",
      // kinds
      "Unix:uid:1", "UNIX:UID:1", "unix:Uid:1", " unix:uid:1", "\tunix:uid:1", "unix :uid:1",
      "unix:uid :1", "unix::uid:1", "unix:uids:1", "unix:users:root", "unix:supplementary_gids:1",
      "unix:supplementarygid:1", "unix:euid:1", "k8s:ns:default", "unix/uid/1", "unix:uid=1"};
  for (const std::string_view text : refused) {
    const auto selector = Selector::parse(text);
    ASSERT_FALSE(selector.ok()) << text;
    EXPECT_EQ(selector.error().code, Code::kInvalid) << text;
    EXPECT_NE(selector.error().context.find(text), std::string::npos) << text;
  }
}

TEST(Selector, ParsesAnIdExactlyIfItIsHowTheNumberIsWritten) {
  constexpr unsigned kSeed = 20240607;
  std::mt19937 random(kSeed);
  const std::string_view letters = "0123456789 +-x";
  for (int i = 0; i < 20'000; ++i) {
    std::string value;
    const std::size_t length = random() % 12;
    // Digits mostly, so that about half of the values are ids.
    for (std::size_t k = 0; k < length; ++k) value += letters[random() % (i % 2 == 0 ? 10 : 14)];
    bool canonical = !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
    if (canonical) {
      const unsigned long long number = std::stoull(value);
      canonical = number < 4294967295ULL && std::to_string(number) == value;
    }
    EXPECT_EQ(Selector::parse("unix:gid:" + value).ok(), canonical)
        << value << " (seed " << kSeed << ")";
  }
}

TEST(Selector, OfAnAttestedIdParsesToTheSame) {
  for (const uid_t id : {0U, 1U, 1000U, 65534U, 4294967294U}) {
    EXPECT_EQ(*Selector::parse("unix:uid:" + std::to_string(id)), Selector::unix_uid(id));
    EXPECT_EQ(*Selector::parse("unix:gid:" + std::to_string(id)), Selector::unix_gid(id));
    EXPECT_EQ(*Selector::parse("unix:supplementary_gid:" + std::to_string(id)),
              Selector::unix_supplementary_gid(id));
    EXPECT_NE(Selector::unix_gid(id), Selector::unix_supplementary_gid(id));
    EXPECT_NE(Selector::unix_uid(id), Selector::unix_gid(id));
  }
}

TEST(Selector, NoneOfTheUnknownIdParses) {
  // (uid_t)-1 is what the kernel calls "no id": no grant can name it.
  EXPECT_FALSE(Selector::parse(Selector::unix_uid(static_cast<uid_t>(-1)).text()).ok());
  EXPECT_FALSE(Selector::parse(Selector::unix_gid(static_cast<gid_t>(-1)).text()).ok());
}

TEST(Identity, HasWhatItsSelectorsSay) {
  Identity identity;
  EXPECT_FALSE(identity.has(Selector::unix_uid(0)));
  for (gid_t gid = 0; gid < 64; gid += 2) {
    identity.selectors.push_back(Selector::unix_supplementary_gid(gid));
  }
  identity.selectors.push_back(Selector::unix_uid(7));
  std::sort(identity.selectors.begin(), identity.selectors.end());
  for (gid_t gid = 0; gid < 64; ++gid) {
    EXPECT_EQ(identity.has(Selector::unix_supplementary_gid(gid)), gid % 2 == 0) << gid;
    EXPECT_FALSE(identity.has(Selector::unix_gid(gid))) << gid;
  }
  EXPECT_TRUE(identity.has(Selector::unix_uid(7)));
  EXPECT_FALSE(identity.has(Selector::unix_uid(70)));
}

TEST(Identity, IsUnknownUntilFilledIn) {
  const Identity nobody;
  EXPECT_EQ(nobody.uid, static_cast<uid_t>(-1));
  EXPECT_EQ(nobody.gid, static_cast<gid_t>(-1));
  EXPECT_TRUE(nobody.selectors.empty());
}

}  // namespace
}  // namespace coffer

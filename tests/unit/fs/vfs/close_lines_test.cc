// What the audit log says of open files when they are closed.

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <thread>

#include "tests/support/keystore_process.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CloseLinesTest : public StoreTest {
 protected:
  CloseLinesTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir"));
    store_.new_audit();
  }
  /// Of the lines that came since it was asked last.
  std::vector<json> closes() {
    std::vector<json> found;
    for (auto& line : store_.new_audit()) {
      if (line.value("event", "") == "close") found.push_back(std::move(line));
    }
    return found;
  }
  /// "read R written W" of each of them; "-" for what is not there.
  std::vector<std::string> counted() {
    std::vector<std::string> texts;
    for (const json& line : closes()) {
      const auto count = [&](const char* name) {
        return line.contains(name) ? line.at(name).dump() : "-";
      };
      texts.push_back("read " + count("bytes_read") + " written " + count("bytes_written"));
    }
    return texts;
  }
};

TEST_F(CloseLinesTest, SaysWhoHadWhatAndHowMuchOfIt) {
  store_.grant(kRootScope, {"unix:uid:4321"}, 2);
  const GrantId grant = store_.grant(kRootScope, {"unix:uid:1234"});
  {
    const HeldFile file = must_be(other().open("/file"));
    must_be(file.write(0, "CON"));
    EXPECT_EQ(must_be(file.read()), "CONtent");
    must_be(file.write(3, "TENTS"));
  }
  const auto lines = store_.new_audit();
  ASSERT_EQ(lines.size(), 2U);
  json opened = lines[0];
  json closed = lines[1];
  EXPECT_EQ(closed.at("event"), "close");
  EXPECT_EQ(closed.at("bytes_read"), 7);
  EXPECT_EQ(closed.at("bytes_written"), 8);
  EXPECT_EQ(closed.at("grant"), grant.value);
  for (const char* const own :
       {"event", "time", "n", "mac", "decision", "reason", "bytes_read", "bytes_written"}) {
    opened.erase(own);
    closed.erase(own);
  }
  EXPECT_EQ(closed, opened) << "all else is what the line of its opening says";
  EXPECT_EQ(closed.at("path"), "/file");
  EXPECT_EQ(closed.at("key_version"), 1);
}

TEST_F(CloseLinesTest, OfAFileJustMade) {
  {
    const HeldFile file = must_be(me().create("/new"));
    must_be(file.write(0, "12345"));
  }
  const auto lines = store_.new_audit();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[1].at("event"), "close");
  EXPECT_EQ(lines[1].at("file"), lines[0].at("file"));
  EXPECT_EQ(lines[1].at("grant"), lines[0].at("grant"));
  EXPECT_EQ(lines[1].at("bytes_written"), 5);
}

TEST_F(CloseLinesTest, EachHandleCountsItsOwn) {
  HeldFile one = must_be(me().open("/file"));
  HeldFile other = must_be(me().open("/file"));
  EXPECT_EQ(must_be(one.read(0, 3)), "con");
  EXPECT_EQ(must_be(one.read(5, 100)), "nt") << "it is what was there that counts";
  EXPECT_EQ(must_be(one.read(100, 100)), "");
  must_be(vfs().write_back(other.handle(), 0, as_bytes("C")));
  must_be(other.write(0, "C"));
  EXPECT_THAT(counted(), IsEmpty());
  one.close();
  EXPECT_THAT(counted(), ElementsAre("read 5 written 0"));
  other.close();
  EXPECT_THAT(counted(), ElementsAre("read 0 written 2"));
}

TEST_F(CloseLinesTest, OfWhatTheHandleWasForAlone) {
  must_be(me().open("/file", O_RDONLY)).close();
  must_be(me().open("/file", O_WRONLY)).close();
  EXPECT_THAT(counted(), ElementsAre("read 0 written -", "read - written 0"));
}

TEST_F(CloseLinesTest, OnlyHandlesOnContentHaveOne) {
  must_be(me().status("/file"));
  must_be(me().open_directory("/dir"));
  AttributeChange cut;
  cut.size = 3;
  must_be(me().change("/file", cut));
  must_be(me().rename("/file", "/dir/file"));
  EXPECT_THAT(closes(), IsEmpty());
}

TEST_F(CloseLinesTest, CountsWhatManyThreadsRead) {
  {
    const HeldFile file = must_be(me().open("/file", O_RDONLY));
    std::vector<std::jthread> readers;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([&] {
        for (int round = 0; round < 500; ++round) (void)file.read();
      });
    }
  }
  EXPECT_THAT(counted(), ElementsAre("read 14000 written -"));
}

TEST_F(CloseLinesTest, WhatWasWithdrawnIsClosedToo) {
  const GrantId grant = store_.grant(kRootScope, {"unix:uid:1234"});
  HeldFile file = must_be(other().open("/file"));
  must_be(file.read());
  store_.revoke(grant);
  EXPECT_TRUE(eventually([&] { return !file.read().ok(); }));
  file.close();
  const auto lines = closes();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("grant"), grant.value) << "the one that it was opened by";
  EXPECT_EQ(lines[0].at("identity").at("uid"), 1234);
  EXPECT_GE(lines[0].at("bytes_read"), 7);
  EXPECT_EQ(lines[0].at("bytes_read").get<int>() % 7, 0) << "what was refused counts for nothing";
}

/// A mount that ends with files open, as one does that was detached.
TEST_F(CloseLinesTest, WhatIsOpenAtTheEndIsClosedOnce) {
  HeldFile one = must_be(me().open("/file", O_RDONLY));
  HeldFile other = must_be(me().open("/file", O_RDONLY));
  must_be(one.read());
  other.close();
  EXPECT_THAT(counted(), ElementsAre("read 0 written -"));
  must_be(vfs().finish());
  EXPECT_THAT(counted(), ElementsAre("read 7 written -"));
  one.close();
  EXPECT_THAT(counted(), IsEmpty());
}

TEST_F(CloseLinesTest, ADeletedFileIsKnownByItsId) {
  HeldFile file = must_be(me().open("/file", O_RDONLY));
  const std::string id = store_.new_audit().at(0).at("file");
  must_be(me().unlink("/file"));
  file.close();
  const auto lines = closes();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("file"), id);
}

/// Nothing is undone by a refusal then; somebody hears of it.
TEST_F(CloseLinesTest, ALineThatCannotBeWrittenIsReported) {
  HeldFile file = must_be(me().open("/file"));
  must_be(file.write(0, "CONTENT"));
  const std::string log = store_.beside("audit/log");
  const std::string away = store_.beside("away");
  ASSERT_EQ(std::rename(log.c_str(), away.c_str()), 0);
  ASSERT_EQ(::mkdir(log.c_str(), 0700), 0);
  store_.allow_reports();
  file.close();
  EXPECT_THAT(store_.reports(), ElementsAre(HasSubstr("a close is not on record")));
  ASSERT_EQ(::rmdir(log.c_str()), 0);
  ASSERT_EQ(std::rename(away.c_str(), log.c_str()), 0);
  EXPECT_EQ(must_be(me().get("/file")), "CONTENT");
}

}  // namespace
}  // namespace coffer

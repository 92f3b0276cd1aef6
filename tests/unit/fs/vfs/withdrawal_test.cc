// What becomes of what is open when grants change.

#include <fcntl.h>

#include <algorithm>
#include <thread>

#include "dropped_pages.h"
#include "tests/support/keystore_process.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint8_t kListAndRead = 3;

class WithdrawalTest : public StoreTest {
 protected:
  WithdrawalTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir"));
    dropped_.emplace(vfs());
    store_.new_audit();
  }
  void TearDown() override {
    dropped_.reset();
    StoreTest::TearDown();
  }
  GrantId grant_guest(std::uint8_t rights = 7) {
    return store_.grant(kRootScope, {"unix:uid:1234"}, rights);
  }
  /// The paths that were withdrawn, by the log, since it was asked last.
  std::vector<std::string> withdrawn_on_record() {
    std::vector<std::string> paths;
    for (const auto& line : store_.new_audit()) {
      if (line.value("event", "") == "withdraw") paths.push_back(line.value("path", ""));
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }

  std::optional<DroppedPages> dropped_;
};

TEST_F(WithdrawalTest, AnOpenFileIsOfNoUse) {
  const GrantId grant = grant_guest();
  const HeldFile file = must_be(other().open("/file"));
  const HeldFile mine = must_be(me().open("/file"));
  EXPECT_EQ(outcome_of(file.read()), kOk);
  store_.revoke(grant);
  EXPECT_TRUE(eventually([&] { return !file.read().ok(); }));
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(file.write(0, "x")), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().seek(file.handle(), 0, SEEK_DATA)), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().allocate(file.handle(), 0, 0, 1)), "EKEYREVOKED");
  AttributeChange cut;
  cut.size = 0;
  EXPECT_EQ(
      outcome_of(vfs().change_attributes(Who(user(kGuest)), file.inode(), cut, &file.handle())),
      "EKEYREVOKED");
  // What was written while it was granted can still be put on the disk.
  EXPECT_EQ(outcome_of(file.flush()), kOk);
  EXPECT_EQ(outcome_of(vfs().sync(file.handle(), false)), kOk);
  EXPECT_EQ(must_be(mine.read()), "content");
  EXPECT_TRUE(eventually([&] { return !dropped_->inodes().empty(); }));
  EXPECT_THAT(dropped_->inodes(), ElementsAre(file.inode()));
  EXPECT_THAT(withdrawn_on_record(), ElementsAre("/file"));
}

TEST_F(WithdrawalTest, AnOpenDirectoryIsOfNoUse) {
  const GrantId grant = grant_guest();
  const auto directory = must_be(other().open_directory("/dir"));
  const auto list = [&] {
    return vfs().list(*directory, 0, [](const ListedEntry&) { return true; });
  };
  EXPECT_EQ(outcome_of(list()), kOk);
  store_.revoke(grant);
  EXPECT_TRUE(eventually([&] { return outcome_of(list()) == "EKEYREVOKED"; }));
  EXPECT_THAT(dropped_->inodes(), IsEmpty()) << "the kernel keeps no pages of directories";
}

TEST_F(WithdrawalTest, EachRightCounts) {
  const GrantId grant = grant_guest();
  const HeldFile writing = must_be(other().open("/file"));
  const HeldFile reading = must_be(other().open("/file", O_RDONLY));
  grant_guest(kListAndRead);
  store_.revoke(grant);
  EXPECT_TRUE(eventually([&] { return !writing.read().ok(); }))
      << "it was opened to read and write";
  EXPECT_EQ(outcome_of(reading.read()), kOk);
}

TEST_F(WithdrawalTest, TimeEndsIt) {
  GrantRow row;
  row.scope = kRootScope;
  row.rights = 7;
  row.selectors = {"unix:uid:1234"};
  row.not_after = store_.clock().unix_seconds() + 2;
  store_.grant(row);
  const HeldFile file = must_be(other().open("/file"));
  EXPECT_EQ(outcome_of(file.read()), kOk);
  EXPECT_TRUE(eventually([&] { return outcome_of(file.read()) == "EKEYEXPIRED"; }));
}

TEST_F(WithdrawalTest, WhatIsWithdrawnStaysSo) {
  const GrantId grant = grant_guest();
  const HeldFile file = must_be(other().open("/file"));
  store_.revoke(grant);
  ASSERT_TRUE(eventually([&] { return !file.read().ok(); }));
  grant_guest();
  EXPECT_EQ(outcome_of(other().open("/file")), kOk);
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
  EXPECT_EQ(must_be(other().open("/file")).read().value(), "content");
}

TEST_F(WithdrawalTest, PagesThatAMappingChangedBeforeAreKept) {
  const GrantId grant = grant_guest();
  const HeldFile file = must_be(other().open("/file"));
  bool allowed_meanwhile = false;
  vfs().set_page_cache([&](InodeId, Vfs::Kept) {
    // The kernel sends what is dirty before it drops it.
    allowed_meanwhile |= vfs().write_back(file.handle(), 0, as_bytes("CONTENT")).ok();
  });
  store_.revoke(grant);
  EXPECT_TRUE(eventually([&] { return !vfs().write_back(file.handle(), 0, as_bytes("C")).ok(); }));
  vfs().set_page_cache(nullptr);
  EXPECT_TRUE(allowed_meanwhile);
  EXPECT_EQ(must_be(me().open("/file")).read().value(), "CONTENT");
  // The kernel sends the pages of all who have the file mapped by one handle, whosever it is.
  const HeldFile mine = must_be(me().open("/file"));
  EXPECT_EQ(outcome_of(vfs().write_back(file.handle(), 0, as_bytes("mine"))), kOk);
}

/// Opened at the very moment of the change: either the open fails, or the file does afterwards.
TEST_F(WithdrawalTest, NoOpeningSlipsThrough) {
  for (int round = 0; round < 30; ++round) {
    const GrantId grant = grant_guest();
    std::vector<HeldFile> open;
    std::jthread opening([&] {
      while (true) {
        auto file = other().open("/file", O_RDONLY);
        if (!file) return;
        open.push_back(std::move(*file));
      }
    });
    store_.revoke(grant);
    opening.join();
    EXPECT_TRUE(eventually([&] {
      return std::none_of(open.begin(), open.end(),
                          [](const HeldFile& file) { return file.read().ok(); });
    })) << open.size();
  }
}

}  // namespace
}  // namespace coffer

// Scopes with flags: who is told what, and what goes with the last reader.

#include <fcntl.h>

#include "dropped_pages.h"
#include "tests/support/keystore_process.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StrictTest : public StoreTest {
 protected:
  StrictTest() {
    strict_ = add("/strict", {.strict = true, .purge = false});
    lax_ = add("/lax", {});
    dropped_.emplace(vfs());
    store_.new_audit();
  }
  void TearDown() override {
    dropped_.reset();
    StoreTest::TearDown();
  }
  ScopeId add(const std::string& path, ScopeFlags flags) {
    ScopeSettings settings;
    settings.flags = flags;
    const ScopeId scope = store_.add_scope(path, settings);
    store_.grant(scope, {own_selector()});
    must_be(me().put(path + "/file", "content"));
    must_be(me().make_directory(path + "/dir"));
    return scope;
  }
  GrantId grant_guest(ScopeId scope, std::uint8_t rights = 7) {
    return store_.grant(scope, {"unix:uid:1234"}, rights);
  }
  Result<void> use(const HeldFile& file, uid_t by, Right right) {
    return vfs().decide_use(Who(user(by)), *file.handle().admission, right);
  }

  ScopeId strict_;
  ScopeId lax_;

  std::optional<DroppedPages> dropped_;
};

TEST_F(StrictTest, NamesAreHidden) {
  EXPECT_EQ(outcome_of(other().status("/strict")), "EACCES") << "its name is the root scope's";
  grant_guest(kRootScope);
  EXPECT_EQ(outcome_of(other().status("/strict")), kOk);
  for (const char* name : {"/file", "/dir", "/missing"}) {
    EXPECT_EQ(outcome_of(other().status(std::string("/strict") + name)), "ENOENT") << name;
    EXPECT_EQ(outcome_of(other().status(std::string("/lax") + name)), "EACCES") << name;
  }
  EXPECT_EQ(outcome_of(other().list("/strict")), "EACCES");
}

TEST_F(StrictTest, WhatIsFoundIsNotToBeKept) {
  const auto entry = [&](const std::string& directory, const char* name) {
    const HeldInode parent = must_be(me().find(directory));
    const Entry found = must_be(vfs().lookup(me().who(), parent.id(), name));
    const bool holds = vfs().attributes_hold(found.inode);
    EXPECT_EQ(found.attributes_hold, holds);
    vfs().forget(found.inode, 1);
    return std::pair(found.strict, holds);
  };
  EXPECT_EQ(entry("/strict", "file"), std::pair(true, false));
  EXPECT_EQ(entry("/strict", "dir"), std::pair(true, false));
  EXPECT_EQ(entry("/", "strict"), std::pair(false, true));
  EXPECT_EQ(entry("/lax", "file"), std::pair(false, true));
  EXPECT_TRUE(vfs().attributes_hold(kRootInode));
  EXPECT_TRUE(must_be(me().open("/strict/file")).handle().admission->to().flags.strict);
  EXPECT_FALSE(must_be(me().open("/strict/file")).handle().pages_hold);
  EXPECT_TRUE(must_be(me().open("/lax/file")).handle().pages_hold);
}

TEST_F(StrictTest, AttributesOfWhatWasFoundAreDecidedAnew) {
  const HeldInode hidden = must_be(me().find("/strict/file"));
  const HeldInode shown = must_be(me().find("/lax/file"));
  EXPECT_EQ(outcome_of(vfs().attributes(Who(user(kGuest)), hidden.id())), "ENOENT");
  EXPECT_EQ(outcome_of(vfs().attributes(Who(user(kGuest)), shown.id())), kOk);
  EXPECT_EQ(outcome_of(vfs().attributes(me().who(), hidden.id())), kOk);
  grant_guest(strict_, 1);
  EXPECT_EQ(outcome_of(vfs().attributes(Who(user(kGuest)), hidden.id())), kOk);
}

TEST_F(StrictTest, EachUseIsDecidedByWhoUsesIt) {
  const HeldFile file = must_be(me().open("/strict/file"));
  const HeldFile lax = must_be(me().open("/lax/file"));
  EXPECT_EQ(outcome_of(use(file, kGuest, Right::kRead)), "EACCES");
  EXPECT_EQ(outcome_of(use(lax, kGuest, Right::kRead)), kOk) << "there it is possession";
  grant_guest(strict_, 2);
  EXPECT_EQ(outcome_of(use(file, kGuest, Right::kRead)), kOk);
  EXPECT_EQ(outcome_of(use(file, kGuest, Right::kWrite)), "EACCES");
  // Of whom the kernel tells nothing.
  EXPECT_EQ(outcome_of(vfs().decide_use(Who(Caller{}), *file.handle().admission, Right::kRead)),
            "EACCES");
}

/// No "eventually": who watches for changes looks for those of other programs, and these are none.
TEST_F(StrictTest, TheNextUseKnowsOfEveryChange) {
  const GrantId theirs = grant_guest(strict_);
  const HeldFile file = must_be(other().open("/strict/file"));
  ASSERT_EQ(outcome_of(use(file, kGuest, Right::kRead)), kOk);
  must_be(store_.keyring().revoke_grant(theirs));
  EXPECT_EQ(outcome_of(use(file, kGuest, Right::kRead)), "EKEYREVOKED");
  // It was his that let in, so that others, too, can't use it.
  EXPECT_EQ(outcome_of(vfs().decide_use(me().who(), *file.handle().admission, Right::kRead)),
            "EKEYREVOKED");
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");

  const HeldFile mine = must_be(me().open("/strict/file"));
  must_be(store_.keyring().set_key_state(*mine.handle().admission->to().key, KeyState::kSuspended));
  EXPECT_EQ(outcome_of(vfs().decide_use(me().who(), *mine.handle().admission, Right::kRead)),
            "EKEYREVOKED");
}

TEST_F(StrictTest, WhatIsPurgedGoesWithTheLastReader) {
  add("/purge", {.strict = false, .purge = true});
  const auto path = std::string("/purge/file");
  // Who put it there was its first last reader.
  ASSERT_TRUE(eventually([&] { return dropped_->inodes().size() == 1; }));
  const HeldInode inode = must_be(me().find(path));
  HeldFile one = must_be(me().open(path));
  HeldFile other = must_be(me().open(path, O_RDONLY));
  one.close();
  EXPECT_EQ(dropped_->inodes().size(), 1U);
  other.close();
  EXPECT_TRUE(eventually([&] { return dropped_->inodes().size() == 2; }));
  EXPECT_EQ(dropped_->inodes().back(), inode.id());
  must_be(me().open("/lax/file")).close();
  must_be(me().open("/strict/file")).close();
  EXPECT_EQ(dropped_->inodes().size(), 2U);
}

}  // namespace
}  // namespace coffer

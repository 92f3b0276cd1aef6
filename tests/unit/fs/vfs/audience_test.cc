// By which inode callers know a file of a read-only filesystem: the kernel keeps its pages by that.

#include <fcntl.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr uid_t kAlice = 1234;
constexpr uid_t kBob = 4321;
constexpr uid_t kStranger = 999;

Identity known_as(std::vector<Selector> selectors, pid_t pid, Sources known = {}) {
  Identity who;
  who.pid = pid;
  who.selectors = std::move(selectors);
  who.known = known;
  return who;
}

TEST(Audiences, AreOfThoseOfWhomTheSameIsKnown) {
  Audiences audiences;
  const Identity one = known_as({Selector::unix_uid(1), Selector::unix_gid(1)}, 10);
  const Identity peer = known_as({Selector::unix_uid(1), Selector::unix_gid(1)}, 11);
  EXPECT_EQ(audiences.find(one), kEveryone);
  const Audience audience = audiences.of(one);
  EXPECT_NE(audience, kEveryone);
  EXPECT_EQ(audiences.of(peer), audience);
  EXPECT_EQ(audiences.find(peer), audience);
  EXPECT_NE(audiences.of(known_as({Selector::unix_uid(1)}, 10)), audience);
  EXPECT_NE(audiences.of(known_as(one.selectors, 10, Sources::of(Source::kGroups))), audience)
      << "more was read of it: that it is in no group";
}

TEST(Audiences, NumbersDoNotComeBack) {
  Audiences audiences;
  const Identity first = known_as({Selector::unix_uid(0)}, 1);
  const Audience before = audiences.of(first);
  Audience newest;
  for (std::size_t i = 1; i <= Audiences::kMost; ++i)
    newest = audiences.of(known_as({Selector::unix_uid(static_cast<uid_t>(i))}, 1));
  EXPECT_EQ(audiences.find(first), kEveryone) << "forgotten";
  EXPECT_GT(audiences.of(first), newest);
  EXPECT_NE(audiences.of(first), before);
}

TEST(Audiences, WhoInsistsHasLookedNothingUp) {
  Audiences audiences;
  EXPECT_FALSE(audiences.insists(1, InodeId{7}));
  EXPECT_TRUE(audiences.insists(1, InodeId{7}));
  EXPECT_FALSE(audiences.insists(1, InodeId{7})) << "it was answered";
  EXPECT_FALSE(audiences.insists(1, InodeId{8})) << "another";
  EXPECT_FALSE(audiences.insists(2, InodeId{8})) << "somebody else";
  audiences.note_lookup(1);
  EXPECT_FALSE(audiences.insists(1, InodeId{8}));
  EXPECT_TRUE(audiences.insists(2, InodeId{8}));
}

class InodesOfAudiences : public ::testing::Test {
 protected:
  static constexpr Audience kOne{1};
  static constexpr Audience kOther{2};
  static constexpr BackingId kFile{1, 2};
  const Place place_{kRootInode, "name", "stored"};
  InodeTable table_{BackingId{1, 1}};
};

TEST_F(InodesOfAudiences, EachHasItsOwn) {
  const InodeId one = table_.remember(kFile, S_IFREG, place_, kOne);
  const InodeId other = table_.remember(kFile, S_IFREG, place_, kOther);
  EXPECT_NE(one, other);
  EXPECT_EQ(table_.remember(kFile, S_IFREG, place_, kOne), one);
  EXPECT_EQ(table_.find(one)->audience, kOne);
  EXPECT_EQ(table_.find(other)->audience, kOther);
  EXPECT_TRUE(table_.forget(other, 1));
  EXPECT_EQ(table_.remember(kFile, S_IFREG, place_, kOne), one);
  EXPECT_FALSE(table_.forget(one, 2));
  const InodeId again = table_.remember(kFile, S_IFREG, place_, kOther);
  EXPECT_TRUE(table_.forget(one, 1)) << "the older of the two";
  EXPECT_EQ(table_.find(kFile), again);
  EXPECT_TRUE(table_.forget(again, 1));
  EXPECT_EQ(table_.find(kFile), std::nullopt);
  EXPECT_EQ(table_.size(), 1U);
}

TEST_F(InodesOfAudiences, AnotherObjectWithTheSameNumberIsAnother) {
  const InodeId file = table_.remember(kFile, S_IFREG, place_, kOne);
  const InodeId other = table_.remember(kFile, S_IFREG, place_, kOther);
  const InodeId fifo = table_.remember(kFile, S_IFIFO, place_, kOne);
  EXPECT_NE(fifo, file);
  EXPECT_EQ(table_.remember(kFile, S_IFREG, place_, kOther), other);
  EXPECT_TRUE(table_.forget(file, 1));
  EXPECT_EQ(table_.remember(kFile, S_IFIFO, place_, kOne), fifo);
  EXPECT_TRUE(table_.forget(fifo, 2));
  EXPECT_TRUE(table_.forget(other, 2));
  EXPECT_EQ(table_.size(), 1U);
}

TEST_F(InodesOfAudiences, WhatOneHasSeenIsNoNewsToAnother) {
  const InodeId one = table_.remember(kFile, S_IFREG, place_, kOne);
  const InodeId other = table_.remember(kFile, S_IFREG, place_, kOther);
  EXPECT_FALSE(table_.note_opened(one, FileId{}, 5));
  EXPECT_EQ(table_.noted_generation(other, FileId{}), 5U) << "an older one was put back";
  EXPECT_FALSE(table_.note_opened(other, FileId{}, 5)) << "but its pages are its own";
  EXPECT_TRUE(table_.note_opened(other, FileId{}, 5));
}

class AudienceTest : public StoreTest {
 protected:
  AudienceTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir"));
    store_.grant(kRootScope, {"unix:uid:1234"}, 3);
    store_.grant(kRootScope, {"unix:uid:4321"}, 3);
    store_.reopen({.read_only = true});
  }
  PathUser alice() { return other(kAlice); }
  PathUser bob() { return other(kBob); }
};

TEST_F(AudienceTest, FilesHaveOneInodeForEachAndDirectoriesOneForAll) {
  const HeldInode theirs = must_be(alice().find("/file"));
  EXPECT_EQ(must_be(alice().find("/file")).id(), theirs.id());
  EXPECT_NE(must_be(bob().find("/file")).id(), theirs.id());
  EXPECT_EQ(must_be(alice().status("/file")).st_ino, must_be(bob().status("/file")).st_ino);
  const HeldInode dir = must_be(alice().find("/dir"));
  EXPECT_EQ(must_be(bob().find("/dir")).id(), dir.id());
}

TEST_F(AudienceTest, AListingGivesItsReadersInodes) {
  const HeldInode file = must_be(alice().find("/file"));
  const auto listing = must_be(alice().open_directory("/"));
  const HeldInode listed(vfs(), must_be(vfs().lookup_listed(*listing, "file")).inode);
  EXPECT_EQ(listed.id(), file.id());
}

TEST_F(AudienceTest, WhoComesByOthersInodeIsSentToLookItUp) {
  const HeldInode theirs = must_be(alice().find("/file"));
  EXPECT_EQ(outcome_of(vfs().open(bob().who(), theirs.id(), O_RDONLY)), "ESTALE");
  const HeldFile own = must_be(bob().open("/file", O_RDONLY));
  EXPECT_NE(own.inode(), theirs.id());
  EXPECT_TRUE(own.handle().may_keep_pages);
  EXPECT_EQ(own.read().value(), "content");
  EXPECT_EQ(outcome_of(vfs().open(bob().who(), theirs.id(), O_RDONLY)), "ESTALE")
      << "it looked it up since";
}

TEST_F(AudienceTest, WhoComesByADescriptorKeepsNoPages) {
  HeldInode theirs = must_be(alice().find("/file"));
  EXPECT_EQ(outcome_of(vfs().open(bob().who(), theirs.id(), O_RDONLY)), "ESTALE");
  auto handle = must_be(vfs().open(bob().who(), theirs.id(), O_RDONLY));
  EXPECT_FALSE(handle->may_keep_pages);
  const HeldFile file(vfs(), std::move(theirs), std::move(handle));
  EXPECT_EQ(file.read().value(), "content");
}

TEST_F(AudienceTest, WhoIsGrantedNothingGetsNothing) {
  const HeldInode theirs = must_be(alice().find("/file"));
  const PathUser stranger = other(kStranger);
  EXPECT_EQ(outcome_of(vfs().open(stranger.who(), theirs.id(), O_RDONLY)), "ESTALE");
  EXPECT_EQ(outcome_of(stranger.find("/file")), "EACCES");
  EXPECT_EQ(outcome_of(vfs().open(stranger.who(), theirs.id(), O_RDONLY)), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().open(stranger.who(), theirs.id(), O_RDONLY)), "EACCES");
}

TEST_F(AudienceTest, WhereItCanBeWrittenToThereIsOneForAll) {
  store_.reopen();
  const HeldInode theirs = must_be(alice().find("/file"));
  EXPECT_EQ(must_be(bob().find("/file")).id(), theirs.id());
}

}  // namespace
}  // namespace coffer

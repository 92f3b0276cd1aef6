// Whose pages the kernel keeps together: by which inode, or view of it, callers know a file.

#include <fcntl.h>

#include <atomic>

#include "tests/support/keystore_process.h"
#include "tests/support/store_fixture.h"
#include "tests/unit/fs/vfs/dropped_pages.h"

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

TEST_F(AudienceTest, FilesAreOpenedByANumberOfEachAndDirectoriesHaveOneForAll) {
  const HeldFile theirs = must_be(alice().open("/file", O_RDONLY));
  EXPECT_TRUE(Views::is_view(theirs.inode()));
  EXPECT_EQ(must_be(alice().open("/file", O_RDONLY)).inode(), theirs.inode());
  const HeldFile bobs = must_be(bob().open("/file", O_RDONLY));
  EXPECT_TRUE(Views::is_view(bobs.inode()));
  EXPECT_NE(bobs.inode(), theirs.inode());
  EXPECT_EQ(must_be(alice().open("/file", O_RDONLY)).inode(), theirs.inode());
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
  EXPECT_EQ(outcome_of(stranger.find("/file")), "EACCES");
  EXPECT_EQ(outcome_of(vfs().open(stranger.who(), theirs.id(), O_RDONLY)), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().open(stranger.who(), theirs.id(), O_RDONLY)), "EACCES");
}

class BesideWriters : public AudienceTest {
 protected:
  BesideWriters() { store_.reopen(); }
};

TEST_F(BesideWriters, WhoMayWriteSharesPagesWithAllWhoMay) {
  store_.grant(kRootScope, {"unix:uid:1234"}, 7);
  const HeldFile mine = must_be(me().open("/file"));
  EXPECT_FALSE(Views::is_view(mine.inode()));
  EXPECT_EQ(must_be(alice().open("/file")).inode(), mine.inode());
  const HeldFile others = must_be(bob().open("/file", O_RDONLY));
  EXPECT_TRUE(Views::is_view(others.inode()));
  EXPECT_EQ(outcome_of(vfs().open(bob().who(), mine.inode(), O_RDONLY)), "ESTALE");
  EXPECT_EQ(must_be(me().open("/file")).inode(), mine.inode());
}

TEST_F(BesideWriters, NothingIsWrittenByAView) {
  const HeldFile others = must_be(bob().open("/file", O_RDONLY));
  // As often as he comes by a descriptor.
  for (int i = 0; i < 4; ++i) {
    for (const int flags : {O_RDWR, O_WRONLY | O_TRUNC})
      EXPECT_EQ(outcome_of(vfs().open(me().who(), others.inode(), flags)), "ESTALE");
  }
  EXPECT_EQ(outcome_of(vfs().open(bob().who(), others.inode(), O_RDWR)), "EACCES");
  EXPECT_EQ(others.read().value(), "content");
}

TEST_F(BesideWriters, WhereAllMayWriteNobodyIsSetApart) {
  for (const char* user : {"unix:uid:1234", "unix:uid:4321"}) store_.grant(kRootScope, {user}, 7);
  const HeldInode mine = must_be(me().find("/file"));
  EXPECT_EQ(must_be(alice().find("/file")).id(), mine.id());
  EXPECT_EQ(must_be(bob().find("/file")).id(), mine.id());
}

TEST_F(BesideWriters, WhoIsDeniedWritingIsSetApart) {
  store_.grant(kRootScope, {"unix:uid:1234"}, 7);
  GrantRow deny;
  deny.scope = kRootScope;
  deny.deny = true;
  deny.rights = 4;
  deny.selectors = {"unix:uid:1234"};
  store_.grant(deny);
  EXPECT_TRUE(Views::is_view(must_be(alice().find("/file")).id()));
}

TEST_F(BesideWriters, AttributesOfAViewAreAskedForEachTime) {
  const HeldInode others = must_be(bob().find("/file"));
  EXPECT_FALSE(vfs().attributes_hold(others.id()));
  EXPECT_TRUE(vfs().attributes_hold(must_be(me().open("/file")).inode()));
  must_be(me().put("/file", "longer than before"));
  EXPECT_EQ(must_be(vfs().attributes(bob().who(), others.id())).st_size, 18);
}

TEST_F(BesideWriters, PagesOfThoseWhoHaveItOpenAreDroppedBeforeAWriteIsAnswered) {
  const HeldFile reads = must_be(bob().open("/file", O_RDONLY));
  const HeldFile writes = must_be(me().open("/file"));
  DroppedPages dropped(vfs());
  must_be(writes.write(0, "changed"));
  std::atomic<bool> answered = false;
  std::vector<InodeId> before;
  vfs().when_seen(writes.inode(), [&] {
    before = dropped.inodes();
    answered = true;
  });
  EXPECT_TRUE(eventually([&] { return answered.load(); }));
  EXPECT_THAT(before, ::testing::ElementsAre(reads.inode()));
  EXPECT_EQ(reads.read().value(), "changed");
}

TEST_F(BesideWriters, PagesOfThoseWhoHadItOpenAreDroppedOnce) {
  const HeldInode view = must_be(bob().find("/file"));
  EXPECT_EQ(must_be(bob().get("/file")), "content");
  const HeldFile writes = must_be(me().open("/file"));
  DroppedPages dropped(vfs());
  const auto write = [&](const char* content) {
    must_be(writes.write(0, content));
    std::atomic<bool> seen = false;
    vfs().when_seen(writes.inode(), [&] { seen = true; });
    EXPECT_TRUE(eventually([&] { return seen.load(); }));
    return dropped.inodes();
  };
  EXPECT_THAT(write("changed"), ::testing::ElementsAre(view.id()));
  EXPECT_THAT(write("another"), ::testing::ElementsAre(view.id())) << "there were none";
  EXPECT_EQ(must_be(bob().get("/file")), "another");
  EXPECT_THAT(write("changed"), ::testing::ElementsAre(view.id(), view.id()));
}

TEST_F(BesideWriters, WhoSyncsWaitsForWhatNobodyElseWaitedFor) {
  const HeldFile reads = must_be(bob().open("/file", O_RDONLY));
  const HeldFile writes = must_be(me().open("/file"));
  DroppedPages dropped(vfs());
  vfs().let_see(writes.inode());
  std::vector<InodeId> before;
  std::atomic<bool> seen = false;
  vfs().when_all_seen(writes.inode(), [&] {
    before = dropped.inodes();
    seen = true;
  });
  EXPECT_TRUE(eventually([&] { return seen.load(); }));
  EXPECT_THAT(before, ::testing::ElementsAre(reads.inode()));
}

TEST_F(BesideWriters, ChangesComeByOneInode) {
  // As the kernel does where another's view is what it found by the name.
  const HeldInode view = must_be(bob().find("/file"));
  AttributeChange mode;
  mode.mode = 0600;
  const Who mine = me().who();
  EXPECT_EQ(outcome_of(vfs().change_attributes(mine, view.id(), mode, nullptr)), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().set_xattr(mine, view.id(), "user.a", as_bytes("b"), 0)), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().remove_xattr(mine, view.id(), "user.a")), "ESTALE");
  EXPECT_EQ(outcome_of(vfs().link(mine, view.id(), kRootInode, "other")), "ESTALE");
  const Who bobs = bob().who();
  EXPECT_EQ(outcome_of(vfs().change_attributes(bobs, view.id(), mode, nullptr)), "EACCES");
  EXPECT_EQ(outcome_of(vfs().link(bobs, view.id(), kRootInode, "other")), "EACCES");
}

TEST_F(BesideWriters, AFileThatWasRemovedIsReadOnByItsView) {
  const HeldFile reads = must_be(bob().open("/file", O_RDONLY));
  must_be(me().unlink("/file"));
  EXPECT_EQ(reads.read().value(), "content");
  must_be(me().put("/file", "another"));
  EXPECT_NE(must_be(bob().find("/file")).id(), reads.inode());
  EXPECT_EQ(must_be(bob().get("/file")), "another");
  EXPECT_EQ(reads.read().value(), "content");
}

}  // namespace
}  // namespace coffer

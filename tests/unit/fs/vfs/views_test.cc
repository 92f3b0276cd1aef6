// The numbers by which audiences know files apart.

#include "fs/vfs/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fs/vfs/link_locks.h"

namespace coffer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr InodeId kFile{5};
constexpr InodeId kOtherFile{6};
constexpr Audience kOne{1};
constexpr Audience kOtherAudience{2};

TEST(Views, EachAudienceHasItsOwnOfEachFile) {
  Views views;
  EXPECT_FALSE(views.any());
  const auto one = views.of(kFile, kOne);
  EXPECT_TRUE(views.any());
  EXPECT_TRUE(one.is_new);
  EXPECT_TRUE(Views::is_view(one.view));
  EXPECT_FALSE(Views::is_view(kFile));
  const auto other = views.of(kFile, kOtherAudience);
  const auto elsewhere = views.of(kOtherFile, kOne);
  EXPECT_NE(one.view, other.view);
  EXPECT_NE(one.view, elsewhere.view);
  const auto again = views.of(kFile, kOne);
  EXPECT_FALSE(again.is_new);
  EXPECT_EQ(again.view, one.view);
  EXPECT_EQ(views.file(one.view), kFile);
  EXPECT_EQ(views.file(kFile), kFile);
  EXPECT_EQ(views.audience(other.view), kOtherAudience);
  EXPECT_EQ(views.audience(kFile), kEveryone);
  EXPECT_THAT(views.of(kFile), UnorderedElementsAre(one.view, other.view));
  EXPECT_THAT(views.all(), UnorderedElementsAre(one.view, other.view, elsewhere.view));
}

TEST(Views, GoWithTheirLastReferenceAndDoNotComeBack) {
  Views views;
  const InodeId view = views.of(kFile, kOne).view;
  (void)views.of(kFile, kOne);
  const InodeId other = views.of(kFile, kOtherAudience).view;
  EXPECT_EQ(views.forget(view, 1), std::nullopt);
  EXPECT_EQ(views.forget(view, 1), kFile);
  EXPECT_EQ(views.forget(view, 1), std::nullopt) << "it is gone";
  EXPECT_EQ(views.file(view), kNoInode);
  EXPECT_THAT(views.of(kFile), ElementsAre(other));
  EXPECT_NE(views.of(kFile, kOne).view, view);
}

TEST(Views, ShowNothingOfAnotherStateWhenTheyAreOpened) {
  Views views;
  const InodeId view = views.of(kFile, kOne).view;
  const InodeId other = views.of(kFile, kOtherAudience).view;
  EXPECT_FALSE(views.opened(view, FileId{}, 5));
  EXPECT_TRUE(views.opened(view, FileId{}, 5));
  EXPECT_FALSE(views.opened(other, FileId{}, 5)) << "its pages are its own";
  EXPECT_FALSE(views.opened(view, FileId{}, 6));
  views.note_changed(kFile, 7);
  EXPECT_FALSE(views.opened(view, FileId{}, 7)) << "there may be pages of 6";
  EXPECT_TRUE(views.opened(view, FileId{}, 7));
  views.note_changed(kFile, 7);
  EXPECT_TRUE(views.opened(view, FileId{}, 7)) << "no news";
  FileId another;
  another.bytes[0] = 1;
  EXPECT_FALSE(views.opened(view, another, 7));
}

TEST(Views, ThoseThatMayHaveOlderPagesAreToBeDroppedAfterAWrite) {
  Views views;
  EXPECT_THAT(views.written(kFile), IsEmpty());
  const InodeId view = views.of(kFile, kOne).view;
  const InodeId other = views.of(kFile, kOtherAudience).view;
  EXPECT_THAT(views.written(kOtherFile), IsEmpty());
  EXPECT_THAT(views.written(kFile), IsEmpty()) << "nobody has read it";
  (void)views.opened(view, FileId{}, 0);
  (void)views.opened(view, FileId{}, 0);
  EXPECT_THAT(views.written(kFile), ElementsAre(view));
  EXPECT_THAT(views.written(kFile), ElementsAre(view));
  views.closed(view);
  EXPECT_THAT(views.written(kFile), ElementsAre(view)) << "one handle is left";
  views.closed(view);
  EXPECT_THAT(views.written(kFile), ElementsAre(view)) << "what was read is kept";
  EXPECT_THAT(views.written(kFile), IsEmpty()) << "no more";
  (void)views.opened(view, FileId{}, 0);
  (void)views.opened(other, FileId{}, 0);
  EXPECT_THAT(views.written(kFile), UnorderedElementsAre(view, other));
}

TEST(LinkLocks, KeepChangesOfOneObjectApart) {
  LinkLocks locks;
  constexpr BackingId kA{1, 2};
  int value = 0;
  const auto count = [&](BackingId one, std::optional<BackingId> other) {
    for (int i = 0; i < 2000; ++i) {
      const LinkLocks::Hold held = locks.hold(one, other);
      ++value;
    }
  };
  // In either order, and of one that shares its lock: two numbers in 65 do.
  std::thread first([&] {
    for (ino_t ino = 3; ino < 68; ++ino) count(kA, BackingId{1, ino});
  });
  for (ino_t ino = 3; ino < 68; ++ino) count(BackingId{1, ino}, kA);
  first.join();
  EXPECT_EQ(value, 2 * 65 * 2000);
}

}  // namespace
}  // namespace coffer

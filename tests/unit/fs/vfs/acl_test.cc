// Access control lists: their form, how they and modes follow one another, and what is inherited.

#include "fs/vfs/acl.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint32_t kNobody = 0xffffffff;
constexpr std::uint16_t kOwner = 1, kUser = 2, kGroupOwner = 4, kGroup = 8, kMask = 16, kOther = 32;

struct AclEntry {
  std::uint16_t tag;
  std::uint16_t permissions;
  std::uint32_t id = kNobody;
};

ByteVector list(std::initializer_list<AclEntry> entries, std::uint32_t version = 2) {
  ByteWriter out;
  out.le(version);
  for (const AclEntry& entry : entries) out.le(entry.tag).le(entry.permissions).le(entry.id);
  return out.take();
}

std::string text(const ByteVector& value) { return std::string(as_text(value)); }

/// The list of an owner and a user 1001 with these permissions, and this mask.
ByteVector with_user(std::uint16_t user, std::uint16_t mask, std::uint16_t group = 0) {
  return list({{kOwner, 7}, {kUser, user, 1001}, {kGroupOwner, group}, {kMask, mask}, {kOther, 0}});
}

TEST(Acl, KeepsTheBytesOfTheKernel) {
  for (const ByteVector& value :
       {list({{kOwner, 7}, {kGroupOwner, 5}, {kOther, 0}}), with_user(6, 7),
        list({{kOwner, 7}, {kGroupOwner, 5}, {kMask, 1}, {kOther, 0}}),
        list({{kOwner, 7},
              {kUser, 1, 0},
              {kUser, 2, 7},
              {kGroupOwner, 5},
              {kGroup, 1, 9},
              {kGroup, 1, 10},
              {kMask, 7},
              {kOther, 0}})}) {
    EXPECT_EQ(Acl::decode(value).value().encode(), value);
  }
}

TEST(Acl, WhatIsNoWholeListIsRefused) {
  const std::map<std::string, ByteVector> broken = {
      {"empty", {}},
      {"no entries", list({})},
      {"another version", list({{kOwner, 7}, {kGroupOwner, 5}, {kOther, 0}}, 1)},
      {"no owner", list({{kGroupOwner, 5}, {kOther, 0}})},
      {"no group", list({{kOwner, 5}, {kOther, 0}})},
      {"no others", list({{kOwner, 5}, {kGroupOwner, 0}})},
      {"no mask", list({{kOwner, 7}, {kUser, 1, 5}, {kGroupOwner, 5}, {kOther, 0}})},
      {"out of order", list({{kGroupOwner, 5}, {kOwner, 7}, {kOther, 0}})},
      {"an owner too many", list({{kOwner, 7}, {kOwner, 7}, {kGroupOwner, 5}, {kOther, 0}})},
      {"nobody named", list({{kOwner, 7}, {kUser, 1}, {kGroupOwner, 5}, {kMask, 7}, {kOther, 0}})},
      {"permissions", list({{kOwner, 8}, {kGroupOwner, 5}, {kOther, 0}})},
      {"unknown tag", list({{kOwner, 7}, {kGroupOwner, 5}, {kOther, 0}, {64, 0}})},
      {"tag of two bits", list({{kOwner, 7}, {3, 7, 5}, {kGroupOwner, 5}, {kOther, 0}})},
  };
  for (const auto& [what, value] : broken) {
    const auto decoded = Acl::decode(value);
    ASSERT_FALSE(decoded.ok()) << what;
    EXPECT_EQ(decoded.error().errno_value, EINVAL) << what;
  }
  const ByteVector whole = with_user(6, 7);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(Acl::decode(Bytes(whole).first(length)).ok()) << length;
  }
}

TEST(Acl, StandsForAMode) {
  EXPECT_EQ(Acl::decode(with_user(6, 5, 1)).value().mode(S_IFREG | 02644), S_IFREG | 02750U);
  const Acl minimal = Acl::decode(list({{kOwner, 6}, {kGroupOwner, 4}, {kOther, 1}})).value();
  EXPECT_EQ(minimal.mode(0), 0641U);
  EXPECT_TRUE(minimal.is_mode());
  EXPECT_FALSE(Acl::decode(with_user(6, 5)).value().is_mode());
  Acl changed = Acl::decode(with_user(6, 7, 5)).value();
  changed.set_mode(0421);
  EXPECT_EQ(text(changed.encode()),
            text(list({{kOwner, 4}, {kUser, 6, 1001}, {kGroupOwner, 5}, {kMask, 2}, {kOther, 1}})));
}

TEST(Acl, IsNarrowedToWhatIsAskedFor) {
  Acl acl =
      Acl::decode(list({{kOwner, 7}, {kUser, 7, 1001}, {kGroupOwner, 5}, {kMask, 7}, {kOther, 5}}))
          .value();
  EXPECT_EQ(acl.narrow(S_IFREG | 0640), S_IFREG | 0640U);
  EXPECT_EQ(text(acl.encode()),
            text(list({{kOwner, 6}, {kUser, 7, 1001}, {kGroupOwner, 5}, {kMask, 4}, {kOther, 0}})));
  EXPECT_EQ(acl.group_permissions(), 4U);
  Acl minimal = Acl::decode(list({{kOwner, 7}, {kGroupOwner, 5}, {kOther, 0}})).value();
  EXPECT_EQ(minimal.narrow(0666), 0640U);
}

class AclsTest : public StoreTest {
 protected:
  AclsTest() {
    must_be(me().put("/file", "content"));
    must_be(me().make_directory("/dir", 0755));
  }
  mode_t mode_of(const std::string& path) { return must_be(me().status(path)).st_mode & 07777; }
  std::string access(const std::string& path) { return me().xattr(path, kAccessAcl).value(); }
};

TEST_F(AclsTest, AListSetsTheModeAndTheModeTheList) {
  for (const std::string path : {"/file", "/dir"}) {
    ASSERT_EQ(outcome_of(me().set_xattr(path, kAccessAcl, text(with_user(6, 6)))), kOk);
    EXPECT_EQ(mode_of(path), 0760U);
    EXPECT_THAT(me().xattr_names(path).value(), ElementsAre(kAccessAcl));
    AttributeChange change;
    change.mode = 0750;
    must_be(me().change(path, change));
    EXPECT_EQ(access(path), text(with_user(6, 5)));
    EXPECT_EQ(mode_of(path), 0750U);
    store_.reopen();
    EXPECT_EQ(access(path), text(with_user(6, 5)));
    // One that says no more than a mode is none.
    const ByteVector minimal = list({{kOwner, 6}, {kGroupOwner, 4}, {kOther, 0}});
    ASSERT_EQ(outcome_of(me().set_xattr(path, kAccessAcl, text(minimal))), kOk);
    EXPECT_EQ(mode_of(path), 0640U);
    EXPECT_THAT(me().xattr_names(path).value(), IsEmpty());
  }
  EXPECT_EQ(outcome_of(me().set_xattr("/file", kDefaultAcl, text(with_user(6, 6)))), "EACCES");
  EXPECT_EQ(outcome_of(me().set_xattr("/file", kAccessAcl, "garbage")), "EINVAL");
}

TEST_F(AclsTest, DefaultsAreInheritedInPlaceOfTheUmask) {
  const ByteVector defaults =
      list({{kOwner, 7}, {kUser, 6, 1001}, {kGroupOwner, 5}, {kMask, 7}, {kOther, 4}});
  ASSERT_EQ(outcome_of(me().set_xattr("/dir", kDefaultAcl, text(defaults))), kOk);
  EXPECT_EQ(mode_of("/dir"), 0755U) << "a default list decides nothing there";
  for (int again = 0; again < 2; ++again) {
    const Who masked(Caller::self(), 077);
    const HeldInode dir = must_be(me().find("/dir"));
    auto created = must_be(vfs().create_file(masked, dir.id(), "file", 0640, O_RDWR | O_CREAT));
    const HeldFile file(vfs(), HeldInode(vfs(), created.entry.inode), std::move(created.handle));
    EXPECT_EQ(created.entry.attributes.st_mode & 0777, 0640U);
    EXPECT_EQ(
        access("/dir/file"),
        text(list({{kOwner, 6}, {kUser, 6, 1001}, {kGroupOwner, 5}, {kMask, 4}, {kOther, 0}})));
    vfs().forget(must_be(vfs().make_directory(masked, dir.id(), "sub", 0777)).inode, 1);
    EXPECT_EQ(
        access("/dir/sub"),
        text(list({{kOwner, 7}, {kUser, 6, 1001}, {kGroupOwner, 5}, {kMask, 7}, {kOther, 4}})));
    EXPECT_EQ(me().xattr("/dir/sub", kDefaultAcl).value(), text(defaults));
    EXPECT_EQ(mode_of("/dir/sub"), 0774U);
    vfs().forget(must_be(vfs().make_node(masked, dir.id(), "fifo", S_IFIFO | 0666, 0)).inode, 1);
    EXPECT_EQ(mode_of("/dir/fifo"), 0644U) << "no list: the group gets what its entry says";
    must_be(me().unlink("/dir/file"));
    must_be(me().unlink("/dir/fifo"));
    must_be(me().remove_directory("/dir/sub"));
    must_be(vfs().make_durable());
    EXPECT_THAT(xattr_sidecars(store_.backing()), SizeIs(2)) << "of /dir and the open file";
    if (again == 0) {
      ASSERT_EQ(outcome_of(me().remove_xattr("/dir", kDefaultAcl)), kOk);
      ASSERT_EQ(outcome_of(me().set_xattr("/dir", kDefaultAcl, text(defaults))), kOk);
    }
  }
}

TEST_F(AclsTest, TheUmaskCountsElsewhere) {
  const Who masked(Caller::self(), 027);
  vfs().forget(must_be(vfs().make_directory(masked, kRootInode, "d", 0777)).inode, 1);
  vfs().forget(must_be(vfs().make_node(masked, kRootInode, "n", S_IFREG | 0666, 0)).inode, 1);
  vfs().forget(must_be(vfs().make_node(masked, kRootInode, "p", S_IFIFO | 0666, 0)).inode, 1);
  EXPECT_EQ(mode_of("/d"), 0750U);
  EXPECT_EQ(mode_of("/n"), 0640U);
  EXPECT_EQ(mode_of("/p"), 0640U);
}

}  // namespace
}  // namespace coffer

// Names: their lengths and bytes, sidecars, and stores of plain names.

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NamesTest : public StoreTest {
 protected:
  std::size_t sidecars() {
    std::size_t count = 0;
    for (const std::string& name : backing_names(store_.backing())) {
      if (name.starts_with(".coffer.name.")) ++count;
    }
    return count;
  }
};

TEST_F(NamesTest, OfEachLength) {
  std::vector<std::string> names;
  for (std::size_t length = 1; length <= 255; ++length) names.emplace_back(length, 'n');
  for (const std::string& name : names) {
    ASSERT_EQ(outcome_of(me().make_node("/" + name, S_IFIFO | 0600)), kOk) << name.size();
  }
  EXPECT_EQ(me().list("/").value(), names);
  EXPECT_EQ(sidecars(), 80U) << "of the names longer than 175 bytes";
  store_.reopen();
  EXPECT_EQ(me().list("/").value(), names);
  for (const std::string& name : names) {
    ASSERT_EQ(outcome_of(me().unlink("/" + name)), kOk) << name.size();
  }
  EXPECT_THAT(me().list("/").value(), IsEmpty());
  EXPECT_EQ(sidecars(), 0U);
}

TEST_F(NamesTest, TooLongIsRefusedByEach) {
  const std::string name(256, 'n');
  const Who who(Caller::self());
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  const HeldInode file = me().find("/file").value();
  EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, name)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().create_file(who, kRootInode, name, 0644, O_RDWR)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().make_directory(who, kRootInode, name, 0755)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().make_node(who, kRootInode, name, S_IFIFO, 0)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().make_symlink(who, kRootInode, name, "x")), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().link(who, file.id(), kRootInode, name)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().unlink(who, kRootInode, name)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().remove_directory(who, kRootInode, name)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().rename(who, kRootInode, "file", kRootInode, name, 0)), "ENAMETOOLONG");
  EXPECT_EQ(outcome_of(vfs().rename(who, kRootInode, name, kRootInode, "x", 0)), "ENAMETOOLONG");
}

TEST_F(NamesTest, ArbitraryBytes) {
  std::vector<std::string> names;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/' || byte == '.') continue;
    names.push_back(std::string(1, static_cast<char>(byte)));
  }
  names.emplace_back("\xff\xfe\xfd");
  names.push_back(std::string(255, '\xff'));
  names.emplace_back("...");
  names.emplace_back(".hidden");
  names.emplace_back(".coffer");
  names.emplace_back(".coffer.dir");
  names.emplace_back(".coffer.long.AAAA");
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    ASSERT_EQ(outcome_of(me().put("/" + name, name)), kOk);
  }
  store_.reopen();
  EXPECT_EQ(me().list("/").value(), names);
  for (const std::string& name : names) EXPECT_EQ(me().get("/" + name).value(), name);
}

TEST_F(NamesTest, WhatIsNoNameIsRefused) {
  const Who who(Caller::self());
  for (const std::string& name :
       {std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("../store"), std::string("a\0b", 3)}) {
    EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, name)), "ENOENT") << name;
    EXPECT_EQ(outcome_of(vfs().create_file(who, kRootInode, name, 0644, O_RDWR)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(vfs().make_directory(who, kRootInode, name, 0755)), "EINVAL") << name;
  }
  EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, "")), "ENOENT");
}

TEST_F(NamesTest, OneNameInTwoDirectoriesIsStoredUnlike) {
  ASSERT_EQ(outcome_of(me().make_directory("/a")), kOk);
  ASSERT_EQ(outcome_of(me().make_directory("/b")), kOk);
  ASSERT_EQ(outcome_of(me().put("/a/same", "")), kOk);
  ASSERT_EQ(outcome_of(me().put("/b/same", "")), kOk);
  const auto stored = [&](const char* path) {
    const std::string dir =
        store_.backing(stored_name(store_.backing(), me().status(path)->st_ino));
    return backing_names(dir);
  };
  EXPECT_NE(stored("/a"), stored("/b"));
}

TEST_F(NamesTest, SidecarsOfEachKindComeAndGo) {
  const std::string one = "/" + std::string(255, '1');
  const std::string two = "/" + std::string(255, '2');
  const auto expect_sidecars = [&](std::size_t count) {
    EXPECT_EQ(sidecars(), count);
    EXPECT_THAT(backing_flaws(store_.backing()), IsEmpty());
  };
  ASSERT_EQ(outcome_of(me().put(one, "x")), kOk);
  expect_sidecars(1);
  EXPECT_EQ(outcome_of(me().create(one)), "EEXIST");
  EXPECT_EQ(outcome_of(me().make_directory(one)), "EEXIST");
  EXPECT_EQ(outcome_of(me().make_symlink("x", one)), "EEXIST");
  EXPECT_EQ(outcome_of(me().make_node(one, S_IFIFO)), "EEXIST");
  EXPECT_EQ(outcome_of(me().link(one, one)), "EEXIST");
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().link(one, two)), kOk);
  expect_sidecars(2);
  ASSERT_EQ(outcome_of(me().unlink(one)), kOk);
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().rename(two, one)), kOk);
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().rename(one, "/short")), kOk);
  expect_sidecars(0);
  ASSERT_EQ(outcome_of(me().make_directory(one)), kOk);
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().rename(one, two)), kOk);
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().make_directory(one)), kOk);
  ASSERT_EQ(outcome_of(me().rename(one, two)), kOk);
  expect_sidecars(1);
  ASSERT_EQ(outcome_of(me().remove_directory(two)), kOk);
  expect_sidecars(0);
  EXPECT_EQ(outcome_of(me().unlink(one)), "ENOENT");
  EXPECT_EQ(outcome_of(me().rename(one, two)), "ENOENT");
  expect_sidecars(0);
}

class PlainNamesTest : public StoreTest {
 protected:
  PlainNamesTest() : StoreTest({.names = NamesMode::kPlain}) {}
};

TEST_F(PlainNamesTest, StandAsTheyAre) {
  ASSERT_EQ(outcome_of(me().make_directory("/dir")), kOk);
  ASSERT_EQ(outcome_of(me().put("/dir/" + std::string(255, 'n'), "content")), kOk);
  ASSERT_EQ(outcome_of(me().make_symlink("target", "/dir/link")), kOk);
  EXPECT_THAT(backing_names(store_.backing("dir")),
              ElementsAre(".coffer.dir", "link", std::string(255, 'n')));
  store_.reopen();
  EXPECT_THAT(me().list("/dir").value(), ElementsAre("link", std::string(255, 'n')));
  EXPECT_EQ(me().get("/dir/" + std::string(255, 'n')).value(), "content");
  EXPECT_EQ(me().read_symlink("/dir/link").value(), "target");
}

TEST_F(PlainNamesTest, ThoseOfTheFormatAreRefused) {
  ASSERT_EQ(outcome_of(me().put("/file", "")), kOk);
  for (const char* const name : {".coffer", ".coffer.dir", ".coffer.anything", ".cofferage"}) {
    const std::string path = std::string("/") + name;
    EXPECT_EQ(outcome_of(me().status(path)), "ENOENT") << name;
    EXPECT_EQ(outcome_of(me().create(path)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(me().make_directory(path)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(me().unlink(path)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(me().rename("/file", path)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(me().link("/file", path)), "EINVAL") << name;
  }
  EXPECT_EQ(outcome_of(me().put("/.coffee", "")), kOk);
}

TEST_F(PlainNamesTest, DoNotLeadOutOfTheStore) {
  const Who who(Caller::self());
  ASSERT_EQ(outcome_of(me().put("/file", "content")), kOk);
  for (const char* const name : {".", "..", "../master.key", "./file", ".coffer/tmp"}) {
    EXPECT_EQ(outcome_of(vfs().lookup(who, kRootInode, name)), "ENOENT") << name;
    EXPECT_EQ(outcome_of(vfs().unlink(who, kRootInode, name)), "EINVAL") << name;
    EXPECT_EQ(outcome_of(vfs().rename(who, kRootInode, "file", kRootInode, name, 0)), "EINVAL")
        << name;
  }
  EXPECT_EQ(me().get("/file").value(), "content");
}

TEST_F(PlainNamesTest, AFilePutThereByHandIsListedAndNotRead) {
  ASSERT_EQ(::system(("echo foreign > " + store_.backing("foreign")).c_str()), 0);
  allow_flaws();
  EXPECT_THAT(me().list("/").value(), ElementsAre("foreign"));
  EXPECT_EQ(outcome_of(me().status("/foreign")), "EIO");
}

}  // namespace
}  // namespace coffer

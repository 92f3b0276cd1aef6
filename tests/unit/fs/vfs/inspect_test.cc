// What `open` refuses, looked into: what still authenticates, and why it is refused. Nobody is
// shown more than he is granted.

#include <fcntl.h>
#include <unistd.h>

#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class InspectTest : public StoreTest {
 protected:
  InspectTest() {
    allow_flaws();
    must_be(me().make_directory("/a"));
    must_be(me().put("/a/one", "first"));
    must_be(me().put("/a/two", "second"));
  }

  Result<Vfs::Inspected> inspect(const std::string& path, Right right = Right::kRead) {
    return inspect_as(me(), path, right);
  }
  Result<Vfs::Inspected> inspect_as(const PathUser& user, const std::string& path, Right right) {
    const HeldInode inode = must_be(me().find(path));
    return vfs().inspect(user.who(), inode.id(), right);
  }
  static std::string content(const Vfs::Inspected& inspected) {
    ByteVector buffer(100);
    Losses losses;
    const std::size_t length = inspected.content->salvage(0, buffer, losses);
    EXPECT_TRUE(losses.none());
    return std::string(as_text(Bytes(buffer).first(length)));
  }
  static std::string objection(const Vfs::Inspected& inspected) {
    return inspected.objection.has_value() ? std::string(to_string(inspected.objection->code))
                                           : "none";
  }

  void tampered(const std::function<void()>& tamper) {
    store_.close();
    tamper();
    store_.open();
  }
  static ByteVector read_backing(const std::string& path) { return file_bytes(path); }
  static void write_backing(const std::string& path, Bytes bytes) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
};

TEST_F(InspectTest, AFileThatIsAsItShouldBe) {
  store_.reopen();
  const auto found = must_be(inspect("/a/one"));
  EXPECT_EQ(objection(found), "none");
  EXPECT_TRUE(found.at_its_place);
  EXPECT_EQ(content(found), "first");
  EXPECT_EQ(found.recorded_generation, found.content->committed().generation);
}

TEST_F(InspectTest, AnOlderState) {
  const std::string one = stored("/a/one");
  store_.close();
  const ByteVector old = read_backing(one);
  store_.open();
  must_be(me().put("/a/one", "newer"));
  tampered([&] { write_backing(one, old); });
  EXPECT_EQ(code_of(me().open("/a/one")), "rolled-back");
  const auto found = must_be(inspect("/a/one", Right::kWrite));
  EXPECT_EQ(objection(found), "rolled-back");
  EXPECT_TRUE(found.at_its_place);
  EXPECT_EQ(content(found), "first");
  EXPECT_LT(found.content->committed().generation, found.recorded_generation);
}

/// What `coffer accept` does: the older state is the newest from then on, and what came after it
/// can't be put back.
TEST_F(InspectTest, AnOlderStateMadeTheNewest) {
  const std::string one = stored("/a/one");
  store_.close();
  const ByteVector old = read_backing(one);
  store_.open();
  must_be(me().put("/a/one", "newer"));
  store_.close();
  const ByteVector newer = read_backing(one);
  write_backing(one, old);
  store_.open();
  {
    const auto found = must_be(inspect("/a/one", Right::kWrite));
    ASSERT_TRUE(found.content->supersede(found.recorded_generation).ok());
    const CommittedState state = found.content->committed();
    EXPECT_EQ(state.generation, found.recorded_generation + 1);
    EXPECT_EQ(me().get("/a/one").value(), "first") << "good by itself, before it is on record";
    must_be(store_.keyring().readmit({.file = found.content->keys().file,
                                      .version = found.content->keys().dek_version,
                                      .generation = state.generation,
                                      .root = state.root}));
  }
  store_.reopen();
  EXPECT_EQ(me().get("/a/one").value(), "first");
  tampered([&] { write_backing(one, newer); });
  EXPECT_EQ(code_of(me().open("/a/one")), "rolled-back");
  tampered([&] { write_backing(one, old); });
  EXPECT_EQ(code_of(me().open("/a/one")), "rolled-back");
}

TEST_F(InspectTest, ADeletedFilePutBack) {
  const std::string one = stored("/a/one");
  store_.close();
  const ByteVector old = read_backing(one);
  store_.open();
  must_be(me().unlink("/a/one"));
  tampered([&] { write_backing(one, old); });
  EXPECT_EQ(code_of(me().open("/a/one")), "revoked");
  const auto found = must_be(inspect("/a/one"));
  EXPECT_EQ(objection(found), "revoked");
  EXPECT_EQ(found.key_state, KeyState::kDeactivated);
  EXPECT_TRUE(found.at_its_place);
  EXPECT_EQ(content(found), "first");
}

TEST_F(InspectTest, AMovedFileIsReadAndSaidToBeMoved) {
  const std::string one = stored("/a/one");
  const std::string two = stored("/a/two");
  tampered([&] { ASSERT_EQ(::rename(one.c_str(), two.c_str()), 0); });
  const auto found = must_be(inspect("/a/two"));
  EXPECT_EQ(objection(found), "moved");
  EXPECT_FALSE(found.at_its_place);
  EXPECT_EQ(content(found), "first");
}

TEST_F(InspectTest, NothingThatAuthenticates) {
  const std::string one = stored("/a/one");
  tampered([&] {
    ByteVector bytes = read_backing(one);
    bytes[4090] ^= 1;
    bytes[8190] ^= 1;
    write_backing(one, bytes);
  });
  const auto found = must_be(inspect("/a/one"));
  EXPECT_EQ(found.content, nullptr);
  EXPECT_EQ(objection(found), "corrupt");
}

TEST_F(InspectTest, AKeyThatIsNotThereLeavesItOpenWhatAFileIs) {
  const std::string one = stored("/a/one");
  tampered([&] {
    ByteVector bytes = read_backing(one);
    for (const std::size_t slot : {0U, 4096U}) bytes[slot + 33] ^= 1;  // the file id
    write_backing(one, bytes);
  });
  EXPECT_EQ(code_of(inspect("/a/one")), "key-unavailable");
}

/// One slot leads nowhere, the other to the file.
TEST_F(InspectTest, TheOtherHeaderIsTried) {
  must_be(me().put("/a/one", "again"));
  const std::string one = stored("/a/one");
  tampered([&] {
    ByteVector bytes = read_backing(one);
    const std::size_t newest =
        load_le<std::uint64_t>(bytes, 64) > load_le<std::uint64_t>(bytes, 4096 + 64) ? 0 : 4096;
    bytes[newest + 33] ^= 1;
    write_backing(one, bytes);
  });
  EXPECT_FALSE(me().open("/a/one").ok());
  const auto found = must_be(inspect("/a/one"));
  EXPECT_NE(found.content, nullptr);
  EXPECT_NE(objection(found), "none");
}

TEST_F(InspectTest, WhoeverMayNotHaveItIsShownNothing) {
  const std::string one = stored("/a/one");
  tampered([&] {
    ByteVector bytes = read_backing(one);
    bytes[4090] ^= 1;
    bytes[8190] ^= 1;
    write_backing(one, bytes);
  });
  store_.new_audit();
  EXPECT_EQ(outcome_of(inspect_as(other(), "/a/one", Right::kRead)), "EACCES");
  EXPECT_EQ(outcome_of(inspect_as(other(), "/a/two", Right::kRead)), "EACCES");
  EXPECT_EQ(outcome_of(inspect_as(other(), "/a/two", Right::kWrite)), "EACCES");
  const auto lines = store_.new_audit();
  ASSERT_EQ(lines.size(), 3U);
  for (const auto& line : lines) EXPECT_EQ(line.at("event"), "refuse");
}

TEST_F(InspectTest, ReadersMayNotInspectForWriting) {
  store_.grant(kRootScope, {"unix:uid:1234"}, 3);  // list and read
  store_.reopen();
  EXPECT_EQ(outcome_of(inspect_as(other(), "/a/one", Right::kRead)), kOk);
  EXPECT_EQ(outcome_of(inspect_as(other(), "/a/one", Right::kWrite)), "EACCES");
}

TEST_F(InspectTest, ByItsBackingPathAlone) {
  const std::string one = stored("/a/one");
  tampered([&] { ASSERT_EQ(::rename(one.c_str(), store_.backing("lost").c_str()), 0); });
  const auto found =
      must_be(vfs().inspect_backing(me().who(), vfs().backing_root(), "lost", "lost"));
  EXPECT_EQ(objection(found), "none");
  EXPECT_FALSE(found.at_its_place);
  EXPECT_EQ(content(found), "first");
  EXPECT_EQ(outcome_of(vfs().inspect_backing(other().who(), vfs().backing_root(), "lost", "lost")),
            "EACCES");
  tampered([&] { write_backing(store_.backing("junk"), as_bytes("no file of ours")); });
  const auto junk =
      must_be(vfs().inspect_backing(me().who(), vfs().backing_root(), "junk", "junk"));
  EXPECT_EQ(junk.content, nullptr);
}

}  // namespace
}  // namespace coffer

// A filesystem that drops its keys and gets them back.

#include <fcntl.h>

#include <atomic>
#include <thread>

#include "tests/support/keystore_process.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Way = Gate::Way;

class LockTest : public StoreTest {
 protected:
  LockTest() {
    must_be(me().make_directory("/dir"));
    must_be(me().put("/file", "content"));
    store_.new_audit();
  }
  Vfs::LockedOut lock() { return must_be(vfs().lock({})); }
};

TEST_F(LockTest, WhatWasWrittenIsKeptAndNothingCanBeUsed) {
  HeldFile file = must_be(me().open("/file"));
  const auto directory = must_be(me().open_directory("/dir"));
  must_be(file.write(0, "CON"));
  const Vfs::LockedOut out = lock();
  EXPECT_FALSE(out.was_locked);
  EXPECT_FALSE(out.under_way);
  EXPECT_THAT(out.unsaved, IsEmpty());
  EXPECT_THAT(out.withdrawn, SizeIs(2));
  EXPECT_TRUE(vfs().locked());
  EXPECT_EQ(vfs().counts().open_files, 0U);
  EXPECT_EQ(outcome_of(vfs().enter(Way::kNew)), "ENOKEY");
  EXPECT_EQ(outcome_of(vfs().enter(Way::kOpened)), "EKEYREVOKED");
  EXPECT_EQ(vfs().kept_out(), 2U);
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().write_back(file.handle(), 0, as_bytes("x"))), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(file.flush()), kOk);
  EXPECT_EQ(outcome_of(vfs().sync(file.handle(), false)), kOk);
  EXPECT_TRUE(lock().was_locked);

  must_be(vfs().unlock());
  EXPECT_EQ(outcome_of(vfs().enter(Way::kNew)), kOk);
  EXPECT_EQ(must_be(me().get("/file")), "CONtent");
  // For good.
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(file.write(0, "x")), "EKEYREVOKED");
  EXPECT_EQ(outcome_of(vfs().list(*directory, 0, [](const ListedEntry&) { return true; })),
            "EKEYREVOKED");
  // Whose closing is none of the handle that was opened since.
  const HeldFile again = must_be(me().open("/file"));
  file.close();
  EXPECT_EQ(must_be(again.read()), "CONtent");
}

TEST_F(LockTest, NoKeyIsReleasedAndTheRefusalIsOnRecord) {
  lock();
  store_.new_audit();
  // By whoever should get past the gate.
  EXPECT_EQ(outcome_of(me().get("/file")), "ENOKEY");
  EXPECT_EQ(outcome_of(me().put("/new", "x")), "ENOKEY");
  EXPECT_EQ(outcome_of(store_.keyring().policy()), "ENOKEY");
  std::vector<std::string> refused;
  for (const auto& line : store_.new_audit()) refused.push_back(line.value("event", ""));
  EXPECT_THAT(refused, Contains("refuse"));
  must_be(vfs().unlock());
  EXPECT_EQ(outcome_of(me().put("/new", "x")), kOk);
}

TEST_F(LockTest, AFileThatWasUnlinkedEnds) {
  HeldFile file = must_be(me().open("/file"));
  must_be(me().unlink("/file"));
  EXPECT_EQ(must_be(file.read()), "content");
  lock();
  EXPECT_EQ(outcome_of(file.flush()), kOk);
  must_be(vfs().unlock());
  EXPECT_EQ(store_.key_states()[KeyState::kDeactivated], 1U);
}

TEST_F(LockTest, AFileThatIsClosedMeanwhile) {
  HeldFile file = must_be(me().open("/file"));
  must_be(file.write(0, "CON"));
  lock();
  file.close();
  must_be(vfs().unlock());
  EXPECT_EQ(must_be(me().get("/file")), "CONtent");
}

TEST_F(LockTest, WhatIsUnderWayIsWaitedForAndLetBe) {
  HeldFile file = must_be(me().open("/file"));
  {
    const auto pass = must_be(vfs().enter(Way::kNew));
    EXPECT_EQ(outcome_of(vfs().lock({.patience = milliseconds(20)})), "EBUSY");
    // Nothing was withdrawn, and all goes on.
    EXPECT_EQ(must_be(file.read()), "content");
    EXPECT_EQ(outcome_of(vfs().enter(Way::kNew)), kOk);
  }
  {
    const auto pass = must_be(vfs().enter(Way::kOpened));
    EXPECT_EQ(outcome_of(vfs().lock({.patience = milliseconds(20)})), "EBUSY");
    EXPECT_FALSE(vfs().locked());
    EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
    EXPECT_EQ(must_be(me().get("/file")), "content");
  }
  EXPECT_EQ(outcome_of(vfs().lock({})), kOk);
  must_be(vfs().unlock());
}

TEST_F(LockTest, ByForceNothingIsWaitedForLong) {
  HeldFile file = must_be(me().open("/file"));
  {
    const auto pass = must_be(vfs().enter(Way::kOpened));
    const auto out = must_be(vfs().lock({.force = true}));
    EXPECT_TRUE(out.under_way);
    EXPECT_TRUE(vfs().locked());
    EXPECT_EQ(outcome_of(me().get("/file")), "ENOKEY");
    EXPECT_EQ(outcome_of(vfs().unlock()), "EBUSY");
  }
  EXPECT_TRUE(eventually([&] { return vfs().unlock().ok(); }));
  EXPECT_EQ(outcome_of(file.read()), "EKEYREVOKED");
  EXPECT_EQ(must_be(me().get("/file")), "content");
}

TEST_F(LockTest, UnderLoadEachGetsRightBytesOrAnError) {
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::string path = "/own" + std::to_string(i);
      while (!stop) {
        const auto pass = vfs().enter(Way::kNew);
        if (!pass) {
          wrong += outcome_of(pass) == "ENOKEY" ? 0 : 1;
          continue;
        }
        const auto got = me().get("/file");
        if (!got || *got != "content") ++wrong;
        if (!me().put(path, path)) ++wrong;
        const auto back = me().get(path);
        if (!back || *back != path) ++wrong;
      }
    });
  }
  for (int turn = 0; turn < 20; ++turn) {
    lock();
    must_be(vfs().unlock());
    std::this_thread::sleep_for(milliseconds(5));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace coffer

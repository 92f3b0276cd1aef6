#include "keystore/broker/checkpointer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/keystore_process.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::eventually;
using testing::must_be;
using testing::TestStore;

class CheckpointerTest : public ::testing::Test {
 protected:
  void open(Keyring::Access access = Keyring::Access::kReadWrite) {
    keyring_ = store_.open(access);
    AuditSecrets secrets = must_be(keyring_->audit_secrets());
    audit_ = must_be(
        AuditLog::open(path_, store_.id, store_.clock,
                       {.lines = std::move(secrets.lines), .seed = std::move(secrets.seed)}));
    checkpointer_ = std::make_unique<Checkpointer>(
        *audit_, *keyring_, store_.clock,
        [this](const Error& error) { reported_.push_back(error.message()); });
  }
  void append() {
    AuditEvent event;
    event.event = "admin";
    must_be(audit_->append(event));
  }
  std::vector<LogCheckpoint> kept() { return must_be(keyring_->log_checkpoints()); }

  TestStore store_;
  std::string path_ = store_.dir.file("state/log");
  std::vector<std::string> reported_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Checkpointer> checkpointer_;
};

TEST_F(CheckpointerTest, TheEndIsSignedAndKept) {
  open();
  append();
  append();
  checkpointer_.reset();
  const auto found = kept();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].size, 2U);
  EXPECT_EQ(found[0].place, log_place(path_));
  EXPECT_THAT(found[0].note, ::testing::HasSubstr("coffer/" + store_.id.hex() + "/"));
  const auto side =
      read_side_file(path_, LineMac(must_be(keyring_->audit_secrets()).lines.expose()));
  ASSERT_TRUE(side.has_value());
  EXPECT_EQ(side->note, found[0].note);
  EXPECT_TRUE(reported_.empty());
}

TEST_F(CheckpointerTest, WhoWritesNothingSignsNothing) {
  open();
  const auto before = must_be(keyring_->policy()).generation;
  checkpointer_.reset();
  EXPECT_TRUE(kept().empty());
  EXPECT_EQ(must_be(keyring_->policy()).generation, before);
}

TEST_F(CheckpointerTest, OnAReadOnlyKeystoreTheSideFileIsAllThereIs) {
  open(Keyring::Access::kReadOnly);
  append();
  checkpointer_.reset();
  EXPECT_TRUE(kept().empty());
  EXPECT_TRUE(read_side_file(path_, LineMac(must_be(keyring_->audit_secrets()).lines.expose())));
  EXPECT_TRUE(reported_.empty());
}

TEST_F(CheckpointerTest, TheBeatKeepsOneInTenSecondsAndOffersTheRest) {
  open();
  store_.clock.advance(std::chrono::seconds(11));
  checkpointer_->start();
  append();
  ASSERT_TRUE(eventually([&] { return !kept().empty(); }));
  const auto generation = must_be(keyring_->policy()).generation;
  append();
  const LineMac mac(must_be(keyring_->audit_secrets()).lines.expose());
  ASSERT_TRUE(eventually([&] {
    const auto side = read_side_file(path_, mac);
    return side && side->tree.size() == 2;
  }));
  EXPECT_EQ(kept()[0].size, 1U) << "within ten seconds no transaction of its own";
  EXPECT_EQ(must_be(keyring_->policy()).generation, generation);
  checkpointer_.reset();
  EXPECT_EQ(kept()[0].size, 2U);
}

TEST_F(CheckpointerTest, AnAlteredLineIsReportedOnce) {
  open();
  for (int i = 0; i < 5; ++i) append();
  {
    std::fstream log(path_, std::ios::in | std::ios::out | std::ios::binary);
    log.seekp(3);
    log.put('X');
  }
  checkpointer_.reset();
  ASSERT_EQ(reported_.size(), 1U);
  EXPECT_THAT(reported_[0], ::testing::HasSubstr(path_));
  EXPECT_TRUE(kept().empty());
}

}  // namespace
}  // namespace coffer

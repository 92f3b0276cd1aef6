#include "keystore/keyring/audit_rows.h"

#include <gtest/gtest.h>

#include "keystore/keyring/keyring.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"

namespace coffer {
namespace {

using testing::must_be;
using testing::outcome;
using testing::TestStore;

LogCheckpoint checkpoint(std::uint8_t log, std::uint64_t size) {
  LogCheckpoint made{
      .log = {}, .size = size, .at = 1'700'000'000, .place = "host:/log", .note = {}};
  made.log.bytes.fill(log);
  made.note = "a note of " + std::to_string(size) + "\n";
  return made;
}

class AuditRowsTest : public ::testing::Test {
 protected:
  std::uint64_t generation() { return must_be(keyring_->policy()).generation; }
  std::uint64_t kept_size() { return must_be(keyring_->log_checkpoints()).at(0).size; }

  TestStore store_;
  std::unique_ptr<Keyring> keyring_ = store_.open();
};

TEST_F(AuditRowsTest, KeepsTheNewestOfEachLog) {
  EXPECT_TRUE(must_be(keyring_->log_checkpoints()).empty());
  must_be(keyring_->keep_checkpoint(checkpoint(2, 10)));
  must_be(keyring_->keep_checkpoint(checkpoint(1, 7)));
  must_be(keyring_->keep_checkpoint(checkpoint(2, 12)));
  const auto before = generation();
  must_be(keyring_->keep_checkpoint(checkpoint(2, 11)));
  must_be(keyring_->keep_checkpoint(checkpoint(2, 12)));
  EXPECT_EQ(generation(), before) << "what is no news raises nothing";
  const auto kept = must_be(store_.open()->log_checkpoints());
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(kept[0].size, 7U);
  EXPECT_EQ(kept[1].size, 12U);
  EXPECT_EQ(kept[1].log, checkpoint(2, 0).log);
  EXPECT_EQ(kept[1].at, 1'700'000'000);
  EXPECT_EQ(kept[1].place, "host:/log");
  EXPECT_EQ(kept[1].note, "a note of 12\n");
}

TEST_F(AuditRowsTest, AnOfferedOneGoesWithTheNextRecord) {
  const auto deks = must_be(keyring_->make_deks(kRootScope, 1));
  const auto before = generation();
  keyring_->offer_checkpoint(checkpoint(1, 5));
  keyring_->offer_checkpoint(checkpoint(1, 6));
  EXPECT_TRUE(must_be(keyring_->log_checkpoints()).empty());
  const FileRecord record{
      .file = deks[0].file, .version = deks[0].version, .generation = 1, .root = {}};
  must_be(keyring_->record({&record, 1}));
  EXPECT_EQ(kept_size(), 6U);
  EXPECT_EQ(generation(), before + 1);
}

TEST_F(AuditRowsTest, ALogIsForgottenOnce) {
  must_be(keyring_->keep_checkpoint(checkpoint(1, 5)));
  must_be(keyring_->forget_log(checkpoint(1, 0).log));
  EXPECT_TRUE(must_be(keyring_->log_checkpoints()).empty());
  EXPECT_EQ(outcome(keyring_->forget_log(checkpoint(1, 0).log)), "not-found");
}

TEST_F(AuditRowsTest, TheModeIsRequiredUnlessItIsSaid) {
  EXPECT_TRUE(must_be(keyring_->policy()).audit_required);
  must_be(keyring_->set_audit_required(false));
  EXPECT_FALSE(must_be(store_.open()->policy()).audit_required);
  must_be(keyring_->set_audit_required(true));
  EXPECT_TRUE(must_be(keyring_->policy()).audit_required);
}

TEST_F(AuditRowsTest, NobodySwitchesTheModeUnnoticed) {
  keyring_.reset();
  testing::RawDatabase(store_.path)
      .run("INSERT INTO meta VALUES ('audit_mode', CAST('best-effort' AS BLOB));");
  EXPECT_EQ(outcome(store_.check()), "corrupt");
}

TEST_F(AuditRowsTest, AModeThatIsNotKnownIsNoLeave) {
  keyring_.reset();
  testing::change_policy_by_hand(store_,
                                 "INSERT INTO meta VALUES ('audit_mode', CAST('never' AS BLOB));");
  EXPECT_EQ(outcome(store_.check()), "corrupt");
}

TEST_F(AuditRowsTest, AReaderKeepsNothing) {
  const auto reader = store_.open(Keyring::Access::kReadOnly);
  EXPECT_FALSE(reader->keep_checkpoint(checkpoint(1, 5)).ok());
}

}  // namespace
}  // namespace coffer

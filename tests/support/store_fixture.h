#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/keystore_store.h"
#include "tests/support/privileges.h"
#include "tests/support/store_paths.h"
#include "tests/support/store_tree.h"
#include "tests/support/store_whole.h"

namespace coffer::testing {

/// Somebody else than who runs the test.
inline constexpr uid_t kGuest = 1234;

/// A test with a store of its own. At its end no inode, handle, key or backing file may be left
/// that nothing leads to.
class StoreTest : public ::testing::Test {
 protected:
  explicit StoreTest(StoreMaking making = {}) : store_(std::move(making)) {}

  void TearDown() override {
    if (store_.is_open()) {
      vfs().settle_closed();
      EXPECT_EQ(vfs().counts().inodes, 1U) << "inodes that nobody holds";
      EXPECT_EQ(vfs().counts().open_files, 0U);
      store_.close();
    }
    if (!flaws_allowed_) {
      EXPECT_THAT(backing_flaws(store_.backing()), ::testing::IsEmpty());
    }
  }

  Vfs& vfs() { return store_.vfs(); }
  /// Whoever runs the test, to whom all is granted.
  PathUser me() { return PathUser(store_.vfs()); }
  /// A guest, in this thread.
  PathUser other(uid_t uid = kGuest) { return PathUser(store_.vfs(), user(uid)); }
  /// Where the entry lies in the backing directory.
  std::string stored(const std::string& path) { return stored_path(me(), store_.backing(), path); }
  /// What was damaged or left behind on purpose is no failure at the end.
  void allow_flaws() { flaws_allowed_ = true; }

  WholeStore store_;

 private:
  bool flaws_allowed_ = false;
};

/// "ok" or an errno's name, for EXPECT_EQ(outcome_of(…), kOk).
inline constexpr const char* kOk = "ok";

}  // namespace coffer::testing

// What a caller of the mount sees of each error.

#include "fs/fuse/errno_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace coffer {
namespace {

using ::testing::IsEmpty;

/// Whether the errno of the system call behind the error is what the caller sees.
enum class Own { kPassed, kHidden };

struct Mapping {
  Code code;
  int seen;  ///< where no system call failed
  Own own;
};

const std::vector<Mapping> kMappings = {
    {Code::kNotFound, ENOENT, Own::kPassed},
    {Code::kExists, EEXIST, Own::kPassed},
    {Code::kInvalid, EINVAL, Own::kPassed},
    {Code::kDenied, EACCES, Own::kPassed},
    {Code::kRevoked, EKEYREVOKED, Own::kHidden},
    {Code::kExpired, EKEYEXPIRED, Own::kHidden},
    {Code::kKeyUnavailable, ENOKEY, Own::kHidden},
    {Code::kWrongKey, EIO, Own::kHidden},
    {Code::kCorrupt, EIO, Own::kHidden},
    {Code::kMoved, EIO, Own::kHidden},
    {Code::kRolledBack, EIO, Own::kHidden},
    {Code::kNotAStore, EIO, Own::kHidden},
    {Code::kKeystoreMissing, EIO, Own::kHidden},
    {Code::kForeignKeystore, EIO, Own::kHidden},
    {Code::kUnknownVersion, EIO, Own::kHidden},
    {Code::kMountPoint, EIO, Own::kHidden},
    {Code::kBusy, EBUSY, Own::kPassed},
    {Code::kReadOnly, EROFS, Own::kHidden},
    {Code::kNoSpace, ENOSPC, Own::kPassed},
    {Code::kExhausted, ENOMEM, Own::kPassed},
    {Code::kUnsupported, EOPNOTSUPP, Own::kPassed},
    {Code::kIo, EIO, Own::kPassed},
    {Code::kKmsDenied, ENOKEY, Own::kHidden},
    {Code::kKmsKeyMissing, ENOKEY, Own::kHidden},
    {Code::kKmsKeyDisabled, ENOKEY, Own::kHidden},
    {Code::kKmsUnavailable, ENOKEY, Own::kHidden},
};

TEST(ErrnoMap, NoCodeIsLeftOut) {
  // Each number that has a name is a code.
  std::size_t codes = 0;
  while (to_string(static_cast<Code>(codes)) != "unknown") ++codes;
  ASSERT_EQ(kMappings.size(), codes);
  for (std::size_t i = 0; i < codes; ++i) {
    EXPECT_EQ(kMappings[i].code, static_cast<Code>(i)) << to_string(static_cast<Code>(i));
  }
}

TEST(ErrnoMap, CodesOfTheirOwn) {
  for (const Mapping& mapping : kMappings) {
    EXPECT_EQ(to_errno({mapping.code, 0, "context"}), mapping.seen) << to_string(mapping.code);
  }
}

TEST(ErrnoMap, TheErrnoBehindIsPassedOnOnlyWhereItIsTheCallersAffair) {
  constexpr int kUnusual = EPROTO;
  for (const Mapping& mapping : kMappings) {
    EXPECT_EQ(to_errno({mapping.code, kUnusual, "context"}),
              mapping.own == Own::kPassed ? kUnusual : mapping.seen)
        << to_string(mapping.code);
  }
}

/// EROFS apart, of which there is one: whatever the backing says is what the caller sees.
TEST(ErrnoMap, FailedSystemCallsKeepTheirErrno) {
  for (int number = 1; ::strerrorname_np(number) != nullptr; ++number) {
    EXPECT_EQ(to_errno(errno_error(number)), number) << ::strerrorname_np(number);
  }
}

TEST(ErrnoMap, NoErrorIsAnsweredWithSuccess) {
  for (const Mapping& mapping : kMappings) {
    for (const int number : {0, EIO, EPROTO}) EXPECT_GT(to_errno({mapping.code, number, ""}), 0);
  }
}

/// EIO says nothing by itself, and the log has to.
TEST(ErrnoMap, EachEioOfAFileHasAdvice) {
  for (const Code code : {Code::kWrongKey, Code::kCorrupt, Code::kMoved, Code::kRolledBack,
                          Code::kUnknownVersion, Code::kIo}) {
    EXPECT_FALSE(advice(code).empty()) << to_string(code);
  }
}

TEST(ErrnoMap, WhatTheCallerDidItselfHasNone) {
  for (const Code code : {Code::kNotFound, Code::kExists, Code::kInvalid, Code::kDenied,
                          Code::kRevoked, Code::kExpired, Code::kReadOnly}) {
    EXPECT_THAT(advice(code), IsEmpty()) << to_string(code);
  }
}

}  // namespace
}  // namespace coffer

#include "keystore/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>

namespace coffer {
namespace {

Error some_error() { return {Code::kMoved, ESTALE, "the context"}; }

Result<int> number(int value) {
  if (value < 0) return some_error();
  return value;
}

Result<int> sum(int a, int b) { return a + b; }

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> good = 7;
  EXPECT_TRUE(good.ok());
  EXPECT_TRUE(static_cast<bool>(good));
  EXPECT_EQ(*good, 7);
  EXPECT_EQ(good.value(), 7);

  const Result<int> bad = some_error();
  EXPECT_FALSE(bad.ok());
  EXPECT_FALSE(static_cast<bool>(bad));
  EXPECT_EQ(bad.error().code, Code::kMoved);
  EXPECT_EQ(bad.error().errno_value, ESTALE);
  EXPECT_EQ(bad.error().context, "the context");
}

TEST(Result, OfBoolTellsFailureFromFalse) {
  const Result<bool> good = false;
  EXPECT_TRUE(good.ok());
  EXPECT_FALSE(*good);
}

TEST(Result, ValueCanBeChangedInPlace) {
  Result<std::string> text = std::string("a");
  text->append("b");
  *text += "c";
  EXPECT_EQ(text.value(), "abc");
}

TEST(Result, MovesAMoveOnlyValueOut) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(5);
  const std::unique_ptr<int> taken = *std::move(made);
  ASSERT_NE(taken, nullptr);
  EXPECT_EQ(*taken, 5);
}

TEST(ResultVoid, IsSuccessUnlessGivenAnError) {
  const Result<void> good;
  EXPECT_TRUE(good.ok());
  const Result<void> bad = some_error();
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().context, "the context");
}

TEST(Try, GivesTheValue) {
  const auto twice = [](int value) -> Result<int> { return 2 * TRY(number(value)); };
  EXPECT_EQ(*twice(21), 42);
}

TEST(Try, ReturnsTheWholeErrorAtOnce) {
  bool went_on = false;
  const auto caller = [&]() -> Result<std::string> {
    TRY(number(-1));
    went_on = true;
    return std::string("done");
  };
  const Result<std::string> result = caller();
  ASSERT_FALSE(result.ok());
  EXPECT_FALSE(went_on);
  EXPECT_EQ(result.error().code, Code::kMoved);
  EXPECT_EQ(result.error().errno_value, ESTALE);
  EXPECT_EQ(result.error().context, "the context");
}

TEST(Try, EvaluatesItsExpressionOnce) {
  int calls = 0;
  const auto counted = [&]() -> Result<int> { return ++calls; };
  const auto caller = [&]() -> Result<int> { return TRY(counted()); };
  EXPECT_EQ(*caller(), 1);
  EXPECT_EQ(calls, 1);
}

TEST(Try, StandsSeveralTimesAndNestedOnOneLine) {
  const auto nested = [](int a, int b) -> Result<int> {
    return TRY(sum(TRY(number(TRY(number(a)))), TRY(number(b)))) + TRY(number(TRY(number(b))));
  };
  EXPECT_EQ(*nested(3, 4), 11);
  EXPECT_EQ(nested(-1, 4).error().code, Code::kMoved);
  EXPECT_EQ(nested(3, -1).error().code, Code::kMoved);
}

TEST(Try, WorksOnResultVoid) {
  const auto step = [](bool good) -> Result<void> {
    if (!good) return some_error();
    return {};
  };
  const auto both = [&](bool first, bool second) -> Result<void> {
    TRY(step(first));
    TRY(step(second));
    return {};
  };
  EXPECT_TRUE(both(true, true).ok());
  EXPECT_EQ(both(false, true).error().code, Code::kMoved);
  EXPECT_EQ(both(true, false).error().code, Code::kMoved);
}

TEST(Try, MovesAMoveOnlyValue) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(9); };
  const auto pass_on = [&]() -> Result<std::unique_ptr<int>> {
    std::unique_ptr<int> held = TRY(make());
    return held;
  };
  const auto direct = [&]() -> Result<int> { return *TRY(make()); };
  EXPECT_EQ(**pass_on(), 9);
  EXPECT_EQ(*direct(), 9);
}

TEST(Try, TakesANamedResult) {
  const auto caller = [](int value) -> Result<int> {
    Result<int> held = number(value);
    return TRY(std::move(held)) + 1;
  };
  EXPECT_EQ(*caller(1), 2);
  EXPECT_EQ(caller(-1).error().context, "the context");
}

TEST(Error, MessageHasContextAndErrnoText) {
  EXPECT_EQ((Error{Code::kNotFound, ENOENT, "opening /x"}).message(),
            "opening /x: No such file or directory");
  EXPECT_EQ((Error{Code::kInvalid, 0, "no good"}).message(), "no good");
  EXPECT_EQ((Error{Code::kRolledBack, 0, ""}).message(), "rolled-back");
  EXPECT_EQ((Error{Code::kIo, EIO, ""}).message(), "Input/output error");
  EXPECT_EQ((Error{Code::kCorrupt, EIO, "chunk 0"}).message(), "chunk 0") << "no disk to blame";
}

TEST(Error, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  int count = 0;
  for (int code = 0; code <= static_cast<int>(Code::kKmsUnavailable); ++code, ++count) {
    names.insert(to_string(static_cast<Code>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(names.count("unknown"), 0U);
  EXPECT_EQ(to_string(static_cast<Code>(static_cast<int>(Code::kKmsUnavailable) + 1)), "unknown");
}

TEST(Error, ErrnoChoosesTheCode) {
  const std::pair<int, Code> expected[] = {
      {ENOENT, Code::kNotFound},    {EEXIST, Code::kExists},
      {EACCES, Code::kDenied},      {EPERM, Code::kDenied},
      {EINVAL, Code::kInvalid},     {ENAMETOOLONG, Code::kInvalid},
      {ENOTDIR, Code::kInvalid},    {EISDIR, Code::kInvalid},
      {ENOTEMPTY, Code::kInvalid},  {EXDEV, Code::kInvalid},
      {ELOOP, Code::kInvalid},      {EBUSY, Code::kBusy},
      {ETXTBSY, Code::kBusy},       {EROFS, Code::kReadOnly},
      {ENOSPC, Code::kNoSpace},     {EDQUOT, Code::kNoSpace},
      {ENOMEM, Code::kExhausted},   {EMFILE, Code::kExhausted},
      {ENFILE, Code::kExhausted},   {EMLINK, Code::kExhausted},
      {EFBIG, Code::kExhausted},    {ENOTSUP, Code::kUnsupported},
      {ENOSYS, Code::kUnsupported}, {EIO, Code::kIo},
      {ESTALE, Code::kIo},          {0, Code::kIo},
  };
  for (const auto& [errno_value, code] : expected) {
    const Error error = errno_error(errno_value, "c");
    EXPECT_EQ(to_string(error.code), to_string(code)) << errno_value;
    EXPECT_EQ(error.errno_value, errno_value);
    EXPECT_EQ(error.context, "c");
  }
}

}  // namespace
}  // namespace coffer

#include "keystore/cli/environment_pin.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "keystore/base/atomic_file.h"
#include "keystore/cli/passphrase.h"
#include "keystore/crypto/random.h"
#include "tests/support/memory_scan.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"

namespace coffer {
namespace {

/// Stands in for the environment as long as it lives, with entries whose bytes can be looked at.
class Environment {
 public:
  explicit Environment(std::vector<std::string> entries) : entries_(std::move(entries)) {
    for (std::string& each : entries_) pointers_.push_back(each.data());
    pointers_.push_back(nullptr);
    environ = pointers_.data();
  }
  ~Environment() { environ = before_; }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  [[nodiscard]] const std::string& entry(std::size_t which) const { return entries_[which]; }

 private:
  char** const before_ = environ;
  std::vector<std::string> entries_;
  std::vector<char*> pointers_;
};

bool is_wiped(const std::string& entry) {
  return std::ranges::all_of(entry, [](char byte) { return byte == 0; });
}

std::string given(EnvironmentPin& pin) {
  const auto secret = pin.give();
  return secret ? std::string(as_text(secret->expose())) : secret.error().message();
}

TEST(EnvironmentPin, IsTakenOutOfTheEnvironment) {
  const Environment environment(
      {"A=1", "COFFER_PIN=first", "COFFER_PINS=x", "COFFER_PIN=second", "COFFER_PIN", "Z=2"});
  const auto pin = EnvironmentPin::take();
  ASSERT_NE(pin, nullptr);
  EXPECT_TRUE(is_wiped(environment.entry(1)));
  EXPECT_TRUE(is_wiped(environment.entry(3)));
  EXPECT_EQ(std::getenv("COFFER_PIN"), nullptr);
  std::vector<std::string> left;
  for (char** each = environ; *each != nullptr; ++each) left.emplace_back(*each);
  EXPECT_EQ(left, (std::vector<std::string>{"A=1", "COFFER_PINS=x", "COFFER_PIN", "Z=2"}));
  EXPECT_EQ(given(*pin), "first");
  EXPECT_EQ(EnvironmentPin::take(), nullptr);
}

TEST(EnvironmentPin, IsGivenOnce) {
  const Environment environment({"COFFER_PIN=7531"});
  const auto pin = EnvironmentPin::take();
  EXPECT_EQ(given(*pin), "7531");
  const auto again = pin->give();
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kKeyUnavailable);
  EXPECT_NE(again.error().message().find("COFFER_PIN is used once"), std::string::npos);
}

TEST(EnvironmentPin, IsForgotten) {
  const Environment environment({"COFFER_PIN=7531"});
  const auto pin = EnvironmentPin::take();
  pin->forget();
  EXPECT_EQ(pin->give().error().code, Code::kKeyUnavailable);
}

TEST(EnvironmentPin, ThatIsSetAndNone) {
  for (const std::string& value :
       {std::string(), std::string(256, '7'), std::string("75\n31"), std::string("7531\r")}) {
    const Environment environment({"COFFER_PIN=" + value});
    const auto pin = EnvironmentPin::take();
    ASSERT_NE(pin, nullptr);
    EXPECT_TRUE(is_wiped(environment.entry(0)));
    const auto secret = pin->give();
    ASSERT_FALSE(secret.ok());
    EXPECT_EQ(secret.error().code, Code::kKeyUnavailable);
    const std::string words = secret.error().message();
    EXPECT_EQ(words.find('7'), std::string::npos) << words;
    EXPECT_EQ(words.find("is set and empty") != std::string::npos, value.empty()) << words;
  }
  const std::string longest(255, '7');
  const Environment environment({"COFFER_PIN=" + longest});
  EXPECT_EQ(given(*EnvironmentPin::take()), longest);
}

/// What goes into the background has it, and who waits for that has it no more.
TEST(EnvironmentPin, ReachesAChildThatIsForked) {
  const Environment environment({"COFFER_PIN=7531"});
  const auto pin = EnvironmentPin::take();
  const pid_t child = ::fork();
  if (child == 0) {
    const auto secret = pin->give();
    ::_exit(secret.ok() && as_text(secret->expose()) == "7531" ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(pin->give().ok());
}

TEST(EnvironmentPin, ForgottenByOneIsForgottenByAll) {
  const Environment environment({"COFFER_PIN=7531"});
  const auto pin = EnvironmentPin::take();
  const pid_t child = ::fork();
  if (child == 0) {
    pin->forget();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(pin->give().ok());
}

TEST(EnvironmentPin, IsForTokensAndNotInPlaceOfWhatIsGiven) {
  const Environment environment({"COFFER_PIN=7531"});
  PassphraseOptions options;
  options.pin = EnvironmentPin::take();
  const testing::TempDir dir;
  const std::string file = dir.file("secret");
  ASSERT_TRUE(create_file(file, as_bytes("in the file\n"), 0600).ok());
  options.file = file;
  EXPECT_EQ(as_text((*passphrase_source(options, "pkcs11:token=t")(false)).expose()),
            "in the file");
  options.file.clear();
  EXPECT_EQ(as_text((*passphrase_source(options, "pkcs11:token=t")(false)).expose()), "7531");
}

// The sanitizers keep freed memory as it is.
#if !COFFER_SANITIZED
TEST(EnvironmentPin, IsInNoOrdinaryMemory) {
  // Longer than a register, in which a part of it may stand for a while.
  static std::array<char, 160> entry{};
  constexpr std::string_view kBegin = "COFFER_PIN=";
  std::ranges::copy(kBegin, entry.begin());
  const auto value = std::span(entry).subspan(kBegin.size(), 130);
  std::array<std::uint8_t, 130> letters{};
  random_bytes(letters);
  std::ranges::transform(letters, value.begin(),
                         [](std::uint8_t byte) { return static_cast<char>('a' + byte % 16); });
  const testing::HiddenNeedle needle(as_bytes({value.data(), value.size()}));
  ASSERT_EQ(testing::count_in_ordinary_memory(needle), 1U);
  char** const before = environ;
  std::array<char*, 2> only = {entry.data(), nullptr};
  environ = only.data();
  const auto pin = EnvironmentPin::take();
  environ = before;
  EXPECT_EQ(testing::count_in_ordinary_memory(needle), 0U);
  {
    const auto secret = pin->give();
    ASSERT_TRUE(secret.ok());
    EXPECT_EQ(secret->size(), value.size());
    EXPECT_EQ(testing::count_in_ordinary_memory(needle), 0U);
  }
  EXPECT_EQ(testing::count_in_ordinary_memory(needle), 0U);
}
#endif

}  // namespace
}  // namespace coffer

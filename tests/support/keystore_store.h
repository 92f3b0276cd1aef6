#pragma once

#include <memory>
#include <string>
#include <vector>

#include "keystore/base/clock.h"
#include "keystore/keyring/keyring.h"
#include "tests/support/keystore_fake_kms.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// For stores that do not keep keys for good, in seconds.
inline constexpr std::int64_t kTtl = 600;

/// A keystore of the test's own, with all that is needed to open it. Its root scope is granted to
/// everyone, or to `root_selectors`.
struct TestStore {
  struct Options {
    Wrap root_wrap = Wrap::kKek;
    std::vector<std::string> root_selectors;
  };
  TestStore() : TestStore(Options()) {}
  explicit TestStore(const Options& options);

  /// Stops the test program if it can't be opened.
  std::unique_ptr<Keyring> open(Keyring::Access access = Keyring::Access::kReadWrite,
                                KeyLifetime lifetime = {});
  Result<std::unique_ptr<Keyring>> try_open();
  /// What policy() of a fresh Keyring says: success, or its error.
  Result<void> check();
  Keyring::CreateOptions create_options() const;

  TempDir dir;
  FakeKms kms;
  Clock clock;
  StoreId id;
  std::string path;
  Options options;
};

GrantRow everyone_grant(ScopeId scope, std::uint8_t rights = 7);
GrantRow selector_grant(ScopeId scope, std::vector<std::string> selectors, std::uint8_t rights = 7);

/// The value, or the end of the test program with the error's words.
template <typename T>
T must_be(Result<T> result, const char* what = "setting up the test") {
  if (!result.ok()) {
    std::fprintf(stderr, "%s: %s (%s)\n", what, result.error().message().c_str(),
                 std::string(to_string(result.error().code)).c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

/// "ok", or the error's code by name: what a failed expectation prints.
template <typename T>
std::string outcome(const Result<T>& result) {
  return result.ok() ? "ok" : std::string(to_string(result.error().code));
}

/// Changes policy rows by `sql`, raises the generation and authenticates what came of it, as a
/// program with the master key would; for changes that no function of the Keyring makes yet.
void change_policy_by_hand(TestStore& store, const std::string& sql);

/// The keys derived from the store's policy key, by keystore/FORMAT.md.
struct PolicySecrets {
  SecretBytes policy;
  SecretBytes records;
  SecretBytes paths;
};
PolicySecrets policy_secrets(TestStore& store);

/// The policy MAC over what lies in the file, computed from FORMAT.md and from the rows as SQLite
/// quotes them.
ByteVector expected_policy_mac(TestStore& store);

/// All bytes of a file; none if it is not there. Not for a database that is open in this process:
/// closing the file would drop SQLite's locks.
ByteVector file_bytes(const std::string& path);
bool contains(Bytes haystack, Bytes needle);

}  // namespace coffer::testing

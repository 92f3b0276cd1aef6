#include "keystore/kms/kms_check.h"

#include <functional>
#include <utility>

namespace coffer {
namespace {

using std::chrono::steady_clock;

class Checker {
 public:
  explicit Checker(KmsReport& report) : report_(report) {}

  /// The call's outcome, noted.
  template <typename T>
  Result<T> check(std::string_view what, const std::function<Result<T>()>& call) {
    const auto begun = steady_clock::now();
    auto outcome = call();
    const auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begun);
    report_.checks.push_back({what, took, outcome ? std::nullopt : std::optional(outcome.error())});
    return outcome;
  }

 private:
  KmsReport& report_;
};

Result<void> unwraps_to(MasterKms& master, Bytes wrapped, const KeyContext& context,
                        const SecretBytes& key) {
  const SecretBytes unwrapped = TRY(master.unwrap(wrapped, context));
  if (constant_time_equal(unwrapped.expose(), key.expose())) return {};
  return Error{Code::kCorrupt, 0, "another key came back than was wrapped"};
}

/// The same key in another store, scope, or place of another key: each has to be refused.
Result<void> refuses_elsewhere(MasterKms& master, Bytes wrapped, const KeyContext& context) {
  KeyContext store = context;
  store.store.bytes[0] ^= 1;
  KeyContext scope = context;
  scope.scope.value ^= 1;
  KeyContext version = context;
  version.version.value ^= 1;
  KeyContext purpose = context;
  purpose.purpose = KeyContext::Purpose::kScopeSecret;
  for (const KeyContext& other : {store, scope, version, purpose}) {
    const auto unwrapped = master.unwrap(wrapped, other);
    if (unwrapped) {
      return Error{Code::kUnsupported, 0,
                   "a wrapped key unwraps in another place than its own; this KMS does not bind "
                   "keys to where they belong and must not be used"};
    }
    if (const Code code = unwrapped.error().code; code != Code::kCorrupt && code != Code::kWrongKey)
      return unwrapped.error();
  }
  return {};
}

}  // namespace

KmsReport check_master(const KmsTrial& trial, const PassphraseSource& passphrase) {
  KmsReport report;
  const auto opened = Checker(report).check<std::unique_ptr<MasterKms>>(
      "reach the master key", [&] { return open_master(trial.record, passphrase); });
  if (opened) check_opened_master(**opened, trial, report);
  return report;
}

void check_opened_master(MasterKms& master, const KmsTrial& trial, KmsReport& report) {
  if (auto facts = master.inspect()) report.facts = *std::move(facts);
  Checker checker(report);
  const KeyContext policy = KeyContext::of_policy_key(trial.store);
  const auto own = checker.check<SecretBytes>(
      "unwrap this keystore's key", [&] { return master.unwrap(trial.policy_key, policy); });
  if (own) {
    (void)checker.check<void>("refuse it in another place",
                              [&] { return refuses_elsewhere(master, trial.policy_key, policy); });
  }
  if (!trial.may_wrap) return;

  const SecretBytes key = SecretBytes::random(32);
  KeyContext kek = policy;
  kek.purpose = KeyContext::Purpose::kKek;
  const auto wrapped =
      checker.check<ByteVector>("wrap a new key", [&] { return master.wrap(key, kek); });
  if (!wrapped) return;
  (void)checker.check<void>("unwrap it again",
                            [&] { return unwraps_to(master, *wrapped, kek, key); });
  (void)checker.check<void>("refuse that in another place",
                            [&] { return refuses_elsewhere(master, *wrapped, kek); });
}

}  // namespace coffer

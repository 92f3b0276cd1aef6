// What may go wrong with a token: SoftHSM, in a module that fails as it is told.

#include <p11-kit/pkcs11.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/pkcs11_kms.h"
#include "tests/support/faulty_pkcs11.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/soft_token.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"

namespace coffer {
namespace {

constexpr unsigned kAlways = 1'000'000;

/// A key on a token, and its PIN in a file.
class SoftHsmPlace final : public KmsPlace {
 public:
  SoftHsmPlace() {
    tokens.add_token("coffer");
    tokens.add_key("coffer", "kek");
    pin_file_ = tokens.pin_file("1234");
    auto master = create_pkcs11_master("pkcs11:token=coffer;object=kek?pin-source=" + pin_file_,
                                       no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_pkcs11_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override { return {"1234"}; }
  [[nodiscard]] const std::string& pin_file() const { return pin_file_; }

  static void fail_uses(CK_RV outcome, unsigned times = kAlways) {
    module_function<decltype(::fail_uses)>("fail_uses")(outcome, times);
  }
  static void fail_sessions(CK_RV outcome, unsigned times = kAlways) {
    module_function<decltype(::fail_sessions)>("fail_sessions")(outcome, times);
  }
  static void hold_uses(bool held) { module_function<decltype(::hold_uses)>("hold_uses")(held); }
  static void be_well() {
    fail_uses(CKR_OK, 0);
    fail_sessions(CKR_OK, 0);
  }

  testing::SoftTokens tokens;

 private:
  template <typename Function>
  static Function* module_function(const char* name) {
    return reinterpret_cast<Function*>(testing::faulty_module_function(name));
  }
  std::string pin_file_;
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(SoftHsmPlace&)> begin) {
  return KmsCause::of<SoftHsmPlace>(std::move(begin), [](SoftHsmPlace& at) { at.be_well(); });
}

KmsCause with_other_tokens(std::function<void(testing::SoftTokens&)> change) {
  return KmsCause::of<SoftHsmPlace>(
      [change = std::move(change)](SoftHsmPlace& at) {
        at.tokens.remember();
        change(at.tokens);
      },
      [](SoftHsmPlace& at) { at.tokens.recall(); });
}

KmsCause always(CK_RV outcome) {
  return by([outcome](SoftHsmPlace& at) { at.fail_uses(outcome); }).but(KmsCall::kInspect, {});
}

}  // namespace

KmsInTrouble soft_hsm_in_trouble() {
  using Place = SoftHsmPlace;
  const char* const kLibrary = "a library of this process";
  const char* const kHere = "a token of this machine";
  return {
      .name = "SoftHsm",
      .scheme = "pkcs11:",
      .is_there = testing::have_soft_tokens,
      .set_up = [] { return std::make_unique<Place>(); },
      .asks_nobody = {KmsCall::kNewest},
      .troubles =
          {
              .nobody_listens = by([](Place& at) {
                at.fail_uses(CKR_DEVICE_REMOVED);
                at.fail_sessions(CKR_TOKEN_NOT_PRESENT);
              }),
              .hangs = KmsCause::of<Place>([](Place& at) { at.hold_uses(true); },
                                           [](Place& at) { at.hold_uses(false); }),
              .drips = KmsCause::none(kLibrary),
              .reset = by([](Place& at) { at.fail_uses(CKR_DEVICE_ERROR); }),
              .half_answer = KmsCause::none(kLibrary),
              .garbage = always(CKR_VENDOR_DEFINED | 7U),
              .internal_error = always(CKR_GENERAL_ERROR),
              .too_many_requests = by([](Place& at) {
                at.fail_uses(CKR_SESSION_CLOSED);
                at.fail_sessions(CKR_SESSION_COUNT);
              }),
              .redirect = KmsCause::none(kLibrary),
              .impostor = KmsCause::none(kLibrary),
              .echo = KmsCause::none("it has no words"),
              .denied = always(CKR_KEY_FUNCTION_NOT_PERMITTED),
              .key_missing = with_other_tokens(
                  [](testing::SoftTokens& tokens) { tokens.remove_key("coffer", "kek"); }),
              .key_disabled = KmsCause::none("keys are there or not"),
              .another_key = with_other_tokens([](testing::SoftTokens& tokens) {
                               tokens.remove_key("coffer", "kek");
                               tokens.add_key("coffer", "kek");
                             })
                                 // Found when the session is opened anew.
                                 .but(KmsCall::kWrap, Code::kWrongKey)
                                 .but(KmsCall::kWrapAll, Code::kWrongKey)
                                 .but(KmsCall::kUnwrap, Code::kWrongKey)
                                 .but(KmsCall::kUnwrapAll, Code::kWrongKey)
                                 .but(KmsCall::kRewrap, Code::kWrongKey)
                                 .but(KmsCall::kInspect, Code::kWrongKey),
              .credentials_end = by([](Place& at) { at.fail_uses(CKR_USER_NOT_LOGGED_IN, 1); }),
              .credentials_refused = KmsCause::none("a wrong PIN is another passphrase"),
              .credentials_gone =
                  testing::without_file<Place>([](const Place& at) { return at.pin_file(); }),
              .clock_off = KmsCause::none(kHere),
              .clock_far_off = KmsCause::none(kHere),
          },
  };
}

}  // namespace coffer

// What KMIP's provider is tried with: each trouble, on PyKMIP's server.

#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/kmip_kms.h"
#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"

namespace coffer {
namespace {

using testing::answered;

/// A node with a certificate of its own, and a password.
class KmipPlace final : public KmsPlace {
 public:
  KmipPlace() {
    issue(0);
    server.use_certificate("own");
    testing::set_variable("COFFER_KMIP_USER", "node");
    testing::set_variable("COFFER_KMIP_PASSWORD_FILE", server.write("password", kPassword));
    const std::string uri = server.new_key();
    uid_ = uri.substr(uri.rfind('/') + 1);
    change("value", kValue);
    auto master = create_kmip_master(uri, no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_kmip_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override { return {kPassword}; }
  void change(const char* what, const std::string& value) {
    server.ask({{"do", "change"}, {"uid", uid_}, {what, value}});
  }
  /// A certificate that began so long ago, and is good for a day.
  void issue(int days_ago) {
    server.ask({{"do", "issue"}, {"file", "own"}, {"subject", "node"}, {"days_ago", days_ago}});
  }

  static constexpr const char* kPassword = "correct-horse-battery";
  static inline const std::string kValue = std::string(64, 'a');
  testing::KmipServer server;

 private:
  std::string uid_;
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(KmipPlace&)> begin, std::function<void(KmipPlace&)> end) {
  return KmsCause::of<KmipPlace>(std::move(begin), std::move(end));
}

KmsCause in_state(const char* state) {
  return by([state](KmipPlace& at) { at.change("state", state); },
            [](KmipPlace& at) { at.change("state", "ACTIVE"); });
}

}  // namespace

KmsInTrouble kmip_in_trouble() {
  using Place = KmipPlace;
  const char* const kNoHttp = "no HTTP";
  const char* const kNoClock = "requests carry no time";
  return {
      .name = "Kmip",
      .scheme = "kmip:",
      .is_there = testing::have_kmip_server,
      .set_up = [] { return std::make_unique<Place>(); },
      .asks_nobody = {KmsCall::kNewest},
      .troubles =
          {
              .nobody_listens = testing::not_running<Place>(),
              .hangs = answered<Place>("hang"),
              .drips = answered<Place>("slow"),
              .reset = answered<Place>("reset"),
              .half_answer = answered<Place>("half"),
              .garbage = answered<Place>("bytes:5353482d322e302d0d0a"),
              .internal_error = answered<Place>("fail:0x100"),
              .too_many_requests = KmsCause::none("the protocol has no word for it"),
              .redirect = KmsCause::none(kNoHttp),
              .impostor = by(
                  [](Place& at) {
                    at.server.restart({"--certificate", "other-ca"});
                  },
                  [](Place& at) { at.server.restart(); }),
              .echo = answered<Place>("echo"),
              .denied = answered<Place>("fail:0xc:Not for you"),
              .key_missing = in_state("DESTROYED").but(KmsCall::kInspect, {}),
              .key_disabled = in_state("DEACTIVATED"),
              .another_key = by([](Place& at) { at.change("value", std::string(64, 'b')); },
                                [](Place& at) { at.change("value", KmipPlace::kValue); })
                                 .but(KmsCall::kUnwrap, Code::kWrongKey)
                                 .but(KmsCall::kUnwrapAll, Code::kWrongKey)
                                 .but(KmsCall::kRewrap, Code::kWrongKey),
              .credentials_end = by(
                                     [](Place& at) {
                                       testing::calm(at);
                                       at.server.ask({{"do", "refuse"}, {"times", 1}});
                                     },
                                     testing::calm<Place>)
                                     // Who comes anew has shown what there is.
                                     .but(KmsCall::kOpen, Code::kKmsDenied),
              .credentials_refused = by(
                  [](Place& at) {
                    at.issue(30);
                    at.server.ask({{"do", "disconnect"}});
                  },
                  [](Place& at) { at.issue(0); }),
              .credentials_gone = testing::without_file<Place>(
                                      [](const Place& at) { return at.server.file("own.pem"); })
                                      // Which tells of it.
                                      .but(KmsCall::kInspect, Code::kKeyUnavailable),
              .clock_off = KmsCause::none(kNoClock),
              .clock_far_off = KmsCause::none(kNoClock),
          },
  };
}

}  // namespace coffer

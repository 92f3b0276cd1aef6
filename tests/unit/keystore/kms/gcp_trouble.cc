// What the provider for Google Cloud is tried with: each trouble, on the stand-in.

#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/gcp_kms.h"
#include "tests/unit/keystore/kms/gcp_server.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::answered;
using testing::GcpServer;

/// A node with a key of a service account.
class GcpPlace final : public KmsPlace {
 public:
  GcpPlace() {
    account_ = server.ask({{"do", "service_account"}, {"email", GcpServer::kNode}});
    use_account(GcpServer::kNode);
    auto master = create_gcp_master(GcpServer::uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_gcp_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override { return {"ya29.", "eyJ"}; }
  /// KMS answers so, and not who gives tokens.
  void answer(const std::string& kind) { server.trouble(kind, "/cryptoKeys/", 1'000'000); }
  void allow(const nlohmann::json& permissions) {
    server.ask({{"do", "allow"},
                {"principal", GcpServer::kNode},
                {"resource", GcpServer::kRing},
                {"permissions", permissions}});
  }
  void made_at(const std::string& time) {
    server.ask({{"do", "set_key"},
                {"name", std::string(GcpServer::kRing) + "/cryptoKeys/master"},
                {"created", time}});
  }
  [[nodiscard]] std::string true_time() const {
    return record_.version.substr(record_.version.find(':') + 1);
  }
  void use_account(const std::string& email) {
    account_["client_email"] = email;
    server.use_credentials(account_);
  }
  void expire() { server.ask({{"do", "expire"}}); }
  void clock(int ahead_s) {
    server.ask({{"do", "clock"}, {"ahead", ahead_s}});
    expire();
  }

  GcpServer server;

 private:
  nlohmann::json account_;
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(GcpPlace&)> begin, std::function<void(GcpPlace&)> end) {
  return KmsCause::of<GcpPlace>(std::move(begin), std::move(end));
}

KmsCause answered_by_kms(const std::string& kind) {
  return by([kind](GcpPlace& at) { at.answer(kind); }, testing::calm<GcpPlace>);
}

KmsCause with_clock(int ahead_s) {
  return by([ahead_s](GcpPlace& at) { at.clock(ahead_s); }, [](GcpPlace& at) { at.clock(0); });
}

}  // namespace

KmsInTrouble gcp_in_trouble() {
  using Place = GcpPlace;
  return {
      .name = "Gcp",
      .scheme = "gcp-kms:",
      .is_there = testing::have_transit_server,
      .set_up = [] { return std::make_unique<Place>(); },
      .asks_nobody = {},
      .troubles =
          {
              .nobody_listens = testing::not_running<Place>(),
              .hangs = answered<Place>("hang"),
              .drips = answered<Place>("slow"),
              .reset = answered<Place>("reset"),
              .half_answer = answered<Place>("half"),
              .garbage = answered<Place>("garbage"),
              .internal_error = answered_by_kms("refuse:INTERNAL:Internal error encountered."),
              .too_many_requests = answered_by_kms("refuse:RESOURCE_EXHAUSTED:Quota exceeded"),
              .redirect = answered<Place>("redirect"),
              .impostor = by([](Place& at) { at.server.restart("other-ca"); },
                             [](Place& at) { at.server.restart(); }),
              .echo = answered_by_kms("echo:INTERNAL"),
              .denied = by([](Place& at) { at.allow(nlohmann::json::array()); },
                           [](Place& at) { at.allow(nullptr); }),
              .key_missing = answered_by_kms("refuse:NOT_FOUND:CryptoKey not found."),
              .key_disabled = by([](Place& at) { at.server.set_state(1, "DISABLED"); },
                                 [](Place& at) { at.server.set_state(1, "ENABLED"); })
                                  // A store is opened to be read, by other versions.
                                  .but(KmsCall::kOpen, {}),
              .another_key = by([](Place& at) { at.made_at("2001-01-01T00:00:00.123456789Z"); },
                                [](Place& at) { at.made_at(at.true_time()); }),
              .credentials_end = by([](Place& at) { at.expire(); }, [](Place&) {}),
              .credentials_refused = by(
                  [](Place& at) {
                    at.use_account("nobody@p.iam.gserviceaccount.com");
                    at.expire();
                  },
                  [](Place& at) { at.use_account(GcpServer::kNode); }),
              .credentials_gone = testing::without_file<Place>(
                  [](const Place& at) { return at.server.file("credentials.json"); }),
              .clock_off = with_clock(-25),
              .clock_far_off = with_clock(-7200),
          },
  };
}

}  // namespace coffer

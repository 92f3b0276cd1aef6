// What the provider for Azure is tried with: each trouble, on the stand-in.

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/azure_kms.h"
#include "tests/unit/keystore/kms/azure_server.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::answered;
using testing::AzureServer;

/// A node with a client secret in a file, and a key of a vault.
class AzurePlace final : public KmsPlace {
 public:
  AzurePlace() {
    testing::set_variable("AZURE_CLIENT_SECRET", "");
    use_secret(AzureServer::kSecret);
    auto master = create_azure_master(AzureServer::uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_azure_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override {
    return {"eyJ0", AzureServer::kSecret};
  }
  void use_secret(const std::string& secret) {
    testing::set_variable("COFFER_AZURE_CLIENT_SECRET_FILE", server.write("secret", secret + "\n"));
  }
  /// The vault answers so, and not who gives tokens.
  void answer(const std::string& kind) { server.trouble(kind, "/keys/", 1'000'000); }
  /// Of both keys, whatever their versions.
  void enable(bool enabled) {
    for (const char* const key : {"master", "master-signer"})
      server.api(key, {{"attributes", {{"enabled", enabled}}}}, "PATCH");
  }
  void expire() { server.ask({{"do", "expire"}}); }
  /// Another key has taken the name, or what was there is back.
  void exchange() { server.ask({{"do", "exchange"}, {"host", AzureServer::kVault}}); }

  AzureServer server;

 private:
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(AzurePlace&)> begin, std::function<void(AzurePlace&)> end) {
  return KmsCause::of<AzurePlace>(std::move(begin), std::move(end));
}

KmsCause answered_by_vault(const std::string& kind) {
  return by([kind](AzurePlace& at) { at.answer(kind); }, testing::calm<AzurePlace>);
}

}  // namespace

KmsInTrouble azure_in_trouble() {
  using Place = AzurePlace;
  return {.name = "Azure",
          .scheme = "azure-kms:",
          .is_there = testing::have_transit_server,
          .set_up = [] { return std::make_unique<Place>(); },
          .asks_nobody = {},
          .troubles = {
              .nobody_listens = testing::not_running<Place>(),
              .hangs = answered<Place>("hang"),
              .drips = answered<Place>("slow"),
              .reset = answered<Place>("reset"),
              .half_answer = answered<Place>("half"),
              .garbage = answered<Place>("garbage"),
              .internal_error = answered_by_vault("refuse:500:InternalServerError::no"),
              .too_many_requests = answered_by_vault("refuse:429:Throttled::Too many requests"),
              .redirect = answered<Place>("redirect"),
              .impostor = by([](Place& at) { at.server.restart("other-ca"); },
                             [](Place& at) { at.server.restart(); }),
              .echo = answered_by_vault("echo:500"),
              .denied = by(
                  [](Place& at) { at.server.allow(AzureServer::kNode, nlohmann::json::array()); },
                  [](Place& at) { at.server.allow(AzureServer::kNode); }),
              .key_missing = by(
                  [](Place& at) {
                    at.server.ask({{"do", "hide"}, {"host", AzureServer::kVault}});
                  },
                  [](Place& at) {
                    at.server.ask({{"do", "show"}, {"host", AzureServer::kVault}});
                  }),
              .key_disabled =
                  by([](Place& at) { at.enable(false); }, [](Place& at) { at.enable(true); })
                      // A store is opened to be read, by other versions.
                      .but(KmsCall::kOpen, {}),
              .another_key = by([](Place& at) { at.exchange(); }, [](Place& at) { at.exchange(); })
                                 // Which versions there are is seen then, too.
                                 .but(KmsCall::kUnwrap, Code::kWrongKey)
                                 .but(KmsCall::kUnwrapAll, Code::kWrongKey)
                                 .but(KmsCall::kRewrap, Code::kWrongKey),
              .credentials_end = by([](Place& at) { at.expire(); }, [](Place&) {}),
              .credentials_refused = by(
                  [](Place& at) {
                    at.use_secret("another-7531");
                    at.expire();
                  },
                  [](Place& at) { at.use_secret(AzureServer::kSecret); }),
              .credentials_gone = testing::without_file<Place>(
                  [](const Place& at) { return at.server.file("secret"); }),
              .clock_off = KmsCause::none("tokens say how long they are good, not until when"),
              .clock_far_off = KmsCause::none("tokens say how long they are good, not until when"),
          }};
}

}  // namespace coffer

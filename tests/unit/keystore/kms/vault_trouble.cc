// What Vault's provider is tried with: each trouble, on the stand-in.

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/vault_kms.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::answered;
using testing::TransitServer;

constexpr const char* kAllowed = R"(
path "transit/keys/*" { capabilities = ["read"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "transit/rewrap/*" { capabilities = ["update"] }
)";
constexpr const char* kNothing = R"(path "nothing" { capabilities = ["read"] })";

/// A node that logs in by AppRole.
class VaultPlace final : public KmsPlace {
 public:
  VaultPlace() {
    server.set_up_transit();
    policy(kAllowed);
    // Vault tells keys apart by the second that they were made in.
    server.ask({{"do", "date_key"}, {"name", "master"}, {"ago", 3600}});
    server.use_approle(3600);
    auto master = create_vault_master(server.uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_vault_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override {
    return {testing::environment("COFFER_VAULT_ROLE"), server.root_token(), "hvs."};
  }
  void policy(const char* text) { server.api("sys/policies/acl/node", {{"policy", text}}); }
  void take_key() { server.ask({{"do", "take_key"}, {"name", "master"}}); }
  void put_key() { server.ask({{"do", "put_key"}, {"name", "master"}}); }
  void need_version(int version) {
    server.api("transit/keys/master/config", {{"min_decryption_version", version}});
  }

  TransitServer server;

 private:
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(VaultPlace&)> begin, std::function<void(VaultPlace&)> end) {
  return KmsCause::of<VaultPlace>(std::move(begin), std::move(end));
}

}  // namespace

KmsInTrouble vault_in_trouble() {
  using Place = VaultPlace;
  const char* const kNoClock = "requests carry no time";
  return {
      .name = "Vault",
      .scheme = "hcvault:",
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
              .internal_error = answered<Place>("status:500:internal error"),
              .too_many_requests = answered<Place>("status:429:request path rate limit"),
              .redirect = answered<Place>("redirect"),
              .impostor = by(
                  [](Place& at) {
                    at.server.restart({"--certificate", "other-ca"});
                  },
                  [](Place& at) { at.server.restart(); }),
              .echo = answered<Place>("echo:500"),
              .denied = by([](Place& at) { at.policy(kNothing); },
                           [](Place& at) { at.policy(kAllowed); }),
              .key_missing = by([](Place& at) { at.take_key(); }, [](Place& at) { at.put_key(); })
                                 // Vault would make one, for those who may.
                                 .but(KmsCall::kWrap, Code::kKmsDenied)
                                 .but(KmsCall::kWrapAll, Code::kKmsDenied),
              .key_disabled = by(
                                  [](Place& at) {
                                    at.server.api("transit/keys/master/rotate");
                                    at.need_version(2);
                                  },
                                  [](Place& at) { at.need_version(1); })
                                  // Versions are, and only for what they have wrapped.
                                  .but(KmsCall::kOpen, {})
                                  .but(KmsCall::kWrap, {})
                                  .but(KmsCall::kWrapAll, {}),
              .another_key = by(
                                 [](Place& at) {
                                   at.take_key();
                                   at.server.api("transit/keys/master", {{"derived", true}});
                                 },
                                 [](Place& at) { at.put_key(); })
                                 .but(KmsCall::kUnwrap, Code::kCorrupt)
                                 .but(KmsCall::kUnwrapAll, Code::kCorrupt)
                                 .but(KmsCall::kRewrap, Code::kCorrupt),
              .credentials_end = by(
                  [](Place& at) {
                    at.server.ask({{"do", "expire"}});
                  },
                  [](Place&) {}),
              .credentials_refused = by(
                  [](Place& at) {
                    std::filesystem::rename(at.server.file("secret-id"),
                                            at.server.file("secret-id.kept"));
                    at.server.write("secret-id", "11111111-2222-3333-4444-555555555555");
                    at.server.ask({{"do", "expire"}});
                  },
                  [](Place& at) {
                    std::filesystem::rename(at.server.file("secret-id.kept"),
                                            at.server.file("secret-id"));
                  }),
              .credentials_gone = testing::without_file<Place>(
                  [](const Place& at) { return at.server.file("secret-id"); }),
              .clock_off = KmsCause::none(kNoClock),
              .clock_far_off = KmsCause::none(kNoClock),
          },
  };
}

}  // namespace coffer

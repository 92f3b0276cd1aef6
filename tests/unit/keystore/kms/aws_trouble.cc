// What AWS's provider is tried with: each trouble, on the stand-in.

#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/kms/aws_kms.h"
#include "tests/unit/keystore/kms/aws_server.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"

namespace coffer {
namespace {

using testing::answered;

/// A machine with a role.
class AwsPlace final : public KmsPlace {
 public:
  AwsPlace() {
    // Whatever becomes of the clock.
    server.ask({{"do", "set"}, {"lifetime", 10 * 86400}});
    server.use_machine();
    auto master = create_aws_master(server.uri(), no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
    true_time_ =
        server.api("DescribeKey", {{"KeyId", server.key()}}).at("KeyMetadata").at("CreationDate");
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_aws_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override {
    return {"Signature=", "imds-", "Hidden/"};
  }
  /// KMS answers so, and not who gives credentials.
  void answer(const std::string& kind) {
    for (const char* const operation : {"Encrypt", "Decrypt", "ReEncrypt", "DescribeKey"})
      server.trouble(kind, operation, 1'000'000);
  }
  void name_key(const char* operation) { server.api(operation, {{"KeyId", server.key()}}); }
  void made_at(double seconds) {
    server.ask({{"do", "alter_key"}, {"key", server.key()}, {"made_at", seconds}});
  }
  [[nodiscard]] double true_time() const { return true_time_; }
  void clock(int offset_s) { server.ask({{"do", "set"}, {"offset", offset_s}}); }

  testing::AwsServer server;

 private:
  MasterKeyRecord record_;
  double true_time_ = 0;
};

KmsCause by(std::function<void(AwsPlace&)> begin, std::function<void(AwsPlace&)> end) {
  return KmsCause::of<AwsPlace>(std::move(begin), std::move(end));
}

KmsCause answered_by_kms(const std::string& kind) {
  return by([kind](AwsPlace& at) { at.answer(kind); }, testing::calm<AwsPlace>);
}

KmsCause with_clock(int offset_s) {
  return by([offset_s](AwsPlace& at) { at.clock(offset_s); }, [](AwsPlace& at) { at.clock(0); });
}

}  // namespace

KmsInTrouble aws_in_trouble() {
  using Place = AwsPlace;
  return {
      .name = "Aws",
      .scheme = "aws-kms:",
      .is_there = testing::have_aws_server,
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
              .internal_error = answered<Place>("status:500:KMSInternalException"),
              .too_many_requests = answered_by_kms("status:400:ThrottlingException:Rate exceeded"),
              .redirect = answered<Place>("redirect"),
              .impostor = by([](Place& at) { at.server.restart("other-ca"); },
                             [](Place& at) { at.server.restart(); }),
              .echo = answered_by_kms("echo:500:KMSInternalException"),
              .denied = by([](Place& at) { at.server.allow("machine-role", {}); },
                           [](Place& at) { at.server.allow("machine-role", {"*"}); }),
              .key_missing = answered_by_kms("status:400:NotFoundException:Invalid arn"),
              .key_disabled = by([](Place& at) { at.name_key("DisableKey"); },
                                 [](Place& at) { at.name_key("EnableKey"); })
                                  .but(KmsCall::kNewest, Code::kKmsKeyDisabled)
                                  .but(KmsCall::kInspect, Code::kKmsKeyDisabled),
              .another_key = by([](Place& at) { at.made_at(1234567890.5); },
                                [](Place& at) { at.made_at(at.true_time()); }),
              .credentials_end = by(
                  [](Place& at) {
                    at.server.ask({{"do", "expire"}});
                  },
                  [](Place&) {}),
              .credentials_refused = answered_by_kms("status:400:UnrecognizedClientException"),
              .credentials_gone =
                  by([](Place&) { testing::set_variable("AWS_EC2_METADATA_DISABLED", "true"); },
                     [](Place&) { testing::set_variable("AWS_EC2_METADATA_DISABLED", ""); }),
              .clock_off = with_clock(-3000),
              .clock_far_off = with_clock(-2 * 86400),
          },
  };
}

}  // namespace coffer

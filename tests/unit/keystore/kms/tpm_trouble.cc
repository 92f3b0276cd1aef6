// What may go wrong with a TPM: swtpm, and what stands between it and us.

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "keystore/kms/tpm2_kms.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/soft_tpm.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"

namespace coffer {
namespace {

using testing::SoftTpm;
using testing::TpmTap;

class TpmPlace final : public KmsPlace {
 public:
  TpmPlace() {
    pin_file_ = server.pin_file(kPin);
    auto master = create_tpm2_master("tpm2:pin-source=" + pin_file_, no_passphrase);
    if (!master) throw std::runtime_error(master.error().message());
    record_ = (*master)->describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_tpm2_master(record_, no_passphrase);
  }
  [[nodiscard]] std::vector<std::string> secrets() const override { return {kPin, kWrongPin}; }
  [[nodiscard]] const std::string& pin_file() const { return pin_file_; }
  /// What the TPM answers is altered on its way.
  void alter(const std::function<void(ByteVector&)>& change) {
    tap.emplace(server, testing::TpmMeddling{
                            .answer = [change](unsigned, ByteVector& answer) { change(answer); }});
  }

  static constexpr const char* kPin = "seven-five-three-one";
  static constexpr const char* kWrongPin = "nine-seven-five-three";
  SoftTpm server;
  std::optional<SoftTpm> other;
  std::optional<TpmTap> tap;

 private:
  std::string pin_file_;
  MasterKeyRecord record_;
};

KmsCause by(std::function<void(TpmPlace&)> begin, std::function<void(TpmPlace&)> end) {
  return KmsCause::of<TpmPlace>(std::move(begin), std::move(end));
}

KmsCause altered(std::function<void(ByteVector&)> change) {
  return by([change = std::move(change)](TpmPlace& at) { at.alter(change); },
            [](TpmPlace& at) { at.tap.reset(); });
}

/// As the kernel does it: a TPM that loses its power takes that for a wrong PIN.
void shut_down(TpmPlace& at) {
  at.server.tool("tpm2_shutdown --clear");
  at.server.stop();
}

void lock_out(TpmPlace& at) {
  at.server.pin_file(TpmPlace::kWrongPin);
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (at.open()) throw std::runtime_error("a wrong PIN opens it");
  }
  at.server.pin_file(TpmPlace::kPin);
}

}  // namespace

KmsInTrouble tpm_in_trouble() {
  using Place = TpmPlace;
  const char* const kHere = "a chip of this machine";
  return {
      .name = "SoftTpm",
      .scheme = "tpm2:",
      .is_there = testing::have_soft_tpm,
      .set_up = [] { return std::make_unique<Place>(); },
      // Its key is unsealed once.
      .asks_nobody = {KmsCall::kWrap, KmsCall::kWrapAll, KmsCall::kUnwrap, KmsCall::kUnwrapAll,
                      KmsCall::kRewrap, KmsCall::kNewest},
      .troubles =
          {
              .nobody_listens = by(shut_down, [](Place& at) { at.server.start(); }),
              .hangs =
                  by([](Place& at) { at.server.pause(); }, [](Place& at) { at.server.go_on(); }),
              .drips = KmsCause::none(kHere),
              .reset = altered([](ByteVector& answer) { answer.clear(); }),
              .half_answer = altered([](ByteVector& answer) {
                answer.resize(std::max<std::size_t>(10, answer.size() / 2));
                answer[4] = static_cast<std::uint8_t>(answer.size() >> 8U);
                answer[5] = static_cast<std::uint8_t>(answer.size());
              }),
              .garbage = altered([](ByteVector& answer) { answer = ByteVector(64, 0x5a); }),
              .internal_error = altered([](ByteVector& answer) {
                answer = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01};  // TPM_RC_FAILURE
              }),
              .too_many_requests = altered([](ByteVector& answer) {
                answer = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x03};  // TPM_RC_SESSION_MEMORY
              }),
              .redirect = KmsCause::none(kHere),
              .impostor = KmsCause::none("it is known by what it unseals"),
              .echo = KmsCause::none("it has no words"),
              .denied =
                  by([](Place& at) { at.server.extend(7); }, [](Place& at) { at.server.restart(); })
                      .but(KmsCall::kInspect, {}),
              .key_missing = by([](Place& at) { at.other.emplace(); },
                                [](Place& at) {
                                  at.other.reset();
                                  at.server.use();
                                })
                                 .but(KmsCall::kInspect, {}),
              .key_disabled = KmsCause::none("keys are there or not"),
              .another_key = by([](Place& at) { at.server.pin_file(TpmPlace::kWrongPin); },
                                [](Place& at) { at.server.pin_file(TpmPlace::kPin); }),
              .credentials_end = KmsCause::none("a PIN does not end"),
              .credentials_refused =
                  by(lock_out,
                     [](Place& at) { at.server.tool("tpm2_dictionarylockout --clear-lockout"); })
                      .but(KmsCall::kInspect, {}),
              .credentials_gone =
                  testing::without_file<Place>([](const Place& at) { return at.pin_file(); }),
              .clock_off = KmsCause::none(kHere),
              .clock_far_off = KmsCause::none(kHere),
          },
  };
}

}  // namespace coffer

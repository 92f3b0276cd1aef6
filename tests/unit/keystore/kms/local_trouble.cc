// What may go wrong with a key file and a passphrase.

#include <memory>
#include <stdexcept>
#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/crypto/kdf.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/master_kms.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/stand_in_trouble.h"

namespace coffer {
namespace {

const std::vector<KmsCall> kAllButOpen = {KmsCall::kWrap,      KmsCall::kWrapAll, KmsCall::kUnwrap,
                                          KmsCall::kUnwrapAll, KmsCall::kRewrap,  KmsCall::kNewest,
                                          KmsCall::kInspect};

bool needs_nothing() { return true; }

/// Whoever asks nobody has these troubles alone.
KmsTroubles troubles_of(const std::string& why, KmsCause another_key, KmsCause credentials_gone) {
  const auto none = [&why] { return KmsCause::none(why); };
  return {.nobody_listens = none(),
          .hangs = none(),
          .drips = none(),
          .reset = none(),
          .half_answer = none(),
          .garbage = none(),
          .internal_error = none(),
          .too_many_requests = none(),
          .redirect = none(),
          .impostor = none(),
          .echo = none(),
          .denied = none(),
          .key_missing = none(),
          .key_disabled = none(),
          .another_key = std::move(another_key),
          .credentials_end = none(),
          .credentials_refused = none(),
          .credentials_gone = std::move(credentials_gone),
          .clock_off = none(),
          .clock_far_off = none()};
}

class KeyFilePlace final : public KmsPlace {
 public:
  KeyFilePlace() {
    const auto make = [this](const char* name) {
      auto master = create_master("local:" + dir_.file(name), no_passphrase);
      if (!master) throw std::runtime_error(master.error().message());
      return (*master)->describe();
    };
    record_ = make("key");
    make("other");
  }
  Result<std::unique_ptr<MasterKms>> open() override { return open_master(record_, no_passphrase); }
  [[nodiscard]] std::vector<std::string> secrets() const override {
    const auto content = read_small_file(file(), 1000);
    return content ? std::vector<std::string>{std::string(as_text(*content)).substr(20, 64)}
                   : std::vector<std::string>{};
  }
  [[nodiscard]] std::string file() const { return dir_.file("key"); }
  void swap() {
    std::filesystem::rename(file(), dir_.file("kept"));
    std::filesystem::rename(dir_.file("other"), file());
    std::filesystem::rename(dir_.file("kept"), dir_.file("other"));
  }

 private:
  testing::TempDir dir_;
  MasterKeyRecord record_;
};

/// Somebody types it, who may be away, or know another.
class PassphrasePlace final : public KmsPlace {
 public:
  PassphrasePlace() {
    // As cheap as is accepted.
    const std::string cheap = "scrypt ln=10 r=8 p=1 salt=000102030405060708090a0b0c0d0e0f";
    const auto key =
        scrypt(as_bytes(kRight), *from_hex("000102030405060708090a0b0c0d0e0f"), {10, 8, 1});
    record_ = LocalKms("passphrase:", cheap, *key).describe();
  }
  Result<std::unique_ptr<MasterKms>> open() override {
    return open_master(record_, [this](bool) -> Result<SecretBytes> {
      if (typed == nullptr) return Error{Code::kKeyUnavailable, 0, "there is nobody to ask"};
      return SecretBytes::copy_of(as_bytes(typed));
    });
  }
  [[nodiscard]] std::vector<std::string> secrets() const override { return {kRight, kWrong}; }

  static constexpr const char* kRight = "correct horse";
  static constexpr const char* kWrong = "incorrect horse";
  const char* typed = kRight;

 private:
  MasterKeyRecord record_;
};

KmsCause typing(const char* text) {
  return KmsCause::of<PassphrasePlace>(
      [text](PassphrasePlace& at) { at.typed = text; },
      [](PassphrasePlace& at) { at.typed = PassphrasePlace::kRight; });
}

}  // namespace

KmsInTrouble key_file_in_trouble() {
  using Place = KeyFilePlace;
  return {.name = "KeyFile",
          .scheme = "local:",
          .is_there = needs_nothing,
          .set_up = [] { return std::make_unique<Place>(); },
          .asks_nobody = kAllButOpen,
          .troubles = troubles_of(
              "a file on this machine: nobody is asked",
              KmsCause::of<Place>([](Place& at) { at.swap(); }, [](Place& at) { at.swap(); }),
              testing::without_file<Place>([](const Place& at) { return at.file(); }))};
}

KmsInTrouble passphrase_in_trouble() {
  return {.name = "Passphrase",
          .scheme = "passphrase:",
          .is_there = needs_nothing,
          .set_up = [] { return std::make_unique<PassphrasePlace>(); },
          .asks_nobody = kAllButOpen,
          .troubles = troubles_of("nobody is asked but who types", typing(PassphrasePlace::kWrong),
                                  typing(nullptr))};
}

}  // namespace coffer

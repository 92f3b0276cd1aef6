// What a tpm2: URI says, and the parameters that a keystore holds.

#include "keystore/kms/tpm2_record.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "keystore/kms/master_kms.h"

namespace coffer {
namespace {

using Bank = PcrSelection::Bank;

TEST(Tpm2Uri, IsPutOnRecordInOneForm) {
  for (const auto& [given, kept] : std::initializer_list<std::pair<const char*, const char*>>{
           {"tpm2:", "tpm2:pcrs=sha256:7"},
           {"tpm2:pin", "tpm2:pcrs=sha256:7;pin"},
           {"tpm2:pcrs=none", "tpm2:pcrs=none"},
           {"tpm2:pcrs=sha256:11+7+0", "tpm2:pcrs=sha256:0+7+11"},
           {"tpm2:pcrs=sha384:23", "tpm2:pcrs=sha384:23"},
           {"tpm2:pin;pcrs=sha512:1+2", "tpm2:pcrs=sha512:1+2;pin"},
           {"tpm2:pin-source=/etc/coffer/pin", "tpm2:pcrs=sha256:7;pin-source=/etc/coffer/pin"}}) {
    const auto uri = Tpm2Uri::parse(given);
    ASSERT_TRUE(uri.ok()) << given << ": " << uri.error().message();
    EXPECT_EQ(uri->text(), kept);
    EXPECT_EQ(Tpm2Uri::parse(kept)->text(), kept);
  }
}

TEST(Tpm2Uri, SaysWhatIsMeant) {
  const auto uri = Tpm2Uri::parse("tpm2:pcrs=sha384:0+23;pin-source=/pin");
  ASSERT_TRUE(uri.ok());
  EXPECT_EQ(uri->pcrs, (PcrSelection{Bank::kSha384, 0x800001}));
  EXPECT_TRUE(uri->pin);
  EXPECT_EQ(uri->pin_source, "/pin");
  EXPECT_EQ(Tpm2Uri::parse("tpm2:")->pcrs, (PcrSelection{Bank::kSha256, 0x80}));
  EXPECT_EQ(Tpm2Uri::parse("tpm2:pcrs=none")->pcrs.mask, 0U);
  EXPECT_FALSE(Tpm2Uri::parse("tpm2:")->pin);
}

TEST(Tpm2Uri, OthersAreRefused) {
  for (const std::string uri : {"",
                                "tpm2",
                                "tpm2:;",
                                "tpm2:7",
                                "tpm2:pcrs",
                                "tpm2:pcrs=",
                                "tpm2:pcrs=7",
                                "tpm2:pcrs=sha1:7",
                                "tpm2:pcrs=sha256",
                                "tpm2:pcrs=sha256:",
                                "tpm2:pcrs=sha256:24",
                                "tpm2:pcrs=sha256:-1",
                                "tpm2:pcrs=sha256:07",
                                "tpm2:pcrs=sha256:7+7",
                                "tpm2:pcrs=sha256:7+",
                                "tpm2:pcrs=sha256:7,11",
                                "tpm2:pcrs=sha256:4294967303",
                                "tpm2:pcrs=sha256:none",
                                "tpm2:pcrs=none:7",
                                "tpm2:pcrs=sha256:7;pcrs=none",
                                "tpm2:pin;pin",
                                "tpm2:pin;pin-source=/pin",
                                "tpm2:pin-source=",
                                "tpm2:pin-source=pin",
                                "tpm2:pin;",
                                "tpm2:PIN",
                                "tpm2:tcti=/dev/tpm0"}) {
    const auto parsed = Tpm2Uri::parse(uri);
    ASSERT_FALSE(parsed.ok()) << uri;
    EXPECT_EQ(parsed.error().code, Code::kInvalid) << uri;
  }
}

TEST(Tpm2Uri, APinInItIsNotRepeated) {
  for (const std::string uri :
       {"tpm2:pin=7531", "tpm2:pin-value=7531", "tpm2:7531", "tpm2:pcrs=7531"}) {
    const auto parsed = Tpm2Uri::parse(uri);
    ASSERT_FALSE(parsed.ok()) << uri;
    EXPECT_EQ(parsed.error().message().find("7531"), std::string::npos) << parsed.error().message();
  }
}

TEST(Tpm2Uri, TellsWhetherSomebodyIsAsked) {
  EXPECT_FALSE(may_ask("tpm2:"));
  EXPECT_FALSE(may_ask("tpm2:pcrs=sha256:7;pin-source=/pin"));
  EXPECT_TRUE(may_ask("tpm2:pin"));
  EXPECT_TRUE(may_ask("tpm2:pcrs=none;pin"));
}

Tpm2Sealed some_sealed() {
  Tpm2Sealed sealed{ByteVector(34, 1), ByteVector(78, 2), ByteVector(150, 3)};
  sealed.storage_key[33] = 0xfe;
  return sealed;
}

TEST(Tpm2Parameters, AreReadAsTheyWereWritten) {
  const std::string text = some_sealed().text();
  const auto parsed = Tpm2Sealed::parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  EXPECT_EQ(parsed->storage_key, some_sealed().storage_key);
  EXPECT_EQ(parsed->public_area, some_sealed().public_area);
  EXPECT_EQ(parsed->private_area, some_sealed().private_area);
  EXPECT_EQ(parsed->text(), text);
}

TEST(Tpm2Parameters, OthersAreRefused) {
  const std::string text = some_sealed().text();
  for (std::size_t length = 0; length < text.size(); length += length < 30 ? 1 : 7) {
    // Whole up to a base64 group it is shorter, and the TPM's to refuse.
    const auto parsed = Tpm2Sealed::parse(text.substr(0, length));
    if (parsed) continue;
    EXPECT_EQ(parsed.error().code, length == 7 ? Code::kUnknownVersion : Code::kCorrupt) << length;
  }
  Tpm2Sealed sealed = some_sealed();
  sealed.storage_key.pop_back();
  EXPECT_FALSE(Tpm2Sealed::parse(sealed.text()));
  sealed = some_sealed();
  sealed.public_area.clear();
  EXPECT_FALSE(Tpm2Sealed::parse(sealed.text()));
  sealed = some_sealed();
  sealed.private_area.resize(1025);
  EXPECT_FALSE(Tpm2Sealed::parse(sealed.text()));
  for (const std::string& altered : {text + " ", " " + text, text + " more=1", text + "="})
    EXPECT_EQ(Tpm2Sealed::parse(altered).error().code, Code::kCorrupt) << altered;
  std::string newer = text;
  newer.replace(newer.find("v=1"), 3, "v=2");
  EXPECT_EQ(Tpm2Sealed::parse(newer).error().code, Code::kUnknownVersion);
  std::string upper = text;
  upper[upper.find("fe public")] = 'F';
  EXPECT_EQ(Tpm2Sealed::parse(upper).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace coffer

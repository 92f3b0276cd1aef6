#include "keystore/audit/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/vectors.h"

namespace coffer {
namespace {

/// The example of C2SP's tlog-checkpoint.
constexpr const char* kExample =
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

class CheckpointTest : public ::testing::Test {
 protected:
  static Ed25519Key key(std::uint8_t number) {
    SecretBytes seed(32);
    seed.expose()[0] = number;
    return Ed25519Key(std::move(seed));
  }

  const Ed25519Key key_ = key(1);
  const Checkpoint checkpoint_ = parse_checkpoint_text(kExample).value();
  const std::string note_ = sign_checkpoint(checkpoint_, key_);
};

TEST_F(CheckpointTest, TheExampleIsReadAndWritten) {
  EXPECT_EQ(checkpoint_.origin, "example.com/behind-the-sofa");
  EXPECT_EQ(checkpoint_.size, 20852163U);
  EXPECT_EQ(to_hex(checkpoint_.root),
            "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62");
  EXPECT_EQ(checkpoint_text(checkpoint_), kExample);
  EXPECT_TRUE(parse_checkpoint_text(std::string(kExample) + "an extension\n").ok());
}

TEST_F(CheckpointTest, WhatIsNoCheckpointIsRefused) {
  for (const char* const text :
       {"", "\n", "a\n", "a\n1\n", "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom_Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n", "a\n1\nCsUYapGG\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nx"}) {
    EXPECT_FALSE(parse_checkpoint_text(text).ok()) << text;
  }
}

TEST_F(CheckpointTest, ASignedNoteOpensUnderItsKeyAlone) {
  EXPECT_EQ(note_.find(kExample), 0U);
  EXPECT_THAT(note_, ::testing::HasSubstr("\n\n\xe2\x80\x94 example.com/behind-the-sofa "));
  const auto opened = open_checkpoint(note_, key_.public_key());
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  EXPECT_EQ(*opened, checkpoint_);
  EXPECT_EQ(open_checkpoint(note_, key(2).public_key()).error().code, Code::kCorrupt);
}

TEST_F(CheckpointTest, NoByteOfANoteCanBeChanged) {
  for (std::size_t i = 0; i < note_.size(); ++i) {
    for (const int flip : {1, 0x20, 0x80}) {
      std::string altered = note_;
      altered[i] = static_cast<char>(altered[i] ^ flip);
      const auto opened = open_checkpoint(altered, key_.public_key());
      EXPECT_FALSE(opened.ok()) << "byte " << i;
    }
  }
  for (std::size_t length = 0; length < note_.size(); ++length) {
    EXPECT_FALSE(open_checkpoint(note_.substr(0, length), key_.public_key()).ok()) << length;
  }
}

TEST_F(CheckpointTest, SignaturesOfOthersArePassedOver) {
  // A witness's, before and after ours.
  const std::string line = sign_checkpoint(checkpoint_, key(2));
  const std::string other = line.substr(line.rfind("\n\xe2\x80\x94") + 1);
  const std::size_t signatures = note_.rfind("\n\n") + 2;
  EXPECT_TRUE(open_checkpoint(note_ + other, key_.public_key()).ok());
  EXPECT_TRUE(open_checkpoint(note_.substr(0, signatures) + other + note_.substr(signatures),
                              key_.public_key())
                  .ok());
  EXPECT_FALSE(open_checkpoint(note_.substr(0, signatures) + other, key_.public_key()).ok());
}

TEST(VerifierKey, IsWrittenAsGoWritesIt) {
  // golang.org/x/mod/sumdb/note, the key of its examples.
  const ByteVector typed = from_base64("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").value();
  ASSERT_EQ(typed.size(), 33U);
  Ed25519PublicKey key{};
  std::copy(typed.begin() + 1, typed.end(), key.begin());
  EXPECT_EQ(verifier_key("PeterNeumann", key),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
}

TEST(Base64, IsRfc4648s) {
  const std::pair<const char*, const char*> texts[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"},
                                                       {"\xfb\xff", "+/8="}};
  for (const auto& [plain, coded] : texts) {
    EXPECT_EQ(to_base64(as_bytes(plain)), coded);
    EXPECT_EQ(std::string(as_text(from_base64(coded).value())), plain);
  }
  for (const char* const wrong :
       {"Zg", "Zg=", "Zg===", "=", "====", "Zh==", "-_8=", "Zm 8", "Z=g="}) {
    EXPECT_FALSE(from_base64(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace coffer

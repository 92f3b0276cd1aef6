#include "keystore/kms/ttlv.h"

#include <gtest/gtest.h>

#include <string>

#include "keystore/kms/kmip_message.h"

namespace coffer {
namespace {

constexpr auto kTag = static_cast<KmipTag>(0x420020);

std::string hex_of(TtlvWriter& writer) { return to_hex(writer.take().expose()); }

bool parses(const std::string& hex) {
  const auto item = parse_ttlv(*from_hex(hex));
  EXPECT_TRUE(item.ok() || item.error().code == Code::kInvalid);
  return item.ok();
}

/// The examples of OASIS KMIP 1.4, 9.1.2.
TEST(Ttlv, ExamplesOfTheSpecification) {
  EXPECT_EQ(hex_of(TtlvWriter().integer(kTag, 8)), "42002002000000040000000800000000");
  EXPECT_EQ(hex_of(TtlvWriter().enumeration(kTag, 255)), "4200200500000004000000ff00000000");
  EXPECT_EQ(hex_of(TtlvWriter().boolean(kTag, true)), "42002006000000080000000000000001");
  EXPECT_EQ(hex_of(TtlvWriter().text(kTag, as_bytes("Hello World"))),
            "420020070000000b48656c6c6f20576f726c640000000000");
  EXPECT_EQ(hex_of(TtlvWriter().bytes(kTag, ByteVector{1, 2, 3})),
            "42002008000000030102030000000000");
  EXPECT_EQ(hex_of(TtlvWriter()
                       .begin(kTag)
                       .enumeration(static_cast<KmipTag>(0x420004), 254)
                       .integer(static_cast<KmipTag>(0x420005), 255)
                       .end()),
            "42002001000000204200040500000004000000fe000000004200050200000004000000ff00000000");
  for (const char* const hex :
       {"4200200300000008 01b69b4ba5749200", "42002004000000100000000003fd35eb6bc2df4618080000",
        "4200200900000008 0000000047da67f8", "4200200a00000004 000d2f0000000000"}) {
    std::string text = hex;
    std::erase(text, ' ');
    EXPECT_TRUE(parses(text)) << hex;
  }
}

TEST(Ttlv, WhatWasWrittenIsRead) {
  TtlvWriter writer;
  writer.begin(KmipTag::kBatchItem);
  writer.integer(KmipTag::kBatchCount, -5).enumeration(KmipTag::kOperation, 0xffffffff);
  writer.text(KmipTag::kUniqueIdentifier, as_bytes("key")).bytes(KmipTag::kData, ByteVector(1000));
  writer.begin(KmipTag::kAttribute).end();
  writer.integer(KmipTag::kTagLength, 1).integer(KmipTag::kTagLength, 2);
  const SecretBytes message = writer.end().take();
  const auto item = parse_ttlv(message.expose());
  ASSERT_TRUE(item.ok()) << item.error().message();
  EXPECT_EQ(item->items().size(), 7U);
  EXPECT_EQ(item->integer(KmipTag::kBatchCount), -5);
  EXPECT_EQ(item->enumeration(KmipTag::kOperation), 0xffffffff);
  EXPECT_EQ(item->text(KmipTag::kUniqueIdentifier), "key");
  EXPECT_EQ(item->bytes(KmipTag::kData)->size(), 1000U);
  EXPECT_TRUE(item->one(KmipTag::kAttribute, TtlvType::kStructure)->items().empty());
  EXPECT_FALSE(item->text(KmipTag::kData)) << "of another type";
  EXPECT_FALSE(item->integer(KmipTag::kTagLength)) << "twice";
  EXPECT_FALSE(item->integer(KmipTag::kNonce)) << "not there";
  EXPECT_FALSE(item->items()[0].integer(KmipTag::kBatchCount)) << "in no structure";
}

TEST(Ttlv, WhatIsMalformed) {
  const std::pair<const char*, const char*> known[] = {
      {"nothing", ""},
      {"a cut header", "42002002000000"},
      {"a cut value", "42002002000000040000"},
      {"cut padding", "42002002000000040000000800"},
      {"padding that is not zero", "42002002000000040000000800000001"},
      {"something that follows", "4200200200000004000000080000000000"},
      {"an integer of 8 bytes", "42002002000000080000000800000000"},
      {"a boolean of 4 bytes", "42002006000000040000000100000000"},
      {"a boolean that is 2", "42002006000000080000000000000002"},
      {"a type of KMIP 2.0", "4200200b000000080000000000000000"},
      {"no type", "42002000000000080000000000000000"},
      {"no tag", "00002002000000040000000800000000"},
      {"a big integer of no bytes", "4200200400000000"},
      {"one longer than its place", "42002008ffffffff0000000000000000"},
      {"a structure that is cut", "42002001000000104200200200000004"},
      {"a structure of a wrong length", "420020010000000c420020020000000400000008"},
      {"one that ends within its structure", "42002001000000084200200200000004"},
      {"one that ends after its structure", "420020010000000842002002000000040000000800000000"}};
  for (const auto& [what, hex] : known) EXPECT_FALSE(parses(hex)) << what;
}

TEST(Ttlv, DepthAndNumberAreBounded) {
  const auto nested = [](unsigned levels) {
    TtlvWriter writer;
    for (unsigned i = 0; i < levels; ++i) writer.begin(kTag);
    for (unsigned i = 0; i < levels; ++i) writer.end();
    return parse_ttlv(writer.take().expose()).ok();
  };
  EXPECT_TRUE(nested(16));
  EXPECT_FALSE(nested(17));
  const auto with_items = [](unsigned count) {
    TtlvWriter writer;
    writer.begin(kTag);
    for (unsigned i = 0; i < count; ++i) writer.begin(kTag).end();
    return parse_ttlv(writer.end().take().expose()).ok();
  };
  EXPECT_TRUE(with_items(4095));
  EXPECT_FALSE(with_items(4096));
}

TEST(Ttlv, TheRestOfAMessage) {
  const auto rest = [](const std::string& hex) {
    return ttlv_rest(*from_hex(hex), KmipTag::kResponseMessage, 1000);
  };
  EXPECT_EQ(*rest("42007b0100000010"), 16U);
  for (const char* const hex : {"4200780100000010", "42007b0100000011", "42007b0200000004",
                                "42007b01ffffffff", "5353482d322e302d", "42007b01000000"}) {
    EXPECT_FALSE(rest(hex).ok()) << hex;
  }
  EXPECT_EQ(*rest("42007b01000003e8"), 1000U);
  EXPECT_FALSE(rest("42007b01000003f0").ok());
}

/// A Response Message of one result, or of what stands in its place.
struct AnswerParts {
  std::int32_t version = 1;
  std::int32_t count = 1;
  unsigned results = 1;
  std::uint32_t operation = 0x20;
  std::uint32_t status = 0;
  bool reason = false;
  bool payload = true;
  bool own_id = true;

  [[nodiscard]] Code parsed() const {
    std::vector<KmipRequestItem> asked;
    asked.emplace_back(KmipOperation::kDecrypt, SecretBytes());
    TtlvWriter out;
    out.begin(KmipTag::kResponseMessage).begin(KmipTag::kResponseHeader);
    out.begin(KmipTag::kProtocolVersion);
    out.integer(KmipTag::kProtocolVersionMajor, version);
    out.integer(KmipTag::kProtocolVersionMinor, 4).end();
    out.integer(KmipTag::kBatchCount, count).end();
    for (unsigned i = 0; i < results; ++i) {
      out.begin(KmipTag::kBatchItem).enumeration(KmipTag::kOperation, operation);
      if (own_id) out.bytes(KmipTag::kUniqueBatchItemId, asked[0].id);
      out.enumeration(KmipTag::kResultStatus, status);
      if (reason) out.enumeration(KmipTag::kResultReason, 0x100);
      if (payload) out.begin(KmipTag::kResponsePayload).end();
      out.end();
    }
    const auto answer = KmipAnswer::parse(out.end().take(), asked);
    if (!answer) return answer.error().code;
    return answer->failure() != nullptr ? Code::kDenied : Code::kExists;
  }
};

TEST(KmipAnswer, IsToWhatWasAsked) {
  EXPECT_EQ(AnswerParts{}.parsed(), Code::kExists);
  EXPECT_EQ((AnswerParts{.status = 1, .reason = true, .payload = false}.parsed()), Code::kDenied);
  EXPECT_EQ((AnswerParts{.status = 1, .reason = true, .own_id = false}.parsed()), Code::kDenied);
  const AnswerParts odd[] = {{.version = 2},   {.count = 0},        {.count = 2},
                             {.results = 0},   {.results = 2},      {.count = 2, .results = 2},
                             {.count = -1},    {.operation = 0x1f}, {.status = 1},
                             {.status = 2},    {.status = 3},       {.payload = false},
                             {.own_id = false}};
  for (const AnswerParts& parts : odd) EXPECT_EQ(parts.parsed(), Code::kInvalid) << &parts - odd;
}

}  // namespace
}  // namespace coffer

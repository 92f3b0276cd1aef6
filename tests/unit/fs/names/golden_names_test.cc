// Values that tests/unit/fs/golden.py worked out from fs/FORMAT.md 2, 4 and 5. If one of these
// tests fails, format version 1 has changed.

#include <gtest/gtest.h>

#include "tests/unit/fs/names/names_fixture.h"

namespace coffer {
namespace {

using testing::golden_dir;
using testing::golden_names;
using testing::golden_store;
using testing::id_from;
using testing::other_dir;

TEST(GoldenNames, Names) {
  const ScopeNames names = golden_names();
  const auto text = [&](std::string_view name) {
    return names.encode_name(golden_dir(), name)->text;
  };
  EXPECT_EQ(text("model.safetensors"), "e8r_Is3-WtrVXbwPXiMDmdj1ZEFhUKG0NqisGbF3AgcP");
  EXPECT_EQ(text("\xff"), "-ir1ssWm9BlQpYKev18rNME");
  EXPECT_EQ(text(std::string(175, 'n')),
            "uqACHiAbS4lFSpCa1oUnei8bh3sZSpEga9UgkCOrJ7SrirNs2CqDI1BhgJCw6LkNNQeQskmPPEhRwOtLDmvuTa"
            "sgoyf4t0lwii"
            "-bv8x3bFjIbYLFSnWePlfe4p7hrKkpXdKCC_BwI6cOefCUNpnNXSPQCzNX8XOOWuLyHbT-"
            "eHc9NUZd9LggsoqGBczC7-eKtbS0"
            "0VHnrCKfgt3F_M_sORhsiCMBd-p3fkfsfysHYVDbNeJi4_HmHAW0Jr6aOwg");
}

TEST(GoldenNames, ALongName) {
  const auto stored = golden_names().encode_name(golden_dir(), std::string(176, 'n'));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->text, ".coffer.long.FhoMJlck7Hfmjmfq-Lq7k_-U2XhuF7sk-ip8Kkq_7ds");
  ASSERT_TRUE(stored->sidecar.has_value());
  EXPECT_EQ(stored->sidecar->name, ".coffer.name.FhoMJlck7Hfmjmfq-Lq7k_-U2XhuF7sk-ip8Kkq_7ds");
  EXPECT_EQ(to_base64url(sha256(stored->sidecar->content)),
            "FhoMJlck7Hfmjmfq-Lq7k_-U2XhuF7sk-ip8Kkq_7ds");
  EXPECT_EQ(stored->sidecar->content.size(), 192U);
}

TEST(GoldenNames, Bindings) {
  const ScopeNames names = golden_names();
  EXPECT_EQ(to_hex(names.bind_file(id_from<FileId>(0x30), golden_dir(), "model.safetensors")),
            "469339486fe6c1f3f2b31a86cc095eb0");
  EXPECT_EQ(to_hex(names.bind_directory(other_dir(), golden_dir(), "models")),
            "cc320cc71f9398bc9d6c56dfca61317a");
  EXPECT_EQ(to_hex(names.bind_directory(other_dir(), DirId{}, "")),
            "5738509d526cafb31845278fb127ba5d");
  EXPECT_EQ(to_hex(names.bind_symlink(golden_dir(), "latest")), "8760154772c97d5b7c4bfe2148b6928c");
}

TEST(GoldenNames, SymlinkTargets) {
  const ScopeNames names = golden_names();
  const Binding link = names.bind_symlink(golden_dir(), "latest");
  const StoredText stored = names.encode_target("../v2/model", link, Binding{});
  EXPECT_EQ(stored.text,
            "rt4LA1LeU8-eujs-xGlAn2Tx7Uk4DbY-GGl0U5SL0vms4pFdwePmDGaQhRKAAbsmx5UUDQwficCnhYU");
  EXPECT_FALSE(stored.sidecar.has_value());
  const StoredText longer = names.encode_target(std::string(3024, 't'), link, Binding{});
  EXPECT_EQ(longer.text, ".coffer.target.So4yrsl7mnDVB4KlUfMDbWCD6PBfRSv49QlenlFKCR0");
  EXPECT_EQ(longer.sidecar->name, longer.text);
}

TEST(GoldenNames, ADirectoryRecord) {
  const ScopeNames names = golden_names();
  DirectoryRecord record;
  record.scope = ScopeId{9};
  record.store = golden_store();
  record.dir = golden_dir();
  record.generation = 4;
  record.bindings = {names.bind_directory(golden_dir(), DirId{}, "")};
  const DirectoryBlock block = names.seal_directory(record);
  EXPECT_EQ(to_hex(Bytes(block).subspan(480)),
            "7499f1ad3f1fd7ba18f22ee377e76a2f3f405201525f92925e91160e3ae8ff4c");
  EXPECT_EQ(as_text(Bytes(block).first(8)), "COFFER-D");
}

}  // namespace
}  // namespace coffer

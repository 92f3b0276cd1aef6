#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/master_kms.h"
#include "tests/support/privileges.h"
#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"

namespace coffer {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;
using testing::unhex;

constexpr const char* kGoldenFile =
    "coffer-master-key-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
constexpr const char* kGoldenVersion = "9963795d157f00d8";

std::string text_of(const std::string& path) {
  const auto content = read_small_file(path, 1000);
  return content ? std::string(as_text(*content)) : "";
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

void write_key_file(const std::string& path, std::string_view text, mode_t mode = 0600) {
  ASSERT_TRUE(replace_file(path, as_bytes(text), 0600).ok());
  ASSERT_EQ(::chmod(path.c_str(), mode), 0);
}

Result<std::unique_ptr<MasterKms>> open_golden(const std::string& path) {
  return open_master({"local:" + path, kGoldenVersion, ""}, no_passphrase);
}

KmsProvider key_file_provider() {
  return {"KeyFile", [] {
            const auto dir = std::make_shared<TempDir>();
            const auto make = [&](const char* name) {
              auto master = create_master("local:" + dir->file(name), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make("first"), make("second"), no_passphrase, no_passphrase, dir};
          }};
}

INSTANTIATE_TEST_SUITE_P(KeyFile, MasterKmsContract, ::testing::Values(key_file_provider()),
                         kms_provider_name);

TEST(KeyFile, IsMadePrivateWithItsDirectories) {
  const TempDir dir;
  const testing::Umask umask(0);
  const std::string path = dir.file("etc/coffer/master.key");
  const auto master = create_master("local:" + path, no_passphrase);
  ASSERT_TRUE(master.ok()) << master.error().message();
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_EQ(mode_of(dir.file("etc")), 0700U);
  EXPECT_EQ(mode_of(dir.file("etc/coffer")), 0700U);

  const std::string text = text_of(path);
  ASSERT_EQ(text.size(), 20U + 64U + 1U);
  EXPECT_EQ(text.substr(0, 20), "coffer-master-key-1 ");
  EXPECT_EQ(text.substr(20, 64).find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(text.back(), '\n');

  const MasterKeyRecord record = (*master)->describe();
  EXPECT_EQ(record.uri, "local:" + path);
  EXPECT_EQ(record.params, "");
  EXPECT_EQ(record.version.size(), 16U);
  EXPECT_EQ(text.find(record.version), std::string::npos);
  EXPECT_TRUE(open_master(record, no_passphrase).ok());
}

TEST(KeyFile, EachNewOneHoldsAnotherKey) {
  const TempDir dir;
  ASSERT_TRUE(create_master("local:" + dir.file("a"), no_passphrase).ok());
  ASSERT_TRUE(create_master("local:" + dir.file("b"), no_passphrase).ok());
  EXPECT_NE(text_of(dir.file("a")), text_of(dir.file("b")));
}

TEST(KeyFile, AnExistingOneIsTakenUpUnchanged) {
  const TempDir dir;
  write_key_file(dir.file("key"), kGoldenFile, 0400);
  const auto master = create_master("local:" + dir.file("key"), no_passphrase);
  ASSERT_TRUE(master.ok()) << master.error().message();
  EXPECT_EQ((*master)->describe().version, kGoldenVersion);
  EXPECT_EQ(text_of(dir.file("key")), kGoldenFile);
  EXPECT_EQ(mode_of(dir.file("key")), 0400U);
}

TEST(KeyFile, WrapsAsTheFormatSays) {
  // Made by Python's `cryptography` from keystore/FORMAT.md alone: the key file above, policy key
  // 40 … 5f of store a0 … af, version 1, nonce 60 … 6b.
  const TempDir dir;
  write_key_file(dir.file("key"), kGoldenFile);
  const auto master = open_golden(dir.file("key"));
  ASSERT_TRUE(master.ok()) << master.error().message();
  KeyContext context;
  context.store = StoreId::from(unhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"));
  context.version = KeyVersion{1};
  const ByteVector box = unhex(
      "01606162636465666768696a6bc3e1ac3ad0e1d1bee43b8af57735970885820cce03c5f0651f48d9bb88f8a24724"
      "814b1fcb4d9e4e978744013de0ff0c");
  ASSERT_EQ(box.size(), 61U);
  const auto key = (*master)->unwrap(box, context);
  ASSERT_TRUE(key.ok()) << key.error().message();
  EXPECT_EQ(to_hex(key->expose()),
            "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f");
  EXPECT_EQ((*master)->wrap(*key, context)->size(), 61U);
}

TEST(KeyFile, ABoxThatHoldsNo32BytesIsNoKey) {
  // Authentic, of 31 bytes, under the same key and context.
  const TempDir dir;
  write_key_file(dir.file("key"), kGoldenFile);
  const auto master = open_golden(dir.file("key"));
  ASSERT_TRUE(master.ok());
  KeyContext context;
  context.store = StoreId::from(unhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"));
  context.version = KeyVersion{1};
  const auto key =
      (*master)->unwrap(unhex("01606162636465666768696a6bc3e1ac3ad0e1d1bee43b8af57735970885820cce03"
                              "c5f0651f48d9bb88f8a223880627ca41065a9a23fb3c7c8f5307"),
                        context);
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code, Code::kCorrupt);
  EXPECT_NE(key.error().message().find("length"), std::string::npos) << key.error().message();
}

TEST(KeyFile, AMissingOneIsUnavailable) {
  const TempDir dir;
  const auto master = open_golden(dir.file("none"));
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().code, Code::kKeyUnavailable);
  EXPECT_EQ(master.error().errno_value, ENOENT);
  EXPECT_NE(master.error().message().find(dir.file("none")), std::string::npos);
  EXPECT_FALSE(fs::exists(dir.file("none")));
}

TEST(KeyFile, OneThatOthersCanReadIsRefusedWithTheRemedy) {
  const TempDir dir;
  const std::string path = dir.file("key");
  for (const mode_t mode : {0640U, 0604U, 0620U, 0602U, 0610U, 0601U, 0644U, 0777U}) {
    write_key_file(path, kGoldenFile, mode);
    for (const auto& master : {open_golden(path), create_master("local:" + path, no_passphrase)}) {
      ASSERT_FALSE(master.ok()) << mode;
      EXPECT_EQ(master.error().code, Code::kKeyUnavailable);
      EXPECT_NE(master.error().message().find("chmod 600 " + path), std::string::npos);
    }
  }
  for (const mode_t mode : {0600U, 0400U, 0700U}) {
    write_key_file(path, kGoldenFile, mode);
    EXPECT_TRUE(open_golden(path).ok()) << mode;
  }
}

TEST(KeyFile, AnotherUsersIsRefused) {
  if (!testing::is_root()) COFFER_SKIP("only root can give a file away");
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  const std::string path = dir.file("key");
  write_key_file(path, kGoldenFile);
  ASSERT_EQ(::chown(path.c_str(), testing::kNobody, testing::kNobody), 0);
  const auto theirs = open_golden(path);
  ASSERT_FALSE(theirs.ok());
  EXPECT_EQ(theirs.error().code, Code::kKeyUnavailable);
  EXPECT_NE(theirs.error().message().find("another user"), std::string::npos);
  {
    const testing::AsNobody nobody;
    EXPECT_TRUE(open_golden(path).ok());
  }
  // root's own serves every user who can read it; nobody can't.
  ASSERT_EQ(::chown(path.c_str(), 0, 0), 0);
  const testing::AsNobody nobody;
  const auto roots = open_golden(path);
  ASSERT_FALSE(roots.ok());
  EXPECT_EQ(roots.error().code, Code::kKeyUnavailable);
  EXPECT_EQ(roots.error().errno_value, EACCES);
}

TEST(KeyFile, OnlyARegularFileWillDo) {
  const TempDir dir;
  ASSERT_EQ(::mkdir(dir.file("directory").c_str(), 0700), 0);
  ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
  for (const std::string& path :
       {dir.file("directory"), dir.file("fifo"), std::string("/dev/null")}) {
    const auto master = open_golden(path);
    ASSERT_FALSE(master.ok()) << path;
    EXPECT_EQ(master.error().code, Code::kKeyUnavailable) << path;
  }
}

TEST(KeyFile, OneThatCantBeReadIsUnavailableByName) {
  // A regular file, private, whose read fails with EIO.
  const auto master = open_golden("/proc/self/mem");
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().code, Code::kKeyUnavailable);
  EXPECT_EQ(master.error().errno_value, EIO);
  EXPECT_NE(master.error().message().find("/proc/self/mem"), std::string::npos)
      << master.error().message();
}

TEST(KeyFile, MalformedOnesAreRefused) {
  const TempDir dir;
  const std::string path = dir.file("key");
  const std::string good = kGoldenFile;
  const std::string line = good.substr(0, good.size() - 1);
  std::string upper = good;
  upper[20 + 21] = 'A';
  std::string not_hex = good;
  not_hex[83] = 'g';
  std::string with_nul = good;
  with_nul[50] = '\0';
  const std::string malformed[] = {
      "",
      "\n",
      "coffer-master-key-1 ",
      line.substr(0, line.size() - 1),
      line.substr(0, line.size() - 1) + "\n",
      line + "0\n",
      line + " \n",
      line + "\r\n",
      good + "\n",
      good + good,
      " " + good,
      "coffer-master-key-2 " + good.substr(20),
      "Coffer-master-key-1 " + good.substr(20),
      "coffer-master-key-1\t" + good.substr(20),
      good.substr(20),
      upper,
      not_hex,
      with_nul,
      std::string(85, '\0'),
      std::string(100'000, 'a'),
  };
  for (const std::string& text : malformed) {
    write_key_file(path, text);
    for (const auto& master : {open_golden(path), create_master("local:" + path, no_passphrase)}) {
      ASSERT_FALSE(master.ok()) << text.substr(0, 100);
      EXPECT_EQ(master.error().code, Code::kWrongKey);
      EXPECT_NE(master.error().message().find(path), std::string::npos);
      // What the file holds may be a key, miscopied: it is not repeated.
      EXPECT_EQ(master.error().message().find("0405060708"), std::string::npos);
    }
    EXPECT_EQ(fs::file_size(path), text.size());
  }
  write_key_file(path, line);
  EXPECT_TRUE(open_golden(path).ok()) << "a last newline that an editor dropped is no harm";
}

TEST(KeyFile, AnotherKeyIsTheWrongOne) {
  const TempDir dir;
  const std::string path = dir.file("key");
  ASSERT_TRUE(create_master("local:" + path, no_passphrase).ok());
  const auto master = open_golden(path);
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().code, Code::kWrongKey);
  EXPECT_NE(master.error().message().find(kGoldenVersion), std::string::npos);
  EXPECT_NE(master.error().message().find(path), std::string::npos);
}

TEST(KeyFile, SymlinksAreFollowedToReadAndNotToMake) {
  const TempDir dir;
  write_key_file(dir.file("key"), kGoldenFile);
  ASSERT_EQ(::symlink("key", dir.file("link").c_str()), 0);
  EXPECT_TRUE(open_golden(dir.file("link")).ok());
  ASSERT_EQ(::symlink("planted", dir.file("dangling").c_str()), 0);
  EXPECT_FALSE(create_master("local:" + dir.file("dangling"), no_passphrase).ok());
  EXPECT_FALSE(fs::exists(dir.file("planted")));
}

TEST(KeyFile, WhereItCantBeMadeTheReasonIsSaid) {
  const TempDir dir;
  ASSERT_TRUE(create_file(dir.file("file"), {}, 0600).ok());
  const auto master = create_master("local:" + dir.file("file/key"), no_passphrase);
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().errno_value, ENOTDIR);
}

TEST(MasterUri, OthersAreRefused) {
  const char* const uris[] = {"",
                              "local",
                              "local:",
                              "local:relative/key",
                              "local:./k",
                              "Local:/k",
                              "passphrase",
                              "passphrase:secret",
                              "passphrase: ",
                              " local:/k",
                              "file:///k",
                              "hcvault:h/t/keys/k"};
  for (const char* uri : uris) {
    for (const auto& master :
         {create_master(uri, no_passphrase), open_master({uri, "", ""}, no_passphrase)}) {
      ASSERT_FALSE(master.ok()) << uri;
      EXPECT_EQ(master.error().code, Code::kInvalid) << uri;
    }
  }
  EXPECT_FALSE(fs::exists("relative"));
}

TEST(MasterUri, APassphraseTypedIntoItIsNotRepeated) {
  const auto master = create_master("passphrase:hunter2", no_passphrase);
  ASSERT_FALSE(master.ok());
  EXPECT_EQ(master.error().message().find("hunter2"), std::string::npos);
  EXPECT_NE(master.error().message().find("passphrase"), std::string::npos);
}

}  // namespace
}  // namespace coffer

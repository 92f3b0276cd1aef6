#include "fs/names/scope_names.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/fs_random.h"
#include "tests/unit/fs/names/names_fixture.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::golden_dir;
using testing::golden_names;
using testing::golden_secret;
using testing::golden_store;
using testing::id_from;
using testing::other_dir;
using testing::seed_trace;
using testing::sidecar_of;

/// A name of any bytes that a kernel would pass on: no slash, no NUL.
std::string random_name(Chooser& choose, std::size_t length) {
  std::string name(length, 'x');
  for (char& letter : name) {
    do {
      letter = static_cast<char>(choose.byte());
    } while (letter == '/' || letter == '\0');
  }
  return name;
}

TEST(ScopeNames, EveryLengthRoundTrips) {
  constexpr std::uint64_t kSeed = 301;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  const ScopeNames names = golden_names();
  for (std::size_t length = 1; length <= 255; ++length) {
    for (int round = 0; round < 4; ++round) {
      const std::string name = random_name(choose, length);
      const auto stored = names.encode_name(golden_dir(), name);
      ASSERT_TRUE(stored.ok()) << length;
      ASSERT_LE(stored->text.size(), 255U);
      ASSERT_EQ(stored->text.find_first_not_of(
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
                std::string::npos);
      ASSERT_EQ(stored->sidecar.has_value(), length > 175) << length;
      ASSERT_EQ(ScopeNames::is_long_name(stored->text), length > 175) << length;
      if (length > 175) {
        ASSERT_EQ(stored->sidecar->name, ScopeNames::name_sidecar(stored->text));
        ASSERT_EQ(stored->sidecar->content.size(), length + 16);
      } else {
        ASSERT_FALSE(stored->text.starts_with(kReservedPrefix));
      }
      const auto decoded = names.decode_name(golden_dir(), stored->text, sidecar_of(*stored));
      ASSERT_TRUE(decoded.ok()) << decoded.error().message();
      ASSERT_EQ(*decoded, name);
      ASSERT_EQ(names.encode_name(golden_dir(), name)->text, stored->text) << "found again by it";
    }
  }
}

TEST(ScopeNames, TooLongAndEmptyNamesAreRefused) {
  for (const bool encrypted : {true, false}) {
    const ScopeNames names = golden_names(encrypted);
    EXPECT_EQ(names.encode_name(golden_dir(), std::string(256, 'n')).error().errno_value,
              ENAMETOOLONG);
    EXPECT_EQ(names.encode_name(golden_dir(), std::string(100'000, 'n')).error().errno_value,
              ENAMETOOLONG);
    EXPECT_EQ(names.encode_name(golden_dir(), "").error().errno_value, ENOENT);
    EXPECT_TRUE(names.encode_name(golden_dir(), std::string(255, 'n')).ok());
  }
}

TEST(ScopeNames, ANameBelongsToItsDirectory) {
  const ScopeNames names = golden_names();
  for (const std::size_t length : {1U, 30U, 175U, 176U, 255U}) {
    const std::string name(length, 'n');
    const auto here = names.encode_name(golden_dir(), name);
    const auto there = names.encode_name(other_dir(), name);
    EXPECT_NE(here->text, there->text);
    EXPECT_EQ(names.decode_name(other_dir(), here->text, sidecar_of(*here)).error().code,
              Code::kCorrupt);
    EXPECT_TRUE(names.decode_name(other_dir(), there->text, sidecar_of(*there)).ok());
  }
}

TEST(ScopeNames, ANameBelongsToItsScopeStoreAndSecret) {
  const ScopeNames names = golden_names();
  const auto stored = names.encode_name(golden_dir(), "name")->text;
  SecretBytes other_secret = golden_secret();
  other_secret.expose()[31] ^= 1;
  const ScopeNames others[] = {
      ScopeNames(golden_secret(), golden_store(), ScopeId{10}, true),
      ScopeNames(golden_secret(), id_from<StoreId>(0x21), ScopeId{9}, true),
      ScopeNames(other_secret, golden_store(), ScopeId{9}, true),
  };
  for (const ScopeNames& other : others) {
    EXPECT_NE(other.encode_name(golden_dir(), "name")->text, stored);
    EXPECT_FALSE(other.decode_name(golden_dir(), stored).ok());
    EXPECT_NE(other.bind_symlink(golden_dir(), "name"), names.bind_symlink(golden_dir(), "name"));
    const Binding binding{};
    const StoredText target = names.encode_target("t", binding, binding);
    EXPECT_FALSE(other.decode_target(target.text).ok());
  }
}

TEST(ScopeNames, AlteredNamesDoNotDecode) {
  const ScopeNames names = golden_names();
  const std::string text = names.encode_name(golden_dir(), "some name")->text;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char other : {'A', 'b', '7', '-', '.', '=', '/', '\n', '\xc3'}) {
      std::string altered = text;
      if (altered[i] == other) continue;
      altered[i] = other;
      ASSERT_EQ(names.decode_name(golden_dir(), altered).error().code, Code::kCorrupt)
          << i << ' ' << other;
    }
    ASSERT_FALSE(names.decode_name(golden_dir(), text.substr(0, i)).ok());
  }
  for (const std::string& foreign :
       {std::string("."), std::string(".."), std::string("README.md"), std::string("lost+found"),
        std::string(255, 'A'), text + "A", text + "=", "A" + text, text + text, std::string()}) {
    EXPECT_EQ(names.decode_name(golden_dir(), foreign).error().code, Code::kCorrupt) << foreign;
  }
}

TEST(ScopeNames, AlteredSidecarsDoNotDecode) {
  const ScopeNames names = golden_names();
  const auto stored = *names.encode_name(golden_dir(), std::string(200, 'n'));
  const ByteVector content = stored.sidecar->content;
  for (std::size_t i = 0; i < content.size(); ++i) {
    ByteVector altered = content;
    altered[i] ^= 0x10;
    ASSERT_EQ(names.decode_name(golden_dir(), stored.text, altered).error().code, Code::kCorrupt);
    ASSERT_FALSE(names.decode_name(golden_dir(), stored.text, Bytes(content).first(i)).ok());
  }
  ByteVector longer = content;
  longer.push_back(0);
  EXPECT_FALSE(names.decode_name(golden_dir(), stored.text, longer).ok());
  EXPECT_FALSE(names.decode_name(golden_dir(), stored.text).ok());
  // Another entry's sidecar under this one's name, and the other way round.
  const auto other = *names.encode_name(golden_dir(), std::string(201, 'n'));
  EXPECT_FALSE(names.decode_name(golden_dir(), stored.text, other.sidecar->content).ok());
  // Content that does not authenticate under a hash that fits it.
  ByteVector forged = content;
  forged[100] ^= 1;
  const std::string forged_text = std::string(kLongNamePrefix) + to_base64url(sha256(forged));
  EXPECT_EQ(names.decode_name(golden_dir(), forged_text, forged).error().code, Code::kCorrupt);
}

TEST(ScopeNames, AShortNameHasNoLongForm) {
  // Whoever can write the backing knows the ciphertext of a short name, and its hash. If that
  // decoded too, one file would show under its name twice.
  const ScopeNames names = golden_names();
  for (const std::size_t length : {1U, 100U, 175U}) {
    const ByteVector sealed =
        *from_base64url(names.encode_name(golden_dir(), std::string(length, 'n'))->text);
    const std::string text = std::string(kLongNamePrefix) + to_base64url(sha256(sealed));
    EXPECT_EQ(names.decode_name(golden_dir(), text, sealed).error().code, Code::kCorrupt) << length;
  }
}

TEST(ScopeNames, PlainNamesAreThemselves) {
  const ScopeNames names = golden_names(false);
  constexpr std::uint64_t kSeed = 302;
  SCOPED_TRACE(seed_trace(kSeed));
  Chooser choose(kSeed);
  for (std::size_t length = 1; length <= 255; ++length) {
    const std::string name = random_name(choose, length);
    const auto stored = names.encode_name(golden_dir(), name);
    ASSERT_TRUE(stored.ok());
    ASSERT_EQ(stored->text, name);
    ASSERT_FALSE(stored->sidecar.has_value());
    ASSERT_EQ(*names.decode_name(other_dir(), name), name);
  }
}

TEST(ScopeNames, PlainNamesOfTheFormatAreReserved) {
  const ScopeNames plain = golden_names(false);
  for (const char* const name :
       {".coffer", ".coffer.dir", ".coffer.long.x", ".coffer.name.x", ".cofferx"}) {
    EXPECT_EQ(plain.encode_name(golden_dir(), name).error().errno_value, EINVAL) << name;
    EXPECT_FALSE(plain.decode_name(golden_dir(), name).ok()) << name;
    // Encrypted, they are names like others.
    const auto stored = golden_names().encode_name(golden_dir(), name);
    ASSERT_TRUE(stored.ok());
    EXPECT_EQ(*golden_names().decode_name(golden_dir(), stored->text), name);
  }
  for (const char* const name : {".coffe", ".Coffer", "x.coffer", ".cof"}) {
    EXPECT_TRUE(plain.encode_name(golden_dir(), name).ok()) << name;
  }
}

TEST(ScopeNames, BindingsDifferInAllThatTheyBind) {
  const ScopeNames names = golden_names();
  const auto file = id_from<FileId>(0x30);
  const auto directory = id_from<DirId>(0x30);
  std::set<Binding> bindings;
  std::size_t made = 0;
  const auto add = [&](const Binding& binding) {
    bindings.insert(binding);
    ++made;
  };
  add(names.bind_file(file, golden_dir(), "name"));
  add(names.bind_directory(directory, golden_dir(), "name"));  // the same id, as another kind
  add(names.bind_symlink(golden_dir(), "name"));
  add(names.bind_file(FileId{}, golden_dir(), "name"));  // no id, as a symlink's
  add(names.bind_directory(DirId{}, golden_dir(), "name"));
  add(names.bind_file(id_from<FileId>(0x31), golden_dir(), "name"));
  add(names.bind_file(file, other_dir(), "name"));
  add(names.bind_file(file, golden_dir(), "Name"));
  add(names.bind_file(file, golden_dir(), "nam"));
  add(names.bind_file(file, golden_dir(), "name "));
  add(names.bind_file(file, golden_dir(), ""));
  add(names.bind_symlink(golden_dir(), "nam"));
  add(names.bind_symlink(other_dir(), "name"));
  add(names.bind_directory(directory, other_dir(), "name"));
  add(names.bind_directory(directory, DirId{}, ""));
  EXPECT_EQ(bindings.size(), made);
  EXPECT_EQ(bindings.count(Binding{}), 0U) << "zeros mean no binding";
}

TEST(ScopeNames, DirectoryRecordsRoundTrip) {
  const ScopeNames names = golden_names();
  DirectoryRecord record;
  record.scope = ScopeId{9};
  record.store = golden_store();
  record.dir = golden_dir();
  record.generation = 77;
  for (std::uint8_t i = 0; i < 8; ++i) {
    record.bindings.push_back(names.bind_directory(golden_dir(), other_dir(),
                                                   std::string(1, static_cast<char>('a' + i))));
    const DirectoryBlock block = names.seal_directory(record);
    const auto opened = names.open_directory(block);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    EXPECT_EQ(opened->dir, record.dir);
    EXPECT_EQ(opened->generation, 77U);
    EXPECT_EQ(opened->bindings, record.bindings);
  }
}

TEST(ScopeNames, EveryBitOfADirectoryRecordIsVouchedFor) {
  const ScopeNames names = golden_names();
  DirectoryRecord record{.scope = ScopeId{9},
                         .store = golden_store(),
                         .dir = golden_dir(),
                         .generation = 1,
                         .bindings = {Binding{1}}};
  const DirectoryBlock whole = names.seal_directory(record);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    DirectoryBlock damaged = whole;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(names.open_directory(damaged).ok()) << "bit " << bit;
  }
  for (std::size_t length = 0; length < whole.size(); ++length) {
    ASSERT_FALSE(names.open_directory(Bytes(whole).first(length)).ok());
  }
}

TEST(ScopeNames, DirectoryRecordsOfOthersAreRefused) {
  const ScopeNames names = golden_names();
  DirectoryRecord record{.scope = ScopeId{9},
                         .store = golden_store(),
                         .dir = golden_dir(),
                         .generation = 1,
                         .bindings = {Binding{1}}};
  const auto code_of = [&](const DirectoryBlock& block) {
    const auto opened = names.open_directory(block);
    EXPECT_FALSE(opened.ok());
    return opened ? Code::kIo : opened.error().code;
  };
  // Sealed by this scope's key, and yet saying another scope or store: no such record is made, nor
  // believed.
  record.scope = ScopeId{10};
  EXPECT_EQ(code_of(names.seal_directory(record)), Code::kCorrupt);
  record.scope = ScopeId{9};
  record.store = id_from<StoreId>(0x21);
  EXPECT_EQ(code_of(names.seal_directory(record)), Code::kCorrupt);
  record.store = golden_store();
  // By another's.
  EXPECT_EQ(
      code_of(
          ScopeNames(golden_secret(), golden_store(), ScopeId{10}, true).seal_directory(record)),
      Code::kCorrupt);
  EXPECT_EQ(code_of(ScopeNames(golden_secret(), id_from<StoreId>(0x21), ScopeId{9}, true)
                        .seal_directory(record)),
            Code::kCorrupt);
}

}  // namespace
}  // namespace coffer

// EncryptedFile one promise at a time; see the other encrypted_file_*_test.cc for the model,
// tampering, faults and threads.

#include "fs/content/encrypted_file.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentWorld;
using testing::drop_binding;
using testing::HookedSyscalls;
using testing::MemoryFile;
using testing::SystemCall;
using testing::test_binding;

class EncryptedFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<EncryptedFile> make(unsigned chunk_log2 = 12) {
    return world_.create(backing_, chunk_log2, keys_, calls_);
  }
  std::unique_ptr<EncryptedFile> reopen() {
    auto opened = world_.open(backing_, keys_, calls_);
    EXPECT_TRUE(opened.ok()) << opened.error().message();
    return opened ? std::move(*opened) : nullptr;
  }
  static std::string text(EncryptedFile& file, std::uint64_t offset, std::size_t length) {
    ByteVector out(length, 0xee);
    const auto done = file.read(offset, out);
    return done ? std::string(as_text(Bytes(out).first(*done))) : done.error().message();
  }

  ContentWorld world_;
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
};

TEST_F(EncryptedFileTest, ANewFileIsEmptyAndOpens) {
  const auto file = make();
  EXPECT_EQ(file->size(), 0U);
  EXPECT_EQ(backing_.size(), 8192U);
  EXPECT_EQ(text(*file, 0, 10), "");
  EXPECT_EQ(text(*file, 12345, 10), "");
  EXPECT_EQ(file->committed().generation, 1U);
  EXPECT_EQ(&file->keys(), keys_.get());
  EXPECT_EQ(reopen()->size(), 0U);
}

TEST_F(EncryptedFileTest, ReadsWhatWasWritten) {
  const auto file = make();
  EXPECT_EQ(*file->write(0, as_bytes("hello, world")), 12U);
  EXPECT_EQ(text(*file, 0, 100), "hello, world");
  EXPECT_EQ(text(*file, 7, 3), "wor");
  EXPECT_EQ(text(*file, 12, 3), "");
  EXPECT_EQ(*file->append(as_bytes("!")), 1U);
  EXPECT_EQ(*file->write(0, as_bytes("J")), 1U);
  EXPECT_EQ(text(*file, 0, 100), "Jello, world!");
  EXPECT_EQ(*file->write(5, Bytes()), 0U);
  EXPECT_EQ(*file->write(1'000'000, Bytes()), 0U);
  EXPECT_EQ(file->size(), 13U);
  ByteVector nothing;
  EXPECT_EQ(*file->read(0, nothing), 0U);
}

TEST_F(EncryptedFileTest, OnlyWhatWasCommittedIsFoundAgain) {
  const auto file = make();
  ASSERT_TRUE(file->write(0, as_bytes("first")).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(file->committed().generation, 2U);
  EXPECT_EQ(text(*reopen(), 0, 100), "first");
  ASSERT_TRUE(file->append(ByteVector(9000, 'x')).ok());
  EXPECT_EQ(reopen()->size(), 5U);
  ASSERT_TRUE(file->settle().ok());
  EXPECT_EQ(text(*reopen(), 0, 20), "firstxxxxxxxxxxxxxxx");
}

TEST_F(EncryptedFileTest, ACommitOfNothingWritesNothing) {
  const auto file = make();
  ASSERT_TRUE(file->write(0, as_bytes("x")).ok());
  ASSERT_TRUE(file->commit().ok());
  const CommittedState before = file->committed();
  int calls = 0;
  calls_.before = [&](const SystemCall&) {
    ++calls;
    return EIO;
  };
  EXPECT_TRUE(file->commit().ok());
  EXPECT_TRUE(file->add_binding(test_binding()).ok()) << "it is there already";
  EXPECT_TRUE(drop_binding(*file, test_binding(5)).ok()) << "it never was";
  EXPECT_TRUE(file->truncate(1).ok());
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(file->committed().generation, before.generation);
  EXPECT_EQ(file->committed().root, before.root);
}

TEST_F(EncryptedFileTest, TheCommittedRootIsThatOfTheHeader) {
  const auto file = make();
  ASSERT_TRUE(file->write(0, as_bytes("x")).ok());
  ASSERT_TRUE(file->commit().ok());
  const auto header = peek_header(*read_raw_header(backing_.open()));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->root, file->committed().root);
  EXPECT_EQ(header->generation, file->committed().generation);
  EXPECT_EQ(header->plain_size, 1U);
  EXPECT_EQ(to_hex(header->root), to_hex(sha256(backing_.bytes(8192, 4096))));
}

TEST_F(EncryptedFileTest, HolesReadAsZerosAndTakeNoRoom) {
  const auto file = make();
  constexpr std::uint64_t kFar = std::uint64_t{16} << 40;
  ASSERT_TRUE(file->truncate(kFar).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(text(*file, kFar / 2, 3), std::string(3, '\0'));
  ASSERT_TRUE(file->write(kFar - 2, as_bytes("end")).ok());
  ASSERT_TRUE(file->commit().ok());
  struct stat status {};
  ASSERT_EQ(::fstat(backing_.fd(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 100'000);
  const auto again = reopen();
  EXPECT_EQ(again->size(), kFar + 1);
  EXPECT_EQ(text(*again, kFar - 3, 10), std::string(1, '\0') + "end");
  EXPECT_EQ(text(*again, 0, 2), std::string(2, '\0'));
}

TEST_F(EncryptedFileTest, SizesHaveALimit) {
  const auto file = make(20);
  EXPECT_EQ(file->truncate(kMaxPlainSize + 1).error().errno_value, EFBIG);
  EXPECT_EQ(file->truncate(~std::uint64_t{0}).error().errno_value, EFBIG);
  EXPECT_EQ(file->write(kMaxPlainSize, as_bytes("x")).error().errno_value, EFBIG);
  EXPECT_EQ(file->write(kMaxPlainSize - 1, as_bytes("xy")).error().errno_value, EFBIG);
  EXPECT_EQ(file->write(~std::uint64_t{0}, as_bytes("x")).error().errno_value, EFBIG);
  EXPECT_EQ(file->size(), 0U);
  ASSERT_TRUE(file->truncate(kMaxPlainSize).ok());
  EXPECT_EQ(file->append(as_bytes("x")).error().errno_value, EFBIG);
  ASSERT_TRUE(file->write(kMaxPlainSize - 2, as_bytes("xy")).ok());
  ASSERT_TRUE(file->commit().ok());
  const auto again = reopen();
  EXPECT_EQ(again->size(), kMaxPlainSize);
  EXPECT_EQ(text(*again, kMaxPlainSize - 3, 9), std::string(1, '\0') + "xy");
}

TEST_F(EncryptedFileTest, NothingOfThePlaintextIsInTheBacking) {
  const auto file = make();
  const std::string secret = "a sentence that nobody else would ever write";
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(file->append(as_bytes(secret)).ok());
  ASSERT_TRUE(file->truncate(file->size() - 7).ok());
  ASSERT_TRUE(file->commit().ok());
  const ByteVector stored = backing_.bytes(0, backing_.size());
  EXPECT_EQ(as_text(stored).find(secret.substr(0, 12)), std::string_view::npos);
}

TEST_F(EncryptedFileTest, TheSameDataIsNeverSealedAlike) {
  const auto file = make();
  const ByteVector data(4096, 'd');
  std::set<std::string> ciphers;
  std::set<std::string> entries;
  int seals = 0;
  for (int session = 0; session < 5; ++session) {
    const auto again = session == 0 ? nullptr : reopen();
    EncryptedFile& writer = again ? *again : *file;
    for (int i = 0; i < 20; ++i, ++seals) {
      const std::uint64_t chunk = static_cast<std::uint64_t>(i % 3);
      ASSERT_TRUE(writer.write(chunk * 4096, data).ok());
      ASSERT_TRUE(writer.settle().ok());
      ciphers.insert(to_hex(backing_.bytes(8192 + 4096 + chunk * 4096, 4096)));
      entries.insert(to_hex(backing_.bytes(8192 + chunk * 32, 12)));
    }
  }
  EXPECT_EQ(ciphers.size(), static_cast<std::size_t>(seals));
  EXPECT_EQ(entries.size(), static_cast<std::size_t>(seals)) << "a nonce came twice";
}

TEST_F(EncryptedFileTest, NoNonceOfASessionComesTwice) {
  // Whatever seals: writes, parts of chunks, growing and shrinking. Nonces are read from the leaf
  // after each.
  const auto file = make();
  Chooser choose(5);
  std::set<std::string> nonces;
  std::set<std::string> last_seen;
  for (int i = 0; i < 400; ++i) {
    const std::uint64_t size = file->size();
    switch (choose.below(3)) {
      case 0:
        ASSERT_TRUE(file->write(choose.below(30'000), choose.bytes(choose.between(1, 9000))).ok());
        break;
      case 1:
        ASSERT_TRUE(file->truncate(choose.below(size + 1)).ok());
        break;
      default:
        ASSERT_TRUE(file->truncate(size + choose.below(5000)).ok());
    }
    ASSERT_TRUE(file->settle().ok());
    if (file->size() == 0) continue;
    const ByteVector leaf = backing_.bytes(8192, 4096);
    std::set<std::string> now;
    for (std::size_t slot = 0; slot < 128; ++slot) {
      const Bytes entry = Bytes(leaf).subspan(slot * 32, 32);
      if (all_zero(entry)) continue;
      const std::string whole = to_hex(entry);
      ASSERT_TRUE(now.insert(to_hex(entry.first(12))).second) << "one nonce for two chunks";
      if (last_seen.count(whole) != 0) continue;  // not sealed anew
      last_seen.insert(whole);
      ASSERT_TRUE(nonces.insert(to_hex(entry.first(12))).second) << "a nonce came twice";
    }
  }
  EXPECT_GT(nonces.size(), 300U);
}

TEST_F(EncryptedFileTest, TheCommitKeepsTheTimeOfTheWrite) {
  const auto file = make();
  ASSERT_TRUE(file->write(0, as_bytes("x")).ok());
  const struct timespec old[2] = {{.tv_sec = 111, .tv_nsec = 1}, {.tv_sec = 222, .tv_nsec = 333}};
  const auto expect_old = [&] {
    const auto status = file->backing().status();
    EXPECT_EQ(status->st_atim.tv_sec, 111);
    EXPECT_EQ(status->st_mtim.tv_sec, 222);
    EXPECT_EQ(status->st_mtim.tv_nsec, 333);
  };
  ASSERT_TRUE(file->backing().set_times(old).ok());
  ASSERT_TRUE(file->commit().ok());
  expect_old();
  ASSERT_TRUE(file->add_binding(test_binding(1)).ok());
  expect_old();
  ASSERT_TRUE(drop_binding(*file, test_binding(1)).ok());
  expect_old();
  ASSERT_TRUE(file->sync(false).ok());
  expect_old();
  ASSERT_TRUE(file->write(0, as_bytes("y")).ok());
  EXPECT_NE(file->backing().status()->st_mtim.tv_sec, 222) << "a write is no commit";
}

TEST_F(EncryptedFileTest, BindingsAreKeptAndCounted) {
  const auto file = make();
  ASSERT_TRUE(file->write(0, as_bytes("uncommitted")).ok());
  EXPECT_TRUE(file->has_binding(test_binding()));
  EXPECT_FALSE(file->has_binding(test_binding(1)));
  for (unsigned i = 1; i < 238; ++i) ASSERT_TRUE(file->add_binding(test_binding(i)).ok()) << i;
  const auto full = file->add_binding(test_binding(238));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().errno_value, EMLINK);
  EXPECT_EQ(full.error().code, Code::kExhausted);
  EXPECT_TRUE(file->add_binding(test_binding(17)).ok()) << "one of those that are there";
  {
    const auto again = reopen();
    EXPECT_EQ(again->size(), 11U) << "a binding commits what there is";
    for (unsigned i = 0; i < 238; ++i) EXPECT_TRUE(again->has_binding(test_binding(i)));
    EXPECT_FALSE(again->has_binding(test_binding(238)));
  }
  ASSERT_TRUE(drop_binding(*file, test_binding(100)).ok());
  ASSERT_TRUE(file->add_binding(test_binding(238)).ok());
  EXPECT_EQ(file->add_binding(test_binding(239)).error().errno_value, EMLINK);
  for (unsigned i = 0; i <= 238; ++i) ASSERT_TRUE(drop_binding(*file, test_binding(i)).ok());
  const auto again = reopen();
  for (unsigned i = 0; i <= 238; ++i) EXPECT_FALSE(again->has_binding(test_binding(i)));
  EXPECT_EQ(text(*again, 0, 20), "uncommitted");
}

TEST_F(EncryptedFileTest, WhatWasNeverCommittedIsCutOffByTheNextChange) {
  // As after a crash in the middle of appending: the backing is longer than the header says.
  struct Case {
    const char* what;
    std::function<void(EncryptedFile&)> change;
    std::string expected;
  };
  const Case cases[] = {
      {"append", [](EncryptedFile& f) { ASSERT_TRUE(f.append(as_bytes("+")).ok()); }, "kept+"},
      {"write", [](EncryptedFile& f) { ASSERT_TRUE(f.write(0, as_bytes("K")).ok()); }, "Kept"},
      {"truncate", [](EncryptedFile& f) { ASSERT_TRUE(f.truncate(2).ok()); }, "ke"},
      {"truncate to the same", [](EncryptedFile& f) { ASSERT_TRUE(f.truncate(4).ok()); }, "kept"},
      {"grow", [](EncryptedFile& f) { ASSERT_TRUE(f.truncate(5).ok()); }, std::string("kept\0", 5)},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    backing_.resize(0);
    {
      const auto file = make();
      ASSERT_TRUE(file->write(0, as_bytes("kept")).ok());
      ASSERT_TRUE(file->commit().ok());
    }
    const std::uint64_t tail_at = backing_.size();
    backing_.put(tail_at, ByteVector(3'000'000, 0x77));
    {
      const auto file = reopen();
      EXPECT_EQ(file->size(), 4U);
      EXPECT_EQ(text(*file, 0, 100), "kept");
      EXPECT_EQ(backing_.size(), tail_at + 3'000'000) << "reading changes nothing";
      c.change(*file);
      EXPECT_EQ(backing_.size(), Geometry(12).backing_size(file->size()));
      ASSERT_TRUE(file->commit().ok());
    }
    const auto file = reopen();
    EXPECT_EQ(text(*file, 0, 100), c.expected);
    ASSERT_TRUE(file->truncate(2'000'000).ok());
    std::string grown = c.expected;
    grown.resize(2'000'000);
    EXPECT_EQ(text(*file, 0, 2'000'000), grown) << "the tail came back";
  }
}

TEST_F(EncryptedFileTest, ATailThatCannotBeCutOffIsAnError) {
  (void)make();
  backing_.resize(100'000);
  const auto file = reopen();
  calls_.before = [](const SystemCall& call) { return call.what == "ftruncate" ? EIO : 0; };
  EXPECT_EQ(file->append(as_bytes("x")).error().errno_value, EIO);
  EXPECT_EQ(file->truncate(0).error().errno_value, EIO);
  EXPECT_EQ(file->size(), 0U);
  calls_.before = nullptr;
  ASSERT_TRUE(file->append(as_bytes("x")).ok());
  EXPECT_EQ(backing_.size(), Geometry(12).backing_size(1));
}

TEST_F(EncryptedFileTest, AShorterBackingIsRefused) {
  {
    const auto file = make();
    ASSERT_TRUE(file->write(0, ByteVector(10'000, 'x')).ok());
    ASSERT_TRUE(file->commit().ok());
  }
  backing_.resize(backing_.size() - 1);
  const auto opened = world_.open(backing_, keys_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::kCorrupt);
}

TEST_F(EncryptedFileTest, ALongStreamIsWrittenOutWithoutACommit) {
  // The nodes of a stream are not held without limit, and hold when it is committed.
  const auto file = make();
  constexpr std::uint64_t kLeaves = 5000;
  for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    ByteVector mark(8);
    store_le(mark, 0, leaf + 1);
    ASSERT_TRUE(file->write(leaf * 128 * 4096, mark).ok());
  }
  int node_writes = 0;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "pwrite" && call.count == 4096) ++node_writes;
    return 0;
  };
  ASSERT_TRUE(file->commit().ok());
  EXPECT_LT(node_writes, 3000);
  const auto again = reopen();
  for (std::uint64_t leaf = 0; leaf < kLeaves; leaf += 37) {
    ByteVector mark(8);
    ASSERT_TRUE(again->read(leaf * 128 * 4096, mark).ok());
    ASSERT_EQ(load_le<std::uint64_t>(mark, 0), leaf + 1);
  }
}

TEST_F(EncryptedFileTest, AStreamWhoseNodesCannotBeWrittenStops) {
  // The write that should have made room for its node fails, having written nothing; none is lost.
  const auto file = make();
  const Geometry geometry(12);
  std::set<std::uint64_t> leaf_offsets;
  for (std::uint64_t leaf = 0; leaf < 5000; ++leaf)
    leaf_offsets.insert(geometry.node_offset({0, leaf}));
  calls_.before = [&](const SystemCall& call) {
    return call.what == "pwrite" && leaf_offsets.count(call.offset) != 0 ? ENOSPC : 0;
  };
  std::uint64_t written = 0;
  ByteVector mark(8);
  while (written < 5000) {
    store_le(mark, 0, written + 1);
    const std::uint64_t before = file->size();
    const auto done = file->write(written * 128 * 4096, mark);
    if (!done) {
      EXPECT_EQ(done.error().errno_value, ENOSPC);
      EXPECT_EQ(file->size(), before);
      EXPECT_EQ(backing_.size(), geometry.backing_size(before));
      break;
    }
    ++written;
  }
  EXPECT_GT(written, 1000U);
  EXPECT_LT(written, 3000U);
  EXPECT_FALSE(file->append(mark).ok()) << "and stays so";
  EXPECT_FALSE(file->commit().ok());
  calls_.before = nullptr;
  ASSERT_TRUE(file->append(as_bytes("the end")).ok());
  ASSERT_TRUE(file->commit().ok());
  const auto again = reopen();
  for (std::uint64_t i = 0; i < written; i += 11) {
    ASSERT_TRUE(again->read(i * 128 * 4096, mark).ok());
    ASSERT_EQ(load_le<std::uint64_t>(mark, 0), i + 1);
  }
  EXPECT_EQ(text(*again, again->size() - 7, 7), "the end");
}

}  // namespace
}  // namespace coffer

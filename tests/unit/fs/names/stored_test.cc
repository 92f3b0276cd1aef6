// Names, symlinks and directory records in a real directory.

#include "fs/names/stored.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/fs_syscalls.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/fs/names/names_fixture.h"

namespace coffer {
namespace {

using testing::golden_dir;
using testing::golden_names;
using testing::golden_store;
using testing::HookedSyscalls;
using testing::other_dir;
using testing::SystemCall;
using testing::TempDir;

class StoredNames : public ::testing::Test {
 protected:
  void SetUp() override { dir_ = *BackingDir::open_root(calls_, temp_.path()); }
  void put(const std::string& name, Bytes content) {
    ASSERT_TRUE(dir_->replace_small(name, content, 0600).ok());
  }
  [[nodiscard]] bool exists(const std::string& name) const { return dir_->status_of(name).ok(); }
  [[nodiscard]] long entries() const {
    return std::distance(std::filesystem::directory_iterator(temp_.path()), {});
  }
  /// The name of an entry; "-" if it is none, "!" for an error.
  std::string shown(const std::string& stored) {
    const auto name = read_entry_name(*dir_, names_, golden_dir(), stored);
    if (!name) return "!";
    return name->has_value() ? **name : "-";
  }
  StoredText link(const std::string& name, const std::string& target) {
    const StoredText text =
        names_.encode_target(target, names_.bind_symlink(golden_dir(), name), Binding{});
    EXPECT_TRUE(put_sidecar(*dir_, text).ok());
    EXPECT_TRUE(dir_->make_symlink("stored-" + name, text.text).ok());
    return text;
  }
  Result<std::string> target_of(const std::string& name) {
    return read_target(*dir_, names_, golden_dir(), name, "stored-" + name);
  }
  std::uint64_t length_of(const std::string& stored) {
    return read_target_length(*dir_, stored, *dir_->status_of(stored)).value();
  }

  TempDir temp_;
  HookedSyscalls calls_;
  std::shared_ptr<const BackingDir> dir_;
  ScopeNames names_ = golden_names();
};

TEST_F(StoredNames, ShortNamesNeedNoSidecar) {
  const auto stored = *names_.encode_name(golden_dir(), "short");
  ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
  EXPECT_EQ(entries(), 0);
  EXPECT_EQ(shown(stored.text), "short");
  drop_sidecar(*dir_, stored);
}

TEST_F(StoredNames, LongNamesAreReadFromTheirSidecar) {
  const std::string name(255, 'n');
  const auto stored = *names_.encode_name(golden_dir(), name);
  EXPECT_EQ(shown(stored.text), "-") << "no sidecar, no entry";
  ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
  EXPECT_EQ(shown(stored.text), name);
  EXPECT_EQ(dir_->status_of(stored.sidecar->name)->st_mode & 07777, 0600U);
  drop_sidecar(*dir_, stored);
  EXPECT_EQ(entries(), 0);
  drop_sidecar(*dir_, stored);  // twice is no error
}

TEST_F(StoredNames, ASidecarGoesOnlyOnceTheDiskHasTheEndOfItsEntry) {
  const auto name = *names_.encode_name(golden_dir(), std::string(200, 'n'));
  ASSERT_TRUE(put_sidecar(*dir_, name).ok());
  const StoredText target = link("long", std::string(4000, 't'));
  std::vector<std::string> calls;
  int refused = EIO;
  calls_.before = [&](const SystemCall& call) {
    if (call.what == "fsync" || call.what == "unlinkat") calls.emplace_back(call.what);
    return call.what == "fsync" ? refused : 0;
  };
  drop_sidecar(*dir_, name);
  drop_target_sidecar(*dir_, target.text);
  EXPECT_TRUE(exists(name.sidecar->name) && exists(target.sidecar->name));
  EXPECT_EQ(calls, (std::vector<std::string>{"fsync", "fsync"}));
  refused = 0;
  calls.clear();
  drop_sidecar(*dir_, name);
  drop_target_sidecar(*dir_, target.text);
  EXPECT_EQ(calls, (std::vector<std::string>{"fsync", "unlinkat", "fsync", "unlinkat"}));
  EXPECT_FALSE(exists(name.sidecar->name) || exists(target.sidecar->name));
}

TEST_F(StoredNames, ASidecarThatIsThereIsNotWrittenAgain) {
  const auto stored = *names_.encode_name(golden_dir(), std::string(200, 'n'));
  ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
  calls_.before = [](const SystemCall& call) { return call.what == "pwrite" ? EIO : 0; };
  EXPECT_TRUE(put_sidecar(*dir_, stored).ok());
}

TEST_F(StoredNames, ASidecarThatWasCutOffIsWrittenAgain) {
  const std::string name(200, 'n');
  const auto stored = *names_.encode_name(golden_dir(), name);
  for (const std::size_t length : {0U, 1U, 100U}) {
    put(stored.sidecar->name, Bytes(stored.sidecar->content).first(length));
    EXPECT_EQ(shown(stored.text), "-");
    ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
    EXPECT_EQ(shown(stored.text), name);
  }
  put(stored.sidecar->name, ByteVector(100'000, 'x'));
  EXPECT_EQ(shown(stored.text), "-");
  ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
  EXPECT_EQ(shown(stored.text), name);
}

TEST_F(StoredNames, ASidecarThatCannotBeWrittenIsAnError) {
  const auto stored = *names_.encode_name(golden_dir(), std::string(200, 'n'));
  calls_.before = [](const SystemCall& call) { return call.what == "pwrite" ? ENOSPC : 0; };
  EXPECT_EQ(put_sidecar(*dir_, stored).error().errno_value, ENOSPC);
  EXPECT_EQ(entries(), 0);
}

TEST_F(StoredNames, WhatIsNotTheStoresIsNoEntryAndNoError) {
  const std::string other = names_.encode_name(other_dir(), "of another directory")->text;
  for (const std::string& foreign :
       {std::string("."), std::string(".."), std::string("README"), std::string("lost+found"),
        other, std::string(".coffer"), std::string(".coffer.dir"), std::string(".coffer.dir.new"),
        std::string(".coffer.name.x"), std::string(".coffer.target.x"),
        std::string(".coffer.long."), std::string(".coffer.long.x"),
        ".coffer.long." + std::string(242, 'x'), std::string(255, 'A')}) {
    EXPECT_EQ(shown(foreign), "-") << foreign;
  }
}

TEST_F(StoredNames, WhateverLiesInASidecarsPlaceHidesOneEntryOnly) {
  // One of these must not keep a whole directory from being listed.
  const auto stored = *names_.encode_name(golden_dir(), std::string(200, 'n'));
  const std::string& sidecar = stored.sidecar->name;
  const auto clear = [&] { std::filesystem::remove_all(temp_.file(sidecar)); };
  ASSERT_TRUE(dir_->make_dir(sidecar, 0700).ok());
  EXPECT_EQ(shown(stored.text), "-") << "a directory";
  clear();
  ASSERT_TRUE(dir_->make_special(sidecar, S_IFIFO | 0600, 0).ok());
  EXPECT_EQ(shown(stored.text), "-") << "a fifo";
  clear();
  ASSERT_TRUE(dir_->make_special(sidecar, S_IFSOCK | 0600, 0).ok());
  EXPECT_EQ(shown(stored.text), "-") << "a socket";
  clear();
  ASSERT_TRUE(dir_->make_symlink(sidecar, "/etc/passwd").ok());
  EXPECT_EQ(shown(stored.text), "-") << "a symlink";
  clear();
  put(sidecar, ByteVector(5'000'000, 'x'));
  EXPECT_EQ(shown(stored.text), "-") << "a large file";
  put(sidecar, names_.encode_name(golden_dir(), std::string(201, 'n'))->sidecar->content);
  EXPECT_EQ(shown(stored.text), "-") << "another's content";
}

TEST_F(StoredNames, FailuresOfTheDiskHideNothing) {
  const auto stored = *names_.encode_name(golden_dir(), std::string(200, 'n'));
  ASSERT_TRUE(put_sidecar(*dir_, stored).ok());
  for (const char* const what : {"openat", "pread"}) {
    for (const int reason : {EIO, EMFILE, ENOMEM}) {
      calls_.before = [&](const SystemCall& call) { return call.what == what ? reason : 0; };
      const auto name = read_entry_name(*dir_, names_, golden_dir(), stored.text);
      ASSERT_FALSE(name.ok());
      EXPECT_EQ(name.error().errno_value, reason);
    }
  }
}

TEST_F(StoredNames, PlainNamesAreShownAsTheyAre) {
  const ScopeNames plain = golden_names(false);
  const auto shown_plain = [&](const std::string& stored) {
    return *read_entry_name(*dir_, plain, golden_dir(), stored);
  };
  EXPECT_EQ(shown_plain("file"), "file");
  EXPECT_EQ(shown_plain("e8r_Is3-WtrVXbwPXiMDmdj1ZEFhUKG0NqisGbF3AgcP"),
            "e8r_Is3-WtrVXbwPXiMDmdj1ZEFhUKG0NqisGbF3AgcP");
  for (const char* const name : {".coffer", ".coffer.dir", ".coffer.long.x"}) {
    EXPECT_EQ(shown_plain(name), std::nullopt) << name;
  }
}

TEST_F(StoredNames, SymlinksOfEachLengthAreReadBack) {
  for (const std::size_t length : {1U, 2U, 100U, 3022U, 3023U, 3024U, 4094U, 4095U}) {
    const std::string name = "l" + std::to_string(length);
    const std::string target(length, 't');
    link(name, target);
    const auto read = target_of(name);
    ASSERT_TRUE(read.ok()) << read.error().message();
    EXPECT_EQ(*read, target);
    EXPECT_EQ(length_of("stored-" + name), length);
  }
}

TEST_F(StoredNames, AMovedSymlinkIsNamedAsSuch) {
  link("here", "target");
  link("long", std::string(4000, 't'));
  for (const char* const name : {"here", "long"}) {
    const std::string stored = std::string("stored-") + name;
    EXPECT_EQ(read_target(*dir_, names_, golden_dir(), "there", stored).error().code, Code::kMoved);
    EXPECT_EQ(read_target(*dir_, names_, other_dir(), name, stored).error().code, Code::kMoved);
  }
  // While it is being renamed it may be found under both names.
  const StoredText both = names_.encode_target("target", names_.bind_symlink(golden_dir(), "a"),
                                               names_.bind_symlink(other_dir(), "b"));
  ASSERT_TRUE(dir_->make_symlink("stored-both", both.text).ok());
  EXPECT_EQ(*read_target(*dir_, names_, golden_dir(), "a", "stored-both"), "target");
  EXPECT_EQ(*read_target(*dir_, names_, other_dir(), "b", "stored-both"), "target");
  EXPECT_EQ(read_target(*dir_, names_, golden_dir(), "b", "stored-both").error().code,
            Code::kMoved);
}

TEST_F(StoredNames, HostileSymlinksAreCorruptAndLeadNowhere) {
  const std::string prefix(kTargetSidecarPrefix);
  put("secret", as_bytes("not to be read"));
  int opened = 0;
  for (const std::string& text : std::vector<std::string>{
           "/etc/passwd", "secret", ".", "AAAA", std::string(4095, 'A'),
           prefix + std::string(43, 'A'), prefix + "/../secret" + std::string(33, '/'),
           prefix + std::string(22, '/') + std::string(21, 'x'), prefix, std::string(58, '/')}) {
    SCOPED_TRACE(text);
    ASSERT_TRUE(dir_->make_symlink("stored-x", text).ok());
    calls_.before = [&](const SystemCall& call) {
      if (call.what == "openat" && call.name != ".") {  // which is synced
        ++opened;
        EXPECT_EQ(call.name.find('/'), std::string::npos) << call.name;
      }
      if (call.what == "fstatat") {
        EXPECT_EQ(call.name.find('/'), std::string::npos) << call.name;
      }
      return 0;
    };
    const auto target = target_of("x");
    ASSERT_FALSE(target.ok());
    EXPECT_EQ(target.error().code, Code::kCorrupt) << target.error().message();
    const auto length = read_target_length(*dir_, "stored-x", *dir_->status_of("stored-x"));
    EXPECT_TRUE(length.ok()) << "it must still be possible to look at it and remove it";
    drop_target_sidecar(*dir_, text);
    calls_.before = nullptr;
    ASSERT_TRUE(dir_->remove_file("stored-x").ok());
  }
  EXPECT_EQ(opened, 1) << "only the one that has the form of a sidecar's name";
  EXPECT_EQ(entries(), 1);
}

TEST_F(StoredNames, ALongTargetWithoutItsSidecarIsCorrupt) {
  const StoredText text = link("long", std::string(4000, 't'));
  const std::string sidecar = text.sidecar->name;
  const auto expect_corrupt = [&](const char* what) {
    const auto target = target_of("long");
    ASSERT_FALSE(target.ok()) << what;
    EXPECT_EQ(target.error().code, Code::kCorrupt) << what;
    EXPECT_EQ(target.error().errno_value, EIO) << what;
  };
  put(sidecar, Bytes(text.sidecar->content).first(100));
  expect_corrupt("cut off");
  put(sidecar, ByteVector(1'000'000));
  expect_corrupt("too long");
  std::filesystem::remove_all(temp_.file(sidecar));
  expect_corrupt("missing");
  EXPECT_EQ(length_of("stored-long"), 0U) << "stat has to go on, for it to be removed";
  ASSERT_TRUE(dir_->make_dir(sidecar, 0700).ok());
  expect_corrupt("a directory");
  // What the disk refuses is another matter.
  calls_.before = [&](const SystemCall& call) { return call.name == sidecar ? EIO : 0; };
  EXPECT_EQ(target_of("long").error().code, Code::kIo);
}

TEST_F(StoredNames, ADroppedTargetTakesItsSidecarAlong) {
  const StoredText text = link("long", std::string(4000, 't'));
  EXPECT_EQ(entries(), 2);
  drop_target_sidecar(*dir_, text.text);
  EXPECT_FALSE(exists(text.sidecar->name));
  put(".coffer.dir", as_bytes("x"));
  drop_target_sidecar(*dir_, ".coffer.dir");
  drop_target_sidecar(*dir_, "");
  EXPECT_TRUE(exists(".coffer.dir")) << "no sidecar";
}

TEST_F(StoredNames, DirectoryRecordsAreReplacedWhole) {
  DirectoryRecord record{.scope = ScopeId{9},
                         .store = golden_store(),
                         .dir = golden_dir(),
                         .generation = 1,
                         .bindings = {Binding{1}}};
  EXPECT_EQ(read_directory_block(*dir_).error().code, Code::kCorrupt) << "missing";
  ASSERT_TRUE(write_directory_block(*dir_, names_.seal_directory(record)).ok());
  EXPECT_EQ(names_.open_directory(*read_directory_block(*dir_))->generation, 1U);
  ++record.generation;
  calls_.before = [](const SystemCall& call) { return call.what == "pwrite" ? ENOSPC : 0; };
  EXPECT_EQ(write_directory_block(*dir_, names_.seal_directory(record)).error().errno_value,
            ENOSPC);
  calls_.before = nullptr;
  EXPECT_EQ(names_.open_directory(*read_directory_block(*dir_))->generation, 1U);
  ASSERT_TRUE(write_directory_block(*dir_, names_.seal_directory(record)).ok());
  EXPECT_EQ(names_.open_directory(*read_directory_block(*dir_))->generation, 2U);
  EXPECT_EQ(entries(), 1);
}

TEST_F(StoredNames, DirectoryRecordsOfAWrongLengthAreCorrupt) {
  for (const std::size_t length : {0U, 1U, 511U, 513U, 100'000U}) {
    put(kDirectoryRecordName, ByteVector(length, 'x'));
    auto block = read_directory_block(*dir_);
    const Code code = block ? names_.open_directory(*block).error().code : block.error().code;
    EXPECT_EQ(code, Code::kCorrupt) << length;
  }
  ASSERT_TRUE(dir_->remove_file(kDirectoryRecordName).ok());
  ASSERT_TRUE(dir_->make_special(kDirectoryRecordName, S_IFIFO | 0600, 0).ok());
  EXPECT_EQ(read_directory_block(*dir_).error().code, Code::kCorrupt);
  calls_.before = [](const SystemCall&) { return EIO; };
  EXPECT_EQ(read_directory_block(*dir_).error().code, Code::kIo);
}

}  // namespace
}  // namespace coffer

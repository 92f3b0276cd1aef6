// Every system call of a script fails in turn. The operation says so; whatever was not its business
// is as before, and what was is old, new, or refused. (That a torn overwrite spares its neighbours
// is the redo journal's promise, which is not made yet: chunks that the failed operation was
// sealing anew may be unreadable until they are written again.)

#include <gtest/gtest.h>

#include <set>

#include "tests/support/fs_content.h"
#include "tests/support/fs_syscalls.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentModel;
using testing::ContentWorld;
using testing::drop_binding;
using testing::HookedSyscalls;
using testing::kChunk;
using testing::kLeafBytes;
using testing::MemoryFile;
using testing::SystemCall;
using testing::test_binding;

enum class Kind {
  kWrite,
  kAppend,
  kTruncate,
  kCommit,
  kClear,
  kAllocate,
  kBind,
  kUnbind,
  kSync,
  kRead
};

struct Operation {
  Kind kind;
  std::uint64_t offset = 0;  ///< or the size to truncate to
  std::size_t length = 0;
};

/// Touches everything that does I/O: parts of chunks, several leaves, gaps, each change of depth
/// both ways.
const std::vector<Operation>& script() {
  static const std::vector<Operation> all = {
      {Kind::kWrite, 100, 5000},  // two parts of chunks
      {Kind::kAppend, 0, 10'000},
      {Kind::kRead, 4000, 300},
      {Kind::kTruncate, 2 * kLeafBytes + 1234},  // shorter, within a chunk
      {Kind::kCommit},
      {Kind::kTruncate, 2 * kLeafBytes + 3 * kChunk},  // longer: the last chunk is filled up
      {Kind::kWrite, 130 * kLeafBytes + 50, 3000},     // a gap, two levels deeper
      {Kind::kBind, 1},
      {Kind::kWrite, kLeafBytes - 6000, 12'000},  // across two leaves
      {Kind::kRead, 0, 20'000},
      {Kind::kClear, kLeafBytes - 4 * kChunk - 100,
       8 * kChunk},  // in two leaves, and a part of a chunk
      {Kind::kSync},
      {Kind::kClear, 0, 2 * kLeafBytes},                 // whole leaves
      {Kind::kWrite, kChunk + 5, 4 * kChunk},            // where there was data, and is none
      {Kind::kAllocate, 131 * kLeafBytes, 10 * kChunk},  // longer
      {Kind::kAppend, 0, 100},
      {Kind::kTruncate, 129 * kLeafBytes},  // still deep
      {Kind::kRead, 2 * kLeafBytes - 100, 5000},
      {Kind::kTruncate, 3 * kChunk + 17},  // down to one leaf
      {Kind::kUnbind, 1},
      {Kind::kAppend, 0, 2 * kLeafBytes},  // several steps of one write
      {Kind::kCommit},
      {Kind::kTruncate, 0},
      {Kind::kWrite, 5000, 10},  // a gap at the front
      {Kind::kSync},
      {Kind::kAppend, 0, 1},
      {Kind::kTruncate, 1},
      {Kind::kCommit},
  };
  return all;
}

struct Fault {
  const char* name;
  std::set<std::string_view> calls;  ///< that can fail so; all if empty
  int reason;
  bool half_done;  ///< half of the bytes are written first
};

std::ostream& operator<<(std::ostream& out, const Fault& fault) { return out << fault.name; }

/// The script on one file, with one fault.
class FaultyRun {
 public:
  FaultyRun(const Fault& fault, std::uint64_t failing) : fault_(fault), failing_(failing) {
    start();
    calls_.before = [this](const SystemCall& call) { return before(call); };
    calls_.limit = [this](const SystemCall& call) { return halve_ ? call.count / 2 : call.count; };
  }
  [[nodiscard]] bool struck() const { return struck_; }

  void run() {
    for (std::size_t i = 0; i < script().size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "operation " << i);
      const bool struck_before = struck_;
      in_operation_ = true;
      step(script()[i]);
      in_operation_ = false;
      if (struck_ && !struck_before) {
        SCOPED_TRACE("after " + failed_call_);
        expect_reported(script()[i]);
        if (::testing::Test::HasFailure()) return;
        take_stock(script()[i]);
        heal();
      } else {
        EXPECT_TRUE(result_.ok()) << result_.error().message();
      }
      expect_content();
      if (::testing::Test::HasFailure()) return;
    }
    ASSERT_TRUE(file_->settle().ok());
    auto opened = world_.open(backing_, keys_);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    file_ = std::move(*opened);
    expect_content();
  }

 private:
  void start() {
    // As it was left by an earlier session: three leaves, with a hole in between.
    const auto file = world_.create(backing_, 12, keys_);
    Chooser choose(1);
    for (const std::uint64_t offset : {std::uint64_t{0}, kLeafBytes - 5 * kChunk, 2 * kLeafBytes}) {
      const ByteVector data = choose.bytes(10 * kChunk + 77);
      ASSERT_TRUE(file->write(offset, data).ok());
      model_.write(offset, data);
    }
    ASSERT_TRUE(file->commit().ok());
    auto opened = world_.open(backing_, keys_, calls_);
    ASSERT_TRUE(opened.ok());
    file_ = std::move(*opened);
    before_ = model_;
  }

  int before(const SystemCall& call) {
    // The cache is shared and small: what one operation read may be gone when it wants it again.
    for (std::uint64_t i = 0; i < 8 && in_operation_; ++i)
      world_.nodes().put(1'000'000, {0, i}, Block{});
    halve_ = false;
    if (second_half_) {  // of a write that was halved
      second_half_ = false;
      return fault_.reason;
    }
    if (!in_operation_ || struck_ || (!fault_.calls.empty() && fault_.calls.count(call.what) == 0))
      return 0;
    if (count_++ != failing_) return 0;
    struck_ = true;
    failed_call_ = std::string(call.what) + " at " + std::to_string(call.offset);
    failed_ftruncate_ = call.what == "ftruncate";
    failed_pwrite_ = call.what == "pwrite";
    if (!fault_.half_done) return fault_.reason;
    halve_ = true;
    second_half_ = true;
    return 0;
  }

  /// Does the operation; `result_`, `written_` and `planned_` say what came of it.
  void step(const Operation& operation) {
    data_ = choose_.bytes(operation.kind == Kind::kClear ? 0 : operation.length);
    planned_ = model_;
    result_ = {};
    written_ = 0;
    const auto note_written = [&](const Result<std::size_t>& done, std::uint64_t offset) {
      planned_.write(offset, data_);
      if (!done) {
        result_ = done.error();
        return;
      }
      written_ = *done;
      model_.write(offset, Bytes(data_).first(written_));
    };
    switch (operation.kind) {
      case Kind::kWrite:
        note_written(file_->write(operation.offset, data_), operation.offset);
        break;
      case Kind::kAppend:
        note_written(file_->append(data_), model_.size());
        break;
      case Kind::kTruncate:
        result_ = file_->truncate(operation.offset);
        planned_.truncate(operation.offset);
        if (result_) model_ = planned_;
        break;
      case Kind::kClear:
        result_ = file_->clear(operation.offset, operation.length, EncryptedFile::Room::kGivenBack);
        planned_.clear(operation.offset, operation.length);
        if (result_) model_ = planned_;
        break;
      case Kind::kAllocate:
        result_ =
            file_->allocate(operation.offset, operation.length, EncryptedFile::Sizing::kGrows);
        if (operation.offset + operation.length > planned_.size()) {
          planned_.truncate(operation.offset + operation.length);
        }
        if (result_) model_ = planned_;
        break;
      case Kind::kCommit:
        result_ = file_->commit();
        break;
      case Kind::kBind:
        result_ = file_->add_binding(test_binding(1));
        break;
      case Kind::kUnbind:
        result_ = drop_binding(*file_, test_binding(1));
        break;
      case Kind::kSync:
        result_ = file_->sync(false);
        break;
      case Kind::kRead: {
        ByteVector out(operation.length, 0xee);
        const auto done = file_->read(operation.offset, out);
        const ByteVector right = model_.read(operation.offset, operation.length);
        if (!done) {
          result_ = done.error();
          EXPECT_TRUE(all_zero(Bytes(out).first(right.size()))) << "bytes got out with an error";
          break;
        }
        EXPECT_TRUE(equal(Bytes(out).first(*done), right));
      }
    }
  }

  void expect_reported(const Operation& operation) {
    const bool writes = operation.kind == Kind::kWrite || operation.kind == Kind::kAppend;
    if (fault_.reason == EINTR) {
      EXPECT_TRUE(result_.ok()) << "an interrupted call is made again";
      EXPECT_TRUE(!writes || written_ == operation.length);
      return;
    }
    if (writes && result_.ok()) {
      EXPECT_LT(written_, operation.length) << "the error went unreported";
      EXPECT_GT(written_, 0U);
      return;
    }
    // Room that could not be given back is no error: it is zeros all the same.
    if (operation.kind == Kind::kClear && failed_call_.starts_with("fallocate")) {
      EXPECT_TRUE(result_.ok()) << result_.error().message();
      return;
    }
    ASSERT_FALSE(result_.ok()) << "the error went unreported";
    EXPECT_EQ(result_.error().errno_value, fault_.reason) << result_.error().message();
  }

  /// Chunks that the operation seals anew, as far as it is about chunks that were there before.
  [[nodiscard]] bool is_touched(const Operation& operation, std::uint64_t chunk) const {
    const std::uint64_t old_last = before_.size() == 0 ? 0 : (before_.size() - 1) / kChunk;
    const std::uint64_t start = operation.kind == Kind::kAppend ? before_.size() : operation.offset;
    switch (operation.kind) {
      case Kind::kWrite:
      case Kind::kAppend:
        return chunk == old_last ||
               (chunk >= start / kChunk && chunk <= (start + operation.length - 1) / kChunk);
      case Kind::kClear:
        return chunk >= start / kChunk && chunk <= (start + operation.length - 1) / kChunk;
      case Kind::kAllocate:
        return chunk == old_last;
      case Kind::kTruncate:
        return chunk == old_last ||
               (operation.offset > 0 && chunk == (operation.offset - 1) / kChunk);
      default:
        return false;
    }
  }

  /// After the fault: each chunk is as before, as planned, or refused where that may be. The model
  /// becomes what is there.
  void take_stock(const Operation& operation) {
    const std::uint64_t size = file_->size();
    if (written_ > 0 || result_.ok()) {
      ASSERT_EQ(size, model_.size());
    } else {
      ASSERT_TRUE(size == before_.size() || size == planned_.size()) << size;
      if (size == planned_.size()) model_ = size == before_.size() ? before_ : planned_;
    }
    // Only what should have cut the file can leave it too long.
    if (!failed_ftruncate_ && operation.kind != Kind::kTruncate) {
      ASSERT_EQ(backing_.size(), Geometry(12).backing_size(size));
    }
    refused_.clear();
    for (const std::uint64_t chunk : probes()) {
      if (chunk * kChunk >= size) continue;
      ByteVector out(kChunk, 0xee);
      const auto done = file_->read(chunk * kChunk, out);
      const std::size_t length = std::min(kChunk, size - chunk * kChunk);
      if (!done) {
        EXPECT_EQ(done.error().code, Code::kCorrupt);
        EXPECT_TRUE(failed_pwrite_ && is_touched(operation, chunk))
            << "chunk " << chunk << " was lost";
        refused_.insert(chunk);
        continue;
      }
      ASSERT_EQ(*done, length);
      const auto fits = [&](const ContentModel& state) {
        ByteVector right = state.read(chunk * kChunk, kChunk);
        right.resize(length);
        return equal(Bytes(out).first(length), right);
      };
      EXPECT_TRUE(fits(model_) ||
                  (is_touched(operation, chunk) && (fits(before_) || fits(planned_))))
          << "WRONG BYTES in chunk " << chunk;
      model_.write(chunk * kChunk, Bytes(out).first(length));
    }
    ASSERT_EQ(model_.size(), size);
  }

  /// Writes what was refused anew, as its owner would.
  void heal() {
    for (const std::uint64_t chunk : refused_) {
      const ByteVector data = choose_.bytes(std::min(kChunk, model_.size() - chunk * kChunk));
      const auto done = file_->write(chunk * kChunk, data);
      ASSERT_TRUE(done.ok()) << done.error().message();
      model_.write(chunk * kChunk, data);
    }
  }

  void expect_content() {
    ASSERT_EQ(file_->size(), model_.size());
    for (const std::uint64_t chunk : probes()) {
      ByteVector out(kChunk, 0xee);
      const auto done = file_->read(chunk * kChunk, out);
      ASSERT_TRUE(done.ok()) << "chunk " << chunk << ": " << done.error().message();
      ASSERT_TRUE(equal(Bytes(out).first(*done), model_.read(chunk * kChunk, kChunk)))
          << "WRONG BYTES in chunk " << chunk;
    }
    before_ = model_;
  }
  /// Chunks with data now, before or as planned, and where there should be none.
  [[nodiscard]] std::set<std::uint64_t> probes() const {
    std::set<std::uint64_t> chunks = {50, 200, 130 * 128 - 1};
    for (const ContentModel* state : {&model_, &before_, &planned_}) {
      for (const std::uint64_t page : state->pages()) chunks.insert(page / kChunk);
      if (state->size() > 0) chunks.insert((state->size() - 1) / kChunk);
    }
    return chunks;
  }

  Fault fault_;
  std::uint64_t failing_;
  std::uint64_t count_ = 0;
  bool in_operation_ = false;  // the checks in between see no faults
  bool struck_ = false;
  bool halve_ = false;
  bool second_half_ = false;
  bool failed_ftruncate_ = false;
  bool failed_pwrite_ = false;
  std::string failed_call_;

  ContentWorld world_{AeadEngine::Choice::kFastest, 1};
  std::shared_ptr<const FileKeys> keys_ = world_.keys();
  MemoryFile backing_;
  HookedSyscalls calls_;
  std::unique_ptr<EncryptedFile> file_;
  Chooser choose_{2};
  ContentModel model_;
  ContentModel before_;
  ContentModel planned_;
  ByteVector data_;
  Result<void> result_;
  std::size_t written_ = 0;
  std::set<std::uint64_t> refused_;
};

class EncryptedFileFaults : public ::testing::TestWithParam<Fault> {};

INSTANTIATE_TEST_SUITE_P(
    Faults, EncryptedFileFaults,
    ::testing::Values(Fault{"anything_eio", {}, EIO, false},
                      Fault{"full_disk", {"pwrite", "ftruncate"}, ENOSPC, false},
                      Fault{"full_disk_half_way", {"pwrite"}, ENOSPC, true},
                      Fault{"write_eio_half_way", {"pwrite"}, EIO, true},
                      Fault{
                          "interrupted", {"pread", "pwrite", "ftruncate", "fsync"}, EINTR, false}),
    ::testing::PrintToStringParamName());

TEST_P(EncryptedFileFaults, EveryCallFailsInTurn) {
  std::uint64_t failing = 0;
  for (;; ++failing) {
    SCOPED_TRACE(::testing::Message() << GetParam().name << ", call " << failing);
    FaultyRun run(GetParam(), failing);
    run.run();
    if (HasFailure()) return;
    if (!run.struck()) break;
  }
  EXPECT_GT(failing, 30U) << "the script makes too few calls";
}

}  // namespace
}  // namespace coffer

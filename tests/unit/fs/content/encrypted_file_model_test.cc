// Random operations on an EncryptedFile and on a plain model of it: content, size and backing size
// agree after each.

#include <gtest/gtest.h>

#include "tests/support/fs_content.h"

namespace coffer {
namespace {

using testing::Chooser;
using testing::ContentModel;
using testing::ContentWorld;
using testing::MemoryFile;
using testing::seed_trace;

struct Setup {
  const char* name;
  Suite suite;
  AeadEngine::Choice engine;
  unsigned chunk_log2;
  std::size_t cache_bytes;
  int operations;
  std::uint64_t seed;
};

std::ostream& operator<<(std::ostream& out, const Setup& setup) { return out << setup.name; }

class EncryptedFileModel : public ::testing::TestWithParam<Setup> {
 protected:
  [[nodiscard]] std::uint64_t chunk() const { return std::uint64_t{1} << GetParam().chunk_log2; }

  /// An offset near something: an edge of a chunk, of a leaf, of an inner node, of the file; or far
  /// away.
  std::uint64_t interesting_offset() {
    const std::uint64_t leaf = chunk() * 128;
    std::uint64_t at = 0;
    switch (choose_.below(10)) {
      case 0:
        break;
      case 1:
      case 2:
      case 3:
        at = model_.size();
        break;
      case 4:
      case 5:
        at = choose_.below(5) * chunk();
        break;
      case 6:
        at = choose_.between(1, 3) * leaf;
        break;
      case 7:
        at = 128 * leaf;  // the second inner node
        break;
      case 8:
        at = choose_.one_in(2) ? 128 * 128 * leaf : (std::uint64_t{16} << 40) - leaf;
        break;
      default:
        at = choose_.below(std::uint64_t{1} << choose_.between(1, 44));
    }
    const std::uint64_t nudge = choose_.below(4) == 0 ? choose_.below(chunk()) : choose_.below(3);
    at = choose_.one_in(2) || at < nudge ? at + nudge : at - nudge;
    return std::min(at, (std::uint64_t{16} << 40) + leaf);
  }
  std::size_t some_length() {
    switch (choose_.below(4)) {
      case 0:
        return choose_.between(1, 20);
      case 1:
        return chunk();
      case 2:
        return choose_.between(1, chunk());
      default:
        return choose_.between(1, std::min<std::uint64_t>(3 * chunk(), chunk() + 100'000));
    }
  }

  void expect_read(std::uint64_t offset, std::size_t length) {
    ByteVector out(length, 0xee);
    const auto done = file_->read(offset, out);
    ASSERT_TRUE(done.ok()) << "at " << offset << ": " << done.error().message();
    const ByteVector expected = model_.read(offset, length);
    ASSERT_EQ(*done, expected.size()) << "at " << offset;
    ASSERT_TRUE(equal(Bytes(out).first(*done), expected)) << "at " << offset << ", " << length;
  }
  /// Every page that was written, and what lies next to it.
  void expect_content() {
    for (const std::uint64_t page : model_.pages()) {
      expect_read(page >= 10 ? page - 10 : 0, 4096 + 20);
      if (HasFatalFailure()) return;
    }
    expect_read(model_.size(), 1);
    for (int i = 0; i < 5; ++i) expect_read(interesting_offset(), 5000);
  }
  void expect_sizes() {
    ASSERT_EQ(file_->size(), model_.size());
    ASSERT_EQ(backing_.size(), Geometry(GetParam().chunk_log2).backing_size(model_.size()));
  }
  void reopen() {
    ASSERT_TRUE(file_->commit().ok());
    file_.reset();
    auto opened = world_.open(backing_, keys_);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    file_ = std::move(*opened);
  }
  void step() {
    const std::uint64_t what = choose_.below(100);
    if (what < 35) {
      const std::uint64_t offset = interesting_offset();
      const ByteVector data = choose_.bytes(some_length());
      const auto done = file_->write(offset, data);
      ASSERT_TRUE(done.ok()) << done.error().message();
      ASSERT_EQ(*done, data.size());
      model_.write(offset, data);
    } else if (what < 45) {
      const ByteVector data = choose_.bytes(some_length());
      ASSERT_EQ(*file_->append(data), data.size());
      model_.write(model_.size(), data);
    } else if (what < 70) {
      expect_read(interesting_offset(), some_length());
    } else if (what < 75) {
      const std::uint64_t offset = interesting_offset();
      const std::uint64_t length =
          choose_.one_in(4) ? interesting_offset() + 1 : choose_.between(1, 300 * chunk());
      const auto room =
          choose_.one_in(2) ? EncryptedFile::Room::kGivenBack : EncryptedFile::Room::kKept;
      const auto done = file_->clear(offset, length, room);
      ASSERT_TRUE(done.ok()) << done.error().message();
      model_.clear(offset, length);
    } else if (what < 77) {
      const std::uint64_t offset = interesting_offset();
      const bool grows = choose_.one_in(2);
      const std::size_t length = some_length();
      const auto done = file_->allocate(
          offset, length, grows ? EncryptedFile::Sizing::kGrows : EncryptedFile::Sizing::kStays);
      ASSERT_TRUE(done.ok()) << done.error().message();
      if (grows && offset + length > model_.size()) model_.truncate(offset + length);
    } else if (what < 85) {
      std::uint64_t size =
          choose_.one_in(3) ? choose_.below(model_.size() + 1) : interesting_offset();
      if (choose_.one_in(10)) size = 0;
      ASSERT_TRUE(file_->truncate(size).ok());
      model_.truncate(size);
    } else if (what < 93) {
      ASSERT_TRUE(file_->commit().ok());
    } else if (what < 96) {
      ASSERT_TRUE(file_->sync(choose_.one_in(2)).ok());
    } else {
      reopen();
    }
  }

  Chooser choose_{GetParam().seed};
  ContentWorld world_{GetParam().engine, GetParam().cache_bytes};
  std::shared_ptr<const FileKeys> keys_ = world_.keys(GetParam().suite);
  MemoryFile backing_;
  std::unique_ptr<EncryptedFile> file_ = world_.create(backing_, GetParam().chunk_log2, keys_);
  ContentModel model_;
};

constexpr auto kGcm = Suite::kAes256Gcm;
constexpr auto kChaCha = Suite::kChaCha20Poly1305;
constexpr auto kFastest = AeadEngine::Choice::kFastest;
constexpr auto kOpenSsl = AeadEngine::Choice::kOpenSsl;
constexpr std::size_t kTiny = 1;
constexpr std::size_t kSmall = std::size_t{1} << 20;

INSTANTIATE_TEST_SUITE_P(
    Setups, EncryptedFileModel,
    ::testing::Values(Setup{"gcm_4k_tiny_cache", kGcm, kFastest, 12, kTiny, 3000, 101},
                      Setup{"gcm_4k", kGcm, kFastest, 12, kSmall, 4000, 102},
                      Setup{"gcm_openssl_4k", kGcm, kOpenSsl, 12, kSmall, 3000, 103},
                      Setup{"chacha_4k", kChaCha, kOpenSsl, 12, kTiny, 3000, 104},
                      Setup{"gcm_16k", kGcm, kFastest, 14, kTiny, 3000, 105},
                      Setup{"gcm_openssl_16k", kGcm, kOpenSsl, 14, kSmall, 1500, 106},
                      Setup{"chacha_16k", kChaCha, kFastest, 14, kSmall, 1500, 107},
                      Setup{"gcm_64k", kGcm, kFastest, 16, kTiny, 1500, 108},
                      Setup{"gcm_openssl_64k", kGcm, kOpenSsl, 16, kSmall, 800, 109},
                      Setup{"chacha_64k", kChaCha, kFastest, 16, kSmall, 800, 110},
                      Setup{"gcm_1m", kGcm, kFastest, 20, kTiny, 400, 111},
                      Setup{"gcm_openssl_1m", kGcm, kOpenSsl, 20, kSmall, 200, 112},
                      Setup{"chacha_1m", kChaCha, kFastest, 20, kSmall, 200, 113}),
    [](const ::testing::TestParamInfo<Setup>& setup) { return setup.param.name; });

TEST_P(EncryptedFileModel, AgreesAfterEachOperation) {
  SCOPED_TRACE(seed_trace(GetParam().seed));
  for (int i = 0; i < GetParam().operations; ++i) {
    SCOPED_TRACE(::testing::Message() << "operation " << i);
    step();
    if (HasFatalFailure()) return;
    expect_sizes();
    if (i % 100 == 99) expect_content();
    if (HasFatalFailure()) return;
    // What was written stays in memory: begin anew before it is too much.
    if (model_.pages().size() * 4096 > (std::size_t{24} << 20)) {
      ASSERT_TRUE(file_->truncate(choose_.below(3 * chunk())).ok());
      model_.truncate(file_->size());
    }
  }
  expect_content();
  reopen();
  expect_sizes();
  expect_content();
}

}  // namespace
}  // namespace coffer

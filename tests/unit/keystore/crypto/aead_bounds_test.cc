// Assembly is seen by no sanitizer: here buffers end where unreadable pages begin, and are watched
// for writes past their ends.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>

#include "keystore/crypto/aead.h"
#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

constexpr std::size_t kPage = 4096;

/// Two pages between two that can't be touched.
class FencedPages {
 public:
  FencedPages() {
    void* const area = ::mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) std::abort();
    begin_ = static_cast<std::uint8_t*>(area) + kPage;
    if (::mprotect(begin_, 2 * kPage, PROT_READ | PROT_WRITE) != 0) std::abort();
  }
  ~FencedPages() { ::munmap(begin_ - kPage, 4 * kPage); }
  FencedPages(const FencedPages&) = delete;
  FencedPages& operator=(const FencedPages&) = delete;

  /// `length` bytes up to the upper fence; the rest holds `filler`.
  MutableBytes at_end(std::size_t length, std::uint8_t filler) {
    std::fill_n(begin_, 2 * kPage, filler);
    return {begin_ + 2 * kPage - length, length};
  }
  /// `length` bytes from the lower fence on.
  MutableBytes at_begin(std::size_t length, std::uint8_t filler) {
    std::fill_n(begin_, 2 * kPage, filler);
    return {begin_, length};
  }
  /// Whether all but the `length` bytes at the end (or beginning) are still `filler`.
  [[nodiscard]] bool rest_is(std::uint8_t filler, std::size_t length, bool at_the_end) const {
    const Bytes all(begin_, 2 * kPage);
    const Bytes rest = at_the_end ? all.first(all.size() - length) : all.subspan(length);
    return std::all_of(rest.begin(), rest.end(), [&](std::uint8_t b) { return b == filler; });
  }

 private:
  std::uint8_t* begin_ = nullptr;
};

class AeadBounds : public ::testing::TestWithParam<AeadVariant> {
 protected:
  const std::unique_ptr<const AeadKey> key_ = expand_key(GetParam(), patterned(kAeadKeySize, 7));
  const Nonce nonce_ = patterned_array<12>(8);

  /// Seals and opens with every buffer at a fence and of exactly its length.
  void run(std::size_t length, std::size_t associated_length, bool at_the_end) {
    const auto place = [&](FencedPages& pages, std::size_t size, std::uint8_t filler) {
      return at_the_end ? pages.at_end(size, filler) : pages.at_begin(size, filler);
    };
    const MutableBytes in = place(in_, length, 0x11);
    const MutableBytes out = place(out_, length, 0x22);
    const MutableBytes associated = place(associated_, associated_length, 0x33);
    const ByteVector plain = patterned(length, 9);
    std::copy(plain.begin(), plain.end(), in.begin());

    Tag tag;
    key_->seal(nonce_, associated, in, out, tag);
    ASSERT_TRUE(equal(in, plain));
    ASSERT_TRUE(out_.rest_is(0x22, length, at_the_end));
    std::fill(in.begin(), in.end(), std::uint8_t{0});
    ASSERT_TRUE(key_->open(nonce_, associated, out, in, tag));
    ASSERT_TRUE(equal(in, plain));
    ASSERT_TRUE(in_.rest_is(0x11, length, at_the_end));
    tag[0] ^= 1;
    ASSERT_FALSE(key_->open(nonce_, associated, out, in, tag));
    ASSERT_TRUE(all_zero(in));
    ASSERT_TRUE(in_.rest_is(0x11, length, at_the_end));
  }

 private:
  FencedPages in_;
  FencedPages out_;
  FencedPages associated_;
};

INSTANTIATE_TEST_SUITE_P(Engines, AeadBounds, ::testing::ValuesIn(kAeadVariants),
                         aead_variant_name);

TEST_P(AeadBounds, TouchNothingPastTheEnd) {
  for (std::size_t length = 0; length <= 600; ++length) {
    SCOPED_TRACE(length);
    ASSERT_NO_FATAL_FAILURE(run(length, length % 65, true));
  }
  for (const std::size_t length : {1023U, 1024U, 4095U, 4096U, 4097U, 8191U, 8192U}) {
    ASSERT_NO_FATAL_FAILURE(run(length, 28, true));
  }
}

TEST_P(AeadBounds, TouchNothingBeforeTheBeginning) {
  for (std::size_t length = 0; length <= 600; length += 7) {
    SCOPED_TRACE(length);
    ASSERT_NO_FATAL_FAILURE(run(length, length % 65, false));
  }
}

}  // namespace
}  // namespace coffer

#include "keystore/crypto/aead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/keystore/crypto/aead_variants.h"

namespace coffer {
namespace {

class Aead : public ::testing::TestWithParam<AeadVariant> {
 protected:
  const ByteVector key_bytes_ = patterned(kAeadKeySize, 99);
  const std::unique_ptr<const AeadKey> key_ = expand_key(GetParam(), key_bytes_);
};

INSTANTIATE_TEST_SUITE_P(Engines, Aead, ::testing::ValuesIn(kAeadVariants), aead_variant_name);

TEST_P(Aead, OpensWhatItSealedAtEveryLength) {
  for (const std::size_t length : interesting_lengths()) {
    SCOPED_TRACE(length);
    const auto seed = static_cast<std::uint32_t>(length);
    const Nonce nonce = patterned_array<12>(seed + 1);
    const ByteVector associated = patterned(length % 43, seed + 2);
    const ByteVector plain = patterned(length, seed + 3);

    ByteVector sealed(length);
    Tag tag;
    key_->seal(nonce, associated, plain, sealed, tag);
    if (length >= 16) {
      EXPECT_NE(sealed, plain);
    }
    ByteVector opened(length, 0xee);
    ASSERT_TRUE(key_->open(nonce, associated, sealed, opened, tag));
    ASSERT_EQ(opened, plain);

    // In place, at an odd address, to the same bytes.
    const std::size_t shift = length % 15;
    ByteVector buffer(length + shift);
    const MutableBytes there = MutableBytes(buffer).subspan(shift);
    std::copy(plain.begin(), plain.end(), there.begin());
    Tag tag_in_place;
    key_->seal(nonce, associated, there, there, tag_in_place);
    ASSERT_TRUE(equal(there, sealed));
    ASSERT_EQ(tag_in_place, tag);
    ASSERT_TRUE(key_->open(nonce, associated, there, there, tag));
    ASSERT_TRUE(equal(there, plain));
  }
}

TEST_P(Aead, BindsAssociatedDataOfEveryLength) {
  const Nonce nonce = patterned_array<12>(1);
  const ByteVector plain = patterned(33, 2);
  const ByteVector all = patterned(301, 3);
  std::vector<Tag> tags;
  for (std::size_t length = 0; length <= 300; ++length) {
    ByteVector sealed(plain.size());
    ByteVector opened(plain.size());
    Tag tag;
    const Bytes associated = Bytes(all).first(length);
    key_->seal(nonce, associated, plain, sealed, tag);
    for (const Tag& other : tags) ASSERT_NE(tag, other);
    tags.push_back(tag);
    ASSERT_TRUE(key_->open(nonce, associated, sealed, opened, tag));
    ASSERT_FALSE(key_->open(nonce, Bytes(all).first(length + 1), sealed, opened, tag));
  }
}

/// Asserts that `open` refuses, in place and apart, and leaves nothing but zeros.
void expect_refused(const AeadKey& key, const Nonce& nonce, Bytes associated, Bytes sealed,
                    const Tag& tag) {
  ByteVector apart(sealed.size(), 0xee);
  EXPECT_FALSE(key.open(nonce, associated, sealed, apart, tag));
  EXPECT_TRUE(all_zero(apart));
  ByteVector in_place(sealed.begin(), sealed.end());
  EXPECT_FALSE(key.open(nonce, associated, in_place, in_place, tag));
  EXPECT_TRUE(all_zero(in_place));
}

std::uint8_t one_bit(std::size_t number) { return static_cast<std::uint8_t>(1U << (number % 8)); }

TEST_P(Aead, RefusesAnyChangedBitAndWipes) {
  for (const std::size_t length : {0U, 1U, 16U, 100U, 257U, 4096U}) {
    SCOPED_TRACE(length);
    Nonce nonce = patterned_array<12>(1);
    ByteVector associated = patterned(28, 2);
    const ByteVector plain = patterned(length, 3);
    ByteVector sealed(length);
    Tag tag;
    key_->seal(nonce, associated, plain, sealed, tag);

    for (std::size_t bit = 0; bit < nonce.size() * 8; ++bit) {
      nonce[bit / 8] ^= one_bit(bit);
      expect_refused(*key_, nonce, associated, sealed, tag);
      nonce[bit / 8] ^= one_bit(bit);
    }
    for (std::size_t bit = 0; bit < associated.size() * 8; ++bit) {
      associated[bit / 8] ^= one_bit(bit);
      expect_refused(*key_, nonce, associated, sealed, tag);
      associated[bit / 8] ^= one_bit(bit);
    }
    for (std::size_t bit = 0; bit < tag.size() * 8; ++bit) {
      tag[bit / 8] ^= one_bit(bit);
      expect_refused(*key_, nonce, associated, sealed, tag);
      tag[bit / 8] ^= one_bit(bit);
    }
    const std::size_t step = length > 300 ? 61 : 1;
    for (std::size_t bit = 0; bit < length * 8; bit += step) {
      sealed[bit / 8] ^= one_bit(bit);
      expect_refused(*key_, nonce, associated, sealed, tag);
      sealed[bit / 8] ^= one_bit(bit);
    }

    ByteVector opened(length);
    EXPECT_TRUE(key_->open(nonce, associated, sealed, opened, tag));
    EXPECT_EQ(opened, plain);
  }
}

TEST_P(Aead, RefusesWhatIsCutJoinedOrMovedAcross) {
  const Nonce nonce = patterned_array<12>(1);
  const ByteVector associated = patterned(28, 2);
  const ByteVector plain = patterned(64, 3);
  ByteVector sealed(64);
  Tag tag;
  key_->seal(nonce, associated, plain, sealed, tag);
  expect_refused(*key_, nonce, associated, Bytes(sealed).first(63), tag);
  expect_refused(*key_, nonce, associated, Bytes(sealed).last(63), tag);
  expect_refused(*key_, nonce, associated, {}, tag);
  ByteVector longer = sealed;
  longer.push_back(0);
  expect_refused(*key_, nonce, associated, longer, tag);
  // A byte that moves from the associated data to the ciphertext.
  ByteVector joined{associated.back()};
  joined.insert(joined.end(), sealed.begin(), sealed.end());
  expect_refused(*key_, nonce, Bytes(associated).first(27), joined, tag);
  expect_refused(*key_, nonce, associated, sealed, Tag{});
}

TEST_P(Aead, AnotherKeyOpensNothing) {
  const Nonce nonce = patterned_array<12>(1);
  ByteVector sealed(48);
  Tag tag;
  key_->seal(nonce, {}, patterned(48, 3), sealed, tag);
  for (std::size_t bit = 0; bit < kAeadKeySize * 8; bit += 9) {
    ByteVector other = key_bytes_;
    other[bit / 8] ^= one_bit(bit);
    expect_refused(*expand_key(GetParam(), other), nonce, {}, sealed, tag);
  }
}

TEST_P(Aead, OneKeyServesManyThreads) {
  constexpr int kThreads = 4;
  constexpr std::uint32_t kRounds = 150;
  std::atomic<int> failures{0};
  const auto work = [&](std::uint32_t first_seed) {
    for (std::uint32_t seed = first_seed; seed < first_seed + kRounds; ++seed) {
      const Nonce nonce = patterned_array<12>(seed);
      const ByteVector associated = patterned(28, seed);
      const ByteVector plain = patterned(seed * 37 % 5000, seed);
      ByteVector sealed(plain.size());
      ByteVector opened(plain.size());
      Tag tag;
      key_->seal(nonce, associated, plain, sealed, tag);
      if (!key_->open(nonce, associated, sealed, opened, tag) || opened != plain) ++failures;
      tag[seed % 16] ^= 1;
      if (key_->open(nonce, associated, sealed, opened, tag) || !all_zero(opened)) ++failures;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back(work, static_cast<std::uint32_t>(i) * kRounds);
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace coffer

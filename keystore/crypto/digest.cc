#include "keystore/crypto/digest.h"

#include <algorithm>

#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = must_have(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  return algorithm;
}

DigestContext begun_sha256() {
  DigestContext context(must_have(EVP_MD_CTX_new()));
  must(EVP_DigestInit_ex2(context.get(), sha256_algorithm(), nullptr));
  return context;
}

DigestContext copy_of(const DigestContext& context) {
  DigestContext copy(must_have(EVP_MD_CTX_new()));
  must(EVP_MD_CTX_copy_ex(copy.get(), context.get()));
  return copy;
}

void add_to(const DigestContext& context, Bytes data) {
  must(EVP_DigestUpdate(context.get(), data.data(), data.size()));
}

Digest finish(const DigestContext& context) {
  Digest digest;
  must(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr));
  return digest;
}

/// The two hashes of HMAC, with what the key adds to each (FIPS 198-1, steps 1 to 5 and 7). From
/// OpenSSL's SHA-256, not by its HMAC, whose copies take three times as long as the MACs of the
/// short texts that are all there are here.
struct KeyedHashes {
  explicit KeyedHashes(Bytes key) {
    constexpr std::size_t kBlock = 64;
    std::array<std::uint8_t, kBlock> block{};
    if (key.size() > kBlock) {
      Digest shorter = sha256(key);
      std::copy(shorter.begin(), shorter.end(), block.begin());
      wipe(shorter);
    } else {
      std::copy(key.begin(), key.end(), block.begin());
    }
    for (auto& byte : block) byte ^= 0x36;
    add_to(inner, block);
    for (auto& byte : block) byte ^= 0x36 ^ 0x5c;
    add_to(outer, block);
    wipe(block);
  }

  DigestContext inner = begun_sha256();
  DigestContext outer = begun_sha256();
};

/// `inner` and `outer`: those of a key, the first with the whole text added (steps 6, 8 and 9).
Digest finish_mac(const DigestContext& inner, const DigestContext& outer) {
  const Digest hashed = finish(inner);
  add_to(outer, hashed);
  return finish(outer);
}

}  // namespace

Digest sha256(Bytes data) {
  Digest digest;
  must(EVP_Digest(data.data(), data.size(), digest.data(), nullptr, sha256_algorithm(), nullptr));
  return digest;
}

struct Sha256Stream::State {
  DigestContext context;
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>(State{begun_sha256()})) {}
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::add(Bytes data) { add_to(state_->context, data); }

Digest Sha256Stream::finish() { return coffer::finish(state_->context); }

struct HmacKey::State {
  KeyedHashes keyed;
};

HmacKey::HmacKey(Bytes key) : state_(std::make_unique<State>(State{KeyedHashes(key)})) {}
HmacKey::~HmacKey() = default;
HmacKey::HmacKey(HmacKey&&) noexcept = default;
HmacKey& HmacKey::operator=(HmacKey&&) noexcept = default;

Digest HmacKey::mac(Bytes data) const { return mac({data}); }

Digest HmacKey::mac(std::initializer_list<Bytes> pieces) const {
  const DigestContext inner = copy_of(state_->keyed.inner);
  for (const Bytes piece : pieces) add_to(inner, piece);
  return finish_mac(inner, copy_of(state_->keyed.outer));
}

bool HmacKey::verify(Bytes data, Bytes expected) const {
  if (expected.size() < 16 || expected.size() > sizeof(Digest)) return false;
  const Digest actual = mac(data);
  return constant_time_equal(Bytes(actual).first(expected.size()), expected);
}

struct HmacStream::State {
  KeyedHashes keyed;
};

HmacStream::HmacStream(Bytes key) : state_(std::make_unique<State>(State{KeyedHashes(key)})) {}
HmacStream::~HmacStream() = default;

void HmacStream::add(Bytes data) { add_to(state_->keyed.inner, data); }

Digest HmacStream::finish() { return finish_mac(state_->keyed.inner, state_->keyed.outer); }

}  // namespace coffer

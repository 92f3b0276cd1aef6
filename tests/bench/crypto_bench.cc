// Chunks sealed and opened, and the keys on the way to them.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>

#include "fs/content/file_keys.h"
#include "fs/content/nonce_sequence.h"
#include "fs/format/tree_node.h"
#include "keystore/crypto/aead.h"
#include "keystore/crypto/box.h"
#include "keystore/kms/key_context.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/keystore_store.h"

namespace coffer::testing {
namespace {

constexpr std::size_t kKeySize = 32;

/// A run of consecutive chunks in one piece, sealed and opened as fs/content/chunks.cc does it:
/// each with its own nonce and context, nonce and tag in a leaf entry.
class ChunkRun {
 public:
  ChunkRun(AeadEngine::Choice choice, Suite suite, std::size_t chunk_size, std::size_t count)
      : engine_(must_be(AeadEngine::create(choice))),
        key_(engine_.expand(suite, choose_.bytes(kAeadKeySize))),
        file_(choose_.id<FileId>()),
        chunk_size_(chunk_size),
        plain_(choose_.bytes(chunk_size * count)),
        cipher_(plain_.size()),
        opened_(plain_.size()),
        entries_(count * kEntrySize) {
    seal();
  }

  void seal() {
    for (std::size_t i = 0; i < count(); ++i) {
      LeafEntry entry;
      entry.is_hole = false;
      entry.nonce = nonces_.next();
      key_->seal(entry.nonce, context(i), part(plain_, i), part(cipher_, i), entry.tag);
      encode_leaf_entry(entry, entry_at(i));
    }
  }
  /// Into memory apart, where chunks.cc opens in place: so it can be done again.
  [[nodiscard]] bool open() {
    bool held = true;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto entry = decode_leaf_entry(entry_at(i));
      held &= entry &&
              key_->open(entry->nonce, context(i), part(cipher_, i), part(opened_, i), entry->tag);
    }
    return held;
  }

  [[nodiscard]] bool opened_is_plain() const { return equal(opened_, plain_); }
  void alter() { cipher_[choose_.below(cipher_.size())] ^= 1; }
  [[nodiscard]] std::size_t bytes() const { return plain_.size(); }
  [[nodiscard]] std::size_t count() const { return entries_.size() / kEntrySize; }
  [[nodiscard]] std::string engine_name(Suite suite) const {
    return suite == Suite::kAes256Gcm ? std::string(engine_.name()) : "openssl";
  }

 private:
  [[nodiscard]] std::array<std::uint8_t, 28> context(std::uint64_t chunk) const {
    std::array<std::uint8_t, 28> context;
    std::copy(file_.bytes.begin(), file_.bytes.end(), context.begin());
    store_le(context, 16, std::uint32_t{1});
    store_le(context, 20, chunk);
    return context;
  }
  [[nodiscard]] MutableBytes part(MutableBytes of, std::size_t index) const {
    return of.subspan(index * chunk_size_, chunk_size_);
  }
  MutableBytes entry_at(std::size_t index) {
    return MutableBytes(entries_).subspan(index * kEntrySize, kEntrySize);
  }

  Chooser choose_{1};
  AeadEngine engine_;
  std::unique_ptr<const AeadKey> key_;
  FileId file_;
  NonceSequence nonces_;
  std::size_t chunk_size_;
  ByteVector plain_;
  ByteVector cipher_;
  ByteVector opened_;
  ByteVector entries_;
};

ChunkRun run_of(const benchmark::State& state, AeadEngine::Choice choice, Suite suite) {
  return {choice, suite, static_cast<std::size_t>(state.range(0)),
          static_cast<std::size_t>(state.range(1))};
}

void count_chunks(benchmark::State& state, const ChunkRun& run, Suite suite) {
  const auto count = static_cast<std::int64_t>(run.count());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(run.bytes()));
  state.SetItemsProcessed(state.iterations() * count);
  state.SetLabel(run.engine_name(suite));
}

void chunk_seal(benchmark::State& state, AeadEngine::Choice choice, Suite suite) {
  ChunkRun run = run_of(state, choice, suite);
  for (auto _ : state) {
    run.seal();
    benchmark::ClobberMemory();
  }
  require(state, run.open() && run.opened_is_plain(), "what was sealed does not open");
  count_chunks(state, run, suite);
}

void chunk_open(benchmark::State& state, AeadEngine::Choice choice, Suite suite) {
  ChunkRun run = run_of(state, choice, suite);
  bool held = true;
  for (auto _ : state) {
    benchmark::DoNotOptimize(held &= run.open());
    benchmark::ClobberMemory();
  }
  require(state, held && run.opened_is_plain(), "what was sealed does not open");
  run.alter();
  require(state, !run.open(), "what was altered opens");
  count_chunks(state, run, suite);
}

void chunk_sizes(benchmark::internal::Benchmark* registered) {
  registered->ArgNames({"chunk", "run"})->ArgsProduct({{4096, 16384, 65536}, {1, 64}});
}

constexpr auto kFastest = AeadEngine::Choice::kFastest;
constexpr auto kOpenSsl = AeadEngine::Choice::kOpenSsl;

BENCHMARK_CAPTURE(chunk_seal, fastest_gcm, kFastest, Suite::kAes256Gcm)->Apply(chunk_sizes);
BENCHMARK_CAPTURE(chunk_seal, openssl_gcm, kOpenSsl, Suite::kAes256Gcm)->Apply(chunk_sizes);
BENCHMARK_CAPTURE(chunk_seal, chacha, kOpenSsl, Suite::kChaCha20Poly1305)->Apply(chunk_sizes);
BENCHMARK_CAPTURE(chunk_open, fastest_gcm, kFastest, Suite::kAes256Gcm)->Apply(chunk_sizes);
BENCHMARK_CAPTURE(chunk_open, openssl_gcm, kOpenSsl, Suite::kAes256Gcm)->Apply(chunk_sizes);
BENCHMARK_CAPTURE(chunk_open, chacha, kOpenSsl, Suite::kChaCha20Poly1305)->Apply(chunk_sizes);

/// All that opening a file makes of its DEK.
void file_keys_derive(benchmark::State& state, Suite suite) {
  Chooser choose(2);
  const AeadEngine engine = must_be(AeadEngine::create());
  const SecretBytes dek = SecretBytes::random(kKeySize);
  const auto file = choose.id<FileId>();
  const auto derive = [&] {
    return FileKeys::derive(engine, suite, dek, file, KeyVersion{1}, kRootScope);
  };
  auto keys = derive();
  const Hash commitment = keys->commitment;
  for (auto _ : state) {
    keys = derive();
    benchmark::DoNotOptimize(keys);
  }
  require(state, keys->commitment == commitment && keys->content != nullptr,
          "the keys are not those of the DEK");
}
BENCHMARK_CAPTURE(file_keys_derive, gcm, Suite::kAes256Gcm);
BENCHMARK_CAPTURE(file_keys_derive, chacha, Suite::kChaCha20Poly1305);

/// The box that a DEK lies in, as the keyring seals it.
struct BoxedKey {
  BoxedKey() {
    Chooser choose(3);
    context.purpose = KeyContext::Purpose::kDek;
    context.store = choose.id<StoreId>();
    context.scope = kRootScope;
    context.wrapping_kek = KeyVersion{1};
    context.file = choose.id<FileId>();
    context.version = KeyVersion{1};
  }

  [[nodiscard]] ByteVector seal() const {
    return seal_box(kek.expose(), context.encode(), key.expose());
  }
  [[nodiscard]] bool is_key(const Result<SecretBytes>& opened) const {
    return opened && constant_time_equal(opened->expose(), key.expose());
  }

  const SecretBytes kek = SecretBytes::random(kKeySize);
  const SecretBytes key = SecretBytes::random(kKeySize);
  KeyContext context;
};

void box_seal(benchmark::State& state) {
  const BoxedKey boxed;
  ByteVector box;
  for (auto _ : state) {
    box = boxed.seal();
    benchmark::DoNotOptimize(box.data());
  }
  require(state, boxed.is_key(open_box(boxed.kek.expose(), boxed.context.encode(), box)),
          "the box does not open");
}
BENCHMARK(box_seal);

void box_open(benchmark::State& state) {
  BoxedKey boxed;
  const ByteVector box = boxed.seal();
  Result<SecretBytes> opened = SecretBytes();
  for (auto _ : state) {
    opened = open_box(boxed.kek.expose(), boxed.context.encode(), box);
    benchmark::DoNotOptimize(opened);
  }
  require(state, boxed.is_key(opened), "the box does not open");
  boxed.context.version = KeyVersion{2};
  require(state, !open_box(boxed.kek.expose(), boxed.context.encode(), box),
          "the box opens under another context");
}
BENCHMARK(box_open);

}  // namespace
}  // namespace coffer::testing

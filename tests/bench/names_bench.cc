// Names on their way to the backing and back.

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "fs/names/scope_names.h"
#include "tests/bench/bench_checks.h"
#include "tests/support/keystore_store.h"

namespace coffer::testing {
namespace {

/// Names of one length in one directory of a scope.
class NamesOfLength {
 public:
  explicit NamesOfLength(std::size_t length)
      : directory_(choose_.id<DirId>()),
        names_(SecretBytes::random(32), choose_.id<StoreId>(), kRootScope, true) {
    for (int i = 0; i < 256; ++i) {
      std::string name(length, ' ');
      for (char& letter : name) letter = static_cast<char>(choose_.between('a', 'z'));
      stored_.push_back(must_be(names_.encode_name(directory_, name)));
      plain_.push_back(std::move(name));
    }
  }

  [[nodiscard]] const std::vector<std::string>& plain() const { return plain_; }
  [[nodiscard]] const std::vector<StoredText>& stored() const { return stored_; }
  [[nodiscard]] Result<StoredText> encode(std::string_view name) const {
    return names_.encode_name(directory_, name);
  }
  [[nodiscard]] Result<std::string> decode(const StoredText& stored) const {
    return decode_in(directory_, stored);
  }
  [[nodiscard]] Result<std::string> decode_in(DirId directory, const StoredText& stored) const {
    const Bytes sidecar = stored.sidecar.has_value() ? Bytes(stored.sidecar->content) : Bytes();
    return names_.decode_name(directory, stored.text, sidecar);
  }
  [[nodiscard]] bool all_come_back() const {
    for (std::size_t i = 0; i < plain_.size(); ++i) {
      const auto decoded = decode(stored_[i]);
      if (!decoded || *decoded != plain_[i] || stored_[i].text == plain_[i]) return false;
      if (decode_in(DirId{}, stored_[i])) return false;  // it is of this directory alone
    }
    return true;
  }

 private:
  Chooser choose_{7};
  DirId directory_;
  ScopeNames names_;
  std::vector<std::string> plain_;
  std::vector<StoredText> stored_;
};

/// Short, usual, the longest that fits, and one that needs a sidecar.
void lengths(benchmark::internal::Benchmark* registered) {
  registered->ArgName("length")->Arg(8)->Arg(24)->Arg(175)->Arg(255);
}

void name_encode(benchmark::State& state) {
  const NamesOfLength names(static_cast<std::size_t>(state.range(0)));
  Rounds<std::string> plain(names.plain());
  bool held = true;
  for (auto _ : state) {
    const auto stored = names.encode(plain.next());
    benchmark::DoNotOptimize(held &= stored.ok());
  }
  require(state, held && names.all_come_back(), "a name does not come back");
}
BENCHMARK(name_encode)->Apply(lengths);

void name_decode(benchmark::State& state) {
  const NamesOfLength names(static_cast<std::size_t>(state.range(0)));
  Rounds<StoredText> stored(names.stored());
  bool held = true;
  for (auto _ : state) {
    const auto plain = names.decode(stored.next());
    benchmark::DoNotOptimize(held &= plain.ok());
  }
  require(state, held && names.all_come_back(), "a name does not come back");
}
BENCHMARK(name_decode)->Apply(lengths);

}  // namespace
}  // namespace coffer::testing

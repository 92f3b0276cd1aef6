// Fuzzing without libFuzzer: the seeds, the kept inputs (corpus/TARGET), then bounded mutations of
// them from a seeded engine.
//
//   fuzz_decoders TARGET…        (all of them if none is named)
//   fuzz_decoders --list
//   fuzz_decoders TARGET FILE    one input, as libFuzzer or a failure left it
//
// COFFER_FUZZ_RUNS   iterations a target (divided by what it costs)
// COFFER_FUZZ_SEED   of the engine

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "keystore/crypto/secret_bytes.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/fs_random.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace coffer::fuzz {
namespace {

constexpr std::size_t kLongestInput = std::size_t{64} << 10U;
constexpr const char* kFailedInput = "fuzz-failure";

const ByteVector* running = nullptr;

/// The last thing a failing program does.
void keep_input() {
  if (running != nullptr) put_file(kFailedInput, *running);
  std::fprintf(stderr, "the input lies in %s\n", kFailedInput);
}

void on_signal(int number) {
  std::signal(number, SIG_DFL);
  keep_input();
  std::raise(number);
}

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::strtoull(value, nullptr, 10) : otherwise;
}

ByteVector read_input(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), "the input can be read: " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<ByteVector> inputs_of(const Target& target) {
  std::vector<ByteVector> inputs = target.seeds();
  const std::filesystem::path kept = std::filesystem::path(COFFER_FUZZ_CORPUS) / target.name;
  if (!std::filesystem::exists(kept)) return inputs;
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(kept), {});
  std::sort(files.begin(), files.end());
  for (const auto& file : files) inputs.push_back(read_input(file));
  return inputs;
}

/// An integer at one of its bounds, 1 to 8 bytes long.
void put_bound(ByteVector& input, std::size_t at, testing::Chooser& choose) {
  constexpr std::array<std::uint64_t, 12> kBounds = {0,
                                                     1,
                                                     0x7f,
                                                     0x80,
                                                     0xff,
                                                     0x7fff,
                                                     0xffff,
                                                     0x7fffffff,
                                                     0x80000000,
                                                     0xffffffff,
                                                     std::numeric_limits<std::int64_t>::max(),
                                                     std::numeric_limits<std::uint64_t>::max()};
  const std::uint64_t value = choose.one_in(3) ? std::uint64_t{1} << choose.below(64)
                                               : kBounds[choose.below(kBounds.size())];
  const std::size_t length =
      std::min<std::size_t>(std::size_t{1} << choose.below(4), input.size() - at);
  for (std::size_t i = 0; i < length; ++i) {
    input[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

void mutate(ByteVector& input, const std::vector<ByteVector>& inputs, testing::Chooser& choose) {
  const std::size_t at = input.empty() ? 0 : choose.below(input.size());
  const std::size_t length =
      input.empty() ? 0 : 1 + choose.below(std::min<std::size_t>(input.size() - at, 64));
  const auto begin = input.begin() + static_cast<std::ptrdiff_t>(at);
  const auto end = begin + static_cast<std::ptrdiff_t>(length);
  if (input.empty() || choose.one_in(6)) {
    const ByteVector more = choose.bytes(1 + choose.below(choose.one_in(4) ? 64 : 4));
    input.insert(begin, more.begin(), more.end());
    return;
  }
  switch (choose.below(7)) {
    case 0:
      *begin ^= static_cast<std::uint8_t>(1U << choose.below(8));
      break;
    case 1:
      *begin = choose.byte();
      break;
    case 2:
      put_bound(input, at, choose);
      break;
    case 3:
      input.erase(begin, end);
      break;
    case 4:
      input.resize(at);
      break;
    case 5: {  // the head of one, the tail of another
      const ByteVector& other = inputs[choose.below(inputs.size())];
      const std::size_t from = other.empty() ? 0 : choose.below(other.size());
      input.resize(choose.one_in(2) ? at : std::min(at, from));
      input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      break;
    }
    default: {
      const ByteVector part(begin, end);
      input.insert(input.begin() + static_cast<std::ptrdiff_t>(choose.below(input.size() + 1)),
                   part.begin(), part.end());
    }
  }
}

void run(const Target& target, const ByteVector& input) {
  running = &input;
  (void)target.run(input.data(), input.size());
  running = nullptr;
}

void run_all(const Target& target) {
  const auto began = std::chrono::steady_clock::now();
  const std::vector<ByteVector> inputs = inputs_of(target);
  for (const ByteVector& input : inputs) run(target, input);
  const std::uint64_t runs = setting("COFFER_FUZZ_RUNS", 50'000) / target.cost;
  testing::Chooser choose(setting("COFFER_FUZZ_SEED", 1));
  for (std::uint64_t i = 0; i < runs; ++i) {
    ByteVector input = inputs[choose.below(inputs.size())];
    for (std::uint64_t times = 1 + choose.below(4); times > 0; --times)
      mutate(input, inputs, choose);
    if (input.size() > kLongestInput) input.resize(kLongestInput);
    run(target, input);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("%-22.*s %3zu inputs, %llu mutations, %.1f s\n", static_cast<int>(target.name.size()),
              target.name.data(), inputs.size(), static_cast<unsigned long long>(runs),
              took.count());
}

int replay(std::span<char*> words) {
  if (words.size() == 1 && std::string_view(words[0]) == "--list") {
    for (const Target& target : all_targets()) std::puts(std::string(target.name).c_str());
    return 0;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_input);
  for (const int number : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL})
    std::signal(number, on_signal);
  require(prepare_locked_memory().ok(), "memory can be locked");
  std::size_t found = 0;
  for (const Target& target : all_targets()) {
    const bool named = std::any_of(words.begin(), words.end(),
                                   [&](const char* word) { return word == target.name; });
    if (!named && !words.empty()) continue;
    ++found;
    if (named && words.size() == 2 && std::filesystem::exists(words[1])) {
      run(target, read_input(words[1]));
      return 0;
    }
    run_all(target);
  }
  require(found > 0, "there is a target of that name (see --list)");
  return 0;
}

}  // namespace
}  // namespace coffer::fuzz

int main(int argc, char** argv) {
  return coffer::fuzz::replay(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
}

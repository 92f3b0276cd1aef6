// One target as libFuzzer wants it: COFFER_FUZZ_TARGET is its name.

#include <sys/stat.h>

#include <cstdlib>

#include "keystore/crypto/secret_bytes.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

const coffer::fuzz::Target& chosen() {
  for (const coffer::fuzz::Target& target : coffer::fuzz::all_targets()) {
    if (target.name == COFFER_FUZZ_TARGET) return target;
  }
  std::abort();
}

}  // namespace

/// With COFFER_FUZZ_SEEDS set the seeds are written to that directory first, for -merge or a run.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  coffer::fuzz::require(coffer::prepare_locked_memory().ok(), "memory can be locked");
  if (const char* const directory = std::getenv("COFFER_FUZZ_SEEDS")) {
    ::mkdir(directory, 0755);
    int number = 0;
    for (const coffer::ByteVector& seed : chosen().seeds()) {
      coffer::fuzz::put_file(std::string(directory) + "/seed-" + std::to_string(number++), seed);
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const coffer::fuzz::Target& target = chosen();
  return target.run(data, size);
}

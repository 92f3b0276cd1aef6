#include "mount-tools/transfer_report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/exit_code.h"
#include "keystore/cli/values.h"

namespace coffer {

std::string failure_line(const std::string& what, const Error& error) {
  const std::string message = error.message();
  return "coffer: " + (message.starts_with(what + ":") ? message : what + ": " + message);
}

int report_transfer(const char* verb, const TransferCounts& counts, std::uint64_t bytes,
                    double seconds, bool json) {
  if (json) {
    std::puts(nlohmann::ordered_json{{"copied", counts.copied},
                                     {"unchanged", counts.unchanged},
                                     {"skipped", counts.skipped},
                                     {"failed", counts.failed},
                                     {"bytes", bytes},
                                     {"seconds", seconds}}
                  .dump()
                  .c_str());
  } else {
    std::printf("%s %llu files, %s in %.1f s", verb, static_cast<unsigned long long>(counts.copied),
                format_bytes(bytes).c_str(), seconds);
    if (counts.unchanged > 0)
      std::printf(", %llu unchanged", static_cast<unsigned long long>(counts.unchanged));
    if (counts.skipped > 0)
      std::printf(", %llu left out", static_cast<unsigned long long>(counts.skipped));
    if (counts.failed > 0)
      std::printf(", %llu failed", static_cast<unsigned long long>(counts.failed));
    std::printf("\n");
  }
  if (counts.failed == 0) return 0;
  std::string advice(next_step(counts.first_failure.code));
  if (advice.empty()) advice = "mend the cause";
  if (!advice.ends_with("again")) advice += ", then run the same command again";
  return report_failure(
      Error{counts.first_failure.code, 0, std::to_string(counts.failed) + " failed; " + advice});
}

}  // namespace coffer

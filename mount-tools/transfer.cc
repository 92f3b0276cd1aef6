#include "mount-tools/transfer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/exit_code.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {

void TransferTally::count(std::uint64_t TransferCounts::*what) {
  MutexLock lock(mutex_);
  ++(counts_.*what);
}

void TransferTally::fail(const std::string& what, const Error& error) {
  progress_.say(failure_line(what, error));
  MutexLock lock(mutex_);
  if (counts_.failed++ == 0) counts_.first_failure = error;
}

void TransferTally::left_out(const std::string& what, const std::vector<std::string>& attributes) {
  if (attributes.empty()) return;
  std::string names;
  for (const std::string& attribute : attributes) names += (names.empty() ? "" : ", ") + attribute;
  progress_.say("coffer: " + what + ": attributes that can't be kept are left out: " + names);
  count(&TransferCounts::attributes_left_out);
}

TransferCounts TransferTally::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

bool same_state(const struct stat& one, const struct stat& other) {
  return one.st_size == other.st_size && one.st_mtim.tv_sec == other.st_mtim.tv_sec &&
         one.st_mtim.tv_nsec == other.st_mtim.tv_nsec;
}

Result<void> set_attributes(const std::string& target, const struct stat& status) {
  const char* const path = target.c_str();
  if (::geteuid() == 0 &&
      ::fchownat(AT_FDCWD, path, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "chown of " + target);
  }
  if (!S_ISLNK(status.st_mode) &&
      ::fchmodat(AT_FDCWD, path, status.st_mode & 07777, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "chmod of " + target);
  }
  const struct timespec times[2] = {status.st_atim, status.st_mtim};
  if (::utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "setting times of " + target);
  }
  return {};
}

std::string file_target(const std::string& destination, const std::string& name) {
  struct stat there {};
  const bool directory = ::stat(destination.c_str(), &there) == 0 && S_ISDIR(there.st_mode);
  return directory ? destination + "/" + name : destination;
}

std::string failure_line(const std::string& what, const Error& error) {
  const std::string message = error.message();
  return "coffer: " + (message.starts_with(what + ":") ? message : what + ": " + message);
}

int report_transfer(const char* verb, const TransferCounts& counts, std::uint64_t bytes,
                    double seconds, bool json) {
  if (json) {
    std::puts(json_line({{"copied", counts.copied},
                         {"unchanged", counts.unchanged},
                         {"skipped", counts.skipped},
                         {"attributes_left_out", counts.attributes_left_out},
                         {"failed", counts.failed},
                         {"bytes", bytes},
                         {"seconds", seconds}})
                  .c_str());
  } else {
    std::printf("%s %llu files, %s in %.1f s", verb, static_cast<unsigned long long>(counts.copied),
                format_bytes(bytes).c_str(), seconds);
    if (counts.unchanged > 0)
      std::printf(", %llu unchanged", static_cast<unsigned long long>(counts.unchanged));
    if (counts.skipped > 0)
      std::printf(", %llu left out", static_cast<unsigned long long>(counts.skipped));
    if (counts.attributes_left_out > 0)
      std::printf(", %llu without some attributes",
                  static_cast<unsigned long long>(counts.attributes_left_out));
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

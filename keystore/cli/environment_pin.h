#pragma once

#include <memory>
#include <optional>

#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// The PIN of a token that the environment holds in COFFER_PIN, taken out of there and given once.
/// Until then it waits in a pipe, for locked memory does not outlive the fork by which a mount goes
/// into the background: whichever of the two processes reads it has it, and none after. Not
/// thread-safe.
class EnvironmentPin {
 public:
  /// Null if there is none. Afterwards it is not in the environment any more, neither for children
  /// nor in what the kernel shows of it (/proc/PID/environ). To be called before there are threads,
  /// and before anything else looks at the environment.
  static std::shared_ptr<EnvironmentPin> take();
  ~EnvironmentPin() { forget(); }
  EnvironmentPin(const EnvironmentPin&) = delete;
  EnvironmentPin& operator=(const EnvironmentPin&) = delete;

  /// kKeyUnavailable if it is empty or can be none, and the second time.
  Result<SecretBytes> give();
  /// No process has it any more.
  void forget() noexcept;

 private:
  EnvironmentPin() = default;
  [[nodiscard]] std::optional<Error> keep(Bytes pin);

  UniqueFd pipe_;
  std::optional<Error> unusable_;
};

}  // namespace coffer

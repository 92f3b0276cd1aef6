#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"
#include "keystore/base/unique_fd.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/crypto/tls_facts.h"

namespace coffer {

/// Whom to trust, and who we are.
struct TlsSettings {
  std::string host;              ///< name or address (no brackets) that its certificate is for
  std::string ca_file;           ///< instead of the system's, if given
  std::string certificate_file;  ///< ours, with what leads to its CA: PEM
  SecretBytes key;               ///< ours: PEM, not encrypted
  std::string pin_sha256;        ///< base64 of SHA-256 of its public key, besides the above
};

/// One connection with TLS 1.2 or newer and certificates on both ends: the other's chain, time and
/// name are always verified. What it has decrypted is wiped when it was read. No call raises
/// SIGPIPE. For one thread at a time.
class TlsStream {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Over a socket that is connected and does not block. kKeyUnavailable for a CA, certificate or
  /// key that can't be used, kDenied if the other end refuses our certificate, kIo for all else, a
  /// certificate that does not verify included.
  static Result<std::unique_ptr<TlsStream>> open(UniqueFd connected, const TlsSettings& settings,
                                                 Time until);
  /// Says goodbye, without waiting.
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// All of `data`, or kIo or kDenied: with TLS 1.3 a certificate may be refused as late as that.
  Result<void> write(Bytes data, Time until);
  /// As many bytes as `into` has; errors as `write`.
  Result<void> read(MutableBytes into, Time until);
  /// True if more has come than was read.
  [[nodiscard]] bool has_more() const;
  /// How many bytes were read in all.
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }
  [[nodiscard]] TlsFacts facts() const;

 private:
  struct State;
  explicit TlsStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace coffer

#pragma once

#include <cstdint>
#include <string>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// Platform configuration registers of one bank: what a machine measured while it started.
struct PcrSelection {
  enum class Bank : std::uint16_t { kSha256 = 0x000b, kSha384 = 0x000c, kSha512 = 0x000d };

  Bank bank = Bank::kSha256;
  std::uint32_t mask = 0;  ///< bit n: PCR n, of 0 to 23

  /// "sha256:7+11", or "none".
  [[nodiscard]] std::string text() const;
  friend bool operator==(const PcrSelection&, const PcrSelection&) = default;
};

/// What a `tpm2:` URI says (keystore/FORMAT.md, "Master keys").
struct Tpm2Uri {
  PcrSelection pcrs;
  bool pin = false;
  std::string pin_source;  ///< empty: it is asked for

  /// kInvalid, and repeats nothing of it: someone may have typed a PIN.
  static Result<Tpm2Uri> parse(const std::string& uri);
  /// The one form that goes on record; names the PCRs even where they were the default.
  [[nodiscard]] std::string text() const;
};

/// What a TPM gives for a secret: of use to that TPM alone, and no secret itself.
struct Tpm2Sealed {
  ByteVector storage_key;   ///< the name of the key it lies under (34 bytes)
  ByteVector public_area;   ///< a TPM2B_PUBLIC
  ByteVector private_area;  ///< a TPM2B_PRIVATE

  /// From `masters.params`: kUnknownVersion, kCorrupt.
  static Result<Tpm2Sealed> parse(const std::string& params);
  [[nodiscard]] std::string text() const;
};

}  // namespace coffer

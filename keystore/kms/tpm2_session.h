#pragma once

#include <tss2/tss2_esys.h>

#include <memory>
#include <string>
#include <utility>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

// Of tpm2_seal.cc alone, which wraps what of the TPM's library coffer uses.

namespace coffer {

/// What the library allocated.
struct EsysFree {
  void operator()(void* memory) const { Esys_Free(memory); }
};
template <typename T>
using Owned = std::unique_ptr<T, EsysFree>;

/// What the TPM itself said, of a handle, session or parameter, whichever; 0 if it said nothing.
/// TPM 2.0 Library, Part 2, 6.6 (response codes).
TPM2_RC word_of_tpm(TSS2_RC outcome);

/// An error unless `outcome` is success: kKmsDenied, kWrongKey or kKmsUnavailable, as
/// tpm2_unseal has them.
Result<void> check_tpm(const std::string& doing, TSS2_RC outcome);

/// A conversation with the TPM. It is one's own: nothing of it is shared between threads.
class Tpm {
 public:
  /// With the TPM that the node has: kKmsUnavailable, kKeyUnavailable.
  static Result<Tpm> connect();
  Tpm(Tpm&& other) noexcept
      : tcti_(std::exchange(other.tcti_, nullptr)), esys_(std::exchange(other.esys_, nullptr)) {}
  Tpm& operator=(Tpm&&) = delete;
  ~Tpm();
  [[nodiscard]] ESYS_CONTEXT* esys() const { return esys_; }

 private:
  explicit Tpm(TSS2_TCTI_CONTEXT* tcti) : tcti_(tcti) {}
  TSS2_TCTI_CONTEXT* tcti_;
  ESYS_CONTEXT* esys_ = nullptr;
};

/// An object or session on the TPM, flushed at the end: not every TPM has a resource manager.
class Loaded {
 public:
  Loaded(Tpm& tpm, ESYS_TR handle) : tpm_(&tpm), handle_(handle) {}
  Loaded(Loaded&& other) noexcept
      : tpm_(other.tpm_), handle_(std::exchange(other.handle_, ESYS_TR_NONE)) {}
  Loaded& operator=(Loaded&&) = delete;
  ~Loaded() {
    if (handle_ != ESYS_TR_NONE) Esys_FlushContext(tpm_->esys(), handle_);
  }
  [[nodiscard]] ESYS_TR handle() const { return handle_; }

 private:
  Tpm* tpm_;
  ESYS_TR handle_;
};

struct StorageKey {
  Loaded key;
  ByteVector name;  ///< nameAlg and digest (Part 1, 16), of its public area by ourselves
};

/// TCG's SRK of the owner hierarchy, ECC P-256. Made anew each time, always the same one: a
/// persistent one would save little time, and the library does not check the name of such.
Result<StorageKey> storage_key(Tpm& tpm);

/// Salted to the storage key: who can't use that one can't read or alter what passes.
Result<Loaded> start_session(Tpm& tpm, const StorageKey& salt, TPM2_SE type, TPMA_SESSION used);

}  // namespace coffer

#include "keystore/kms/tpm2_session.h"

#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "keystore/crypto/digest.h"

namespace coffer {
namespace {

constexpr const char* kTctiVariable = "COFFER_TPM2_TCTI";
constexpr const char* kDevice = "/dev/tpmrm0";

constexpr TPMT_SYM_DEF kAes128Cfb = {
    .algorithm = TPM2_ALG_AES, .keyBits = {.aes = 128}, .mode = {.aes = TPM2_ALG_CFB}};

Error failure(const std::string& doing, TSS2_RC outcome) {
  const std::string what = "TPM: " + doing + ": ";
  switch (word_of_tpm(outcome)) {
    case TPM2_RC_POLICY_FAIL:
      return {Code::kKmsDenied, 0,
              what +
                  "this machine was started differently than when the key was sealed: its PCRs "
                  "have other values; start it as before"};
    case TPM2_RC_LOCKOUT:
      return {Code::kKmsDenied, 0,
              what +
                  "after too many wrong PINs it takes none for a while; wait, or clear it: "
                  "tpm2_dictionarylockout --clear-lockout"};
    case TPM2_RC_AUTH_FAIL:
    case TPM2_RC_BAD_AUTH:
      return {Code::kWrongKey, 0, what + "wrong PIN; after a few the TPM takes none for a while"};
    default:
      return {Code::kKmsUnavailable, 0, what + Tss2_RC_Decode(outcome)};
  }
}

/// TCG TPM v2.0 Provisioning Guidance, 7.5.1 (SRK template, ECC P-256).
TPM2B_PUBLIC storage_key_template() {
  TPM2B_PUBLIC made{};
  TPMT_PUBLIC& area = made.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                          TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
  area.parameters.eccDetail.symmetric = {
      .algorithm = TPM2_ALG_AES, .keyBits = {.aes = 128}, .mode = {.aes = TPM2_ALG_CFB}};
  area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
  area.parameters.eccDetail.curveID = TPM2_ECC_NIST_P256;
  area.parameters.eccDetail.kdf.scheme = TPM2_ALG_NULL;
  area.unique.ecc.x.size = 32;
  area.unique.ecc.y.size = 32;
  return made;
}

/// Of its public area, by ourselves: no name is believed that did not come of it (Part 1, 16).
ByteVector name_of(const TPMT_PUBLIC& area) {
  std::array<std::uint8_t, sizeof area> bytes{};
  std::size_t size = 0;
  if (Tss2_MU_TPMT_PUBLIC_Marshal(&area, bytes.data(), bytes.size(), &size) != TSS2_RC_SUCCESS)
    return {};
  // An algorithm stands in a TPM's bytes as they all do, the larger first.
  return ByteWriter()
      .le(std::uint8_t{0})
      .le(std::uint8_t{TPM2_ALG_SHA256})
      .bytes(sha256(Bytes(bytes).first(size)))
      .take();
}

}  // namespace

TPM2_RC word_of_tpm(TSS2_RC outcome) {
  const TSS2_RC layer = outcome & TSS2_RC_LAYER_MASK;
  if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER) return 0;
  const TPM2_RC code = outcome & ~TSS2_RC_LAYER_MASK;
  return (code & TPM2_RC_FMT1) != 0 ? code & (TPM2_RC_FMT1 | 0x3FU) : code;
}

Result<void> check_tpm(const std::string& doing, TSS2_RC outcome) {
  if (outcome == TSS2_RC_SUCCESS) return {};
  return failure(doing, outcome);
}

Tpm::~Tpm() {
  if (esys_ != nullptr) Esys_Finalize(&esys_);
  if (tcti_ != nullptr) Tss2_TctiLdr_Finalize(&tcti_);
}

Result<Tpm> Tpm::connect() {
  const char* const named = std::getenv(kTctiVariable);
  const bool is_named = named != nullptr && *named != '\0';
  const std::string where = is_named ? named : std::string("device:") + kDevice;
  if (!is_named && ::access(kDevice, R_OK | W_OK) != 0) {
    if (errno == EACCES)
      return Error{Code::kKeyUnavailable, EACCES,
                   std::string(kDevice) + " (its group, often tss, may use the TPM)"};
    return Error{Code::kKmsUnavailable, errno, std::string("no TPM 2.0 is there: ") + kDevice};
  }
  TSS2_TCTI_CONTEXT* tcti = nullptr;
  TRY(check_tpm("reaching it by " + where, Tss2_TctiLdr_Initialize(where.c_str(), &tcti)));
  Tpm tpm(tcti);
  TRY(check_tpm("reaching it by " + where, Esys_Initialize(&tpm.esys_, tcti, nullptr)));
  return tpm;
}

Result<StorageKey> storage_key(Tpm& tpm) {
  const TPM2B_SENSITIVE_CREATE nothing{};
  const TPM2B_PUBLIC form = storage_key_template();
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  ESYS_TR handle = ESYS_TR_NONE;
  TPM2B_PUBLIC* area = nullptr;
  const TSS2_RC outcome = Esys_CreatePrimary(tpm.esys(), ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                             ESYS_TR_NONE, ESYS_TR_NONE, &nothing, &form, &outside,
                                             &no_pcrs, &handle, &area, nullptr, nullptr, nullptr);
  if (word_of_tpm(outcome) == TPM2_RC_BAD_AUTH || word_of_tpm(outcome) == TPM2_RC_AUTH_FAIL) {
    return Error{Code::kKmsDenied, 0,
                 "TPM: its owner hierarchy has a password, and coffer can make no storage key; "
                 "clear that password: tpm2_changeauth -c owner"};
  }
  TRY(check_tpm("making the storage key", outcome));
  const Owned<TPM2B_PUBLIC> owned(area);
  return StorageKey{Loaded(tpm, handle), name_of(area->publicArea)};
}

Result<Loaded> start_session(Tpm& tpm, const StorageKey& salt, TPM2_SE type, TPMA_SESSION used) {
  ESYS_TR handle = ESYS_TR_NONE;
  TRY(check_tpm(
      "starting a session",
      Esys_StartAuthSession(tpm.esys(), salt.key.handle(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                            ESYS_TR_NONE, nullptr, type, &kAes128Cfb, TPM2_ALG_SHA256, &handle)));
  Loaded session(tpm, handle);
  TRY(check_tpm(
      "starting a session",
      Esys_TRSess_SetAttributes(tpm.esys(), handle, used | TPMA_SESSION_CONTINUESESSION, 0xff)));
  return session;
}

}  // namespace coffer

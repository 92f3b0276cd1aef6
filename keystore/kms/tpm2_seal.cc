#include "keystore/kms/tpm2_seal.h"

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_sys.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "keystore/crypto/digest.h"

namespace coffer {
namespace {

constexpr const char* kTctiVariable = "COFFER_TPM2_TCTI";
constexpr const char* kDevice = "/dev/tpmrm0";
constexpr std::size_t kSecretSize = 32;

constexpr TPMT_SYM_DEF kAes128Cfb = {
    .algorithm = TPM2_ALG_AES, .keyBits = {.aes = 128}, .mode = {.aes = TPM2_ALG_CFB}};

struct EsysFree {
  void operator()(void* memory) const { Esys_Free(memory); }
};
template <typename T>
using Owned = std::unique_ptr<T, EsysFree>;

struct WipeAndFree {
  void operator()(TPM2B_SENSITIVE_DATA* data) const {
    wipe({reinterpret_cast<std::uint8_t*>(data), sizeof *data});
    Esys_Free(data);
  }
};

/// What the TPM itself said, of a handle, session or parameter, whichever; 0 if it said nothing.
/// TPM 2.0 Library, Part 2, 6.6 (response codes).
TPM2_RC word_of_tpm(TSS2_RC outcome) {
  const TSS2_RC layer = outcome & TSS2_RC_LAYER_MASK;
  if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER) return 0;
  const TPM2_RC code = outcome & ~TSS2_RC_LAYER_MASK;
  return (code & TPM2_RC_FMT1) != 0 ? code & (TPM2_RC_FMT1 | 0x3FU) : code;
}

Error failure(const std::string& doing, TSS2_RC outcome) {
  const std::string what = "TPM: " + doing + ": ";
  switch (word_of_tpm(outcome)) {
    case TPM2_RC_POLICY_FAIL:
      return {Code::kKmsDenied, 0,
              what +
                  "this machine was started differently than when the key was sealed: its PCRs "
                  "have other values; start it as before, or bring the store back with the "
                  "master key that was kept for that"};
    case TPM2_RC_LOCKOUT:
      return {Code::kKmsDenied, 0,
              what +
                  "after too many wrong PINs it takes none for a while; wait, or clear it: "
                  "tpm2_dictionarylockout --clear-lockout"};
    case TPM2_RC_AUTH_FAIL:
      return {Code::kWrongKey, 0, what + "wrong PIN; after a few the TPM takes none for a while"};
    default:
      return {Code::kKmsUnavailable, 0, what + Tss2_RC_Decode(outcome)};
  }
}

Result<void> check(const std::string& doing, TSS2_RC outcome) {
  if (outcome == TSS2_RC_SUCCESS) return {};
  return failure(doing, outcome);
}

/// A conversation with the TPM. It is one's own: nothing of it is shared between threads.
class Tpm {
 public:
  static Result<Tpm> connect();
  Tpm(Tpm&& other) noexcept
      : tcti_(std::exchange(other.tcti_, nullptr)), esys_(std::exchange(other.esys_, nullptr)) {}
  Tpm& operator=(Tpm&&) = delete;
  ~Tpm() {
    if (esys_ != nullptr) Esys_Finalize(&esys_);
    if (tcti_ != nullptr) Tss2_TctiLdr_Finalize(&tcti_);
  }
  [[nodiscard]] ESYS_CONTEXT* esys() const { return esys_; }

 private:
  explicit Tpm(TSS2_TCTI_CONTEXT* tcti) : tcti_(tcti) {}
  TSS2_TCTI_CONTEXT* tcti_;
  ESYS_CONTEXT* esys_ = nullptr;
};

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
  TRY(check("reaching it by " + where, Tss2_TctiLdr_Initialize(where.c_str(), &tcti)));
  Tpm tpm(tcti);
  TRY(check("reaching it by " + where, Esys_Initialize(&tpm.esys_, tcti, nullptr)));
  return tpm;
}

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

struct StorageKey {
  Loaded key;
  ByteVector name;
};

/// Made anew each time, always the same one. One that was made persistent saves little time, and
/// the library would not check its name.
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
  TRY(check("making the storage key", outcome));
  const Owned<TPM2B_PUBLIC> owned(area);
  return StorageKey{Loaded(tpm, handle), name_of(area->publicArea)};
}

/// Salted to the storage key: who can't use that one can't read or alter what passes.
Result<Loaded> start_session(Tpm& tpm, const StorageKey& salt, TPM2_SE type, TPMA_SESSION used) {
  ESYS_TR handle = ESYS_TR_NONE;
  TRY(check(
      "starting a session",
      Esys_StartAuthSession(tpm.esys(), salt.key.handle(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                            ESYS_TR_NONE, nullptr, type, &kAes128Cfb, TPM2_ALG_SHA256, &handle)));
  Loaded session(tpm, handle);
  TRY(check(
      "starting a session",
      Esys_TRSess_SetAttributes(tpm.esys(), handle, used | TPMA_SESSION_CONTINUESESSION, 0xff)));
  return session;
}

TPML_PCR_SELECTION selection_of(const PcrSelection& pcrs) {
  TPML_PCR_SELECTION selection{};
  selection.count = 1;
  selection.pcrSelections[0].hash = static_cast<TPMI_ALG_HASH>(pcrs.bank);
  selection.pcrSelections[0].sizeofSelect = 3;
  for (unsigned byte = 0; byte < 3; ++byte) {
    selection.pcrSelections[0].pcrSelect[byte] = static_cast<BYTE>(pcrs.mask >> (8 * byte) & 0xffU);
  }
  return selection;
}

/// A TPM leaves PCRs that it lacks out of a policy, and says nothing.
Result<void> check_pcrs(Tpm& tpm, const PcrSelection& pcrs) {
  if (pcrs.mask == 0) return {};
  TPMS_CAPABILITY_DATA* told = nullptr;
  TPMI_YES_NO more = 0;
  TRY(check("asking for its PCRs",
            Esys_GetCapability(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS,
                               0, 1, &more, &told)));
  const Owned<TPMS_CAPABILITY_DATA> owned(told);
  const TPML_PCR_SELECTION& banks = told->data.assignedPCR;
  std::uint32_t there = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(banks.count, TPM2_NUM_PCR_BANKS); ++i) {
    const TPMS_PCR_SELECTION& bank = banks.pcrSelections[i];
    if (bank.hash != static_cast<TPMI_ALG_HASH>(pcrs.bank)) continue;
    for (unsigned byte = 0; byte < 3 && byte < bank.sizeofSelect; ++byte)
      there |= static_cast<std::uint32_t>(bank.pcrSelect[byte]) << (8 * byte);
  }
  if ((pcrs.mask & ~there) == 0) return {};
  return Error{Code::kInvalid, 0,
               "the TPM has not all of the PCRs " + pcrs.text() + "; see: tpm2_getcap pcrs"};
}

/// The PCRs as they are, and knowledge of the authorization (Part 3, TPM2_PolicyPCR and
/// TPM2_PolicyAuthValue). `guard`: a session that vouches for what was asked, or none.
Result<void> apply_policy(Tpm& tpm, const Loaded& session, const PcrSelection& pcrs,
                          ESYS_TR guard) {
  const TPML_PCR_SELECTION selection = selection_of(pcrs);
  const TPM2B_DIGEST as_they_are{};
  if (pcrs.mask != 0) {
    TRY(check("reading PCRs", Esys_PolicyPCR(tpm.esys(), session.handle(), guard, ESYS_TR_NONE,
                                             ESYS_TR_NONE, &as_they_are, &selection)));
  }
  return check("stating a policy", Esys_PolicyAuthValue(tpm.esys(), session.handle(), guard,
                                                        ESYS_TR_NONE, ESYS_TR_NONE));
}

Result<TPM2B_DIGEST> policy_of(Tpm& tpm, const StorageKey& key, const PcrSelection& pcrs) {
  const Loaded guard = TRY(start_session(tpm, key, TPM2_SE_HMAC, TPMA_SESSION_AUDIT));
  const Loaded session = TRY(start_session(tpm, key, TPM2_SE_POLICY, 0));
  TRY(apply_policy(tpm, session, pcrs, guard.handle()));
  TPM2B_DIGEST* digest = nullptr;
  TRY(check("stating a policy", Esys_PolicyGetDigest(tpm.esys(), session.handle(), guard.handle(),
                                                     ESYS_TR_NONE, ESYS_TR_NONE, &digest)));
  const Owned<TPM2B_DIGEST> owned(digest);
  return *digest;
}

/// Without a PIN there is nothing to guess, and a lockout must not keep the key from anyone.
TPM2B_PUBLIC sealed_template(const TPM2B_DIGEST& policy, bool with_pin) {
  TPM2B_PUBLIC made{};
  TPMT_PUBLIC& area = made.publicArea;
  area.type = TPM2_ALG_KEYEDHASH;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes =
      TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | (with_pin ? 0 : TPMA_OBJECT_NODA);
  area.authPolicy = policy;
  area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
  return made;
}

template <typename Buffer>
void fill(Buffer& buffer, Bytes from) {
  buffer.size = static_cast<UINT16>(from.size());
  if (!from.empty()) std::memcpy(buffer.buffer, from.data(), from.size());
}

template <typename Part, typename Marshal>
ByteVector marshalled(const Part& part, Marshal marshal) {
  ByteVector bytes(sizeof part);
  std::size_t size = 0;
  if (marshal(&part, bytes.data(), bytes.size(), &size) != TSS2_RC_SUCCESS) return {};
  bytes.resize(size);
  return bytes;
}

/// In the one form that it has: the library overlooks sizes that are not so.
template <typename Part, typename Unmarshal, typename Marshal>
Result<Part> unmarshalled(const ByteVector& bytes, Unmarshal unmarshal, Marshal marshal) {
  Part part{};
  std::size_t size = 0;
  if (unmarshal(bytes.data(), bytes.size(), &size, &part) == TSS2_RC_SUCCESS &&
      marshalled(part, marshal) == bytes)
    return part;
  return Error{Code::kCorrupt, 0, "the sealed master key is nothing that a TPM made"};
}

Result<Loaded> load(Tpm& tpm, const StorageKey& key, const Tpm2Sealed& sealed) {
  const auto area = TRY(unmarshalled<TPM2B_PUBLIC>(
      sealed.public_area, Tss2_MU_TPM2B_PUBLIC_Unmarshal, Tss2_MU_TPM2B_PUBLIC_Marshal));
  const auto rest = TRY(unmarshalled<TPM2B_PRIVATE>(
      sealed.private_area, Tss2_MU_TPM2B_PRIVATE_Unmarshal, Tss2_MU_TPM2B_PRIVATE_Marshal));
  ESYS_TR handle = ESYS_TR_NONE;
  const TSS2_RC outcome = Esys_Load(tpm.esys(), key.key.handle(), ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &rest, &area, &handle);
  // Of a parameter: the TPM does not take what it is given.
  if ((word_of_tpm(outcome) & TPM2_RC_FMT1) != 0)
    return Error{Code::kCorrupt, 0, "the sealed master key was altered: the TPM does not load it"};
  TRY(check("loading the sealed master key", outcome));
  return Loaded(tpm, handle);
}

/// The library's own copy of the last answer, which it would free as it is.
void wipe_answer(Tpm& tpm) {
  TSS2_SYS_CONTEXT* sys = nullptr;
  std::size_t size = 0;
  const std::uint8_t* answer = nullptr;
  if (Esys_GetSysContext(tpm.esys(), &sys) == TSS2_RC_SUCCESS &&
      Tss2_Sys_GetRpBuffer(sys, &size, &answer) == TSS2_RC_SUCCESS)
    wipe({const_cast<std::uint8_t*>(answer), size});  // NOLINT: no other way to it
}

Result<SecretBytes> unseal(Tpm& tpm, const Loaded& object, const Loaded& session,
                           const SecretBytes& authorization) {
  const auto shown = make_locked<TPM2B_AUTH>();
  fill(*shown, authorization.expose());
  TRY(check("unsealing", Esys_TR_SetAuth(tpm.esys(), object.handle(), shown.get())));
  TPM2B_SENSITIVE_DATA* data = nullptr;
  const TSS2_RC outcome =
      Esys_Unseal(tpm.esys(), object.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE, &data);
  const std::unique_ptr<TPM2B_SENSITIVE_DATA, WipeAndFree> owned(data);
  if (outcome == TSS2_RC_SUCCESS) wipe_answer(tpm);
  // In the library's copy as well.
  const TPM2B_AUTH none{};
  Esys_TR_SetAuth(tpm.esys(), object.handle(), &none);
  TRY(check("unsealing the master key", outcome));
  return SecretBytes::copy_of(Bytes(data->buffer, data->size));
}

}  // namespace

Result<Tpm2Sealed> tpm2_seal(const SecretBytes& secret, const PcrSelection& pcrs,
                             const SecretBytes& authorization) {
  if (secret.size() != kSecretSize || authorization.size() > kSecretSize)
    return Error{Code::kInvalid, 0, "only keys of 32 bytes are sealed"};
  Tpm tpm = TRY(Tpm::connect());
  TRY(check_pcrs(tpm, pcrs));
  const StorageKey key = TRY(storage_key(tpm));
  const TPM2B_DIGEST policy = TRY(policy_of(tpm, key, pcrs));
  const TPM2B_PUBLIC form = sealed_template(policy, !authorization.empty());
  const auto sensitive = make_locked<TPM2B_SENSITIVE_CREATE>();
  fill(sensitive->sensitive.data, secret.expose());
  fill(sensitive->sensitive.userAuth, authorization.expose());
  const Loaded session = TRY(start_session(tpm, key, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT));
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  TPM2B_PRIVATE* rest = nullptr;
  TPM2B_PUBLIC* area = nullptr;
  TRY(check("sealing the master key",
            Esys_Create(tpm.esys(), key.key.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE,
                        sensitive.get(), &form, &outside, &no_pcrs, &rest, &area, nullptr, nullptr,
                        nullptr)));
  const Owned<TPM2B_PRIVATE> owned_rest(rest);
  const Owned<TPM2B_PUBLIC> owned_area(area);
  return Tpm2Sealed{key.name, marshalled(*area, Tss2_MU_TPM2B_PUBLIC_Marshal),
                    marshalled(*rest, Tss2_MU_TPM2B_PRIVATE_Marshal)};
}

Result<SecretBytes> tpm2_unseal(const Tpm2Sealed& sealed, const PcrSelection& pcrs,
                                const SecretBytes& authorization) {
  if (authorization.size() > kSecretSize)
    return Error{Code::kInvalid, 0, "an authorization is no longer than 32 bytes"};
  Tpm tpm = TRY(Tpm::connect());
  const StorageKey key = TRY(storage_key(tpm));
  if (key.name != sealed.storage_key) {
    return Error{Code::kKmsKeyMissing, 0,
                 "this is not the TPM that the master key was sealed to, or it was cleared since; "
                 "nothing but that TPM can unseal it"};
  }
  const Loaded object = TRY(load(tpm, key, sealed));
  const Loaded session = TRY(start_session(tpm, key, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT));
  TRY(apply_policy(tpm, session, pcrs, ESYS_TR_NONE));
  return unseal(tpm, object, session, authorization);
}

void silence_tpm2_library() {
  ::setenv("TSS2_LOG", "all+none", 1);
  ::unsetenv("TSS2_LOGFILE");
}

}  // namespace coffer

#include "keystore/kms/tpm2_seal.h"

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_sys.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "keystore/kms/tpm2_session.h"

namespace coffer {
namespace {

constexpr std::size_t kSecretSize = 32;

struct WipeAndFree {
  void operator()(TPM2B_SENSITIVE_DATA* data) const {
    wipe({reinterpret_cast<std::uint8_t*>(data), sizeof *data});
    Esys_Free(data);
  }
};

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
Result<void> check_that_all_are_there(Tpm& tpm, const PcrSelection& pcrs) {
  TPMS_CAPABILITY_DATA* told = nullptr;
  TPMI_YES_NO more = 0;
  TRY(check_tpm("asking for its PCRs",
                Esys_GetCapability(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   TPM2_CAP_PCRS, 0, 1, &more, &told)));
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

bool was_extended(const TPM2B_DIGEST& pcr) {
  const Bytes value(pcr.buffer, pcr.size);
  // As they are after a reset, some zeros and some ones.
  return std::any_of(value.begin(), value.end(),
                     [&](std::uint8_t byte) { return byte != value[0]; }) ||
         (!value.empty() && value[0] != 0 && value[0] != 0xff);
}

/// On a machine that measures nothing into them they have one value, whatever was started. Not each
/// of them: that nothing was measured is what some PCRs are there to say.
Result<void> check_that_one_was_extended(Tpm& tpm, const PcrSelection& pcrs) {
  for (PcrSelection left = pcrs; left.mask != 0;) {
    const TPML_PCR_SELECTION asked = selection_of(left);
    UINT32 counter = 0;
    TPML_PCR_SELECTION* read = nullptr;
    TPML_DIGEST* values = nullptr;
    TRY(check_tpm("reading its PCRs",
                  Esys_PCR_Read(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &asked,
                                &counter, &read, &values)));
    const Owned<TPML_PCR_SELECTION> owned_read(read);
    const Owned<TPML_DIGEST> owned_values(values);
    for (const TPM2B_DIGEST& value : std::span(values->digests).first(values->count))
      if (was_extended(value)) return {};
    const std::uint32_t before = left.mask;
    for (const TPMS_PCR_SELECTION& bank : std::span(read->pcrSelections).first(read->count)) {
      for (unsigned byte = 0; byte < 3; ++byte)
        left.mask &= ~(static_cast<std::uint32_t>(bank.pcrSelect[byte]) << (8 * byte));
    }
    if (left.mask == before) break;
  }
  return Error{Code::kInvalid, 0,
               "this machine measures nothing into the PCRs " + pcrs.text() +
                   ", they would hold on any other start as well; name others (see: tpm2_pcrread), "
                   "or pcrs=none"};
}

Result<void> check_pcrs(Tpm& tpm, const PcrSelection& pcrs) {
  if (pcrs.mask == 0) return {};
  TRY(check_that_all_are_there(tpm, pcrs));
  return check_that_one_was_extended(tpm, pcrs);
}

/// The PCRs as they are, and knowledge of the authorization (Part 3, TPM2_PolicyPCR and
/// TPM2_PolicyAuthValue). `guard`: a session that vouches for what was asked, or none.
Result<void> apply_policy(Tpm& tpm, const Loaded& session, const PcrSelection& pcrs,
                          ESYS_TR guard) {
  const TPML_PCR_SELECTION selection = selection_of(pcrs);
  const TPM2B_DIGEST as_they_are{};
  if (pcrs.mask != 0) {
    TRY(check_tpm("reading PCRs", Esys_PolicyPCR(tpm.esys(), session.handle(), guard, ESYS_TR_NONE,
                                                 ESYS_TR_NONE, &as_they_are, &selection)));
  }
  return check_tpm("stating a policy", Esys_PolicyAuthValue(tpm.esys(), session.handle(), guard,
                                                            ESYS_TR_NONE, ESYS_TR_NONE));
}

Result<TPM2B_DIGEST> policy_of(Tpm& tpm, const StorageKey& key, const PcrSelection& pcrs) {
  const Loaded guard = TRY(start_session(tpm, key, TPM2_SE_HMAC, TPMA_SESSION_AUDIT));
  const Loaded session = TRY(start_session(tpm, key, TPM2_SE_POLICY, 0));
  TRY(apply_policy(tpm, session, pcrs, guard.handle()));
  TPM2B_DIGEST* digest = nullptr;
  TRY(check_tpm("stating a policy",
                Esys_PolicyGetDigest(tpm.esys(), session.handle(), guard.handle(), ESYS_TR_NONE,
                                     ESYS_TR_NONE, &digest)));
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

struct SealedParts {
  TPM2B_PUBLIC area;
  TPM2B_PRIVATE rest;
};

Result<SealedParts> parts_of(const Tpm2Sealed& sealed) {
  return SealedParts{
      TRY(unmarshalled<TPM2B_PUBLIC>(sealed.public_area, Tss2_MU_TPM2B_PUBLIC_Unmarshal,
                                     Tss2_MU_TPM2B_PUBLIC_Marshal)),
      TRY(unmarshalled<TPM2B_PRIVATE>(sealed.private_area, Tss2_MU_TPM2B_PRIVATE_Unmarshal,
                                      Tss2_MU_TPM2B_PRIVATE_Marshal))};
}

Result<Loaded> load(Tpm& tpm, const StorageKey& key, const SealedParts& parts) {
  ESYS_TR handle = ESYS_TR_NONE;
  const TSS2_RC outcome = Esys_Load(tpm.esys(), key.key.handle(), ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &parts.rest, &parts.area, &handle);
  // Of a parameter: the TPM does not take what it is given.
  if ((word_of_tpm(outcome) & TPM2_RC_FMT1) != 0)
    return Error{Code::kCorrupt, 0, "the sealed master key was altered: the TPM does not load it"};
  TRY(check_tpm("loading the sealed master key", outcome));
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

/// The library appends the authorization to the session's key, and frees both as they are. Another
/// use of the session puts something else in its place; what the TPM says to it does not matter.
void forget_authorization(Tpm& tpm, const StorageKey& key, const SealedParts& parts,
                          const Loaded& object, const Loaded& session) {
  const TPM2B_AUTH none{};
  Esys_TR_SetAuth(tpm.esys(), object.handle(), &none);
  TPM2B_AUTH other{};
  other.size = kSecretSize;
  Esys_TR_SetAuth(tpm.esys(), key.key.handle(), &other);
  ESYS_TR handle = ESYS_TR_NONE;
  if (Esys_Load(tpm.esys(), key.key.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE,
                &parts.rest, &parts.area, &handle) == TSS2_RC_SUCCESS)
    const Loaded flushed(tpm, handle);
}

Result<SecretBytes> unseal(Tpm& tpm, const Loaded& object, const Loaded& session,
                           const SecretBytes& authorization) {
  const auto shown = make_locked<TPM2B_AUTH>();
  fill(*shown, authorization.expose());
  TRY(check_tpm("unsealing", Esys_TR_SetAuth(tpm.esys(), object.handle(), shown.get())));
  TPM2B_SENSITIVE_DATA* data = nullptr;
  const TSS2_RC outcome =
      Esys_Unseal(tpm.esys(), object.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE, &data);
  const std::unique_ptr<TPM2B_SENSITIVE_DATA, WipeAndFree> owned(data);
  TRY(check_tpm("unsealing the master key", outcome));
  wipe_answer(tpm);
  return SecretBytes::copy_of(Bytes(data->buffer, data->size));
}

Result<Tpm2Sealed> create(Tpm& tpm, const StorageKey& key, const Loaded& session,
                          const TPM2B_SENSITIVE_CREATE& sensitive, const TPM2B_PUBLIC& form) {
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  TPM2B_PRIVATE* rest = nullptr;
  TPM2B_PUBLIC* area = nullptr;
  TRY(check_tpm(
      "sealing the master key",
      Esys_Create(tpm.esys(), key.key.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE,
                  &sensitive, &form, &outside, &no_pcrs, &rest, &area, nullptr, nullptr, nullptr)));
  const Owned<TPM2B_PRIVATE> owned_rest(rest);
  const Owned<TPM2B_PUBLIC> owned_area(area);
  return Tpm2Sealed{key.name, marshalled(*area, Tss2_MU_TPM2B_PUBLIC_Marshal),
                    marshalled(*rest, Tss2_MU_TPM2B_PRIVATE_Marshal)};
}

Result<std::uint32_t> property_of(Tpm& tpm, TPM2_PT which) {
  TPMS_CAPABILITY_DATA* told = nullptr;
  TPMI_YES_NO more = 0;
  TRY(check_tpm("asking for its properties",
                Esys_GetCapability(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   TPM2_CAP_TPM_PROPERTIES, which, 1, &more, &told)));
  const Owned<TPMS_CAPABILITY_DATA> owned(told);
  const TPML_TAGGED_TPM_PROPERTY& found = told->data.tpmProperties;
  // It gives the next one that it has.
  if (found.count < 1 || found.tpmProperty[0].property != which) return std::uint32_t{0};
  return found.tpmProperty[0].value;
}

/// Four letters, of which it may use fewer (Part 2, 6.13, TPM_PT_MANUFACTURER).
std::string letters_of(std::uint32_t value) {
  std::string letters;
  for (unsigned shift = 32; shift > 0; shift -= 8) {
    const char letter = static_cast<char>(value >> (shift - 8) & 0xffU);
    if (letter > ' ' && letter <= '~') letters += letter;
  }
  return letters;
}

std::string halves_of(std::uint32_t value) {
  return std::to_string(value >> 16U) + "." + std::to_string(value & 0xffffU);
}

}  // namespace

Result<Tpm2Properties> tpm2_properties() {
  Tpm tpm = TRY(Tpm::connect());
  Tpm2Properties found;
  found.made_by = letters_of(TRY(property_of(tpm, TPM2_PT_MANUFACTURER)));
  const std::uint32_t high = TRY(property_of(tpm, TPM2_PT_FIRMWARE_VERSION_1));
  const std::uint32_t low = TRY(property_of(tpm, TPM2_PT_FIRMWARE_VERSION_2));
  found.firmware = halves_of(high) + "." + halves_of(low);
  found.wrong_pins = TRY(property_of(tpm, TPM2_PT_LOCKOUT_COUNTER));
  found.most_wrong_pins = TRY(property_of(tpm, TPM2_PT_MAX_AUTH_FAIL));
  return found;
}

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
  auto sealed = create(tpm, key, session, *sensitive, form);
  // The library keeps the last input, and frees it as it is: that is to be another.
  *sensitive = {};
  (void)create(tpm, key, session, *sensitive, form);
  return sealed;
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
  const SealedParts parts = TRY(parts_of(sealed));
  const Loaded object = TRY(load(tpm, key, parts));
  const Loaded session = TRY(start_session(tpm, key, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT));
  TRY(apply_policy(tpm, session, pcrs, ESYS_TR_NONE));
  auto secret = unseal(tpm, object, session, authorization);
  if (!authorization.empty()) forget_authorization(tpm, key, parts, object, session);
  return secret;
}

void silence_tpm2_library() {
  ::setenv("TSS2_LOG", "all+none", 1);
  ::unsetenv("TSS2_LOGFILE");
}

}  // namespace coffer

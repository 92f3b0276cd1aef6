#pragma once

#include <array>
#include <iterator>
#include <ostream>

#include "tests/unit/keystore/kms/kms_trouble.h"

namespace coffer {

/// A provider that is added is added here.
inline constexpr std::array kProvidersInTrouble = {
    key_file_in_trouble, passphrase_in_trouble, soft_hsm_in_trouble,
    tpm_in_trouble,      vault_in_trouble,      gcp_in_trouble,
    aws_in_trouble,      azure_in_trouble,      kmip_in_trouble,
};

inline constexpr std::array kKmsCalls = {KmsCall::kOpen,   KmsCall::kWrap,      KmsCall::kWrapAll,
                                         KmsCall::kUnwrap, KmsCall::kUnwrapAll, KmsCall::kRewrap,
                                         KmsCall::kNewest, KmsCall::kInspect};
inline constexpr const char* kKmsCallNames[] = {
    "open", "wrap", "wrap_all", "unwrap", "unwrap_all", "rewrap", "newest_version", "inspect"};

inline std::ostream& operator<<(std::ostream& out, KmsCall call) {
  return out << kKmsCallNames[static_cast<std::size_t>(call)];
}

/// What a trouble is called here and in KMS.md, and what it is said to be.
struct TroubleKind {
  const char* name;
  const char* words;
  KmsCause KmsTroubles::*cause;
  KmsOutcome outcome;  ///< nothing: it is recovered from within the call
  enum Reach { kAll, kUses, kOpening } reach = kAll;
};

inline constexpr TroubleKind kTroubles[] = {
    {"NobodyListens", "nobody listens", &KmsTroubles::nobody_listens, Code::kKmsUnavailable},
    {"Hangs", "no answer comes", &KmsTroubles::hangs, Code::kKmsUnavailable},
    {"Drips", "an answer comes too slowly", &KmsTroubles::drips, Code::kKmsUnavailable},
    {"Reset", "the connection is reset", &KmsTroubles::reset, Code::kKmsUnavailable},
    {"HalfAnswer", "half an answer", &KmsTroubles::half_answer, Code::kKmsUnavailable},
    {"Garbage", "something else than an answer", &KmsTroubles::garbage, Code::kKmsUnavailable},
    {"InternalError", "an error of its own", &KmsTroubles::internal_error, Code::kKmsUnavailable},
    {"TooManyRequests", "too many requests", &KmsTroubles::too_many_requests,
     Code::kKmsUnavailable},
    {"Redirect", "a redirect", &KmsTroubles::redirect, Code::kKmsUnavailable},
    {"Impostor", "a certificate that does not verify", &KmsTroubles::impostor,
     Code::kKmsUnavailable},
    {"Echo", "an error that repeats what was asked", &KmsTroubles::echo, Code::kKmsUnavailable},
    {"Denied", "we may not", &KmsTroubles::denied, Code::kKmsDenied},
    {"KeyMissing", "no such key", &KmsTroubles::key_missing, Code::kKmsKeyMissing},
    {"KeyDisabled", "the key is disabled", &KmsTroubles::key_disabled, Code::kKmsKeyDisabled,
     TroubleKind::kUses},
    {"AnotherKey", "another key in its place, another passphrase", &KmsTroubles::another_key,
     Code::kWrongKey, TroubleKind::kOpening},
    {"CredentialsEnd", "credentials end, there are others", &KmsTroubles::credentials_end, {}},
    {"CredentialsRefused", "credentials are refused for good", &KmsTroubles::credentials_refused,
     Code::kKmsDenied},
    {"CredentialsGone", "credentials are not here", &KmsTroubles::credentials_gone,
     Code::kKeyUnavailable, TroubleKind::kOpening},
    {"ClockOff", "the clock is off", &KmsTroubles::clock_off, {}},
    {"ClockFarOff", "the clock is far off", &KmsTroubles::clock_far_off, Code::kKmsDenied},
};
static_assert(sizeof(KmsTroubles) == std::size(kTroubles) * sizeof(KmsCause), "one is not named");

}  // namespace coffer

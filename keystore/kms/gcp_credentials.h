#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "keystore/kms/bearer_token.h"
#include "keystore/kms/gcp_settings.h"

namespace coffer {

/// What tokens are asked for, and for how long, in seconds.
inline constexpr const char* kGcpScope = "https://www.googleapis.com/auth/cloudkms";
inline constexpr std::int64_t kGcpTokenLifetime = 3600;

/// A file of Google's with credentials: its secrets, and all else of it.
// Moving JSON throws nothing, though it is not marked so.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct GcpCredentialsFile {
  std::string path;
  nlohmann::json rest;  ///< an object, with asterisks for secrets
  SecretBytes private_key;
  SecretBytes refresh_token;
  SecretBytes client_secret;
  SecretBytes source_authorization;  ///< a header for who gives the subject token

  /// kKeyUnavailable for one that others can read, or that is none.
  static Result<GcpCredentialsFile> read(const std::string& path);
  /// A member that is text; kKeyUnavailable if it is missing.
  [[nodiscard]] Result<std::string> text(const char* name) const;
  [[nodiscard]] std::string text_or_nothing(const char* name) const;
  [[nodiscard]] Error unusable(const std::string& words) const;
};

/// How this node shows Google who it is (Application Default Credentials): a file of type
/// service_account, external_account (workload identity federation) or authorized_user, or the
/// metadata server. Files are read anew for each token, so that none of their secrets is held
/// between. Thread-safe.
class GcpCredentials {
 public:
  using Time = BearerTokens::Time;

  explicit GcpCredentials(const GcpSettings& settings);

  /// kKeyUnavailable if what it takes is missing here, kKmsDenied if it is refused, else
  /// kKmsUnavailable.
  Result<BearerToken> get(Time until) const;
  /// Who that is, as far as it is known here.
  Result<std::string> identity(Time until) const;

 private:
  Result<BearerToken> from_metadata(Time until) const;
  Result<HttpResponse> ask_metadata(const std::string& what, Time until) const;

  const std::string file_;
  const std::string metadata_host_;
  const HttpClient http_;
};

/// Sends a form (RFC 6749) to the URL that a credentials file names. kKeyUnavailable for a URL that
/// may not be asked, else as HttpClient::send.
Result<HttpResponse> send_from_file(const HttpClient& http, const GcpCredentialsFile& file,
                                    HttpRequest request, BearerTokens::Time until);

/// By a signed assertion (RFC 7523).
Result<BearerToken> gcp_service_account_token(const HttpClient& http,
                                              const GcpCredentialsFile& file,
                                              BearerTokens::Time until);
/// By an exchange of tokens (RFC 8693), and on to a service account if the file names one.
Result<BearerToken> gcp_federated_token(const HttpClient& http, const GcpCredentialsFile& file,
                                        BearerTokens::Time until);

}  // namespace coffer

#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "keystore/kms/http_client.h"
#include "keystore/kms/kept_credential.h"

namespace coffer {

/// A bearer token (RFC 6750), as a node got it just now.
struct BearerToken {
  SecretBytes header;  ///< "Authorization: Bearer TOKEN"
  std::optional<std::chrono::seconds> lifetime;

  /// kKmsUnavailable for what can't stand in a header.
  static Result<BearerToken> of(Bytes token, std::optional<std::chrono::seconds> lifetime);
  /// From the answer of `where` to a request for one (RFC 6749, 5.1). kKmsDenied if it is refused,
  /// kKmsUnavailable if that is no such answer.
  static Result<BearerToken> from_oauth(HttpResponse response, const std::string& where);
};

/// What `where` says instead of giving a token (RFC 6749, 5.2). kKmsDenied, or kKmsUnavailable if
/// asking again may help.
Error oauth_refusal(const HttpResponse& response, const std::string& where);

/// Requests with a bearer token that is got, got anew before its end, and once more when it is
/// refused (401). Thread-safe; no lock is held across a request.
class BearerTokens {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Source = std::function<Result<BearerToken>(Time until)>;
  using Send = std::function<Result<HttpResponse>(const SecretBytes& header)>;

  using Now = std::function<Time()>;

  explicit BearerTokens(Source source, Now now = std::chrono::steady_clock::now);

  /// What `send` says, whatever its status: of a 401, after one more token where a newer one may
  /// help. Errors as those of `send` and of the source.
  Result<HttpResponse> call(const Send& send, Time until);

 private:
  using Kept = KeptCredential<SecretBytes>;

  Result<Kept::Fresh> get(Time until) const;

  const Source source_;
  Kept kept_;
};

}  // namespace coffer

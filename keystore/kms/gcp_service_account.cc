#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/crypto/rsa_signature.h"
#include "keystore/kms/gcp_credentials.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

/// By so much this machine's clock may be ahead of Google's.
constexpr std::int64_t kSkew = 30;

/// In DER.
Result<SecretBytes> private_key_of(const GcpCredentialsFile& file) {
  const SecretBytes pem = TRY(without_escapes(file.private_key.expose()));
  return from_secret_pem(pem.expose(), "PRIVATE KEY");
}

/// A JWT (RFC 7519) by which the account asks for a token, good for an hour.
Result<SecretBytes> assertion(const GcpCredentialsFile& file, const std::string& token_uri) {
  const auto key = private_key_of(file);
  if (!key) return file.unusable("holds no private_key in PEM (PKCS#8)");
  const std::int64_t now = Clock().unix_seconds() - kSkew;
  const nlohmann::json header = {
      {"alg", "RS256"}, {"typ", "JWT"}, {"kid", file.text_or_nothing("private_key_id")}};
  // Not within the braces: GCC 12 leaks what stands before it there if it returns.
  const std::string email = TRY(file.text("client_email"));
  const nlohmann::json claims = {{"iss", email},
                                 {"scope", kGcpScope},
                                 {"aud", token_uri},
                                 {"iat", now},
                                 {"exp", now + kGcpTokenLifetime}};
  const std::string message =
      to_base64url(as_bytes(header.dump())) + "." + to_base64url(as_bytes(claims.dump()));
  auto signature = rs256_sign(key->expose(), as_bytes(message));
  if (!signature) return file.unusable("holds no RSA private_key of 2048 bits or more");
  SecretBytes text =
      secret_text({as_bytes(message), as_bytes("."), to_secret_base64url(*signature).expose()});
  wipe(*signature);
  return text;
}

}  // namespace

Result<BearerToken> gcp_service_account_token(const HttpClient& http,
                                              const GcpCredentialsFile& file,
                                              BearerTokens::Time until) {
  const std::string url = TRY(file.text("token_uri"));
  const SecretBytes signed_text = TRY(assertion(file, url));
  HttpRequest request{
      .method = "POST",
      .url = url,
      .headers = {"Content-Type: application/x-www-form-urlencoded"},
      .body = secret_text(
          {as_bytes("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="),
           signed_text.expose()})};
  return BearerToken::from_oauth(TRY(send_from_file(http, file, std::move(request), until)), url);
}

}  // namespace coffer

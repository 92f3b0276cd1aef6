#pragma once

#include <chrono>
#include <string>

#include "keystore/kms/http_client.h"
#include "keystore/kms/kept_credential.h"
#include "keystore/kms/vault_settings.h"

namespace coffer {

/// Calls to one Vault (HashiCorp Vault, OpenBao) with a token that is got, renewed and got anew as
/// needed. Thread-safe; no lock is held across a call.
class VaultSession {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit VaultSession(VaultSettings settings);

  /// The answer to `method` /v1/PATH, whatever its status: of a 403, after one more login where a
  /// newer token may help. `name_space` empty: the node's own. Else as HttpClient::send, and
  /// kKmsDenied or kKeyUnavailable if there is no token to be had.
  Result<HttpResponse> call(const std::string& method, const std::string& path,
                            const std::string& name_space, SecretBytes body, Time until);

  /// Of a connection to Vault, as HttpClient::look.
  [[nodiscard]] Result<std::optional<TlsFacts>> look(Time until) const {
    return http_.look(settings_.address, until);
  }

  [[nodiscard]] const VaultSettings& settings() const { return settings_; }

 private:
  using Kept = KeptCredential<SecretBytes>;  ///< of headers

  /// One to use from now on: `kept` renewed, if that is there, or a new one.
  Result<Kept::Fresh> token(const SecretBytes* kept, Time until);
  Result<Kept::Fresh> log_in(Time until);
  Result<Kept::Fresh> renew(const SecretBytes& header, Time until);
  Result<SecretBytes> login_body() const;
  Result<HttpResponse> send(HttpRequest request, const std::string& path,
                            const std::string& name_space, Time until) const;

  const VaultSettings settings_;
  const HttpClient http_;
  Kept kept_;
};

/// What Vault says of a failure ("errors" of its answer), for people: no more than a line, and
/// without words as long as a token. Empty if it says nothing.
std::string vault_words(const HttpResponse& response);

/// Of an answer that is none a caller may take for its own fault: 412, 429, 5xx.
bool is_trouble_of_vaults(long status);

}  // namespace coffer

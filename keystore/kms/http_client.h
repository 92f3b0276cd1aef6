#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/base/result.h"
#include "keystore/crypto/secret_bytes.h"
#include "keystore/crypto/tls_facts.h"

namespace coffer {

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};
  std::vector<std::string> headers = {};       ///< whole lines, "Name: value"
  const SecretBytes* secret_header = nullptr;  ///< one more, which holds a token
  SecretBytes body = {};                       ///< sent if not empty
};

struct HttpResponse {
  long status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case; of several, the last
  SecretBytes body;
};

/// Whom to trust and how long to wait. All of it is the node's own affair: nothing here may come
/// from a keystore.
struct HttpSettings {
  std::string ca_file;      ///< instead of the system's, if given
  std::string client_cert;  ///< PEM files, both or none
  std::string client_key;
  std::string pin_sha256;   ///< base64 of SHA-256 of the server's public key, besides the above
  bool plain_http = false;  ///< allowed, to loopback addresses and these alone
  std::vector<std::string> plain_http_hosts = {};  ///< a cloud's metadata server, link-local
  std::chrono::milliseconds connect_timeout{4000};
  std::chrono::milliseconds timeout{8000};  ///< a whole call
  std::size_t most = 1U << 20U;             ///< bytes of an answer's body, and of its headers
};

/// HTTP/1.1 over TLS 1.2 or newer, by libcurl: certificate and name are always verified, redirects
/// are errors, .netrc is not read, and the environment's https_proxy and no_proxy hold. What passes
/// through is wiped when it is freed, by curl as well. Keeps connections open. Thread-safe.
class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// The answer, whatever its status but 3xx. `until` bounds the call besides the settings.
  /// kInvalid for a URL that may not be asked, kKeyUnavailable for a CA, certificate or key file
  /// that can't be used, else kKmsUnavailable: no answer, half an answer, too long a one, a
  /// redirect, or one from somebody whose certificate does not verify (who is not the KMS). Words
  /// hold the URL without its query, and nothing of headers and bodies.
  Result<HttpResponse> send(const HttpRequest& request,
                            std::chrono::steady_clock::time_point until) const;

  /// What a connection to `url` shows of both ends: one that is made for this, and ends with no
  /// request. None for plain http. Errors as `send`.
  Result<std::optional<TlsFacts>> look(const std::string& url,
                                       std::chrono::steady_clock::time_point until) const;

 private:
  class Handle;
  Result<std::chrono::milliseconds> time_for(const std::string& url,
                                             std::chrono::steady_clock::time_point until) const;
  std::unique_ptr<Handle> take() const;
  void put_back(std::unique_ptr<Handle> handle) const;

  const HttpSettings settings_;
  mutable Mutex mutex_;
  mutable std::vector<std::unique_ptr<Handle>> idle_ GUARDED_BY(mutex_);
};

}  // namespace coffer

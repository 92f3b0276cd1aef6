#include "keystore/kms/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "keystore/crypto/tls_options.h"

namespace coffer {
namespace {

/// Idle connections, at most.
constexpr std::size_t kMostIdle = 4;

// What curl copies (headers with tokens, bodies with keys) it frees by these.
void wiping_free(void* block) {
  if (block == nullptr) return;
  wipe({static_cast<std::uint8_t*>(block), ::malloc_usable_size(block)});
  std::free(block);
}

void* wiping_realloc(void* block, std::size_t size) {
  if (block == nullptr) return std::malloc(size);
  void* const bigger = std::malloc(size);
  if (bigger == nullptr) return nullptr;
  std::memcpy(bigger, block, std::min(size, ::malloc_usable_size(block)));
  wiping_free(block);
  return bigger;
}

void start_curl() {
  static const CURLcode started = ::curl_global_init_mem(
      CURL_GLOBAL_DEFAULT, std::malloc, wiping_free, wiping_realloc, ::strdup, std::calloc);
  if (started != CURLE_OK) throw std::bad_alloc();
}

/// While it lives, what is written to a connection that is gone is an error and no signal: OpenSSL
/// has no other way. Of this thread alone.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    const timespec at_once{};
    if (!was_pending_) ::sigtimedwait(&pipe_, nullptr, &at_once);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

struct UrlFree {
  void operator()(CURLU* url) const { ::curl_url_cleanup(url); }
};
struct TextFree {
  void operator()(char* text) const { ::curl_free(text); }
};
struct ListFree {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (::curl_url_get(url, part, &text, 0) != CURLUE_OK) return {};
  const std::unique_ptr<char, TextFree> owned(text);
  return text;
}

bool is_loopback(const std::string& host) {
  std::array<std::uint8_t, 4> v4{};
  return host == "localhost" || host == "[::1]" ||
         (::inet_pton(AF_INET, host.c_str(), v4.data()) == 1 && v4[0] == 127);
}

/// For messages.
std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

Result<void> check_url(const std::string& text, const HttpSettings& settings) {
  const std::unique_ptr<CURLU, UrlFree> url(::curl_url());
  if (url == nullptr) throw std::bad_alloc();
  const bool parsed = ::curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  const std::string scheme = parsed ? part_of(url.get(), CURLUPART_SCHEME) : "";
  if (!parsed || !part_of(url.get(), CURLUPART_USER).empty() ||
      (scheme != "https" && scheme != "http") || !text.starts_with(scheme + "://"))
    return Error{Code::kInvalid, 0, "no URL that can be asked"};
  if (scheme == "https") return {};
  const std::string host = part_of(url.get(), CURLUPART_HOST);
  const auto& hosts = settings.plain_http_hosts;
  if (settings.plain_http && (is_loopback(host) || std::ranges::find(hosts, host) != hosts.end()))
    return {};
  return Error{Code::kInvalid, 0,
               without_query(text) + ": plain http is for loopback addresses; use https"};
}

/// What comes in, while it does. None of its own exceptions may pass through curl.
struct Incoming {
  explicit Incoming(std::size_t at_most) : most(at_most) {}
  bool append(Bytes more) {
    if (more.size() > most - length) return !(too_long = true);
    if (length + more.size() > body.size()) {
      SecretBytes bigger(std::max<std::size_t>(2 * (length + more.size()), 1024));
      std::copy_n(body.expose().begin(), length, bigger.expose().begin());
      body = std::move(bigger);
    }
    std::copy(more.begin(), more.end(),
              body.expose().begin() + static_cast<std::ptrdiff_t>(length));
    length += more.size();
    return true;
  }
  bool add_header(std::string_view line) {
    if (line.size() > most - headers_length) return !(too_long = true);
    headers_length += line.size();
    if (line.starts_with("HTTP/")) headers.clear();
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    std::string name(line.substr(0, colon));
    for (char& letter : name)
      letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    const auto end = line.find_last_not_of(" \t\r\n");
    headers[name] = begin == std::string_view::npos || begin > end
                        ? std::string()
                        : std::string(line.substr(begin, end - begin + 1));
    return true;
  }

  const std::size_t most;
  SecretBytes body;
  std::size_t length = 0;
  std::map<std::string, std::string> headers;
  std::size_t headers_length = 0;
  bool too_long = false;
  bool no_memory = false;
};

template <typename Take>
std::size_t guarded(Incoming& into, std::size_t size, const Take& take) {
  try {
    return take() ? size : 0;
  } catch (const std::exception&) {
    into.no_memory = true;
    return 0;
  }
}

std::size_t take_body(const char* data, std::size_t, std::size_t size, void* into) {
  auto& incoming = *static_cast<Incoming*>(into);
  return guarded(incoming, size, [&] { return incoming.append(as_bytes({data, size})); });
}

std::size_t take_header(const char* data, std::size_t, std::size_t size, void* into) {
  auto& incoming = *static_cast<Incoming*>(into);
  return guarded(incoming, size, [&] { return incoming.add_header({data, size}); });
}

/// What is asked of a connection before the first request on it.
struct Look {
  CURL* curl;
  std::optional<TlsFacts> facts;
};

int take_facts(void* into, char*, char*, int, int) {
  auto& look = *static_cast<Look*>(into);
  curl_tlssessioninfo* session = nullptr;
  try {
    if (::curl_easy_getinfo(look.curl, CURLINFO_TLS_SSL_PTR, &session) == CURLE_OK &&
        session != nullptr && session->backend == CURLSSLBACKEND_OPENSSL &&
        session->internals != nullptr)
      look.facts = TlsFacts::of(static_cast<const ssl_st*>(session->internals));
  } catch (const std::exception&) {
    look.facts.reset();
  }
  return CURL_PREREQFUNC_ABORT;
}

CURLcode before_tls(CURL*, void* context, void*) {
  wipe_tls_plaintext(context);
  return CURLE_OK;
}

Error failure_of(CURLcode outcome, const std::string& where, const std::string& detail) {
  const auto error = [&](Code code, const std::string& words) {
    return Error{code, 0, where + ": " + words};
  };
  const std::string why = detail.empty() ? ::curl_easy_strerror(outcome) : detail;
  switch (outcome) {
    case CURLE_OUT_OF_MEMORY:
      throw std::bad_alloc();
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return error(Code::kKmsUnavailable,
                   "its certificate does not verify, so it is not asked: " + why);
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
      return error(Code::kKmsUnavailable,
                   "its public key is not the pinned one, so it is not asked");
    case CURLE_SSL_CACERT_BADFILE:
      return error(Code::kKeyUnavailable, "the CA file can't be used: " + why);
    case CURLE_SSL_CERTPROBLEM:
      return error(Code::kKeyUnavailable,
                   "the client certificate or its key can't be used: " + why);
    case CURLE_URL_MALFORMAT:
      return error(Code::kInvalid, "no URL that can be asked");
    case CURLE_OPERATION_TIMEDOUT:
      return error(Code::kKmsUnavailable, "no answer in time: " + why);
    default:
      return error(Code::kKmsUnavailable, why);
  }
}

}  // namespace

/// One of curl's, with the connections that it keeps.
class HttpClient::Handle {
 public:
  Handle() : curl_(::curl_easy_init()) {
    if (curl_ == nullptr) throw std::bad_alloc();
  }
  ~Handle() { ::curl_easy_cleanup(curl_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  Result<HttpResponse> send(const HttpRequest& request, const HttpSettings& settings,
                            std::chrono::milliseconds timeout) {
    ::curl_easy_reset(curl_);
    refused_ = CURLE_OK;
    Incoming incoming(settings.most);
    std::array<char, CURL_ERROR_SIZE> detail{};
    const std::unique_ptr<curl_slist, ListFree> headers(lines_of(request));
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
    set(CURLOPT_HTTPHEADER, headers.get());
    if (!request.body.empty()) {
      set(CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
      set(CURLOPT_POSTFIELDS, request.body.expose().data());
    }
    set(CURLOPT_WRITEFUNCTION, &take_body);
    set(CURLOPT_WRITEDATA, &incoming);
    set(CURLOPT_HEADERFUNCTION, &take_header);
    set(CURLOPT_HEADERDATA, &incoming);
    set(CURLOPT_ERRORBUFFER, detail.data());
    const CURLcode outcome = perform(request.url, settings, timeout);
    const std::string where = without_query(request.url);
    if (incoming.no_memory) throw std::bad_alloc();
    if (incoming.too_long) return Error{Code::kKmsUnavailable, 0, where + ": too long an answer"};
    if (outcome != CURLE_OK) return failure_of(outcome, where, detail.data());
    HttpResponse response;
    ::curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &response.status);
    if (response.status >= 300 && response.status < 400) {
      return Error{Code::kKmsUnavailable, 0,
                   where + ": answers with a redirect (" + std::to_string(response.status) +
                       "), which is not followed"};
    }
    response.headers = std::move(incoming.headers);
    response.body = SecretBytes::copy_of(incoming.body.expose().first(incoming.length));
    return response;
  }

  Result<TlsFacts> look(const std::string& url, const HttpSettings& settings,
                        std::chrono::milliseconds timeout) {
    ::curl_easy_reset(curl_);
    refused_ = CURLE_OK;
    std::array<char, CURL_ERROR_SIZE> detail{};
    Look look{curl_, {}};
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_FRESH_CONNECT, 1L);
    set(CURLOPT_PREREQFUNCTION, &take_facts);
    set(CURLOPT_PREREQDATA, &look);
    set(CURLOPT_ERRORBUFFER, detail.data());
    const CURLcode outcome = perform(url, settings, timeout);
    if (look.facts) return *std::move(look.facts);
    return failure_of(outcome, without_query(url), detail.data());
  }

 private:
  CURLcode perform(const std::string& url, const HttpSettings& settings,
                   std::chrono::milliseconds timeout) {
    set_rules(url, settings, timeout);
    set_trust(settings);
    return refused_ == CURLE_OK ? ::curl_easy_perform(curl_) : refused_;
  }

  template <typename T>
  void set(CURLoption option, T value) {
    const CURLcode outcome = ::curl_easy_setopt(curl_, option, value);
    if (refused_ == CURLE_OK) refused_ = outcome;
  }

  static curl_slist* lines_of(const HttpRequest& request) {
    std::unique_ptr<curl_slist, ListFree> lines;
    const auto add = [&lines](const char* line) {
      curl_slist* const longer = ::curl_slist_append(lines.get(), line);
      if (longer == nullptr) throw std::bad_alloc();
      (void)lines.release();
      lines.reset(longer);
    };
    add("Expect:");
    for (const std::string& line : request.headers) add(line.c_str());
    if (request.secret_header != nullptr) {
      SecretBytes text(request.secret_header->size() + 1);
      std::ranges::copy(request.secret_header->expose(), text.expose().begin());
      add(reinterpret_cast<const char*>(text.expose().data()));
    }
    return lines.release();
  }

  void set_rules(const std::string& url, const HttpSettings& settings,
                 std::chrono::milliseconds timeout) {
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_HTTP09_ALLOWED, 0L);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
    // A resolver that hangs is left to itself.
    set(CURLOPT_QUICK_EXIT, 1L);
    // What is in plain text goes to this machine or its link.
    if (url.starts_with("http:")) set(CURLOPT_NOPROXY, "*");
  }

  void set_trust(const HttpSettings& settings) {
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_SSL_CTX_FUNCTION, &before_tls);
    if (!settings.ca_file.empty()) {
      set(CURLOPT_CAINFO, settings.ca_file.c_str());
      set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
    }
    if (!settings.client_cert.empty()) {
      set(CURLOPT_SSLCERT, settings.client_cert.c_str());
      set(CURLOPT_SSLKEY, settings.client_key.c_str());
    }
    if (!settings.pin_sha256.empty())
      set(CURLOPT_PINNEDPUBLICKEY, ("sha256//" + settings.pin_sha256).c_str());
  }

  CURL* const curl_;
  CURLcode refused_ = CURLE_OK;  ///< the first option that curl did not take
};

HttpClient::HttpClient(HttpSettings settings) : settings_(std::move(settings)) { start_curl(); }
HttpClient::~HttpClient() {
  // Connections say goodbye.
  const NoPipeSignal no_signal;
  MutexLock lock(mutex_);
  idle_.clear();
}

std::unique_ptr<HttpClient::Handle> HttpClient::take() const {
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      auto handle = std::move(idle_.back());
      idle_.pop_back();
      return handle;
    }
  }
  return std::make_unique<Handle>();
}

void HttpClient::put_back(std::unique_ptr<Handle> handle) const {
  MutexLock lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(handle));
}

Result<std::chrono::milliseconds> HttpClient::time_for(
    const std::string& url, std::chrono::steady_clock::time_point until) const {
  TRY(check_url(url, settings_));
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  if (left.count() <= 0)
    return Error{Code::kKmsUnavailable, 0, without_query(url) + ": no answer in time"};
  return std::min(left, settings_.timeout);
}

Result<std::optional<TlsFacts>> HttpClient::look(
    const std::string& url, std::chrono::steady_clock::time_point until) const {
  const auto timeout = TRY(time_for(url, until));
  if (!url.starts_with("https:")) return std::optional<TlsFacts>();
  const NoPipeSignal no_signal;
  return std::optional(TRY(Handle().look(url, settings_, timeout)));
}

Result<HttpResponse> HttpClient::send(const HttpRequest& request,
                                      std::chrono::steady_clock::time_point until) const {
  const auto timeout = TRY(time_for(request.url, until));
  const NoPipeSignal no_signal;
  auto handle = take();
  auto response = handle->send(request, settings_, timeout);
  // After a failure a new connection is the better one.
  if (response) put_back(std::move(handle));
  return response;
}

}  // namespace coffer

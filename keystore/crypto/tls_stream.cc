#include "keystore/crypto/tls_stream.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <limits>

#include "keystore/crypto/digest.h"
#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using Context = OsslPtr<SSL_CTX, SSL_CTX_free>;
using Connection = OsslPtr<SSL, SSL_free>;
using Bio = OsslPtr<BIO, BIO_free>;
using PrivateKey = OsslPtr<EVP_PKEY, EVP_PKEY_free>;
using Certificate = OsslPtr<X509, X509_free>;

// A BIO of our own: OpenSSL's writes in a way that may raise SIGPIPE.

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio))); }

int write_socket(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(fd_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int read_socket(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = ::recv(fd_of(bio), into, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long control_socket(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const made = [] {
    BIO_METHOD* const method =
        must_have(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coffer socket"));
    must(BIO_meth_set_write(method, write_socket));
    must(BIO_meth_set_read(method, read_socket));
    must(BIO_meth_set_ctrl(method, control_socket));
    return method;
  }();
  return made;
}

std::string last_words() {
  const unsigned long error = ERR_peek_last_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "the connection ended";
}

/// An alert by which the other end says that our certificate does not do (RFC 8446, 6.2).
bool refuses_us(unsigned long error) {
  constexpr std::array kRefusals = {
      SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,     SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
      SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
      SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SSL_R_TLSV1_ALERT_UNKNOWN_CA,
      SSL_R_TLSV1_ALERT_ACCESS_DENIED,       SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED};
  return ERR_GET_LIB(error) == ERR_LIB_SSL &&
         std::ranges::find(kRefusals, ERR_GET_REASON(error)) != kRefusals.end();
}

Error unusable(const std::string& what) {
  return {Code::kKeyUnavailable, 0, what + " can't be used: " + last_words()};
}

int no_password(char*, int, int, void*) { return -1; }

Result<void> set_trust(SSL_CTX* context, const TlsSettings& settings) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (settings.ca_file.empty()) {
    must(SSL_CTX_set_default_verify_paths(context));
  } else if (SSL_CTX_load_verify_file(context, settings.ca_file.c_str()) != 1) {
    return unusable("the CA file " + settings.ca_file);
  }
  return {};
}

Result<void> set_certificate(SSL_CTX* context, const TlsSettings& settings) {
  const std::string& file = settings.certificate_file;
  if (SSL_CTX_use_certificate_chain_file(context, file.c_str()) != 1)
    return unusable("the client certificate " + file);
  const Bytes pem = settings.key.expose();
  const Bio source(must_have(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))));
  const PrivateKey key(PEM_read_bio_PrivateKey(source.get(), nullptr, no_password, nullptr));
  if (key == nullptr || SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return unusable("the key of the client certificate " + file);
  return {};
}

Result<Context> context_of(const TlsSettings& settings) {
  Context context(must_have(SSL_CTX_new(TLS_client_method())));
  must(static_cast<int>(SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION)));
  SSL_CTX_set_options(context.get(), SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_RENEGOTIATION |
                                         SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  TRY(set_trust(context.get(), settings));
  TRY(set_certificate(context.get(), settings));
  return context;
}

void expect_name(SSL* connection, const std::string& host) {
  std::array<std::uint8_t, 16> address{};
  const bool numeric = ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
                       ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  X509_VERIFY_PARAM* const rules = SSL_get0_param(connection);
  if (numeric) {
    must(X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str()));
    return;
  }
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  must(X509_VERIFY_PARAM_set1_host(rules, host.c_str(), host.size()));
  must(static_cast<int>(SSL_set_tlsext_host_name(connection, host.c_str())));
}

}  // namespace

struct TlsStream::State {
  UniqueFd fd;
  Connection ssl;

  Result<void> wait(short events, Time until) const {
    using std::chrono::milliseconds;
    while (true) {
      const auto left =
          std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now()).count();
      if (left <= 0) return Error{Code::kIo, ETIMEDOUT, "no answer in time"};
      pollfd ready{.fd = fd.get(), .events = events, .revents = 0};
      const int outcome = ::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
      if (outcome > 0) return {};
      if (outcome < 0 && errno != EINTR) return errno_error(errno, "poll");
    }
  }

  [[nodiscard]] Error failure(const std::string& doing) const {
    const unsigned long error = ERR_peek_last_error();
    if (refuses_us(error))
      return {Code::kDenied, 0, "it refuses our certificate (" + last_words() + ")"};
    const long verified = SSL_get_verify_result(ssl.get());
    if (verified != X509_V_OK) {
      return {Code::kIo, 0,
              std::string("its certificate does not verify, so it is not asked: ") +
                  X509_verify_cert_error_string(verified)};
    }
    return {Code::kIo, 0, doing + ": " + last_words()};
  }

  /// `step` again and again, until it has done something.
  template <typename Step>
  Result<void> drive(const std::string& doing, Time until, const Step& step) const {
    while (true) {
      ERR_clear_error();
      const int outcome = step();
      if (outcome > 0) return {};
      switch (SSL_get_error(ssl.get(), outcome)) {
        case SSL_ERROR_WANT_READ:
          TRY(wait(POLLIN, until));
          break;
        case SSL_ERROR_WANT_WRITE:
          TRY(wait(POLLOUT, until));
          break;
        default:
          return failure(doing);
      }
    }
  }
};

TlsStream::TlsStream(std::unique_ptr<State> state) : state_(std::move(state)) {}

TlsStream::~TlsStream() {
  ERR_clear_error();
  SSL_shutdown(state_->ssl.get());
  ERR_clear_error();
}

Result<std::unique_ptr<TlsStream>> TlsStream::open(UniqueFd connected, const TlsSettings& settings,
                                                   Time until) {
  ERR_clear_error();
  const Context context = TRY(context_of(settings));
  auto state = std::make_unique<State>();
  state->fd = std::move(connected);
  state->ssl.reset(must_have(SSL_new(context.get())));
  SSL* const ssl = state->ssl.get();
  BIO* const bio = must_have(BIO_new(socket_method()));
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(state->fd.get())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  expect_name(ssl, settings.host);
  TRY(state->drive("TLS handshake", until, [ssl] { return SSL_connect(ssl); }));
  const Certificate theirs(SSL_get1_peer_certificate(ssl));
  if (theirs == nullptr || SSL_get_verify_result(ssl) != X509_V_OK)
    return Error{Code::kIo, 0, "its certificate does not verify, so it is not asked"};
  if (!settings.pin_sha256.empty() && pin_sha256(theirs.get()) != settings.pin_sha256)
    return Error{Code::kIo, 0, "its public key is not the pinned one, so it is not asked"};
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(state)));
}

Result<void> TlsStream::write(Bytes data, Time until) {
  SSL* const ssl = state_->ssl.get();
  std::size_t written = 0;
  auto sent = state_->drive("sending", until,
                            [&] { return SSL_write_ex(ssl, data.data(), data.size(), &written); });
  if (sent) return sent;
  // Whoever refuses our certificate by TLS 1.3 says so after the handshake and hangs up: the alert
  // may lie there unread (RFC 8446, 4.4.2.4).
  ERR_clear_error();
  std::uint8_t byte = 0;
  std::size_t got = 0;
  if (SSL_read_ex(ssl, &byte, 1, &got) != 1 && refuses_us(ERR_peek_last_error()))
    return state_->failure("sending");
  return sent;
}

Result<void> TlsStream::read(MutableBytes into, Time until) {
  SSL* const ssl = state_->ssl.get();
  while (!into.empty()) {
    std::size_t got = 0;
    TRY(state_->drive("reading the answer", until,
                      [&] { return SSL_read_ex(ssl, into.data(), into.size(), &got); }));
    bytes_read_ += got;
    into = into.subspan(got);
  }
  return {};
}

bool TlsStream::has_more() const { return SSL_has_pending(state_->ssl.get()) == 1; }

TlsFacts TlsStream::facts() const { return TlsFacts::of(state_->ssl.get()); }

}  // namespace coffer

#include "keystore/kms/kmip_client.h"

#include <array>
#include <cerrno>

#include "keystore/kms/private_file.h"
#include "keystore/kms/tcp_connect.h"

namespace coffer {
namespace {

using std::chrono::steady_clock;

/// Idle connections, at most.
constexpr std::size_t kMostIdle = 8;
/// After that something between may have forgotten a connection, and nobody would say so.
constexpr std::chrono::seconds kLongestIdle{60};
constexpr std::size_t kMostOfKey = 64 * 1024;

}  // namespace

struct KmipClient::Connection {
  std::unique_ptr<TlsStream> stream;
  std::optional<KmipCredential> credential;
  steady_clock::time_point last_used;
};

KmipClient::KmipClient(KmipSettings settings)
    : settings_(std::move(settings)),
      name_(settings_.server.host + ":" + std::to_string(settings_.server.port)) {}

KmipClient::~KmipClient() = default;

Error KmipClient::failure(const Error& error) const {
  switch (error.code) {
    case Code::kKeyUnavailable:
      return error;
    case Code::kDenied:
      return {Code::kKmsDenied, 0, name_ + ": " + error.context};
    default:
      return {Code::kKmsUnavailable, error.errno_value, name_ + ": " + error.context};
  }
}

Result<KmipClient::ConnectionPtr> KmipClient::connect(Time until) const {
  auto made = std::make_unique<Connection>();
  TlsSettings tls;
  tls.host = without_brackets(settings_.server.host);
  tls.ca_file = settings_.ca_file;
  tls.certificate_file = settings_.client_cert;
  tls.key =
      TRY(read_private_file("key of the client certificate", settings_.client_key, kMostOfKey));
  tls.pin_sha256 = settings_.pin_sha256;
  if (!settings_.user.empty()) {
    made->credential = KmipCredential{
        settings_.user,
        TRY(read_secret_line("password file", settings_.password_file, Readers::kOwner))};
  }
  auto socket = tcp_connect(settings_.server, until);
  if (!socket) return failure(socket.error());
  auto stream = TlsStream::open(*std::move(socket), tls, until);
  if (!stream) return failure(stream.error());
  made->stream = *std::move(stream);
  return made;
}

KmipClient::ConnectionPtr KmipClient::take() {
  ConnectionPtr taken;
  std::vector<ConnectionPtr> too_old;  // closed without the lock
  const auto now = steady_clock::now();
  MutexLock lock(mutex_);
  while (!idle_.empty() && taken == nullptr) {
    ConnectionPtr& last = idle_.back();
    (now - last->last_used < kLongestIdle ? taken : too_old.emplace_back()) = std::move(last);
    idle_.pop_back();
  }
  return taken;
}

void KmipClient::put_back(ConnectionPtr connection) {
  connection->last_used = steady_clock::now();
  MutexLock lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(connection));
}

Result<KmipAnswer> KmipClient::exchange(Connection& connection,
                                        std::span<const KmipRequestItem> items, Time until) const {
  const auto tls = [this](const Result<void>& outcome) -> Result<void> {
    if (!outcome) return failure(outcome.error());
    return {};
  };
  TlsStream& stream = *connection.stream;
  const SecretBytes request =
      encode_kmip_request(items, connection.credential ? &*connection.credential : nullptr);
  TRY(tls(stream.write(request.expose(), until)));
  std::array<std::uint8_t, kTtlvHeader> header{};
  TRY(tls(stream.read(header, until)));
  const auto odd = [this](const Error& error) {
    return Error{Code::kKmsUnavailable, 0,
                 name_ + ": answers with what is no answer: " + error.context};
  };
  const auto rest = ttlv_rest(header, KmipTag::kResponseMessage, kKmipMostAnswer);
  if (!rest) return odd(rest.error());
  SecretBytes message(kTtlvHeader + *rest);
  std::copy(header.begin(), header.end(), message.expose().begin());
  TRY(tls(stream.read(message.expose().subspan(kTtlvHeader), until)));
  if (stream.has_more()) return odd({Code::kInvalid, 0, "something follows"});
  auto answer = KmipAnswer::parse(std::move(message), items);
  if (!answer) return odd(answer.error());
  return answer;
}

Result<KmipAnswer> KmipClient::ask(std::span<const KmipRequestItem> items, Time until) {
  const auto refused = [](const KmipAnswer& answer) {
    const KmipResult* const failed = answer.failure();
    return failed != nullptr && failed->failed == KmipReason::kAuthenticationNotSuccessful;
  };
  // Nor is one that is kept asked, which might answer before anybody has to wait.
  if (steady_clock::now() >= until) return failure({Code::kIo, ETIMEDOUT, "no answer in time"});
  for (ConnectionPtr connection = take();; connection = nullptr) {
    const bool kept = connection != nullptr;
    if (!kept) connection = TRY(connect(until));
    const std::uint64_t before = connection->stream->bytes_read();
    auto answer = exchange(*connection, items, until);
    const bool unheard = !answer && connection->stream->bytes_read() == before;
    const bool in_time = steady_clock::now() < until;
    if (kept && in_time && (unheard || (answer && refused(*answer)))) continue;
    if (answer && !refused(*answer)) put_back(std::move(connection));
    return answer;
  }
}

Result<TlsFacts> KmipClient::facts(Time until) { return TRY(connect(until))->stream->facts(); }

}  // namespace coffer

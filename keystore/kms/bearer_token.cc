#include "keystore/kms/bearer_token.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A new token helps where one is taken no more; not where none ever was.
constexpr seconds kHopeless{30};
/// Before its end a token is got anew: in the last tenth of its time, and no earlier than this,
/// since metadata servers give the old one until about 4 minutes are left.
constexpr seconds kEarliest{225};
/// Until a renewal that failed is tried again, and others go on with what there is meanwhile.
constexpr seconds kBetweenRenewals{10};

/// A number, or the text of one as some servers have it.
std::optional<seconds> lifetime_of(const nlohmann::json& value) {
  std::uint64_t number = 0;
  if (value.is_number_unsigned()) {
    number = value.get<std::uint64_t>();
  } else if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  } else {
    return std::nullopt;
  }
  return seconds(std::min<std::uint64_t>(number, 1U << 30U));
}

}  // namespace

Result<BearerToken> BearerToken::of(Bytes token, std::optional<seconds> lifetime) {
  if (token.empty() || !is_plain_text(token))
    return Error{Code::kKmsUnavailable, 0, "an access token that is none"};
  return BearerToken{secret_text({as_bytes("Authorization: Bearer "), token}), lifetime};
}

Result<BearerToken> BearerToken::from_oauth(HttpResponse response, const std::string& where) {
  if (response.status != 200) return oauth_refusal(response, where);
  const Error odd{Code::kKmsUnavailable, 0, where + " answers with what is no access token"};
  const auto token = take_secret_member(response.body.expose(), "access_token");
  if (!token) return odd;
  for (const char* const other : {"id_token", "refresh_token"}) {
    if (!take_secret_if_there(response.body.expose(), other)) return odd;
  }
  const auto json = json_object(response.body.expose());
  const auto type = json.value("token_type", nlohmann::json());
  if (!json.contains("access_token") || !type.is_string() || type.get<std::string>() != "Bearer")
    return odd;
  auto made = of(token->expose(), lifetime_of(json.value("expires_in", nlohmann::json())));
  if (!made) return odd;
  return made;
}

Error oauth_refusal(const HttpResponse& response, const std::string& where) {
  const auto json = json_object(response.body.expose());
  const std::string error = json_text(json, "error");
  const std::string words = " (" + std::to_string(response.status) + "): " +
                            without_secrets(error + " " + json_text(json, "error_description"));
  const bool refused = response.status >= 400 && response.status < 500 && response.status != 408 &&
                       response.status != 429 && !error.empty() &&
                       error != "temporarily_unavailable" && error != "slow_down" &&
                       error != "server_error";
  if (refused) return {Code::kKmsDenied, 0, where + " refuses a token" + words};
  return {Code::kKmsUnavailable, 0, where + " gives no token" + words};
}

struct BearerTokens::Kept {
  BearerToken token;
  Time since;
  std::atomic<bool> accepted{false};

  Kept(BearerToken got, Time now) : token(std::move(got)), since(now) {}
  [[nodiscard]] bool is_over(Time now) const {
    return token.lifetime && now >= since + *token.lifetime;
  }
  [[nodiscard]] bool may_be_stale(Time now) const {
    return accepted || is_over(now) || now >= since + kHopeless;
  }
  [[nodiscard]] Time renew_at() const {
    if (!token.lifetime) return Time::max();
    const milliseconds lifetime = *token.lifetime;
    return since + lifetime - std::min<milliseconds>(lifetime / 10, kEarliest);
  }
};

BearerTokens::BearerTokens(Source source, Now now)
    : source_(std::move(source)), now_(std::move(now)) {}
BearerTokens::~BearerTokens() = default;

Result<BearerTokens::KeptPtr> BearerTokens::get(Time until) const {
  return std::make_shared<Kept>(TRY(source_(until)), now_());
}

BearerTokens::KeptPtr BearerTokens::keep(KeptPtr token) {
  MutexLock lock(mutex_);
  kept_ = token;
  renew_at_ = token->renew_at();
  return token;
}

Result<BearerTokens::KeptPtr> BearerTokens::current(Time until) {
  KeptPtr kept;
  {
    const Time now = now_();
    MutexLock lock(mutex_);
    kept = kept_;
    const bool usable = kept != nullptr && !kept->is_over(now);
    if (usable && now < renew_at_) return kept;
    if (usable) renew_at_ = now + kBetweenRenewals;
  }
  auto got = get(until);
  if (got) return keep(*std::move(got));
  // It is good for a while yet.
  if (kept != nullptr && !kept->is_over(now_())) return kept;
  return got.error();
}

Result<BearerTokens::KeptPtr> BearerTokens::other_than(const KeptPtr& refused, Time until) {
  {
    MutexLock lock(mutex_);
    if (kept_ != refused) return kept_;
  }
  if (!refused->may_be_stale(now_())) return KeptPtr();
  KeptPtr got = TRY(get(until));
  if (constant_time_equal(got->token.header.expose(), refused->token.header.expose()))
    return KeptPtr();
  return keep(std::move(got));
}

Result<HttpResponse> BearerTokens::call(const Send& send, Time until) {
  constexpr long kUnauthorized = 401;
  KeptPtr now = TRY(current(until));
  auto response = TRY(send(now->token.header));
  if (response.status == kUnauthorized) {
    now = TRY(other_than(now, until));
    if (now == nullptr) return response;
    response = TRY(send(now->token.header));
  }
  if (response.status != kUnauthorized) now->accepted = true;
  return response;
}

}  // namespace coffer

#include "keystore/kms/vault_session.h"

#include <nlohmann/json.hpp>

#include "keystore/kms/json_answer.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// To renew a token whose lease nobody told yet.
constexpr seconds kTriedAgain{20};

Result<SecretBytes> checked_role(const std::string& role) {
  if (!is_plain_text(as_bytes(role)))
    return Error{Code::kKeyUnavailable, 0, "COFFER_VAULT_ROLE holds odd characters"};
  return SecretBytes::copy_of(as_bytes(role));
}

SecretBytes header_of(Bytes token) { return secret_text({as_bytes("X-Vault-Token: "), token}); }

/// From the answer to a login or renewal.
Result<KeptCredential<SecretBytes>::Fresh> token_from(HttpResponse response) {
  const Error odd{Code::kKmsUnavailable, 0,
                  "Vault answers a login with what is none of its answers"};
  const auto text = take_secret_member(response.body.expose(), "client_token");
  if (!text || text->empty() || !is_plain_text(text->expose())) return odd;
  const auto auth = json_member(json_object(response.body.expose()), "auth");
  if (!auth.is_object() || !auth.contains("client_token")) return odd;
  const auto lease = auth.value("lease_duration", nlohmann::json());
  const auto renewable = auth.value("renewable", nlohmann::json());
  KeptCredential<SecretBytes>::Fresh made{.credential = header_of(text->expose()),
                                          .lifetime = std::nullopt};
  // 0 stands for ever.
  if (!lease.is_number_unsigned() || lease.get<std::uint64_t>() == 0) return made;
  made.lifetime = seconds(std::min<std::uint64_t>(lease.get<std::uint64_t>(), 1U << 30U));
  if (renewable.is_boolean() && renewable.get<bool>())
    made.renew_before = milliseconds(*made.lifetime) / 2;
  return made;
}

}  // namespace

VaultSession::VaultSession(VaultSettings settings)
    : settings_(std::move(settings)), http_(settings_.http) {}

Result<HttpResponse> VaultSession::send(HttpRequest request, const std::string& path,
                                        const std::string& name_space, Time until) const {
  request.url = settings_.address + "/v1/" + path;
  request.headers = {"X-Vault-Request: true", "Content-Type: application/json"};
  if (!name_space.empty()) request.headers.push_back("X-Vault-Namespace: " + name_space);
  return http_.send(request, until);
}

Result<SecretBytes> VaultSession::login_body() const {
  const SecretBytes role = TRY(checked_role(settings_.role));
  const auto body = [&](std::string_view role_name, std::string_view secret_name,
                        const SecretBytes& secret) {
    return secret_text({as_bytes(R"({")"), as_bytes(role_name), as_bytes(R"(":")"), role.expose(),
                        as_bytes(R"(",")"), as_bytes(secret_name), as_bytes(R"(":")"),
                        secret.expose(), as_bytes(R"("})")});
  };
  if (settings_.auth == VaultAuth::kCert)
    return secret_text({as_bytes(R"({"name":")"), role.expose(), as_bytes(R"("})")});
  if (settings_.auth != VaultAuth::kAppRole) {
    return body("role", "jwt",
                TRY(read_secret_line("JWT file", settings_.secret_file, Readers::kAnybody)));
  }
  if (settings_.secret_file.empty())
    return secret_text({as_bytes(R"({"role_id":")"), role.expose(), as_bytes(R"("})")});
  return body("role_id", "secret_id",
              TRY(read_secret_line("secret id file", settings_.secret_file, Readers::kOwner)));
}

Result<VaultSession::Kept::Fresh> VaultSession::log_in(Time until) {
  if (settings_.auth == VaultAuth::kToken) {
    const SecretBytes token =
        TRY(settings_.secret_file.empty()
                ? secret_line("VAULT_TOKEN", settings_.token.expose())
                : read_secret_line("token file", settings_.secret_file, Readers::kOwner));
    return Kept::Fresh{.credential = header_of(token.expose()), .lifetime = std::nullopt};
  }
  HttpRequest request{.method = "POST", .body = TRY(login_body())};
  const std::string path = "auth/" + settings_.auth_mount + "/login";
  auto response = TRY(send(std::move(request), path, settings_.name_space, until));
  if (is_trouble_of_vaults(response.status)) {
    return Error{
        Code::kKmsUnavailable, 0,
        settings_.address + ": " + std::to_string(response.status) + " " + vault_words(response)};
  }
  if (response.status != 200) {
    return Error{Code::kKmsDenied, 0,
                 settings_.address + " refuses the login at " + path + " (" +
                     std::to_string(response.status) + "): " + vault_words(response)};
  }
  return token_from(std::move(response));
}

Result<VaultSession::Kept::Fresh> VaultSession::renew(const SecretBytes& header, Time until) {
  HttpRequest request{
      .method = "POST", .secret_header = &header, .body = secret_text({as_bytes("{}")})};
  auto response =
      TRY(send(std::move(request), "auth/token/renew-self", settings_.name_space, until));
  if (response.status != 200) {
    const Code code =
        is_trouble_of_vaults(response.status) ? Code::kKmsUnavailable : Code::kKmsDenied;
    return Error{code, 0, "the token is not renewed: " + vault_words(response)};
  }
  return token_from(std::move(response));
}

Result<VaultSession::Kept::Fresh> VaultSession::token(const SecretBytes* kept, Time until) {
  if (kept != nullptr) {
    auto renewed = renew(*kept, until);
    if (!renewed && renewed.error().code == Code::kKmsDenied) return log_in(until);
    return renewed;
  }
  auto got = TRY(log_in(until));
  // A token that was handed to us says nothing of its lease; a token's file is another's to renew.
  if (settings_.auth != VaultAuth::kToken || !settings_.secret_file.empty()) return got;
  auto renewed = renew(got.credential, until);
  if (renewed) return renewed;
  // One that can't be is good for as long as it is; one that can't be now is tried again.
  if (renewed.error().code != Code::kKmsDenied) {
    got.lifetime = kTriedAgain;
    got.renew_before = kTriedAgain / 2;
  }
  return got;
}

Result<HttpResponse> VaultSession::call(const std::string& method, const std::string& path,
                                        const std::string& name_space, SecretBytes body,
                                        Time until) {
  const std::string& where = name_space.empty() ? settings_.name_space : name_space;
  auto now = TRY(kept_.current([&](const SecretBytes* kept) { return token(kept, until); }));
  for (bool again = false;; again = true) {
    auto response =
        TRY(send({.method = method, .secret_header = &now->credential, .body = body.clone()}, path,
                 where, until));
    if (response.status != 403) {
      now->accepted = true;
      return response;
    }
    if (again) return response;
    auto other = TRY(kept_.other_than(now, [&] { return log_in(until); }));
    if (other == nullptr) return response;
    now = std::move(other);
  }
}

std::string vault_words(const HttpResponse& response) {
  const auto errors = json_member(json_object(response.body.expose()), "errors");
  if (!errors.is_array()) return {};
  std::string words;
  for (const auto& error : errors) {
    if (error.is_string()) words += error.get<std::string>() + " ";
  }
  return without_secrets(words);
}

bool is_trouble_of_vaults(long status) { return status == 412 || status == 429 || status >= 500; }

}  // namespace coffer

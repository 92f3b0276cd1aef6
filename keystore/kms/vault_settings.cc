#include "keystore/kms/vault_settings.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr const char* kDefaultFile = "/etc/coffer/vault.conf";
constexpr const char* kFileVariable = "COFFER_VAULT_CONFIG";
constexpr const char* kJwtOfPods = "/var/run/secrets/kubernetes.io/serviceaccount/token";
constexpr std::size_t kMostOfFile = 64 * 1024;

using Values = std::map<std::string, std::string>;

const std::set<std::string_view> kNames = {
    "VAULT_ADDR",
    "VAULT_NAMESPACE",
    "VAULT_CACERT",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "COFFER_VAULT_AUTH",
    "COFFER_VAULT_AUTH_MOUNT",
    "COFFER_VAULT_ROLE",
    "COFFER_VAULT_TOKEN_FILE",
    "COFFER_VAULT_SECRET_ID_FILE",
    "COFFER_VAULT_JWT_FILE",
    "COFFER_VAULT_PIN_SHA256",
};

Error unusable(const std::string& words) {
  return {Code::kKeyUnavailable, 0, words + " (see keystore/VAULT.md, \"Settings\")"};
}

std::string environment(std::string_view name) {
  const char* const value = std::getenv(std::string(name).c_str());
  return value != nullptr ? value : "";
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// Whoever may write to it chooses where this node's secrets go.
Result<std::string> read_config(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return Error{Code::kKeyUnavailable, errno, path};
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Error{Code::kKeyUnavailable, errno, path};
  const bool ours = status.st_uid == 0 || status.st_uid == ::geteuid();
  if (!S_ISREG(status.st_mode) || !ours || (status.st_mode & 022) != 0)
    return unusable(path + " can be altered by others; it has to be root's, mode 0644 or less");
  std::string text(kMostOfFile, '\0');
  const auto length =
      read_up_to(fd.get(), {reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  if (!length) return Error{Code::kKeyUnavailable, length.error().errno_value, path};
  if (*length == kMostOfFile) return unusable(path + " is too long");
  text.resize(*length);
  return text;
}

Result<void> add_file(Values& values, const std::string& path) {
  const std::string text = TRY(read_config(path));
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const std::size_t equals = line.find('=');
    const std::string_view name = trimmed(line.substr(0, equals));
    if (equals == std::string_view::npos || !kNames.contains(name)) {
      return unusable(path + ": line " + std::to_string(number) +
                      " sets nothing that is known here");
    }
    values.try_emplace(std::string(name), trimmed(line.substr(equals + 1)));
  }
  return {};
}

Result<Values> gather() {
  Values values;
  for (const std::string_view name : kNames) {
    if (const std::string value = environment(name); !value.empty())
      values[std::string(name)] = value;
  }
  const std::string named = environment(kFileVariable);
  if (!named.empty()) {
    TRY(add_file(values, named));
  } else if (::access(kDefaultFile, F_OK) == 0) {
    TRY(add_file(values, kDefaultFile));
  }
  return values;
}

Result<VaultAuth> auth_of(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, VaultAuth>, 6> kKnown = {
      {{"", VaultAuth::kToken},
       {"token", VaultAuth::kToken},
       {"approle", VaultAuth::kAppRole},
       {"kubernetes", VaultAuth::kKubernetes},
       {"jwt", VaultAuth::kJwt},
       {"cert", VaultAuth::kCert}}};
  for (const auto& [known, auth] : kKnown) {
    if (known == name) return auth;
  }
  return unusable("COFFER_VAULT_AUTH is none of token, approle, kubernetes, jwt, cert");
}

Result<void> set_address(VaultSettings& settings, const std::string& address) {
  if (address.empty()) {
    return unusable(
        "VAULT_ADDR is not set: a keystore does not choose who is told this node's secrets; set it "
        "to https://HOST:PORT");
  }
  const bool plain = address.starts_with("http://");
  if (!plain && !address.starts_with("https://"))
    return unusable("VAULT_ADDR is no https://HOST:PORT");
  std::string_view rest = std::string_view(address).substr(plain ? 7 : 8);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto host = parse_host(rest, plain ? 80 : 443);
  if (!host) return unusable("VAULT_ADDR is no https://HOST:PORT");
  settings.address =
      (plain ? "http://" : "https://") + host->host + ":" + std::to_string(host->port);
  settings.http.plain_http = plain;
  return {};
}

/// What to log in with, by way of login.
Result<void> set_credentials(VaultSettings& settings, Values& values) {
  settings.auth = TRY(auth_of(values["COFFER_VAULT_AUTH"]));
  settings.role = values["COFFER_VAULT_ROLE"];
  settings.auth_mount = values["COFFER_VAULT_AUTH_MOUNT"];
  const auto by_default = [&settings](const char* mount) {
    if (settings.auth_mount.empty()) settings.auth_mount = mount;
  };
  switch (settings.auth) {
    case VaultAuth::kToken: {
      settings.secret_file = values["COFFER_VAULT_TOKEN_FILE"];
      const char* const token = std::getenv("VAULT_TOKEN");
      if (token != nullptr) settings.token = SecretBytes::copy_of(as_bytes(token));
      if (settings.secret_file.empty() && settings.token.empty())
        return unusable("neither VAULT_TOKEN nor COFFER_VAULT_TOKEN_FILE is set");
      return {};
    }
    case VaultAuth::kAppRole:
      by_default("approle");
      settings.secret_file = values["COFFER_VAULT_SECRET_ID_FILE"];
      if (settings.role.empty()) return unusable("COFFER_VAULT_ROLE, the role id, is not set");
      return {};
    case VaultAuth::kKubernetes:
      by_default("kubernetes");
      settings.secret_file = values["COFFER_VAULT_JWT_FILE"];
      if (settings.secret_file.empty()) settings.secret_file = kJwtOfPods;
      if (settings.role.empty()) return unusable("COFFER_VAULT_ROLE is not set");
      return {};
    case VaultAuth::kJwt:
      by_default("jwt");
      settings.secret_file = values["COFFER_VAULT_JWT_FILE"];
      if (settings.secret_file.empty()) return unusable("COFFER_VAULT_JWT_FILE is not set");
      return {};
    case VaultAuth::kCert:
      by_default("cert");
      if (settings.http.client_cert.empty())
        return unusable("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not set");
      return {};
  }
  return unusable("COFFER_VAULT_AUTH");
}

}  // namespace

Result<HostAndPort> parse_host(std::string_view text, unsigned default_port) {
  const Error malformed{Code::kInvalid, 0, "no HOST:PORT"};
  const std::size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return malformed;
  const std::size_t colon = text.find(':', bracket);
  HostAndPort out{std::string(text.substr(0, colon)), default_port};
  const std::string_view in_brackets = bracket > 0 ? "[]:" : "-._";
  for (char& letter : out.host) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    if (letter >= 'A' && letter <= 'Z') {
      letter = static_cast<char>(letter - 'A' + 'a');
    } else if (!plain && in_brackets.find(letter) == std::string_view::npos) {
      return malformed;
    }
  }
  if (out.host.empty() || (bracket > 0 && out.host.size() != bracket + 1)) return malformed;
  if (colon == std::string_view::npos) return out;
  const std::string_view digits = text.substr(colon + 1);
  const bool numeric =
      std::ranges::all_of(digits, [](char digit) { return digit >= '0' && digit <= '9'; });
  if (digits.empty() || digits.size() > 5 || digits[0] == '0' || !numeric) return malformed;
  out.port = static_cast<unsigned>(std::strtoul(std::string(digits).c_str(), nullptr, 10));
  if (out.port > 65535) return malformed;
  return out;
}

Result<VaultSettings> VaultSettings::of_this_node() {
  Values values = TRY(gather());
  VaultSettings settings;
  TRY(set_address(settings, values["VAULT_ADDR"]));
  settings.name_space = values["VAULT_NAMESPACE"];
  settings.http.ca_file = values["VAULT_CACERT"];
  settings.http.client_cert = values["VAULT_CLIENT_CERT"];
  settings.http.client_key = values["VAULT_CLIENT_KEY"];
  settings.http.pin_sha256 = values["COFFER_VAULT_PIN_SHA256"];
  settings.http.most = 256 * 1024;  // of locked memory
  if (settings.http.client_cert.empty() != settings.http.client_key.empty())
    return unusable("of VAULT_CLIENT_CERT and VAULT_CLIENT_KEY one is set, and not the other");
  TRY(set_credentials(settings, values));
  return settings;
}

}  // namespace coffer

#include "keystore/kms/aws_sigv4.h"

#include <algorithm>

#include "keystore/crypto/digest.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

/// Without spaces around it, and one where there are several. Values may be secret (tokens).
SecretBytes trimmed(Bytes value) {
  SecretBytes out(value.size());
  std::size_t length = 0;
  for (const std::uint8_t letter : value) {
    const bool space = letter == ' ' || letter == '\t';
    if (space && (length == 0 || out.expose()[length - 1] == ' ')) continue;
    out.expose()[length++] = space ? std::uint8_t{' '} : letter;
  }
  while (length > 0 && out.expose()[length - 1] == ' ') --length;
  return SecretBytes::copy_of(out.expose().first(length));
}

struct CanonicalHeaders {
  SecretBytes lines;
  std::string names;
};

/// `headers` in the order of their names; those of one name in one line.
CanonicalHeaders canonical(const std::vector<SigV4Header>& headers) {
  CanonicalHeaders out;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const bool again = i > 0 && headers[i].name == headers[i - 1].name;
    const bool last = i + 1 == headers.size() || headers[i].name != headers[i + 1].name;
    if (!again) out.names += (i > 0 ? ";" : "") + headers[i].name;
    out.lines = secret_text({out.lines.expose(), as_bytes(again ? "," : headers[i].name + ":"),
                             trimmed(headers[i].value).expose(), as_bytes(last ? "\n" : "")});
  }
  return out;
}

SecretBytes mac(Bytes key, std::string_view data) {
  Digest digest = HmacKey(key).mac(as_bytes(data));
  SecretBytes out = SecretBytes::copy_of(digest);
  wipe(digest);
  return out;
}

}  // namespace

std::string sigv4_authorization(std::string_view access_key_id,
                                const SecretBytes& secret_access_key, const SigV4Scope& scope,
                                SigV4Request request) {
  std::ranges::stable_sort(request.headers, {}, &SigV4Header::name);
  const CanonicalHeaders headers = canonical(request.headers);
  const SecretBytes canonical_request = secret_text(
      {as_bytes(request.method), as_bytes("\n/\n\n"), headers.lines.expose(), as_bytes("\n"),
       as_bytes(headers.names), as_bytes("\n"), as_bytes(to_hex(sha256(request.body)))});
  const std::string_view date = scope.timestamp.substr(0, 8);
  std::string place(date);
  for (const std::string_view part :
       {scope.region, scope.service, std::string_view("aws4_request")})
    (place += '/') += part;
  std::string to_sign(kAlgorithm);
  ((to_sign += '\n') += scope.timestamp) += '\n';
  to_sign += place + "\n" + to_hex(sha256(canonical_request.expose()));
  SecretBytes key = secret_text({as_bytes("AWS4"), secret_access_key.expose()});
  for (const std::string_view part :
       {date, scope.region, scope.service, std::string_view("aws4_request")})
    key = mac(key.expose(), part);
  const SecretBytes signature = mac(key.expose(), to_sign);
  std::string out(kAlgorithm);
  (out += " Credential=") += access_key_id;
  return out + "/" + place + ", SignedHeaders=" + headers.names +
         ", Signature=" + to_hex(signature.expose());
}

}  // namespace coffer

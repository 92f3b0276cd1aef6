#include <cstdio>

#include "keystore/crypto/kdf.h"
#include "keystore/crypto/random.h"
#include "keystore/kms/local_kms.h"

namespace coffer {
namespace {

constexpr std::size_t kSaltSize = 16;
constexpr const char* kUri = "passphrase:";

struct Parameters {
  ScryptCost cost;
  ByteVector salt;
};

std::string format(const Parameters& parameters) {
  return "scrypt ln=" + std::to_string(parameters.cost.log2_n) +
         " r=" + std::to_string(parameters.cost.r) + " p=" + std::to_string(parameters.cost.p) +
         " salt=" + to_hex(parameters.salt);
}

/// Accepts what `format` writes and nothing else.
Result<Parameters> parse(const std::string& text) {
  Parameters parameters;
  char salt[2 * kSaltSize + 1] = {};
  // Two digits at most fit any of the numbers, and what was read is compared with the text below.
  const int fields =  // NOLINTNEXTLINE(cert-err34-c)
      std::sscanf(text.c_str(), "scrypt ln=%2u r=%2u p=%2u salt=%32[0-9a-f]",
                  &parameters.cost.log2_n, &parameters.cost.r, &parameters.cost.p, salt);
  if (fields == 4) {
    if (auto bytes = from_hex(salt)) parameters.salt = std::move(*bytes);
  }
  if (parameters.salt.size() != kSaltSize || format(parameters) != text) {
    return Error{Code::kCorrupt, 0, "keystore: malformed passphrase parameters"};
  }
  return parameters;
}

}  // namespace

Result<std::unique_ptr<MasterKms>> create_passphrase_master(const PassphraseSource& source) {
  const SecretBytes passphrase = TRY(source(true));
  if (passphrase.empty()) return Error{Code::kInvalid, 0, "an empty passphrase protects nothing"};
  Parameters parameters;
  parameters.salt.resize(kSaltSize);
  random_bytes(parameters.salt);
  const SecretBytes key = TRY(scrypt(passphrase.expose(), parameters.salt, parameters.cost));
  return std::unique_ptr<MasterKms>(std::make_unique<LocalKms>(kUri, format(parameters), key));
}

Result<std::unique_ptr<MasterKms>> open_passphrase_master(const MasterKeyRecord& record,
                                                          const PassphraseSource& source) {
  const Parameters parameters = TRY(parse(record.params));
  TRY(check_cost(parameters.cost));  // before anyone is asked
  const SecretBytes passphrase = TRY(source(false));
  const SecretBytes key = TRY(scrypt(passphrase.expose(), parameters.salt, parameters.cost));
  auto master = std::make_unique<LocalKms>(kUri, record.params, key);
  if (master->describe().version != record.version) {
    return Error{Code::kWrongKey, 0, "wrong passphrase"};
  }
  return std::unique_ptr<MasterKms>(std::move(master));
}

}  // namespace coffer

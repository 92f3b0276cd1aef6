#include <unistd.h>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/private_file.h"

namespace coffer {
namespace {

constexpr std::string_view kPrefix = "coffer-master-key-1 ";
constexpr std::size_t kKeySize = 32;
constexpr std::size_t kFileSize = kPrefix.size() + 2 * kKeySize + 1;

char hex_digit(unsigned value) {
  return static_cast<char>(value < 10 ? '0' + value : 'a' + value - 10);
}

/// -1 for any other character. Works on one secret digit at a time, so that the key never passes
/// through an ordinary buffer.
int hex_digit_value(std::uint8_t digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

SecretBytes encode(const SecretBytes& key) {
  SecretBytes text(kFileSize);
  const MutableBytes out = text.expose();
  std::memcpy(out.data(), kPrefix.data(), kPrefix.size());
  std::size_t at = kPrefix.size();
  for (const std::uint8_t byte : key.expose()) {
    out[at++] = static_cast<std::uint8_t>(hex_digit(byte >> 4));
    out[at++] = static_cast<std::uint8_t>(hex_digit(byte & 15));
  }
  out[at] = '\n';
  return text;
}

Result<SecretBytes> decode(Bytes text, const std::string& path) {
  const Error malformed{Code::kWrongKey, 0, path + " is not a coffer master key file"};
  if (!text.empty() && text.back() == '\n') text = text.first(text.size() - 1);
  if (text.size() != kFileSize - 1 || as_text(text.first(kPrefix.size())) != kPrefix)
    return malformed;
  SecretBytes key(kKeySize);
  for (std::size_t i = 0; i < kKeySize; ++i) {
    const int high = hex_digit_value(text[kPrefix.size() + 2 * i]);
    const int low = hex_digit_value(text[kPrefix.size() + 2 * i + 1]);
    if (high < 0 || low < 0) return malformed;
    key.expose()[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return key;
}

Result<SecretBytes> read_key_file(const std::string& path) {
  const SecretBytes text = TRY(read_private_file("master key file", path, kFileSize + 1));
  return decode(text.expose(), path);
}

}  // namespace

Result<std::unique_ptr<MasterKms>> create_key_file_master(const std::string& uri,
                                                          const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    return std::unique_ptr<MasterKms>(
        std::make_unique<LocalKms>(uri, "", TRY(read_key_file(path))));
  }
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) TRY(make_directories(path.substr(0, slash), 0700));
  const SecretBytes key = SecretBytes::random(kKeySize);
  TRY(create_file(path, encode(key).expose(), 0600));
  return std::unique_ptr<MasterKms>(std::make_unique<LocalKms>(uri, "", key));
}

Result<std::unique_ptr<MasterKms>> open_key_file_master(const MasterKeyRecord& record,
                                                        const std::string& path) {
  auto master = std::make_unique<LocalKms>(record.uri, record.params, TRY(read_key_file(path)));
  if (master->describe().version != record.version) {
    return Error{Code::kWrongKey, 0,
                 "master key file " + path + " holds another key (" + master->describe().version +
                     ") than this keystore's (" + record.version + ")"};
  }
  return std::unique_ptr<MasterKms>(std::move(master));
}

}  // namespace coffer

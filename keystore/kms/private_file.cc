#include "keystore/kms/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr std::size_t kLongestPin = 255;
constexpr std::size_t kMostOfSecret = 16 * 1024;

Bytes first_line(Bytes text) {
  std::size_t length = 0;
  while (length < text.size() && text[length] != '\n' && text[length] != '\r') ++length;
  return text.first(length);
}

}  // namespace

Result<SecretBytes> read_secret_file(const std::string& what, const std::string& path,
                                     std::size_t most, Readers readers) {
  const auto unavailable = [&](int reason, const std::string& why = {}) {
    return Error{Code::kKeyUnavailable, reason, what + " " + path + why};
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return unavailable(errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return unavailable(errno);
  if (!S_ISREG(status.st_mode)) return unavailable(0, " is no regular file");
  if (readers == Readers::kOwner) {
    if ((status.st_mode & 077) != 0) {
      return unavailable(0, " can be read by others; run: chmod 600 " + path);
    }
    if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
      return unavailable(0, " belongs to another user");
    }
  }
  SecretBytes text(most);
  const auto length = read_up_to(fd.get(), text.expose());
  if (!length) return unavailable(length.error().errno_value);
  return SecretBytes::copy_of(text.expose().first(*length));
}

Result<SecretBytes> read_private_file(const std::string& what, const std::string& path,
                                      std::size_t most) {
  return read_secret_file(what, path, most, Readers::kOwner);
}

Result<SecretBytes> secret_line(const std::string& what, Bytes text) {
  const Bytes line = first_line(text);
  if (line.empty() || !is_plain_text(line))
    return Error{Code::kKeyUnavailable, 0, what + " does not begin with a line of plain text"};
  return SecretBytes::copy_of(line);
}

Result<SecretBytes> read_secret_line(const std::string& what, const std::string& path,
                                     Readers readers) {
  const SecretBytes text = TRY(read_secret_file(what, path, kMostOfSecret, readers));
  return secret_line(what + " " + path, text.expose());
}

Result<SecretBytes> read_pin_file(std::string path) {
  constexpr std::string_view kScheme = "file:";
  if (path.starts_with(kScheme)) path.erase(0, kScheme.size());
  const auto refused = [&path](const std::string& why) {
    return Error{Code::kKeyUnavailable, 0, "PIN file " + path + why};
  };
  if (!path.starts_with('/')) return refused(": its path has to be absolute");
  const SecretBytes text = TRY(read_private_file("PIN file", path, kLongestPin + 1));
  const Bytes pin = first_line(text.expose());
  if (pin.empty() || pin.size() > kLongestPin) return refused(" holds no PIN");
  return SecretBytes::copy_of(pin);
}

}  // namespace coffer

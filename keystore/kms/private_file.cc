#include "keystore/kms/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr std::size_t kLongestPin = 255;

}  // namespace

Result<SecretBytes> read_private_file(const std::string& what, const std::string& path,
                                      std::size_t most) {
  const auto unavailable = [&](int reason, const std::string& why = {}) {
    return Error{Code::kKeyUnavailable, reason, what + " " + path + why};
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return unavailable(errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return unavailable(errno);
  if (!S_ISREG(status.st_mode)) return unavailable(0, " is no regular file");
  if ((status.st_mode & 077) != 0) {
    return unavailable(0, " can be read by others; run: chmod 600 " + path);
  }
  if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
    return unavailable(0, " belongs to another user");
  }
  SecretBytes text(most);
  const auto length = read_up_to(fd.get(), text.expose());
  if (!length) return unavailable(length.error().errno_value);
  return SecretBytes::copy_of(text.expose().first(*length));
}

Result<SecretBytes> read_pin_file(std::string path) {
  constexpr std::string_view kScheme = "file:";
  if (path.starts_with(kScheme)) path.erase(0, kScheme.size());
  const auto refused = [&path](const std::string& why) {
    return Error{Code::kKeyUnavailable, 0, "PIN file " + path + why};
  };
  if (!path.starts_with('/')) return refused(": its path has to be absolute");
  const SecretBytes text = TRY(read_private_file("PIN file", path, kLongestPin + 1));
  const Bytes all = text.expose();
  const auto end = std::find(all.begin(), all.end(), '\n');
  const auto size = static_cast<std::size_t>(end - all.begin());
  if (size == 0 || size > kLongestPin) return refused(" holds no PIN");
  return SecretBytes::copy_of(all.first(size));
}

}  // namespace coffer

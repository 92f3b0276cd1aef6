#include "keystore/cli/environment_pin.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/secret_text.h"

namespace coffer {
namespace {

constexpr const char* kVariable = "COFFER_PIN";
constexpr std::size_t kLongestPin = 255;

Error odd(const std::string& words) {
  return {Code::kKeyUnavailable, 0, std::string(kVariable) + " " + words};
}

/// "COFFER_PIN=…", as often as it is there: the first is what it is set to.
std::vector<char*> variables() {
  const std::string begin = std::string(kVariable) + "=";
  std::vector<char*> found;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    if (std::string_view(*each).starts_with(begin)) found.push_back(*each);
  }
  return found;
}

}  // namespace

std::shared_ptr<EnvironmentPin> EnvironmentPin::take() {
  const std::vector<char*> found = variables();
  if (found.empty()) return nullptr;
  std::shared_ptr<EnvironmentPin> taken(new EnvironmentPin());
  const std::string_view pin = std::string_view(found[0]).substr(std::strlen(kVariable) + 1);
  taken->unusable_ = taken->keep(as_bytes(pin));
  ::unsetenv(kVariable);
  for (char* const each : found) wipe({reinterpret_cast<std::uint8_t*>(each), std::strlen(each)});
  return taken;
}

std::optional<Error> EnvironmentPin::keep(Bytes pin) {
  if (pin.empty()) return odd("is set and empty; give it a PIN, or unset it");
  if (pin.size() > kLongestPin ||
      std::ranges::any_of(pin, [](std::uint8_t byte) { return byte == '\n' || byte == '\r'; }))
    return odd("is no PIN: one line of up to 255 bytes");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return Error{Code::kKeyUnavailable, errno, kVariable};
  pipe_ = UniqueFd(ends[0]);
  const UniqueFd writer(ends[1]);
  if (const auto written = write_all(writer.get(), pin); !written)
    return Error{Code::kKeyUnavailable, written.error().errno_value, kVariable};
  return std::nullopt;
}

Result<SecretBytes> EnvironmentPin::give() {
  if (unusable_) return *unusable_;
  SecretBytes room(kLongestPin);
  const auto length = read_up_to(pipe_.get(), room.expose());
  forget();
  if (!length || *length == 0) return odd("is used once, and was");
  return SecretBytes::copy_of(room.expose().first(*length));
}

void EnvironmentPin::forget() noexcept {
  // The other processes that this one was forked from, or has forked, have the pipe as well.
  std::array<std::uint8_t, kLongestPin> rest{};
  if (pipe_.valid()) (void)read_up_to(pipe_.get(), rest);
  wipe(rest);
  pipe_.reset();
}

}  // namespace coffer

#include "keystore/cli/passphrase.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"

namespace coffer {
namespace {

constexpr std::size_t kLongestPassphrase = 1024;

/// Up to the end of the line or of the file, without the newline.
Result<SecretBytes> read_line(int fd, const std::string& from) {
  SecretBytes buffer(kLongestPassphrase + 1);
  const MutableBytes bytes = buffer.expose();
  std::size_t length = 0;
  while (length < bytes.size()) {
    // Byte by byte: what follows the line belongs to whoever reads next.
    const ssize_t done = ::read(fd, bytes.data() + length, 1);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno_error(errno, "reading the passphrase from " + from);
    if (done == 0 || bytes[length] == '\n') break;
    ++length;
  }
  if (length > kLongestPassphrase)
    return Error{Code::kInvalid, 0, "the passphrase is longer than 1024 bytes"};
  return SecretBytes::copy_of(bytes.first(length));
}

/// Turns the terminal's echo off for as long as it lives.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd) {
    if (::tcgetattr(fd_, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ECHONL;
    changed_ = ::tcsetattr(fd_, TCSAFLUSH, &quiet) == 0;
  }
  ~EchoOff() {
    if (changed_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  int fd_;
  termios before_{};
  bool changed_ = false;
};

Result<SecretBytes> ask(int terminal, std::string_view prompt) {
  TRY(write_all(terminal, as_bytes(prompt)));
  const EchoOff quiet(terminal);
  return read_line(terminal, "the terminal");
}

Result<SecretBytes> ask_on_terminal(bool confirm) {
  const UniqueFd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal.valid()) {
    return Error{Code::kKeyUnavailable, 0,
                 "there is no terminal to ask for the passphrase; give --passphrase-file"};
  }
  SecretBytes passphrase = TRY(ask(terminal.get(), confirm ? "New passphrase: " : "Passphrase: "));
  if (confirm) {
    const SecretBytes again = TRY(ask(terminal.get(), "The same again: "));
    if (!constant_time_equal(passphrase.expose(), again.expose())) {
      return Error{Code::kInvalid, 0, "the two passphrases differ"};
    }
  }
  return passphrase;
}

}  // namespace

Result<SecretBytes> read_passphrase(int fd) {
  return read_line(fd, "descriptor " + std::to_string(fd));
}

PassphraseSource passphrase_source(const PassphraseOptions& options, const std::string& uri) {
  // COFFER_PIN is for tokens: a passphrase is no PIN.
  const bool pin_is_set = options.pin != nullptr && uri != "passphrase:";
  return [options, pin_is_set](bool confirm) -> Result<SecretBytes> {
    if (!options.file.empty()) {
      const UniqueFd file(::open(options.file.c_str(), O_RDONLY | O_CLOEXEC));
      if (!file.valid()) {
        return Error{Code::kKeyUnavailable, errno, "passphrase file " + options.file};
      }
      return read_line(file.get(), options.file);
    }
    if (options.fd >= 0) return read_passphrase(options.fd);
    if (pin_is_set) return options.pin->give();
    return ask_on_terminal(confirm);
  };
}

}  // namespace coffer

#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace coffer {

/// What went wrong, by cause. The filesystem turns a code into an errno (fs/fuse), the command line
/// into an exit code (mount-tools); both tables are part of the interface, so codes are added and
/// never reused.
enum class Code {
  kNotFound,         ///< no such file, scope, grant or key
  kExists,           ///< something of that name is already there
  kInvalid,          ///< the request makes no sense as written
  kDenied,           ///< no grant, or an explicit deny
  kRevoked,          ///< the key or grant was revoked
  kExpired,          ///< the grant has run out
  kKeyUnavailable,   ///< the key is missing, locked, or what opens it is not at hand
  kWrongKey,         ///< a master key or passphrase that is not this keystore's
  kCorrupt,          ///< bytes that do not authenticate, or break the format
  kMoved,            ///< authentic, but not at the place where it was put
  kRolledBack,       ///< authentic, but older than what is on record
  kNotAStore,        ///< the directory is no store
  kKeystoreMissing,  ///< the store's keystore is not where it should be
  kForeignKeystore,  ///< the keystore belongs to another store
  kUnknownVersion,   ///< a format newer than this program
  kMountPoint,       ///< the mount point is missing, no directory, or not empty
  kBusy,             ///< held by another process
  kReadOnly,         ///< the backing or keystore can't be written
  kNoSpace,          ///< full disk or quota
  kExhausted,        ///< memory, descriptors, links or another limit
  kUnsupported,      ///< not offered, here or at all
  kIo,               ///< any other failure of the system below
  kKmsDenied,        ///< the KMS knows who asks and refuses, or does not take its credentials
  kKmsKeyMissing,    ///< the KMS has no such master key (any more)
  kKmsKeyDisabled,   ///< the master key is there, and may not be used now
  kKmsUnavailable,   ///< no answer, a busy KMS or a broken answer: trying again may help
};

/// A short name for logs and `--json` ("not-found").
std::string_view to_string(Code code);

/// True if there is no key to be had, for whatever reason: ENOKEY on a mount.
[[nodiscard]] constexpr bool no_key(Code code) {
  return code == Code::kKeyUnavailable || code == Code::kKmsDenied ||
         code == Code::kKmsKeyMissing || code == Code::kKmsKeyDisabled ||
         code == Code::kKmsUnavailable;
}

/// True if the caller may not have it, or not now: a grant or a key is missing, and nothing is
/// known of what lies behind.
[[nodiscard]] constexpr bool is_refusal(Code code) {
  return code == Code::kDenied || code == Code::kExpired || code == Code::kRevoked || no_key(code);
}

/// A failure: its cause, the errno behind it (0 if none), and words for people, added once by the
/// layer that knows them.
struct Error {
  Code code = Code::kIo;
  int errno_value = 0;
  std::string context;

  /// "context: errno text", for a log line or stderr, as far as there are both; the code's name if
  /// there is neither.
  [[nodiscard]] std::string message() const;
};

/// The error of a failed system call, its code chosen by errno.
Error errno_error(int errno_value, std::string context = {});

/// A value of type T or an Error. Exceptions are left for lack of memory and for bugs.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-*)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  [[nodiscard]] const Error& error() const& { return *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-*)

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const {}
  [[nodiscard]] const Error& error() const& { return *error_; }
  [[nodiscard]] Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace coffer

#define COFFER_CONCAT_(a, b) a##b
#define COFFER_CONCAT(a, b) COFFER_CONCAT_(a, b)
#define COFFER_TRY_(result, expr)       \
  ({                                    \
    auto result = (expr);               \
    if (!result.ok()) [[unlikely]]      \
      return std::move(result).error(); \
    std::move(result).value();          \
  })

/// The value of a Result expression; returns its error from the calling function otherwise.
#define TRY(expr) COFFER_TRY_(COFFER_CONCAT(try_result_, __COUNTER__), expr)

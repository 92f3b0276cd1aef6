#include "keystore/cli/exit_code.h"

#include <cstdio>

namespace coffer {

int exit_code(Code code) {
  switch (code) {
    case Code::kIo:
      return 1;
    case Code::kInvalid:
      return 2;
    case Code::kNotAStore:
      return 3;
    case Code::kWrongKey:
      return 4;
    case Code::kKeystoreMissing:
      return 5;
    case Code::kForeignKeystore:
      return 6;
    case Code::kUnknownVersion:
      return 7;
    case Code::kCorrupt:
      return 8;
    case Code::kMoved:
      return 9;
    case Code::kRolledBack:
      return 10;
    case Code::kKeyUnavailable:
      return 11;
    case Code::kDenied:
      return 12;
    case Code::kRevoked:
      return 13;
    case Code::kExpired:
      return 14;
    case Code::kMountPoint:
      return 15;
    case Code::kBusy:
      return 16;
    case Code::kReadOnly:
      return 17;
    case Code::kNoSpace:
      return 18;
    case Code::kNotFound:
      return 19;
    case Code::kExists:
      return 20;
    case Code::kExhausted:
      return 21;
    case Code::kUnsupported:
      return 22;
    case Code::kKmsDenied:
      return 23;
    case Code::kKmsKeyMissing:
      return 24;
    case Code::kKmsKeyDisabled:
      return 25;
    case Code::kKmsUnavailable:
      return 26;
  }
  return 1;
}

std::string_view next_step(Code code) {
  switch (code) {
    case Code::kNotAStore:
      return "make one with: coffer init STORE";
    case Code::kWrongKey:
      return "use the master key or passphrase that the store was made with";
    case Code::kForeignKeystore:
      return "point 'keystore' in STORE/.coffer/store.toml to the store's own keystore";
    case Code::kUnknownVersion:
      return "use a newer coffer";
    case Code::kCorrupt:
    case Code::kRolledBack:
      return "restore it from a backup";
    case Code::kMoved:
      return "put it back where it was, or restore it from a backup";
    case Code::kKeyUnavailable:
      return "see whether the master key can be had";
    case Code::kKmsDenied:
      return "give this machine's identity the rights it needs at the KMS, or renew its "
             "credentials";
    case Code::kKmsKeyMissing:
      return "see at the KMS whether the master key was deleted or its name is another";
    case Code::kKmsKeyDisabled:
      return "enable the master key at the KMS";
    case Code::kKmsUnavailable:
      return "see whether the KMS can be reached from here, and try again";
    case Code::kDenied:
      return "ask for a grant: coffer grant add STORE PATH --selector unix:uid:N --right read";
    case Code::kRevoked:
    case Code::kExpired:
      return "ask for a new grant";
    case Code::kMountPoint:
      return "give an existing directory";
    case Code::kBusy:
      return "see who uses it: coffer status";
    case Code::kReadOnly:
      return "mount with --read-only, or make it writable";
    case Code::kNoSpace:
      return "make room and run the same command again";
    case Code::kExhausted:
      return "raise the limit (ulimit -l, ulimit -n) and try again";
    default:
      return {};
  }
}

Explained explain(const Error& error) {
  std::string message = error.message();
  // A message with a semicolon says the next step itself.
  const std::size_t semicolon = message.find("; ");
  if (semicolon == std::string::npos)
    return {std::move(message), std::string(next_step(error.code))};
  return {message.substr(0, semicolon), message.substr(semicolon + 2)};
}

int report_failure(const Error& error) {
  auto [line, remedy] = explain(error);
  if (!remedy.empty()) line.append("; ").append(remedy);
  std::fprintf(stderr, "coffer: %s\n", line.c_str());
  return exit_code(error.code);
}

}  // namespace coffer

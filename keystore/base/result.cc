#include "keystore/base/result.h"

#include <cstring>

namespace coffer {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kNotFound:
      return "not-found";
    case Code::kExists:
      return "exists";
    case Code::kInvalid:
      return "invalid";
    case Code::kDenied:
      return "denied";
    case Code::kRevoked:
      return "revoked";
    case Code::kExpired:
      return "expired";
    case Code::kKeyUnavailable:
      return "key-unavailable";
    case Code::kWrongKey:
      return "wrong-key";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kMoved:
      return "moved";
    case Code::kRolledBack:
      return "rolled-back";
    case Code::kNotAStore:
      return "not-a-store";
    case Code::kKeystoreMissing:
      return "keystore-missing";
    case Code::kForeignKeystore:
      return "foreign-keystore";
    case Code::kUnknownVersion:
      return "unknown-version";
    case Code::kMountPoint:
      return "mount-point";
    case Code::kBusy:
      return "busy";
    case Code::kReadOnly:
      return "read-only";
    case Code::kNoSpace:
      return "no-space";
    case Code::kExhausted:
      return "exhausted";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kIo:
      return "io";
    case Code::kKmsDenied:
      return "kms-denied";
    case Code::kKmsKeyMissing:
      return "kms-key-missing";
    case Code::kKmsKeyDisabled:
      return "kms-key-disabled";
    case Code::kKmsUnavailable:
      return "kms-unavailable";
  }
  return "unknown";
}

std::string Error::message() const {
  // The EIO of a file that was altered is for programs; people would look for a broken disk.
  const bool errno_says_more = errno_value != 0 && (errno_value != EIO || code == Code::kIo);
  if (!errno_says_more) return context.empty() ? std::string(to_string(code)) : context;
  char buffer[128];
  // The GNU strerror_r: thread-safe, and returns the text itself.
  const std::string reason = strerror_r(errno_value, buffer, sizeof buffer);
  return context.empty() ? reason : context + ": " + reason;
}

Error errno_error(int errno_value, std::string context) {
  Code code = Code::kIo;
  switch (errno_value) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case EACCES:
    case EPERM:
      code = Code::kDenied;
      break;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
    case EXDEV:
    case ELOOP:
      code = Code::kInvalid;
      break;
    case EBUSY:
    case ETXTBSY:
      code = Code::kBusy;
      break;
    case EROFS:
      code = Code::kReadOnly;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kNoSpace;
      break;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EMLINK:
    case EFBIG:
      code = Code::kExhausted;
      break;
    case EOPNOTSUPP:
    case ENOSYS:
      code = Code::kUnsupported;
      break;
    default:
      break;
  }
  return Error{code, errno_value, std::move(context)};
}

}  // namespace coffer

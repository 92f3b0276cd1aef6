#include "fs/fuse/errno_map.h"

#include <cerrno>

namespace coffer {
namespace {

int system_or(const Error& error, int otherwise) {
  return error.errno_value != 0 ? error.errno_value : otherwise;
}

}  // namespace

int to_errno(const Error& error) {
  switch (error.code) {
    case Code::kNotFound:
      return system_or(error, ENOENT);
    case Code::kExists:
      return system_or(error, EEXIST);
    case Code::kInvalid:
      return system_or(error, EINVAL);
    case Code::kDenied:
      return system_or(error, EACCES);
    case Code::kRevoked:
      return EKEYREVOKED;
    case Code::kExpired:
      return EKEYEXPIRED;
    case Code::kKeyUnavailable:
    case Code::kKmsDenied:
    case Code::kKmsKeyMissing:
    case Code::kKmsKeyDisabled:
    case Code::kKmsUnavailable:
      return ENOKEY;
    case Code::kBusy:
      return system_or(error, EBUSY);
    case Code::kReadOnly:
      return EROFS;
    case Code::kNoSpace:
      return system_or(error, ENOSPC);
    case Code::kExhausted:
      return system_or(error, ENOMEM);
    case Code::kUnsupported:
      return system_or(error, EOPNOTSUPP);
    case Code::kIo:
      return system_or(error, EIO);
    case Code::kWrongKey:
    case Code::kCorrupt:
    case Code::kMoved:
    case Code::kRolledBack:
    case Code::kNotAStore:
    case Code::kKeystoreMissing:
    case Code::kForeignKeystore:
    case Code::kUnknownVersion:
    case Code::kMountPoint:
      return EIO;
  }
  return EIO;
}

std::string_view advice(Code code) {
  switch (code) {
    case Code::kWrongKey:
    case Code::kCorrupt:
      return "run 'coffer verify' on the store and restore the file from a backup";
    case Code::kMoved:
      return "put the backing file back where it was, or restore it from a backup";
    case Code::kRolledBack:
      return "restore the newest backup of the file";
    case Code::kUnknownVersion:
      return "use a newer coffer";
    case Code::kKeyUnavailable:
      return "see whether the master key can be had and the keystore is whole";
    case Code::kKmsDenied:
    case Code::kKmsKeyMissing:
    case Code::kKmsKeyDisabled:
    case Code::kKmsUnavailable:
      return "run 'coffer kms check' on the store";
    case Code::kNoSpace:
      return "make room on the backing filesystem";
    case Code::kIo:
      return "see the system log for errors of the backing filesystem";
    case Code::kExhausted:
      return "raise the limit on locked memory or open files of the daemon";
    default:
      return {};
  }
}

}  // namespace coffer

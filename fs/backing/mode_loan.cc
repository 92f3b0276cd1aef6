#include "fs/backing/mode_loan.h"

#include <unistd.h>

#include <cerrno>

#include "keystore/base/mutex.h"

namespace coffer {
namespace {

Mutex loan_mutex;

}  // namespace

Result<UniqueFd> open_on_loan(const ModeLoan& file, mode_t needed) {
  MutexLock lock(loan_mutex);
  const struct stat status = TRY(file.status());
  const mode_t lent = status.st_mode | needed;
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || lent == status.st_mode) {
    return errno_error(EACCES, "opening the backing file");
  }
  TRY(file.set_mode(lent & 07777));
  UniqueFd fd = file.open();
  const int reason = errno;
  TRY(file.set_mode(status.st_mode & 07777));
  if (!fd.valid()) return errno_error(reason, "opening the backing file");
  return fd;
}

}  // namespace coffer

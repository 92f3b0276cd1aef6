#pragma once

#include "keystore/audit/log_writer.h"

namespace coffer::testing {

/// The same in every process of a test.
inline AuditKeys audit_keys() {
  AuditKeys keys{SecretBytes(32), SecretBytes(32)};
  keys.lines.expose()[0] = 1;
  keys.seed.expose()[0] = 2;
  return keys;
}

}  // namespace coffer::testing

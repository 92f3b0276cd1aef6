#pragma once

#include <memory>
#include <string>

#include "keystore/crypto/aead.h"

namespace coffer {

/// Private to keystore/crypto: AES-256-GCM by intel-ipsec-mb's direct interface.
class IpsecGcm {
 public:
  /// Null where the library was not built in or the processor lacks AES-NI, PCLMULQDQ or AVX2.
  static std::unique_ptr<IpsecGcm> detect();

  virtual ~IpsecGcm() = default;
  [[nodiscard]] virtual std::unique_ptr<const AeadKey> expand(Bytes key) const = 0;
  [[nodiscard]] virtual std::string name() const = 0;
};

}  // namespace coffer

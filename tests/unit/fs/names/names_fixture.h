#pragma once

#include "fs/names/scope_names.h"

namespace coffer::testing {

template <typename Id>
Id id_from(std::uint8_t first) {
  Id id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(first + i);
  }
  return id;
}

/// The secret, ids and scope of tests/unit/fs/golden.py.
inline SecretBytes golden_secret() {
  SecretBytes secret(32);
  for (std::size_t i = 0; i < 32; ++i) secret.expose()[i] = static_cast<std::uint8_t>(0x80 + i);
  return secret;
}
inline StoreId golden_store() { return id_from<StoreId>(0x20); }
inline DirId golden_dir() { return id_from<DirId>(0xc0); }
inline DirId other_dir() { return id_from<DirId>(0xd0); }

inline ScopeNames golden_names(bool encrypted = true) {
  return {golden_secret(), golden_store(), ScopeId{9}, encrypted};
}

/// Empty if it has none.
inline Bytes sidecar_of(const StoredText& stored) {
  return stored.sidecar.has_value() ? Bytes(stored.sidecar->content) : Bytes();
}

}  // namespace coffer::testing

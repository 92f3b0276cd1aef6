#pragma once

#include <memory>

#include "fs/format/header.h"
#include "keystore/base/ids.h"
#include "keystore/crypto/aead.h"
#include "keystore/crypto/digest.h"

namespace coffer {

/// What a file's DEK turns into (fs/FORMAT.md, 2). Immutable; thread-safe; wiped at the end.
struct FileKeys {
  FileId file;
  KeyVersion dek_version;
  ScopeId scope;
  Suite suite;
  std::unique_ptr<const AeadKey> content;
  HmacKey header;
  HmacKey journal;
  SecretBytes xattrs;
  Hash commitment;

  static std::shared_ptr<const FileKeys> derive(const AeadEngine& engine, Suite suite,
                                                const SecretBytes& dek, FileId file,
                                                KeyVersion dek_version, ScopeId scope);
};

}  // namespace coffer

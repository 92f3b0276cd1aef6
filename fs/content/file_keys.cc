#include "fs/content/file_keys.h"

#include <algorithm>
#include <string>

#include "keystore/crypto/kdf.h"

namespace coffer {

std::shared_ptr<const FileKeys> FileKeys::derive(const AeadEngine& engine, Suite suite,
                                                 const SecretBytes& dek, FileId file,
                                                 KeyVersion dek_version, ScopeId scope) {
  const ByteVector salt = ByteWriter().bytes(file.view()).le(dek_version.value).take();
  const HkdfSha256 from_dek(dek.expose(), salt);
  const auto key = [&](std::string_view info) { return from_dek.expand(info, 32); };
  const std::string content_info = "coffer/1/content/" + std::string(to_string(suite));
  const std::string xattrs_info = "coffer/1/xattrs/" + std::string(to_string(suite));
  Hash commitment;
  const SecretBytes commitment_bytes = key("coffer/1/commitment");
  std::copy_n(commitment_bytes.expose().begin(), commitment.size(), commitment.begin());
  return std::make_shared<const FileKeys>(
      FileKeys{.file = file,
               .dek_version = dek_version,
               .scope = scope,
               .suite = suite,
               .content = engine.expand(suite, key(content_info).expose()),
               .header = HmacKey(key("coffer/1/header").expose()),
               .journal = HmacKey(key("coffer/1/journal").expose()),
               .xattrs = key(xattrs_info),
               .commitment = commitment});
}

}  // namespace coffer

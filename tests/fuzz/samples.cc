#include "tests/fuzz/samples.h"

#include "tests/fuzz/fuzz_target.h"

namespace coffer::fuzz {

const AeadEngine& engine() {
  static const Result<AeadEngine> made = AeadEngine::create();
  require(made.ok(), "there is an engine");
  return *made;
}

std::shared_ptr<const FileKeys> keys_of(std::uint8_t file) {
  static const SecretBytes dek = SecretBytes::copy_of(ByteVector(32, 7));
  return FileKeys::derive(engine(), Suite::kAes256Gcm, dek, id_of<FileId>(file), kDekVersion,
                          ScopeId{4});
}

std::shared_ptr<const BackingDir> open_directory(const std::string& path) {
  auto dir = BackingDir::open_root(real_syscalls(), path);
  require(dir.ok(), "a directory can be opened");
  return *dir;
}

ByteVector content_of(const BackingFile& file) {
  const auto status = file.status();
  require(status.ok(), "a file has a status");
  ByteVector content(static_cast<std::size_t>(status->st_size));
  require(file.read(0, content).ok(), "a file can be read");
  return content;
}

}  // namespace coffer::fuzz

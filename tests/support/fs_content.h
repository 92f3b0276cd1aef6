#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fs/content/encrypted_file.h"
#include "tests/support/fs_random.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// Of a file that is made with `chunk_log2` 12.
inline constexpr std::uint64_t kChunk = 4096;
/// What the chunks of a leaf of its hash tree hold.
inline constexpr std::uint64_t kLeafBytes = 128 * kChunk;
/// As those who only read beside a writer know them.
inline constexpr KnownGenerations kBesideWriter{.recorded = 0, .noted = 0, .written_now = true};

/// A backing file without a name, in memory: sparse, and with room for any offset.
class MemoryFile {
 public:
  MemoryFile();

  /// As often as needed; all see the same bytes.
  [[nodiscard]] BackingFile open(Syscalls& calls = real_syscalls()) const;
  [[nodiscard]] std::uint64_t size() const;
  void resize(std::uint64_t size) const;
  [[nodiscard]] ByteVector bytes(std::uint64_t offset, std::size_t length) const;
  void put(std::uint64_t offset, Bytes data) const;
  void flip(std::uint64_t offset, unsigned bit) const;
  /// Makes the content that of `other`, holes included.
  void copy_from(const MemoryFile& other) const;
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// True if `fd` is open on it.
  [[nodiscard]] bool is(int fd) const;
  /// Bytes that it takes up.
  [[nodiscard]] std::uint64_t room() const;

 private:
  UniqueFd fd_;
};

/// The bytes of a file as they should be: sparse, in memory, without any of what is tested.
class ContentModel {
 public:
  [[nodiscard]] std::uint64_t size() const { return size_; }
  void write(std::uint64_t offset, Bytes data);
  void truncate(std::uint64_t size);
  /// Zeros, as far as the file goes.
  void clear(std::uint64_t offset, std::uint64_t length);
  /// As a read should give it: cut at the end of the file.
  [[nodiscard]] ByteVector read(std::uint64_t offset, std::size_t length) const;
  /// Offsets of all that was written and not cut off, in pieces of kPage.
  [[nodiscard]] std::vector<std::uint64_t> pages() const;
  static constexpr std::uint64_t kPage = 4096;

 private:
  std::uint64_t size_ = 0;
  std::map<std::uint64_t, ByteVector> pages_;
};

/// All that an EncryptedFile needs beside its backing.
class ContentWorld {
 public:
  explicit ContentWorld(AeadEngine::Choice choice = AeadEngine::Choice::kFastest,
                        std::size_t cache_bytes = std::size_t{4} << 20);

  /// With the journals as a program finds them that begins now.
  [[nodiscard]] ContentContext context(Syscalls& calls = real_syscalls(), bool writable = true);
  /// Where journals lie.
  [[nodiscard]] const TempDir& journals() const { return journals_; }
  [[nodiscard]] const AeadEngine& engine() const { return engine_; }
  [[nodiscard]] StoreId store() const { return store_; }
  NodeCache& nodes() { return nodes_; }

  /// Keys of file number `file`; the same each time.
  [[nodiscard]] std::shared_ptr<const FileKeys> keys(Suite suite = Suite::kAes256Gcm,
                                                     unsigned file = 1) const;

  std::unique_ptr<EncryptedFile> create(const MemoryFile& backing, unsigned chunk_log2,
                                        const std::shared_ptr<const FileKeys>& keys,
                                        Syscalls& calls = real_syscalls());
  /// `known`: unless said otherwise, whatever the header's state is, it is on record.
  Result<std::unique_ptr<EncryptedFile>> open(const MemoryFile& backing,
                                              const std::shared_ptr<const FileKeys>& keys,
                                              Syscalls& calls = real_syscalls(),
                                              const KnownGenerations& known = kOnRecord);
  static constexpr KnownGenerations kOnRecord{.recorded = ~std::uint64_t{0}};
  /// As a program does that only reads, beside one that writes.
  Result<std::unique_ptr<EncryptedFile>> open_beside(const MemoryFile& backing,
                                                     const std::shared_ptr<const FileKeys>& keys,
                                                     const KnownGenerations& known);

 private:
  AeadEngine engine_;
  NodeCache nodes_;
  ScratchPool scratch_;
  Crew crew_;
  TempDir journals_;
  Mutex opened_mutex_;
  std::vector<std::unique_ptr<JournalDir>> opened_journals_ GUARDED_BY(opened_mutex_);
  StoreId store_;
};

/// Drops a binding as the filesystem does, without waiting for the disk.
Result<void> drop_binding(EncryptedFile& file, const Binding& binding);

/// A binding for tests that need one, told from others by `number`.
Binding test_binding(unsigned number = 0);

}  // namespace coffer::testing

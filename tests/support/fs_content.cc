#include "tests/support/fs_content.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

namespace coffer::testing {
namespace {

void check(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string(what) + ": errno " + std::to_string(errno));
}

}  // namespace

MemoryFile::MemoryFile() : fd_(::memfd_create("backing", MFD_CLOEXEC)) {
  check(fd_.valid(), "memfd_create");
}

BackingFile MemoryFile::open(Syscalls& calls) const {
  UniqueFd fd(::dup(fd_.get()));
  check(fd.valid(), "dup");
  return {calls, std::move(fd), true};
}

std::uint64_t MemoryFile::size() const {
  struct stat status {};
  check(::fstat(fd_.get(), &status) == 0, "fstat");
  return static_cast<std::uint64_t>(status.st_size);
}

void MemoryFile::resize(std::uint64_t size) const {
  check(::ftruncate(fd_.get(), static_cast<off_t>(size)) == 0, "ftruncate");
}

ByteVector MemoryFile::bytes(std::uint64_t offset, std::size_t length) const {
  ByteVector out(length);
  const ssize_t done = ::pread(fd_.get(), out.data(), length, static_cast<off_t>(offset));
  check(done == static_cast<ssize_t>(length), "pread");
  return out;
}

void MemoryFile::put(std::uint64_t offset, Bytes data) const {
  const ssize_t done = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
  check(done == static_cast<ssize_t>(data.size()), "pwrite");
}

void MemoryFile::flip(std::uint64_t offset, unsigned bit) const {
  ByteVector byte = bytes(offset, 1);
  byte[0] = static_cast<std::uint8_t>(byte[0] ^ (1U << bit));
  put(offset, byte);
}

void MemoryFile::copy_from(const MemoryFile& other) const {
  resize(0);
  resize(other.size());
  off_t at = 0;
  while ((at = ::lseek(other.fd(), at, SEEK_DATA)) >= 0) {
    const off_t end = ::lseek(other.fd(), at, SEEK_HOLE);
    check(end > at, "lseek");
    while (at < end) {
      const auto length = std::min<std::size_t>(static_cast<std::size_t>(end - at), 1U << 20U);
      put(static_cast<std::uint64_t>(at), other.bytes(static_cast<std::uint64_t>(at), length));
      at += static_cast<off_t>(length);
    }
  }
}

bool MemoryFile::is(int fd) const {
  struct stat asked {};
  struct stat own {};
  check(::fstat(fd_.get(), &own) == 0, "fstat");
  return ::fstat(fd, &asked) == 0 && asked.st_ino == own.st_ino && asked.st_dev == own.st_dev;
}

std::uint64_t MemoryFile::room() const {
  struct stat status {};
  check(::fstat(fd_.get(), &status) == 0, "fstat");
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

void ContentModel::write(std::uint64_t offset, Bytes data) {
  size_ = std::max(size_, data.empty() ? 0 : offset + data.size());
  while (!data.empty()) {
    ByteVector& page = pages_.try_emplace(offset / kPage, kPage).first->second;
    const std::uint64_t from = offset % kPage;
    const std::size_t length = std::min<std::size_t>(data.size(), kPage - from);
    std::copy_n(data.begin(), length, page.begin() + static_cast<std::ptrdiff_t>(from));
    data = data.subspan(length);
    offset += length;
  }
}

void ContentModel::truncate(std::uint64_t size) {
  pages_.erase(pages_.lower_bound((size + kPage - 1) / kPage), pages_.end());
  if (const auto last = pages_.find(size / kPage); last != pages_.end()) {
    std::fill(last->second.begin() + static_cast<std::ptrdiff_t>(size % kPage), last->second.end(),
              std::uint8_t{0});
  }
  size_ = size;
}

void ContentModel::clear(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_) return;
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  for (auto page = pages_.lower_bound(offset / kPage);
       page != pages_.end() && page->first * kPage < end; ++page) {
    const std::uint64_t start = page->first * kPage;
    const std::uint64_t from = std::max(offset, start) - start;
    const std::uint64_t to = std::min(end - start, kPage);
    std::fill(page->second.begin() + static_cast<std::ptrdiff_t>(from),
              page->second.begin() + static_cast<std::ptrdiff_t>(to), std::uint8_t{0});
  }
}

ByteVector ContentModel::read(std::uint64_t offset, std::size_t length) const {
  if (offset >= size_) return {};
  ByteVector out(std::min<std::uint64_t>(length, size_ - offset));
  for (std::size_t at = 0; at < out.size();) {
    const std::uint64_t from = (offset + at) % kPage;
    const std::size_t part = std::min<std::size_t>(out.size() - at, kPage - from);
    if (const auto page = pages_.find((offset + at) / kPage); page != pages_.end()) {
      std::copy_n(page->second.begin() + static_cast<std::ptrdiff_t>(from), part,
                  out.begin() + static_cast<std::ptrdiff_t>(at));
    }
    at += part;
  }
  return out;
}

std::vector<std::uint64_t> ContentModel::pages() const {
  std::vector<std::uint64_t> offsets;
  for (const auto& [number, page] : pages_) offsets.push_back(number * kPage);
  return offsets;
}

ContentWorld::ContentWorld(AeadEngine::Choice choice, std::size_t cache_bytes)
    : engine_(AeadEngine::create(choice).value()), nodes_(cache_bytes) {
  store_.bytes.fill(0x5c);
}

ContentContext ContentWorld::context(Syscalls& calls, bool writable) {
  auto dir = BackingDir::open_root(calls, journals_.path());
  auto journals = dir ? JournalDir::open(std::move(*dir), writable)
                      : Result<std::unique_ptr<JournalDir>>(std::move(dir).error());
  if (!journals) throw std::runtime_error(journals.error().message());
  JournalDir& opened = **journals;
  MutexLock lock(opened_mutex_);
  opened_journals_.push_back(std::move(*journals));
  return {engine_, nodes_, scratch_, crew_, opened, store_};
}

std::shared_ptr<const FileKeys> ContentWorld::keys(Suite suite, unsigned file) const {
  Chooser choose(file);
  SecretBytes dek(32);
  choose.fill(dek.expose());
  return FileKeys::derive(engine_, suite, dek, choose.id<FileId>(), KeyVersion{3}, kRootScope);
}

std::unique_ptr<EncryptedFile> ContentWorld::create(const MemoryFile& backing, unsigned chunk_log2,
                                                    const std::shared_ptr<const FileKeys>& keys,
                                                    Syscalls& calls) {
  auto file =
      EncryptedFile::create(context(calls), backing.open(calls), keys, chunk_log2, test_binding());
  if (!file) throw std::runtime_error(file.error().message());
  return std::move(*file);
}

Result<std::unique_ptr<EncryptedFile>> ContentWorld::open(
    const MemoryFile& backing, const std::shared_ptr<const FileKeys>& keys, Syscalls& calls,
    const KnownGenerations& known) {
  BackingFile file = backing.open(calls);
  const RawHeader raw = TRY(read_raw_header(file));
  TRY(peek_header(raw));
  return EncryptedFile::open(context(calls), std::move(file), raw, keys, known);
}

Result<std::unique_ptr<EncryptedFile>> ContentWorld::open_beside(
    const MemoryFile& backing, const std::shared_ptr<const FileKeys>& keys,
    const KnownGenerations& known) {
  BackingFile file = backing.open();
  const RawHeader raw = TRY(read_raw_header(file));
  return EncryptedFile::open(context(real_syscalls(), false), std::move(file), raw, keys, known);
}

Result<void> drop_binding(EncryptedFile& file, const Binding& binding) {
  file.retire_binding(binding);
  return file.drop_retired({&binding, 1});
}

Binding test_binding(unsigned number) {
  Binding binding;
  Chooser choose(1000 + number);
  choose.fill(binding);
  return binding;
}

}  // namespace coffer::testing

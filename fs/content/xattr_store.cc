#include "fs/content/xattr_store.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "keystore/crypto/digest.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

constexpr std::string_view kMagic = "COFFER-X";
constexpr std::uint16_t kVersion = 1;

// Offsets of fs/FORMAT.md 10.
constexpr std::size_t kSuiteAt = 10;
constexpr std::size_t kIdAt = 16;
constexpr std::size_t kNonceAt = 32;
constexpr std::size_t kSealedAt = kNonceAt + sizeof(Nonce);
constexpr std::size_t kOverhead = kSealedAt + sizeof(Tag);

/// What it is authenticated as: all before the nonce.
ByteVector head_of(const XattrOwner& owner) {
  ByteWriter head;
  head.text(kMagic).le(kVersion).le(static_cast<std::uint16_t>(owner.suite));
  return head.zeros(kIdAt - kSuiteAt - 2).bytes(owner.id).take();
}

/// Spread over 256 directories, by the end of the id: ids begin with the time.
std::string fan_of(Bytes id) { return to_hex(id.last(1)); }

std::string file_name(Bytes id, const Hash& hash) {
  return to_hex(id) + "-" + to_hex(Bytes(hash).first(8));
}

ByteVector seal(const AeadEngine& engine, const XattrOwner& owner, Bytes plain) {
  ByteVector sidecar = head_of(owner);
  Nonce nonce;
  random_bytes(nonce);
  sidecar.insert(sidecar.end(), nonce.begin(), nonce.end());
  sidecar.resize(kOverhead + plain.size());
  Tag tag;
  engine.expand(owner.suite, owner.key.expose())
      ->seal(nonce, Bytes(sidecar).first(kNonceAt), plain,
             MutableBytes(sidecar).subspan(kSealedAt, plain.size()), tag);
  std::copy(tag.begin(), tag.end(), sidecar.end() - sizeof(Tag));
  return sidecar;
}

Error altered() {
  return {Code::kCorrupt, EIO,
          "the sidecar of the extended attributes (.coffer/xattrs) was altered"};
}

Result<ByteVector> open(const AeadEngine& engine, const XattrOwner& owner, Bytes sidecar) {
  const ByteVector head = head_of(owner);
  if (sidecar.size() < kOverhead || !equal(sidecar.first(kNonceAt), head)) return altered();
  Nonce nonce;
  Tag tag;
  std::copy_n(sidecar.begin() + kNonceAt, nonce.size(), nonce.begin());
  std::copy(sidecar.end() - sizeof(Tag), sidecar.end(), tag.begin());
  ByteVector plain(sidecar.size() - kOverhead);
  const bool opened = engine.expand(owner.suite, owner.key.expose())
                          ->open(nonce, head, sidecar.subspan(kSealedAt, plain.size()), plain, tag);
  if (!opened) return altered();
  return plain;
}

/// A file of any length up to the longest that there can be.
Result<ByteVector> read_whole(const BackingDir& dir, const std::string& name) {
  const struct stat status = TRY(dir.status_of(name));
  const auto length = static_cast<std::uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || length > kOverhead + kMaxXattrSet) return altered();
  auto content = dir.read_small(name, static_cast<std::size_t>(length));
  if (!content && content.error().code == Code::kInvalid) return altered();
  return content;
}

}  // namespace

std::string XattrStore::place(Bytes id, const Hash& hash) {
  return fan_of(id) + "/" + file_name(id, hash);
}

Result<XattrSet> XattrStore::load(const XattrOwner& owner, const Hash& hash) const {
  const auto read = [&]() -> Result<ByteVector> {
    const auto all = TRY(private_dir_->open_dir(kXattrDir));
    return read_whole(*TRY(all->open_dir(fan_of(owner.id))), file_name(owner.id, hash));
  };
  const auto sidecar = read();
  if (!sidecar) {
    if (sidecar.error().code != Code::kNotFound) return sidecar.error();
    return Error{Code::kCorrupt, EIO,
                 "the sidecar of the extended attributes (.coffer/xattrs) is missing"};
  }
  if (sha256(*sidecar) != hash) return altered();
  return decode_xattrs(TRY(open(engine_, owner, *sidecar)));
}

Result<std::shared_ptr<const BackingDir>> XattrStore::make_dir_of(Bytes id) const {
  const auto make = [](const BackingDir& in,
                       const std::string& name) -> Result<std::shared_ptr<const BackingDir>> {
    auto there = in.open_dir(name);
    if (there || there.error().code != Code::kNotFound) return there;
    auto made = in.make_dir(name, 0700);
    if (!made && made.error().code != Code::kExists) return std::move(made).error();
    TRY(in.sync());
    return in.open_dir(name);
  };
  const auto all = TRY(make(*private_dir_, kXattrDir));
  return make(*all, fan_of(id));
}

Result<Hash> XattrStore::save(const XattrOwner& owner, const XattrSet& set) const {
  const ByteVector sidecar = seal(engine_, owner, encode_xattrs(set));
  const Hash hash = sha256(sidecar);
  const auto dir = TRY(make_dir_of(owner.id));
  const std::string name = file_name(owner.id, hash);
  const auto write = [&]() -> Result<void> {
    const BackingFile file = TRY(dir->create_file(name, 0600));
    TRY(file.write(0, sidecar));
    TRY(file.sync(false));
    return dir->sync();
  };
  if (auto written = write(); !written) {
    if (written.error().code != Code::kExists) (void)dir->remove_file(name);
    return std::move(written).error();
  }
  return hash;
}

void XattrStore::drop(Bytes id, const Hash& hash) const {
  if (all_zero(hash)) return;
  const auto all = private_dir_->open_dir(kXattrDir);
  if (!all) return;
  if (const auto dir = (*all)->open_dir(fan_of(id))) (void)(*dir)->remove_file(file_name(id, hash));
}

std::size_t XattrStore::retire(Bytes id, const Hash& hash) {
  MutexLock lock(mutex_);
  if (!all_zero(hash)) retired_.push_back({ByteVector(id.begin(), id.end()), hash});
  return retired_.size();
}

std::size_t XattrStore::retired() {
  MutexLock lock(mutex_);
  return retired_.size();
}

std::vector<XattrStore::Retired> XattrStore::take_retired() {
  MutexLock lock(mutex_);
  return std::exchange(retired_, {});
}

void XattrStore::keep_retired(std::vector<Retired> retired) {
  MutexLock lock(mutex_);
  std::move(retired.begin(), retired.end(), std::back_inserter(retired_));
}

}  // namespace coffer

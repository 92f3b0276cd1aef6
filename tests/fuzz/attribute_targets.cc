#include "tests/fuzz/attribute_targets.h"

#include <cerrno>
#include <cstdio>

#include "fs/content/xattr_store.h"
#include "fs/vfs/acl.h"
#include "keystore/crypto/digest.h"
#include "tests/fuzz/samples.h"

namespace coffer::fuzz {
namespace {

XattrSet sample_set() {
  return {{"security.capability", ByteVector(20, 1)},
          {"user.empty", {}},
          {"user.origin", ByteVector(300, 2)}};
}

ByteVector encoded_set(std::initializer_list<std::pair<std::string, std::size_t>> entries) {
  XattrSet set;
  for (const auto& [name, length] : entries) set.emplace(name, ByteVector(length, 5));
  return encode_xattrs(set);
}

/// A store's directory of sidecars, with those of two objects, and where a sidecar lies.
struct Sidecars {
  std::string path = scratch_directory("sidecars");
  XattrStore store{engine(), open_directory(path)};
  SecretBytes key = SecretBytes::copy_of(ByteVector(32, 8));
  FileId id = id_of<FileId>(2);
  XattrOwner owner{.id = id.view(), .suite = Suite::kAes256Gcm, .key = key};
  ByteVector own;
  ByteVector foreign;

  Sidecars() {
    own = saved(owner, sample_set());
    const FileId other = id_of<FileId>(3);
    foreign = saved({.id = other.view(), .suite = Suite::kAes256Gcm, .key = key},
                    {{"user.other", ByteVector(300, 3)}});
  }
  [[nodiscard]] std::string place(Bytes of, const Hash& hash) const {
    return to_hex(of.last(1)) + "/" + to_hex(of) + "-" + to_hex(Bytes(hash).first(8));
  }
  [[nodiscard]] ByteVector saved(const XattrOwner& of, const XattrSet& set) const {
    const auto hash = store.save(of, set);
    require(hash.ok(), "attributes can be saved");
    const auto dir = open_directory(path + "/xattrs/" + to_hex(of.id.last(1)));
    const auto file = dir->open_file(place(of.id, *hash).substr(3), false);
    require(file.ok(), "a sidecar lies where the format says");
    return content_of(*file);
  }
};

// Access control lists: an entry a number, tag ‖ permissions ‖ id.

ByteVector list_of(std::initializer_list<std::uint64_t> entries) {
  ByteWriter out;
  out.le(std::uint32_t{2});
  for (const std::uint64_t entry : entries) {
    out.le(static_cast<std::uint16_t>(entry >> 48U)).le(static_cast<std::uint16_t>(entry >> 32U));
    out.le(static_cast<std::uint32_t>(entry));
  }
  return out.take();
}

}  // namespace

int fuzz_xattr_set(const std::uint8_t* data, std::size_t size) {
  const Bytes plain(data, size);
  const auto set = decode_xattrs(plain);
  require_code(set, {Code::kCorrupt}, "a set of attributes");
  if (!set) return 0;
  require(!set->empty() && check_xattr_limits(*set).ok(), "a set of attributes is within limits");
  require(equal(encode_xattrs(*set), plain), "a set of attributes has one encoding");
  return 0;
}

std::vector<ByteVector> xattr_set_seeds() {
  return {encode_xattrs(sample_set()), encoded_set({{"user.a", 0}}),
          encoded_set({{"a", 1}, {"b", 2}, {std::string(kMaxXattrName, 'c'), 3}}),
          encoded_set({{"user.long", kMaxXattrValue - 600}})};
}

/// A sidecar that was altered, or anything in its place, under the hash that it has then: the
/// sealing has to hold where the hash does.
int fuzz_xattr_sidecar(const std::uint8_t* data, std::size_t size) {
  static const Sidecars sidecars;
  Input input(data, size);
  const ByteVector bytes =
      input.byte() % 2 == 0 ? altered(sidecars.own, input, sidecars.foreign) : [&] {
        const Bytes rest = input.rest();
        return ByteVector(rest.begin(), rest.end());
      }();
  const Hash hash = sha256(bytes);
  const std::string path = sidecars.path + "/xattrs/" + sidecars.place(sidecars.owner.id, hash);
  put_file(path, bytes);
  const auto set = sidecars.store.load(sidecars.owner, hash);
  require_code(set, {Code::kCorrupt}, "a sidecar");
  require(set.ok() == (bytes == sidecars.own), "a sidecar is the one that was sealed, or refused");
  require(!set || *set == sample_set(), "it holds what was put in");
  Hash other = hash;
  other[31] ^= 1;
  const auto elsewhere = sidecars.store.load(sidecars.owner, other);
  require(!elsewhere && elsewhere.error().code == Code::kCorrupt,
          "a sidecar that the hash is not of is refused");
  (void)std::remove(path.c_str());
  return 0;
}

std::vector<ByteVector> xattr_sidecar_seeds() {
  return {{0}, {0, 1, 0, 40, 0, 0, 0, 1, 0, 0, 0, 3}, {0, 1, 7, 0, 0, 0, 0, 255, 0, 0, 0}, {1}};
}

int fuzz_acl(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const mode_t asked = input.number<std::uint16_t>() & 07777;
  const Bytes value = input.rest();
  const auto decoded = Acl::decode(value);
  require(decoded.ok() || decoded.error().errno_value == EINVAL, "EINVAL for what is no list");
  if (!decoded) return 0;
  const ByteVector encoded = decoded->encode();
  require(encoded.size() == value.size(), "a list keeps its entries");
  const auto again = Acl::decode(encoded);
  require(again.ok() && again->encode() == encoded, "what is encoded is a list, and the same");
  require((decoded->mode(07000 | asked) & ~mode_t{0777}) == (07000U | (asked & 07000)),
          "a list is about permissions alone");
  Acl changed = *decoded;
  changed.set_mode(asked);
  require(changed.mode(0) == (asked & 0777), "a list follows its mode");
  Acl narrowed = *decoded;
  const mode_t given = narrowed.narrow(asked);
  require((given & ~asked) == 0 && (given & 0777 & ~decoded->mode(0)) == 0,
          "a new object gets no more than asked for and allowed");
  require((given & 0777) == narrowed.mode(0), "the mode of a new object is its list's");
  require((decoded->group_permissions() & ~7U) == 0, "a group has permissions");
  for (const Acl& list : {changed, narrowed}) {
    require(Acl::decode(list.encode()).ok(), "a list that was changed is one");
  }
  return 0;
}

std::vector<ByteVector> acl_seeds() {
  constexpr std::uint64_t kOwner = 0x0001'0007'ffff'ffff;
  constexpr std::uint64_t kUser = 0x0002'0006'0000'03e9;
  constexpr std::uint64_t kGroupOwner = 0x0004'0005'ffff'ffff;
  constexpr std::uint64_t kGroup = 0x0008'0004'0000'0009;
  constexpr std::uint64_t kMask = 0x0010'0007'ffff'ffff;
  constexpr std::uint64_t kOther = 0x0020'0000'ffff'ffff;
  std::vector<ByteVector> seeds = {
      list_of({kOwner, kGroupOwner, kOther}), list_of({kOwner, kUser, kGroupOwner, kMask, kOther}),
      list_of({kOwner, kUser, kUser + 1, kGroupOwner, kGroup, kMask, kOther}), list_of({})};
  for (ByteVector& seed : seeds) seed.insert(seed.begin(), {0xe8, 0x01});
  return seeds;
}

}  // namespace coffer::fuzz

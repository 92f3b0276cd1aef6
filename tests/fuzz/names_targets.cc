#include "tests/fuzz/names_targets.h"

#include "fs/names/scope_names.h"

namespace coffer::fuzz {
namespace {

DirId directory(std::uint8_t byte) {
  DirId id;
  id.bytes.fill(byte);
  return id;
}

const ScopeNames& names(bool encrypted) {
  static const SecretBytes secret = SecretBytes::copy_of(ByteVector(32, 3));
  static const ScopeNames hidden(secret, StoreId{}, kRootScope, true);
  static const ScopeNames plain(secret, StoreId{}, kRootScope, false);
  return encrypted ? hidden : plain;
}

Bytes sidecar_of(const StoredText& stored) {
  return stored.sidecar ? Bytes(stored.sidecar->content) : Bytes();
}

bool same(const StoredText& a, const StoredText& b) {
  return a.text == b.text && equal(sidecar_of(a), sidecar_of(b));
}

/// What the backing holds after someone altered text or sidecar.
StoredText altered_text(const StoredText& stored, Input& input, const StoredText& other) {
  StoredText out = stored;
  if (stored.sidecar && input.byte() % 2 == 0) {
    out.sidecar->content = altered(stored.sidecar->content, input, sidecar_of(other));
    return out;
  }
  const Bytes text = as_bytes(stored.text);
  out.text = as_text(altered(ByteVector(text.begin(), text.end()), input, as_bytes(other.text)));
  return out;
}

/// An accepted name is the one that encodes to just this.
void check_name(const ScopeNames& scope, const StoredText& stored, DirId dir) {
  const auto name = scope.decode_name(dir, stored.text, sidecar_of(stored));
  require_code(name, {Code::kCorrupt}, "a stored name");
  if (!name || name->empty() || name->size() > kMaxNameLength) return;
  const auto again = scope.encode_name(dir, *name);
  require(again.ok() && again->text == stored.text, "a name has one stored form");
  require(!again->sidecar || equal(again->sidecar->content, sidecar_of(stored)),
          "a long name has one sidecar");
}

}  // namespace

int fuzz_text_encodings(const std::uint8_t* data, std::size_t size) {
  const Bytes input(data, size);
  const std::string_view text = as_text(input);
  const auto decoded = from_base64url(text);
  require_code(decoded, {Code::kInvalid}, "base64url");
  if (decoded) require(to_base64url(*decoded) == text, "base64url has one form");
  const auto encoded = from_base64url(to_base64url(input));
  require(encoded.ok() && equal(*encoded, input), "base64url gives back what it was made from");
  const auto hex = from_hex(text);
  require_code(hex, {Code::kInvalid}, "hex");
  if (hex) require(to_hex(*hex).size() == text.size(), "hex has two digits a byte");
  const auto unhexed = from_hex(to_hex(input));
  require(unhexed.ok() && equal(*unhexed, input), "hex gives back what it was made from");
  return 0;
}

std::vector<ByteVector> text_encodings_seeds() {
  std::vector<ByteVector> seeds;
  for (const std::string_view text : {"", "AA", "AAA", "AAAA", "_-_-", "AB", "=", "00ff", "0Aa"}) {
    seeds.emplace_back(text.begin(), text.end());
  }
  return seeds;
}

/// First byte: a name altered after it was stored, anything in its place, or plain names.
int fuzz_stored_name(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::uint8_t how = input.byte() % 4;
  const DirId dir = directory(1);
  if (how == 3) {
    check_name(names(false), {.text = std::string(as_text(input.rest())), .sidecar = {}}, dir);
    return 0;
  }
  const ScopeNames& scope = names(true);
  if (how == 2) {
    const Bytes text = input.take(input.byte());
    StoredText stored{.text = std::string(as_text(text)),
                      .sidecar = StoredText::Sidecar{.name = {}, .content = {}}};
    const Bytes rest = input.rest();
    stored.sidecar->content.assign(rest.begin(), rest.end());
    check_name(scope, stored, dir);
    return 0;
  }
  std::string name(as_text(input.take(1 + input.byte() % kMaxNameLength)));
  if (name.empty()) name = "n";
  if (how == 1) name.resize(176 + name.size() % 80, 'x');
  const StoredText stored = *scope.encode_name(dir, name);
  require(stored.text.size() <= kMaxNameLength, "a stored name fits into a directory entry");
  const auto whole = scope.decode_name(dir, stored.text, sidecar_of(stored));
  require(whole.ok() && *whole == name, "a stored name gives back the name");
  require(!scope.decode_name(directory(2), stored.text, sidecar_of(stored)).ok(),
          "a name belongs to its directory");
  const std::string other_name = "2" + name.substr(1);
  const StoredText changed = altered_text(stored, input, *scope.encode_name(dir, other_name));
  if (!same(changed, stored)) {
    const auto refused = scope.decode_name(dir, changed.text, sidecar_of(changed));
    require(!refused.ok() || *refused == other_name, "an altered name is refused");
    check_name(scope, changed, dir);
  }
  return 0;
}

std::vector<ByteVector> stored_name_seeds() {
  const StoredText short_name = *names(true).encode_name(directory(1), "model.safetensors");
  const StoredText long_name = *names(true).encode_name(directory(1), std::string(200, 'n'));
  const auto raw = [](const StoredText& stored) {
    ByteVector seed = {2, static_cast<std::uint8_t>(stored.text.size())};
    seed.insert(seed.end(), stored.text.begin(), stored.text.end());
    const Bytes sidecar = sidecar_of(stored);
    seed.insert(seed.end(), sidecar.begin(), sidecar.end());
    return seed;
  };
  return {raw(short_name),
          raw(long_name),
          {0, 4, 'n', 'a', 'm', 'e', 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3},
          {1, 4, 'n', 'a', 'm', 'e', 0, 1, 0, 2, 0, 0, 0},
          {3, '.', 'c', 'o', 'f', 'f', 'e', 'r'},
          {3, 'p', 'l', 'a', 'i', 'n'}};
}

/// First byte: a target altered after it was stored, or anything in its place.
int fuzz_stored_target(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const ScopeNames& scope = names(true);
  const std::uint8_t how = input.byte() % 3;
  if (how == 2) {
    const std::string text(as_text(input.take(input.number<std::uint16_t>() % 4096)));
    const Bytes sidecar = input.rest();
    const auto target = scope.decode_target(text, sidecar);
    require_code(target, {Code::kCorrupt}, "a stored target");
    if (!target) return 0;
    require(scope.encode_target(target->text, target->first, target->second).text == text,
            "a target has one stored form");
    return 0;
  }
  const Binding first = scope.bind_symlink(directory(1), "link");
  const Binding second = input.byte() % 2 == 0 ? Binding{} : Binding{1, 2, 3};
  std::string text(as_text(input.take(1 + input.byte())));
  if (text.empty()) text = "t";
  if (how == 1) text.resize(2900 + 13 * (text.size() % 90), '/');
  const StoredText stored = scope.encode_target(text, first, second);
  const auto whole = scope.decode_target(stored.text, sidecar_of(stored));
  require(whole.ok() && whole->text == text && whole->first == first && whole->second == second,
          "a stored target gives back the target and its bindings");
  require(ScopeNames::is_long_target(stored.text) == stored.sidecar.has_value(),
          "a long target is known by its text");
  const std::uint64_t length = stored.sidecar
                                   ? ScopeNames::long_target_length(stored.sidecar->content.size())
                                   : ScopeNames::target_length(stored.text.size());
  require(length == text.size(), "the length of a target follows from what is stored");
  const StoredText other = scope.encode_target(text, second, first);
  const StoredText changed = altered_text(stored, input, other);
  if (!same(changed, stored) && !same(changed, other)) {
    const auto refused = scope.decode_target(changed.text, sidecar_of(changed));
    require(!refused.ok(), "an altered target is refused");
    require_code(refused, {Code::kCorrupt}, "an altered target");
  }
  return 0;
}

std::vector<ByteVector> stored_target_seeds() {
  const auto raw = [](const StoredText& stored) {
    return ByteWriter()
        .bytes(ByteVector{2})
        .le(static_cast<std::uint16_t>(stored.text.size()))
        .text(stored.text)
        .bytes(sidecar_of(stored))
        .take();
  };
  return {raw(names(true).encode_target("../weights", Binding{1}, {})),
          raw(names(true).encode_target(std::string(3500, 't'), Binding{1}, Binding{2})),
          {0, 0, 3, 'a', 'b', 'c', 1, 0, 5, 0, 0, 0},
          {1, 1, 3, 'a', 'b', 'c', 0, 1, 3, 9, 0, 0, 0}};
}

int fuzz_sealed_directory(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const ScopeNames& scope = names(true);
  DirectoryRecord record{.scope = kRootScope,
                         .store = StoreId{},
                         .dir = directory(4),
                         .generation = 1 + std::uint64_t{input.byte()},
                         .bindings = {}};
  record.bindings.resize(1 + input.byte() % kMaxDirectoryBindings, Binding{7});
  const DirectoryBlock block = scope.seal_directory(record);
  const auto whole = scope.open_directory(block);
  require(whole.ok() && whole->dir == record.dir && whole->generation == record.generation &&
              whole->bindings == record.bindings,
          "a directory record gives back what it was made from");
  DirectoryRecord newer = record;
  ++newer.generation;
  const DirectoryBlock other = scope.seal_directory(newer);
  const ByteVector changed = altered(ByteVector(block.begin(), block.end()), input, other);
  const auto refused = scope.open_directory(changed);
  require_code(refused, {Code::kUnknownVersion, Code::kCorrupt}, "an altered directory record");
  require(!refused.ok() || equal(changed, block) || equal(changed, other),
          "an altered directory record is refused");
  return 0;
}

std::vector<ByteVector> sealed_directory_seeds() {
  return {{1, 0, 0}, {1, 1, 1, 0, 60, 0, 0, 0}, {9, 7, 2, 7, 0, 0, 0, 0, 0, 2, 0, 0}};
}

}  // namespace coffer::fuzz

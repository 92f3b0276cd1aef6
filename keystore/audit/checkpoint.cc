#include "keystore/audit/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace coffer {
namespace {

constexpr std::string_view kDash = "\xe2\x80\x94 ";  // an em dash and a space
constexpr std::uint8_t kEd25519 = 0x01;              // the type of signature, in ids and keys
constexpr std::size_t kKeyIdSize = 4;
/// Notes are short; what is longer is none.
constexpr std::size_t kLargestNote = 64 * 1024;

Error no_checkpoint() { return {Code::kInvalid, 0, "not a checkpoint"}; }

ByteVector typed_key(const Ed25519PublicKey& key) {
  ByteVector typed{kEd25519};
  typed.insert(typed.end(), key.begin(), key.end());
  return typed;
}

ByteVector key_id(std::string_view name, const Ed25519PublicKey& key) {
  const Digest hash = sha256(ByteWriter().text(name).text("\n").bytes(typed_key(key)).take());
  return {hash.begin(), hash.begin() + kKeyIdSize};
}

/// Takes the text up to the next newline off `text`; false if there is none.
bool take_line(std::string_view& text, std::string_view& line) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return false;
  line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return true;
}

/// The signature of one signature line, if it is by that name and key.
Result<ByteVector> signature_by(std::string_view line, std::string_view name, Bytes id) {
  if (!line.starts_with(kDash)) return no_checkpoint();
  line.remove_prefix(kDash.size());
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return no_checkpoint();
  ByteVector blob = TRY(from_base64(line.substr(space + 1)));
  if (blob.size() <= kKeyIdSize) return no_checkpoint();
  if (line.substr(0, space) != name || !equal(Bytes(blob).first(kKeyIdSize), id)) {
    return ByteVector();
  }
  return ByteVector(blob.begin() + kKeyIdSize, blob.end());
}

}  // namespace

std::string to_base64(Bytes bytes) {
  std::string text = to_base64url(bytes);
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.append((4 - text.size() % 4) % 4, '=');
  return text;
}

Result<ByteVector> from_base64(std::string_view text) {
  const Error malformed{Code::kInvalid, 0, "not base64"};
  if (text.size() % 4 != 0 || text.find_first_of("-_") != std::string_view::npos) return malformed;
  std::string url(text.substr(0, text.find('=')));
  if (text.size() - url.size() > 2) return malformed;
  std::replace(url.begin(), url.end(), '+', '-');
  std::replace(url.begin(), url.end(), '/', '_');
  ByteVector bytes = TRY(from_base64url(url));
  if (to_base64(bytes) != text) return malformed;
  return bytes;
}

std::string checkpoint_text(const Checkpoint& checkpoint) {
  return checkpoint.origin + "\n" + std::to_string(checkpoint.size) + "\n" +
         to_base64(checkpoint.root) + "\n";
}

Result<Checkpoint> parse_checkpoint_text(std::string_view text) {
  Checkpoint checkpoint;
  std::string_view origin;
  std::string_view size;
  std::string_view root;
  if (!take_line(text, origin) || !take_line(text, size) || !take_line(text, root) ||
      origin.empty()) {
    return no_checkpoint();
  }
  checkpoint.origin = origin;
  const auto parsed = std::from_chars(size.data(), size.data() + size.size(), checkpoint.size);
  if (parsed.ec != std::errc() || std::to_string(checkpoint.size) != size) return no_checkpoint();
  const ByteVector hash = TRY(from_base64(root));
  if (hash.size() != checkpoint.root.size()) return no_checkpoint();
  std::copy(hash.begin(), hash.end(), checkpoint.root.begin());
  for (std::string_view extension; !text.empty();) {
    if (!take_line(text, extension) || extension.empty()) return no_checkpoint();
  }
  return checkpoint;
}

std::string sign_checkpoint(const Checkpoint& checkpoint, const Ed25519Key& key) {
  const std::string text = checkpoint_text(checkpoint);
  const ByteVector blob = ByteWriter()
                              .bytes(key_id(checkpoint.origin, key.public_key()))
                              .bytes(key.sign(as_bytes(text)))
                              .take();
  return text + "\n" + std::string(kDash) + checkpoint.origin + " " + to_base64(blob) + "\n";
}

Result<Checkpoint> open_checkpoint(std::string_view note, const Ed25519PublicKey& key) {
  if (note.size() > kLargestNote) return no_checkpoint();
  // The last empty line is between text and signatures.
  const std::size_t blank = note.rfind("\n\n");
  if (blank == std::string_view::npos) return no_checkpoint();
  const std::string_view text = note.substr(0, blank + 1);
  std::string_view signatures = note.substr(blank + 2);
  Checkpoint checkpoint = TRY(parse_checkpoint_text(text));
  const ByteVector id = key_id(checkpoint.origin, key);
  bool held = false;
  for (std::string_view line; !signatures.empty();) {
    if (!take_line(signatures, line)) return no_checkpoint();
    const ByteVector signature = TRY(signature_by(line, checkpoint.origin, id));
    if (signature.empty()) continue;
    if (!ed25519_verify(key, as_bytes(text), signature)) {
      return Error{Code::kCorrupt, 0, "the checkpoint's signature does not hold"};
    }
    held = true;
  }
  if (!held) return Error{Code::kCorrupt, 0, "the checkpoint is not signed by this store's key"};
  return checkpoint;
}

std::string verifier_key(std::string_view name, const Ed25519PublicKey& key) {
  return std::string(name) + "+" + to_hex(key_id(name, key)) + "+" + to_base64(typed_key(key));
}

}  // namespace coffer

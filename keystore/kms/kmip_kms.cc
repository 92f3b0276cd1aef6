#include "keystore/kms/kmip_kms.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include "keystore/base/clock.h"
#include "keystore/crypto/random.h"
#include "keystore/kms/kmip_cipher.h"
#include "keystore/kms/tls_told.h"

namespace coffer {
namespace {

using Tag = KmipTag;

constexpr std::string_view kScheme = "kmip://";
constexpr std::size_t kLongestUid = 128;
constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kWrappedSize = 1 + kKmipNonceSize + kWrappedKeySize + kKmipTagSize;
constexpr std::size_t kFingerprintPlain = 16;
constexpr std::size_t kFingerprintSize = kFingerprintPlain + kKmipTagSize;
constexpr std::chrono::seconds kTimeout{8};

// The nonce is nobody else's: those of wrapped keys are random.
const Bytes kFingerprintNonce = as_bytes("coffer/1/fpr");
const Bytes kFingerprintAad = as_bytes("coffer/1/fingerprint");

KmipClient::Time deadline() { return std::chrono::steady_clock::now() + kTimeout; }

bool is_uid(std::string_view text) {
  return !text.empty() && text.size() <= kLongestUid && std::ranges::all_of(text, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '-' || letter == '_' || letter == '.' ||
           letter == ':';
  });
}

/// Of a batch as such, not of what is in it.
bool refuses_batches(const KmipAnswer& answer) {
  const KmipResult* const failed = answer.failure();
  return answer.results().size() == 1 && failed != nullptr &&
         (failed->failed == KmipReason::kInvalidMessage ||
          failed->failed == KmipReason::kFeatureNotSupported ||
          failed->failed == KmipReason::kOperationNotSupported);
}

Result<void> check_form(Bytes wrapped) {
  if (!wrapped.empty() && wrapped[0] != kFormat)
    return Error{Code::kUnknownVersion, 0, "wrapped key of an unknown version"};
  if (wrapped.size() != kWrappedSize)
    return Error{Code::kCorrupt, 0, "wrapped key has a wrong length"};
  return {};
}

Bytes nonce_of(Bytes wrapped) { return wrapped.subspan(1, kKmipNonceSize); }
Bytes sealed_of(Bytes wrapped) { return wrapped.subspan(1 + kKmipNonceSize); }

std::string in_words(KmipReason reason) {
  return "reason " + std::to_string(static_cast<std::uint32_t>(reason));
}

}  // namespace

Result<KmipKeyUri> KmipKeyUri::parse(const std::string& uri) {
  const Error malformed{Code::kInvalid, 0,
                        "not kmip://HOST[:PORT]/UID (and nothing more: credentials and settings "
                        "are the node's own, see keystore/KMIP.md)"};
  if (!uri.starts_with(kScheme)) return malformed;
  const std::string_view rest = std::string_view(uri).substr(kScheme.size());
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return malformed;
  const auto host = parse_host(rest.substr(0, slash), kKmipPort);
  const std::string_view uid = rest.substr(slash + 1);
  if (!host || !is_uid(uid)) return malformed;
  return KmipKeyUri{*host, std::string(uid)};
}

KmipKms::KmipKms(std::string uri, KmipKeyUri place, KmipSettings settings)
    : uri_(std::move(uri)), place_(std::move(place)), client_(std::move(settings)) {}

Error KmipKms::error(Code code, const std::string& words) const {
  return {code, 0, uri_ + ": " + words};
}

Error KmipKms::not_understood() const {
  return error(Code::kKmsUnavailable, "the KMIP server answers with what is no answer to this");
}

Result<std::unique_ptr<KmipKms>> KmipKms::open(const std::string& uri, const std::string& version) {
  KmipKeyUri place = TRY(KmipKeyUri::parse(uri));
  KmipSettings settings = TRY(KmipSettings::of_this_node());
  if (settings.server != place.host) {
    const auto text = [](const HostAndPort& host) {
      return host.host + ":" + std::to_string(host.port);
    };
    return Error{Code::kKeyUnavailable, 0,
                 uri + ": this node's KMIP server is " + text(settings.server) +
                     ", and no other is brought its keys; if it is to be this one, set "
                     "COFFER_KMIP_SERVER to " +
                     text(place.host)};
  }
  auto master = std::unique_ptr<KmipKms>(new KmipKms(uri, std::move(place), std::move(settings)));
  const Time until = deadline();
  TRY(master->check_protocol(until));
  const KmipKey key = TRY(master->read_key(until));
  if (!key.is_aes_256)
    return master->error(Code::kUnsupported, "is no symmetric key for AES of 256 bits; make one");
  const auto needed =
      version.empty() ? KmipKey::kMayEncrypt | KmipKey::kMayDecrypt : KmipKey::kMayDecrypt;
  if (const auto why = key.why_not(needed)) return master->error(why->code, why->context);
  if (version.empty()) {
    if (key.given_away()) {
      return master->error(
          Code::kUnsupported,
          "the KMIP server would give this key away; make one that is Sensitive, or "
          "not Extractable");
    }
    TRY(master->take_up(until));
  } else {
    master->version_ = version;
    TRY(master->check_fingerprint(until));
  }
  return master;
}

Result<void> KmipKms::check_protocol(Time until) {
  TtlvWriter out;
  out.begin(Tag::kProtocolVersion);
  out.integer(Tag::kProtocolVersionMajor, 1).integer(Tag::kProtocolVersionMinor, 4);
  out.end();
  const KmipRequestItem items[] = {{KmipOperation::kDiscoverVersions, out.take()}};
  const KmipAnswer answer = TRY(client_.ask(items, until));
  const KmipResult* const failed = answer.failure();
  if (failed != nullptr &&
      (kmip_code_of(*failed->failed) == Code::kKmsDenied || kmip_refuses_access(*failed->failed)))
    return cause_of(*failed, KmipOperation::kDiscoverVersions, until);
  if (failed == nullptr) {
    for (const TtlvItem& item : answer.results()[0].payload.items()) {
      if (item.tag == Tag::kProtocolVersion && item.integer(Tag::kProtocolVersionMajor) == 1 &&
          item.integer(Tag::kProtocolVersionMinor) == 4)
        return {};
    }
  } else if (failed->failed != KmipReason::kInvalidMessage &&
             failed->failed != KmipReason::kOperationNotSupported) {
    return error(Code::kKmsUnavailable, "the KMIP server does not say which versions it speaks (" +
                                            in_words(*failed->failed) + "): " + failed->words);
  }
  return error(Code::kUnsupported,
               "the server does not speak KMIP 1.4, in which keys are bound to their place");
}

Result<KmipKey> KmipKms::read_key(Time until) {
  const KmipRequestItem items[] = {{KmipOperation::kGetAttributes, KmipKey::request(place_.uid)}};
  const KmipAnswer answer = TRY(client_.ask(items, until));
  if (const KmipResult* const failed = answer.failure()) {
    const Code code = kmip_refuses_access(*failed->failed)
                          ? Code::kKmsDenied
                          : kmip_code_of(*failed->failed).value_or(Code::kKmsUnavailable);
    return error(code, "the KMIP server refuses Get Attributes (" + in_words(*failed->failed) +
                           "): " + failed->words);
  }
  const auto key = KmipKey::from(answer.results()[0].payload, place_.uid);
  if (!key) return not_understood();
  return *key;
}

Error KmipKms::cause_of(const KmipResult& failed, KmipOperation operation, Time until) {
  const KmipReason reason = *failed.failed;
  const std::string refusal = "the KMIP server refuses " + std::string(to_string(operation)) +
                              " (" + in_words(reason) + "): " + failed.words;
  if (const auto code = kmip_code_of(reason)) return error(*code, refusal);
  const auto key = read_key(until);
  if (!key) return key.error();
  const auto needed =
      operation == KmipOperation::kEncrypt ? KmipKey::kMayEncrypt : KmipKey::kMayDecrypt;
  if (const auto why = key->why_not(needed)) return error(why->code, why->context);
  return error(kmip_refuses_access(reason) ? Code::kKmsDenied : Code::kKmsUnavailable, refusal);
}

Result<ByteVector> KmipKms::encrypted(const KmipResult& result, Bytes nonce,
                                      std::size_t length) const {
  auto sealed = kmip_encrypted(result.payload, place_.uid, nonce, length);
  if (!sealed) return not_understood();
  return *std::move(sealed);
}

Result<ByteVector> KmipKms::encrypt(Bytes nonce, Bytes aad, Bytes plain, Time until) {
  const KmipRequestItem items[] = {kmip_encrypt(place_.uid, nonce, aad, plain)};
  const KmipAnswer answer = TRY(client_.ask(items, until));
  if (const KmipResult* const failed = answer.failure())
    return cause_of(*failed, KmipOperation::kEncrypt, until);
  return encrypted(answer.results()[0], nonce, plain.size());
}

Result<KmipAnswer> KmipKms::ask_decrypt(Bytes nonce, Bytes aad, Bytes sealed, Time until) {
  const KmipRequestItem items[] = {kmip_decrypt(place_.uid, nonce, aad, sealed)};
  return client_.ask(items, until);
}

Result<SecretBytes> KmipKms::decrypted(const KmipResult& result) const {
  auto plain = kmip_decrypted(result.payload, place_.uid);
  if (!plain) return not_understood();
  return *std::move(plain);
}

/// The first time. A server that does not heed additional data would unwrap keys that were moved.
Result<void> KmipKms::take_up(Time until) {
  const ByteVector sealed =
      TRY(encrypt(kFingerprintNonce, kFingerprintAad, ByteVector(kFingerprintPlain), until));
  version_ = to_hex(sealed);
  TRY(check_fingerprint(until));
  const auto moved =
      TRY(ask_decrypt(kFingerprintNonce, as_bytes("coffer/1/elsewhere"), sealed, until));
  if (moved.failure() == nullptr) {
    return error(Code::kUnsupported,
                 "the KMIP server does not heed additional data, by which keys are bound to their "
                 "place");
  }
  return {};
}

Result<void> KmipKms::check_fingerprint(Time until) {
  const auto sealed = from_hex(version_);
  if (!sealed || sealed->size() != kFingerprintSize || to_hex(*sealed) != version_)
    return Error{Code::kCorrupt, 0, "version of the master key: not one of KMIP's"};
  const auto answer = TRY(ask_decrypt(kFingerprintNonce, kFingerprintAad, *sealed, until));
  const KmipResult* const failed = answer.failure();
  if (failed == nullptr) {
    const SecretBytes plain = TRY(decrypted(answer.results()[0]));
    if (!equal(plain.expose(), ByteVector(kFingerprintPlain))) return not_understood();
    return {};
  }
  const Error cause = cause_of(*failed, KmipOperation::kDecrypt, until);
  if (cause.code != Code::kKmsUnavailable || !kmip_is_ambiguous(*failed->failed)) return cause;
  // Another key makes another one of the same; if it makes none, nothing is known.
  const auto here =
      encrypt(kFingerprintNonce, kFingerprintAad, ByteVector(kFingerprintPlain), until);
  if (!here || *here == *sealed) return cause;
  return error(Code::kWrongKey, "is another key than this keystore's");
}

Result<ByteVector> KmipKms::wrap_by(const SecretBytes& key, const KeyContext& context, Time until) {
  TRY(check_wrappable(key));
  std::array<std::uint8_t, kKmipNonceSize> nonce{};
  random_bytes(nonce);
  const ByteVector sealed = TRY(encrypt(nonce, context.encode(), key.expose(), until));
  return ByteWriter().le(kFormat).bytes(nonce).bytes(sealed).take();
}

Result<ByteVector> KmipKms::wrap(const SecretBytes& key, const KeyContext& context) {
  return wrap_by(key, context, deadline());
}

/// Where a server takes no batches, one by one may take longer than a call has: then as many calls
/// as there are keys are due (`batch_size`), and the same one again would not do.
template <typename T>
Result<std::vector<T>> KmipKms::in_time(Result<std::vector<T>> done, std::size_t keys,
                                        Time until) const {
  if (done || keys < 2 || takes_batches_ || done.error().code != Code::kKmsUnavailable ||
      std::chrono::steady_clock::now() < until)
    return done;
  return Error{Code::kUnsupported, 0, uri_ + ": the server takes no batches, and is too slow"};
}

Result<std::vector<ByteVector>> KmipKms::wrap_one_by_one(std::span<const KeyInPlace> keys,
                                                         Time until) {
  std::vector<ByteVector> wrapped;
  for (const KeyInPlace& each : keys)
    wrapped.push_back(TRY(wrap_by(*each.key, each.context, until)));
  return wrapped;
}

Result<std::vector<ByteVector>> KmipKms::wrap_all(std::span<const KeyInPlace> keys) {
  const Time until = deadline();
  return in_time(wrap_many(keys, until), keys.size(), until);
}

Result<std::vector<ByteVector>> KmipKms::wrap_many(std::span<const KeyInPlace> keys, Time until) {
  if (keys.size() < 2 || !takes_batches_) return wrap_one_by_one(keys, until);
  std::vector<std::array<std::uint8_t, kKmipNonceSize>> nonces(keys.size());
  std::vector<KmipRequestItem> items;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    TRY(check_wrappable(*keys[i].key));
    random_bytes(nonces[i]);
    items.push_back(
        kmip_encrypt(place_.uid, nonces[i], keys[i].context.encode(), keys[i].key->expose()));
  }
  const KmipAnswer answer = TRY(client_.ask(items, until));
  if (refuses_batches(answer)) {
    const auto first = TRY(wrap_by(*keys[0].key, keys[0].context, until));
    takes_batches_ = false;  // for it was not that key
    auto wrapped = TRY(wrap_one_by_one(keys.subspan(1), until));
    wrapped.insert(wrapped.begin(), first);
    return wrapped;
  }
  if (const KmipResult* const failed = answer.failure())
    return cause_of(*failed, KmipOperation::kEncrypt, until);
  std::vector<ByteVector> wrapped;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const ByteVector sealed = TRY(encrypted(answer.results()[i], nonces[i], keys[i].key->size()));
    wrapped.push_back(ByteWriter().le(kFormat).bytes(nonces[i]).bytes(sealed).take());
  }
  return wrapped;
}

/// Servers have no common word for a wrong tag (General Failure, Cryptographic Failure, Invalid
/// Field): what they refuse twice, and between the two decrypt the fingerprint, is altered or
/// moved.
Result<SecretBytes> KmipKms::unwrap_by(const WrappedInPlace& key, Time until) {
  TRY(check_form(key.wrapped));
  const auto aad = key.context.encode();
  for (bool again = false;; again = true) {
    const auto answer = TRY(ask_decrypt(nonce_of(key.wrapped), aad, sealed_of(key.wrapped), until));
    const KmipResult* const failed = answer.failure();
    if (failed == nullptr) return check_unwrapped(TRY(decrypted(answer.results()[0])));
    if (again && kmip_is_ambiguous(*failed->failed))
      return Error{Code::kCorrupt, 0, "wrapped key does not authenticate"};
    const Error cause = cause_of(*failed, KmipOperation::kDecrypt, until);
    if (cause.code != Code::kKmsUnavailable || !kmip_is_ambiguous(*failed->failed)) return cause;
    TRY(check_fingerprint(until));
  }
}

Result<SecretBytes> KmipKms::unwrap(Bytes wrapped, const KeyContext& context) {
  return unwrap_by({wrapped, context}, deadline());
}

Result<std::vector<SecretBytes>> KmipKms::unwrap_some(std::span<const WrappedInPlace> keys,
                                                      Time until) {
  std::vector<KmipRequestItem> items;
  for (const WrappedInPlace& each : keys) {
    items.push_back(kmip_decrypt(place_.uid, nonce_of(each.wrapped), each.context.encode(),
                                 sealed_of(each.wrapped)));
  }
  const KmipAnswer answer = TRY(client_.ask(items, until));
  std::vector<SecretBytes> unwrapped;
  if (refuses_batches(answer)) {
    unwrapped.push_back(TRY(unwrap_by(keys[0], until)));
    takes_batches_ = false;  // for it was not that key
    return unwrapped;
  }
  for (const KmipResult& result : answer.results()) {
    if (result.failed) break;
    unwrapped.push_back(TRY(check_unwrapped(TRY(decrypted(result)))));
  }
  return unwrapped;
}

Result<std::vector<SecretBytes>> KmipKms::unwrap_all(std::span<const WrappedInPlace> keys) {
  const Time until = deadline();
  return in_time(unwrap_many(keys, until), keys.size(), until);
}

/// The one that a server stops at is asked for by itself, which tells why, and the rest after it.
Result<std::vector<SecretBytes>> KmipKms::unwrap_many(std::span<const WrappedInPlace> keys,
                                                      Time until) {
  for (const WrappedInPlace& each : keys) TRY(check_form(each.wrapped));
  std::vector<SecretBytes> unwrapped;
  while (unwrapped.size() < keys.size()) {
    const auto rest = keys.subspan(unwrapped.size());
    if (rest.size() > 1 && takes_batches_) {
      auto some = TRY(unwrap_some(rest, until));
      std::ranges::move(some, std::back_inserter(unwrapped));
    }
    if (unwrapped.size() < keys.size())
      unwrapped.push_back(TRY(unwrap_by(keys[unwrapped.size()], until)));
  }
  return unwrapped;
}

/// KMIP has no such operation: they come here.
Result<std::vector<ByteVector>> KmipKms::rewrap_all(std::span<const WrappedInPlace> keys) {
  const Time until = deadline();
  const auto rewrap_many = [&]() -> Result<std::vector<ByteVector>> {
    const std::vector<SecretBytes> unwrapped = TRY(unwrap_many(keys, until));
    std::vector<KeyInPlace> placed;
    placed.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i)
      placed.push_back({&unwrapped[i], keys[i].context});
    return wrap_many(placed, until);
  };
  return in_time(rewrap_many(), keys.size(), until);
}

Result<std::vector<KmsFact>> KmipKms::inspect() {
  const Time until = deadline();
  const KmipKey key = TRY(read_key(until));
  const TlsFacts tls = TRY(client_.facts(until));
  const auto told = [](std::optional<bool> flag) {
    return std::string(!flag ? "not told" : *flag ? "yes" : "no");
  };
  std::vector<KmsFact> facts = {{"protocol", "KMIP 1.4"},
                                {"key state", to_string(key.state)},
                                {"sensitive", told(key.sensitive)},
                                {"extractable", told(key.extractable)},
                                {"we are", tls.own_subject}};
  if (key.made_at != 0) facts.push_back({"key made", format_time(key.made_at)});
  add_facts(facts, tls);
  return facts;
}

Result<std::unique_ptr<MasterKms>> create_kmip_master(const std::string& uri,
                                                      const PassphraseSource& /*passphrase*/) {
  return std::unique_ptr<MasterKms>(TRY(KmipKms::open(uri, "")));
}

Result<std::unique_ptr<MasterKms>> open_kmip_master(const MasterKeyRecord& record,
                                                    const PassphraseSource& /*passphrase*/) {
  if (record.version.empty())
    return Error{Code::kCorrupt, 0, "version of the master key: not one of KMIP's"};
  return std::unique_ptr<MasterKms>(TRY(KmipKms::open(record.uri, record.version)));
}

}  // namespace coffer

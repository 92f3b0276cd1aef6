#include "keystore/kms/pkcs11_key.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <optional>
#include <vector>

#include "keystore/base/mutex.h"
#include "keystore/crypto/random.h"
#include "keystore/kms/private_file.h"

namespace coffer {
namespace {

constexpr const char* kModuleVariable = "COFFER_PKCS11_MODULE";

struct FreeUri {
  void operator()(P11KitUri* uri) const { p11_kit_uri_free(uri); }
};
using Uri = std::unique_ptr<P11KitUri, FreeUri>;

std::string last_words() {
  const char* const words = p11_kit_message();
  return words != nullptr ? words : "no reason given";
}

std::string words_of(CK_RV outcome) {
  const char* const words = p11_kit_strerror(outcome);
  return words != nullptr ? words : "error " + std::to_string(outcome);
}

Error unavailable(const std::string& what, CK_RV outcome) {
  const bool refused = outcome == CKR_PIN_LOCKED || outcome == CKR_PIN_EXPIRED;
  return {refused ? Code::kKmsDenied : Code::kKmsUnavailable, 0, what + ": " + words_of(outcome)};
}

Result<Uri> parse(const std::string& text) {
  Uri uri(p11_kit_uri_new());
  if (uri == nullptr) throw std::bad_alloc();
  const int outcome = p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_ANY, uri.get());
  if (outcome != P11_KIT_URI_OK || p11_kit_uri_any_unrecognized(uri.get()) != 0) {
    return Error{Code::kInvalid, 0,
                 "not a PKCS#11 URI as RFC 7512 has them: pkcs11:token=…;object=…"};
  }
  if (p11_kit_uri_get_pin_value(uri.get()) != nullptr) {
    return Error{Code::kInvalid, 0,
                 "a PIN in a URI would be put on record; put it into a file of mode 600 and say "
                 "?pin-source=/PATH"};
  }
  if (p11_kit_uri_get_module_path(uri.get()) != nullptr ||
      p11_kit_uri_get_module_name(uri.get()) != nullptr) {
    return Error{
        Code::kInvalid, 0,
        std::string("which module is loaded is no affair of a keystore's: register it with "
                    "p11-kit (a file in /etc/pkcs11/modules), or set ") +
            kModuleVariable};
  }
  return uri;
}

/// The libraries that talk to tokens.
class Modules {
 public:
  static Result<Modules> load();
  Modules(Modules&& other) noexcept
      : all_(std::exchange(other.all_, nullptr)), one_(std::exchange(other.one_, nullptr)) {}
  Modules& operator=(Modules&&) = delete;
  ~Modules() {
    if (all_ != nullptr) p11_kit_modules_finalize_and_release(all_);
    if (one_ == nullptr) return;
    p11_kit_module_finalize(one_);
    p11_kit_module_release(one_);
  }

  [[nodiscard]] std::vector<CK_FUNCTION_LIST*> list() const {
    if (one_ != nullptr) return {one_};
    std::vector<CK_FUNCTION_LIST*> list;
    for (CK_FUNCTION_LIST** each = all_; *each != nullptr; ++each) list.push_back(*each);
    return list;
  }

 private:
  Modules(CK_FUNCTION_LIST** all, CK_FUNCTION_LIST* one) : all_(all), one_(one) {}
  CK_FUNCTION_LIST** all_;
  CK_FUNCTION_LIST* one_;
};

Result<Modules> Modules::load() {
  const char* const named = std::getenv(kModuleVariable);
  if (named == nullptr || *named == '\0') {
    CK_FUNCTION_LIST** const all = p11_kit_modules_load_and_initialize(0);
    if (all == nullptr) return Error{Code::kKeyUnavailable, 0, "PKCS#11 modules: " + last_words()};
    return Modules(all, nullptr);
  }
  const std::string what = std::string("PKCS#11 module ") + named;
  CK_FUNCTION_LIST* const one = p11_kit_module_load(named, 0);
  if (one == nullptr) return Error{Code::kKeyUnavailable, 0, what + ": " + last_words()};
  const CK_RV begun = p11_kit_module_initialize(one);
  if (begun == CKR_OK) return Modules(nullptr, one);
  p11_kit_module_release(one);
  return unavailable(what, begun);
}

/// What a token does that has lost the session, the login or the key, or is gone: a new session may
/// bring it back.
bool is_lost(CK_RV outcome) {
  constexpr std::array kLost = {
      CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,        CKR_DEVICE_REMOVED,
      CKR_DEVICE_ERROR,           CKR_TOKEN_NOT_PRESENT,     CKR_USER_NOT_LOGGED_IN,
      CKR_KEY_HANDLE_INVALID,     CKR_OBJECT_HANDLE_INVALID, CKR_CRYPTOKI_NOT_INITIALIZED};
  return std::find(kLost.begin(), kLost.end(), outcome) != kLost.end();
}

/// PKCS #11 fills what it says of itself up with spaces.
std::string unpadded(Bytes text) {
  while (!text.empty() && text.back() == ' ') text = text.first(text.size() - 1);
  return {text.begin(), text.end()};
}

unsigned char* writable(Bytes bytes) {
  return const_cast<unsigned char*>(bytes.data());  // NOLINT: PKCS#11 knows no const
}

struct Gcm {
  Gcm(Bytes nonce, Bytes aad)
      : parameters{writable(nonce), nonce.size(), 8 * nonce.size(),
                   writable(aad),   aad.size(),   8 * Pkcs11Key::kTagSize} {}
  CK_GCM_PARAMS parameters;
  CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
};

}  // namespace

/// A session with the token, opened when it is needed and anew when it was lost.
class Pkcs11Key::Session {
 public:
  Session(std::string text, Uri uri) : text_(std::move(text)), uri_(std::move(uri)) {}
  ~Session() {
    MutexLock lock(mutex_);
    disconnect();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Result<void> begin(const PassphraseSource& pin) {
    {
      MutexLock lock(mutex_);
      TRY(connect(&pin));
    }
    std::string made;
    TRY(check_sealing(TRY(use([&]() REQUIRES(mutex_) { return make_fingerprint(made); }))));
    MutexLock lock(mutex_);
    fingerprint_ = std::move(made);
    return {};
  }

  enum class Way { kEncrypt, kDecrypt };
  /// What the token says; an error if it could not be asked. `length`: of what is in `out` then.
  Result<CK_RV> run(Way way, CK_MECHANISM& how, Bytes in, MutableBytes out, CK_ULONG& length) {
    return use([&]() REQUIRES(mutex_) {
      const bool encrypts = way == Way::kEncrypt;
      const auto begin = encrypts ? token_->C_EncryptInit : token_->C_DecryptInit;
      const auto finish = encrypts ? token_->C_Encrypt : token_->C_Decrypt;
      const CK_RV begun = begin(session_, &how, key_);
      if (begun != CKR_OK) return begun;
      length = out.size();
      return finish(session_, writable(in), in.size(), out.data(), &length);
    });
  }

  Result<std::vector<KmsFact>> inspect() {
    CK_TOKEN_INFO token{};
    CK_INFO library{};
    const CK_RV outcome = TRY(use([&]() REQUIRES(mutex_) {
      CK_SESSION_INFO session{};
      CK_RV asked = token_->C_GetSessionInfo(session_, &session);
      if (asked == CKR_OK) asked = token_->C_GetTokenInfo(session.slotID, &token);
      return asked == CKR_OK ? token_->C_GetInfo(&library) : asked;
    }));
    if (outcome != CKR_OK) return unavailable(text_, outcome);
    return std::vector<KmsFact>{{"token", unpadded(token.label)},
                                {"made by", unpadded(token.manufacturerID)},
                                {"model", unpadded(token.model)},
                                {"serial", unpadded(token.serialNumber)},
                                {"library", unpadded(library.libraryDescription)}};
  }

  [[nodiscard]] const std::string& text() const { return text_; }

  [[nodiscard]] std::string fingerprint() {
    MutexLock lock(mutex_);
    return fingerprint_;
  }

 private:
  struct Slot {
    CK_FUNCTION_LIST* token;
    CK_SLOT_ID id;
    bool needs_login;
  };

  /// One at a time: a session has one operation.
  Result<CK_RV> use(const std::function<CK_RV()>& call) {
    MutexLock lock(mutex_);
    for (bool again = false;; again = true) {
      if (!modules_) TRY(connect(nullptr));
      const CK_RV outcome = call();
      if (!is_lost(outcome)) return outcome;
      disconnect();
      if (again) return outcome;
    }
  }

  Result<void> connect(const PassphraseSource* pin) REQUIRES(mutex_) {
    modules_.emplace(TRY(Modules::load()));
    auto connected = connect_by_modules(pin);
    if (!connected) disconnect();
    return connected;
  }

  Result<void> connect_by_modules(const PassphraseSource* pin) REQUIRES(mutex_) {
    const Slot slot = TRY(find_slot());
    token_ = slot.token;
    const CK_RV opened =
        token_->C_OpenSession(slot.id, CKF_SERIAL_SESSION, nullptr, nullptr, &session_);
    if (opened != CKR_OK) return unavailable(text_, opened);
    open_ = true;
    if (slot.needs_login) TRY(log_in(pin));
    key_ = TRY(find_key());
    TRY(check_key());
    return check_fingerprint();
  }

  Result<Slot> find_slot() const REQUIRES(mutex_) {
    std::vector<Slot> found;
    for (CK_FUNCTION_LIST* const module : modules_->list()) {
      CK_INFO about{};
      if (module->C_GetInfo(&about) != CKR_OK ||
          p11_kit_uri_match_module_info(uri_.get(), &about) == 0)
        continue;
      CK_ULONG count = 0;
      if (module->C_GetSlotList(CK_TRUE, nullptr, &count) != CKR_OK) continue;
      std::vector<CK_SLOT_ID> ids(count);
      if (module->C_GetSlotList(CK_TRUE, ids.data(), &count) != CKR_OK) continue;
      for (const CK_SLOT_ID id : std::span(ids).first(std::min<std::size_t>(count, ids.size()))) {
        CK_TOKEN_INFO token{};
        if (module->C_GetTokenInfo(id, &token) != CKR_OK ||
            p11_kit_uri_match_token_info(uri_.get(), &token) == 0)
          continue;
        if ((token.flags & CKF_TOKEN_INITIALIZED) == 0) continue;
        found.push_back({module, id, (token.flags & CKF_LOGIN_REQUIRED) != 0});
      }
    }
    if (found.size() == 1) return found[0];
    if (found.empty()) {
      return Error{Code::kKmsUnavailable, 0,
                   text_ + ": no such token is there; see: p11-kit list-modules"};
    }
    return Error{Code::kInvalid, 0, text_ + ": several tokens are so; add serial="};
  }

  Result<void> log_in(const PassphraseSource* pin) REQUIRES(mutex_) {
    if (pin_.empty()) {
      const char* const source = p11_kit_uri_get_pin_source(uri_.get());
      if (source == nullptr && pin == nullptr)
        return Error{Code::kKeyUnavailable, 0, text_ + ": its PIN is not known any more"};
      pin_ = source != nullptr ? TRY(read_pin_file(source)) : TRY((*pin)(false));
    }
    // A token locks itself after a few: one that it refused is shown to it no more.
    const Error wrong{Code::kWrongKey, 0, text_ + ": wrong PIN"};
    SecretBytes tried = std::move(pin_);
    pin_ = SecretBytes();
    if (!refused_pin_.empty() && constant_time_equal(tried.expose(), refused_pin_.expose()))
      return wrong;
    const CK_RV outcome = token_->C_Login(session_, CKU_USER, tried.expose().data(), tried.size());
    if (outcome == CKR_OK || outcome == CKR_USER_ALREADY_LOGGED_IN) {
      pin_ = std::move(tried);
      return {};
    }
    if (outcome == CKR_PIN_INCORRECT || outcome == CKR_PIN_INVALID ||
        outcome == CKR_PIN_LEN_RANGE) {
      refused_pin_ = std::move(tried);
      return wrong;
    }
    if (is_lost(outcome)) pin_ = std::move(tried);  // nobody has looked at it
    return unavailable(text_ + ": logging in", outcome);
  }

  Result<CK_OBJECT_HANDLE> find_key() const REQUIRES(mutex_) {
    CK_OBJECT_CLASS secret = CKO_SECRET_KEY;
    CK_KEY_TYPE aes = CKK_AES;
    std::vector<CK_ATTRIBUTE> wanted = {{CKA_CLASS, &secret, sizeof secret},
                                        {CKA_KEY_TYPE, &aes, sizeof aes}};
    CK_ULONG count = 0;
    const CK_ATTRIBUTE* const given = p11_kit_uri_get_attributes(uri_.get(), &count);
    for (const CK_ATTRIBUTE& attribute : std::span(given, count)) {
      if (attribute.type != CKA_CLASS) wanted.push_back(attribute);
    }
    CK_RV outcome = token_->C_FindObjectsInit(session_, wanted.data(), wanted.size());
    std::array<CK_OBJECT_HANDLE, 2> found{};
    CK_ULONG how_many = 0;
    if (outcome == CKR_OK) {
      outcome = token_->C_FindObjects(session_, found.data(), found.size(), &how_many);
      token_->C_FindObjectsFinal(session_);
    }
    if (outcome != CKR_OK) return unavailable(text_, outcome);
    if (how_many == 0) {
      return Error{Code::kKmsKeyMissing, 0,
                   text_ +
                       ": no such AES key is on the token; make one: pkcs11-tool --keygen "
                       "--key-type AES:32 --sensitive --label NAME"};
    }
    if (how_many > 1)
      return Error{Code::kInvalid, 0, text_ + ": several AES keys are so; add object= or id="};
    return found[0];
  }

  Result<void> check_key() const REQUIRES(mutex_) {
    CK_BBOOL sensitive = CK_FALSE;
    CK_BBOOL extractable = CK_TRUE;
    CK_ULONG size = 0;
    std::array<CK_ATTRIBUTE, 3> asked = {{{CKA_SENSITIVE, &sensitive, sizeof sensitive},
                                          {CKA_EXTRACTABLE, &extractable, sizeof extractable},
                                          {CKA_VALUE_LEN, &size, sizeof size}}};
    const CK_RV outcome = token_->C_GetAttributeValue(session_, key_, asked.data(), asked.size());
    if (outcome != CKR_OK) return unavailable(text_ + ": asking what the key may", outcome);
    if (sensitive == CK_FALSE || extractable != CK_FALSE) {
      return Error{Code::kUnsupported, 0,
                   text_ +
                       ": the token would give this key away; make one that is sensitive and "
                       "not extractable"};
    }
    if (size != kWrappedKeySize)
      return Error{Code::kUnsupported, 0, text_ + ": the key is not one of AES-256"};
    return {};
  }

  /// Tells one key from another, and nothing of it. The nonce is nobody else's: those of wrapped
  /// keys are random.
  CK_RV make_fingerprint(std::string& made) const REQUIRES(mutex_) {
    const ByteVector zeros(16);
    Gcm gcm(as_bytes("coffer/1/fpr"), as_bytes("coffer/1/fingerprint"));
    ByteVector sealed(zeros.size() + 2 * kTagSize);
    CK_ULONG length = sealed.size();
    CK_RV outcome = token_->C_EncryptInit(session_, &gcm.mechanism, key_);
    if (outcome == CKR_OK)
      outcome = token_->C_Encrypt(session_, writable(zeros), zeros.size(), sealed.data(), &length);
    if (outcome == CKR_OK && length != zeros.size() + kTagSize) return CKR_GENERAL_ERROR;
    made = to_hex(Bytes(sealed).subspan(zeros.size(), 8));
    return outcome;
  }

  [[nodiscard]] Result<void> check_sealing(CK_RV outcome) const {
    if (outcome == CKR_OK) return {};
    if (outcome == CKR_KEY_FUNCTION_NOT_PERMITTED)
      return Error{Code::kKmsDenied, 0, text_ + ": the key may not encrypt"};
    return unavailable(text_ + ": AES-GCM", outcome);
  }

  /// A session that is opened anew must not come upon another key.
  Result<void> check_fingerprint() const REQUIRES(mutex_) {
    if (fingerprint_.empty()) return {};
    std::string found;
    TRY(check_sealing(make_fingerprint(found)));
    if (found == fingerprint_) return {};
    return Error{Code::kWrongKey, 0, text_ + ": another key (" + found + ") stands in its place"};
  }

  void disconnect() REQUIRES(mutex_) {
    if (std::exchange(open_, false)) token_->C_CloseSession(session_);
    modules_.reset();
  }

  const std::string text_;
  const Uri uri_;
  Mutex mutex_;
  std::optional<Modules> modules_ GUARDED_BY(mutex_);
  CK_FUNCTION_LIST* token_ GUARDED_BY(mutex_) = nullptr;
  CK_SESSION_HANDLE session_ GUARDED_BY(mutex_) = 0;
  bool open_ GUARDED_BY(mutex_) = false;
  CK_OBJECT_HANDLE key_ GUARDED_BY(mutex_) = 0;
  std::string fingerprint_ GUARDED_BY(mutex_);
  SecretBytes pin_ GUARDED_BY(mutex_);  ///< for the next session
  SecretBytes refused_pin_ GUARDED_BY(mutex_);
};

Pkcs11Key::Pkcs11Key(std::unique_ptr<Session> session) : session_(std::move(session)) {}
Pkcs11Key::~Pkcs11Key() = default;

Result<std::unique_ptr<Pkcs11Key>> Pkcs11Key::open(const std::string& uri,
                                                   const PassphraseSource& pin) {
  auto session = std::make_unique<Session>(uri, TRY(parse(uri)));
  TRY(session->begin(pin));
  return std::unique_ptr<Pkcs11Key>(new Pkcs11Key(std::move(session)));
}

std::string Pkcs11Key::fingerprint() const { return session_->fingerprint(); }

Result<std::vector<KmsFact>> Pkcs11Key::inspect() { return session_->inspect(); }

Result<ByteVector> Pkcs11Key::encrypt(Bytes nonce, Bytes aad, Bytes plain) {
  Gcm gcm(nonce, aad);
  ByteVector sealed(plain.size() + 2 * kTagSize);
  CK_ULONG length = 0;
  const CK_RV outcome =
      TRY(session_->run(Session::Way::kEncrypt, gcm.mechanism, plain, sealed, length));
  if (outcome == CKR_KEY_FUNCTION_NOT_PERMITTED)
    return Error{Code::kKmsDenied, 0, session_->text() + ": the key may not encrypt"};
  if (outcome != CKR_OK) return unavailable(session_->text() + ": AES-GCM", outcome);
  sealed.resize(std::min<std::size_t>(length, sealed.size()));
  return sealed;
}

Result<SecretBytes> Pkcs11Key::decrypt(Bytes nonce, Bytes aad, Bytes ciphertext) {
  Gcm gcm(nonce, aad);
  SecretBytes plain(ciphertext.size() + kTagSize);
  CK_ULONG length = 0;
  const CK_RV outcome =
      TRY(session_->run(Session::Way::kDecrypt, gcm.mechanism, ciphertext, plain.expose(), length));
  if (outcome == CKR_OK) {
    return SecretBytes::copy_of(plain.expose().first(std::min<std::size_t>(length, plain.size())));
  }
  if (outcome == CKR_KEY_FUNCTION_NOT_PERMITTED)
    return Error{Code::kKmsDenied, 0, session_->text() + ": the key may not decrypt"};
  const Error corrupt{Code::kCorrupt, 0, "wrapped key does not authenticate"};
  if (outcome == CKR_ENCRYPTED_DATA_INVALID || outcome == CKR_ENCRYPTED_DATA_LEN_RANGE)
    return corrupt;
  // Some tokens have one word for this and for trouble of their own: one that seals is well.
  const bool ambiguous = outcome == CKR_GENERAL_ERROR || outcome == CKR_FUNCTION_FAILED;
  std::array<std::uint8_t, kNonceSize> other{};
  random_bytes(other);
  if (ambiguous && encrypt(other, aad, ByteVector(kWrappedKeySize))) return corrupt;
  return unavailable(session_->text() + ": AES-GCM", outcome);
}

}  // namespace coffer

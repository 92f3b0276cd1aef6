#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/ids.h"
#include "keystore/base/result.h"
#include "keystore/crypto/aead.h"
#include "keystore/crypto/digest.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Whether the backing shows names encrypted; of the whole store.
enum class NamesMode { kEncrypted, kPlain };
std::string_view to_string(NamesMode mode);
Result<NamesMode> names_mode_from_name(std::string_view name);

enum class Sensitivity : std::uint8_t {
  kPublic = 0,
  kInternal = 1,
  kConfidential = 2,
  kRestricted = 3
};
std::string_view to_string(Sensitivity sensitivity);
Result<Sensitivity> sensitivity_from_name(std::string_view name);

/// How a scope's DEKs are wrapped: by its KEK, or each by the master key itself.
enum class Wrap : std::uint8_t { kKek = 1, kDirect = 2 };
std::string_view to_string(Wrap wrap);
Result<Wrap> wrap_from_name(std::string_view name);

/// NIST SP 800-57 part 1, section 7.
enum class KeyState : std::uint8_t {
  kPreActivation = 1,
  kActive = 2,
  kSuspended = 3,
  kDeactivated = 4,
  kCompromised = 5,
  kDestroyed = 6
};
std::string_view to_string(KeyState state);
/// True of the states in which a key is used.
constexpr bool is_usable(KeyState state) {
  return state == KeyState::kPreActivation || state == KeyState::kActive;
}

/// Whether an admin may bring a scope or a file's key from one state to another (SP 800-57, 7):
/// what is compromised or destroyed never comes back.
bool may_become(KeyState from, KeyState to);

/// How a scope's content is handed out (fs/SEMANTICS.md, "Strict scopes"); may be changed.
struct ScopeFlags {
  /// Names are hidden from who is not granted them, and every use is decided anew.
  bool strict = false;
  /// What was decrypted of a file goes with its last reader.
  bool purge = false;
  bool operator==(const ScopeFlags&) const = default;
};

/// What is settled when a scope is made, but for its flags.
struct ScopeSettings {
  Sensitivity sensitivity = Sensitivity::kInternal;
  Suite suite = Suite::kAes256Gcm;
  unsigned chunk_log2 = 12;
  Wrap wrap = Wrap::kKek;
  std::int64_t retention_s = 7 * 24 * 3600;
  ScopeFlags flags = {};
};

struct ScopeRow {
  ScopeId id;
  std::string path;  ///< normalised, absolute: "/", "/models/llama"
  DirId root_dir;
  ScopeSettings settings;
  KeyState state = KeyState::kActive;
  KeyVersion kek_version;  ///< the newest active one; 0 if there is none
  std::int64_t created_at = 0;
};

/// A grant as it is stored; keystore/broker gives it its meaning.
struct GrantRow {
  GrantId id;
  ScopeId scope;
  bool deny = false;
  std::uint8_t rights = 0;
  bool everyone = false;
  std::optional<std::int64_t> not_before;
  std::optional<std::int64_t> not_after;
  std::optional<std::int64_t> revoked_at;
  std::string purpose;
  std::string created_by;
  std::int64_t created_at = 0;
  std::vector<std::string> selectors;
};

/// Scopes and grants as of one moment, authenticated as a whole.
struct PolicySnapshot {
  std::uint64_t generation = 0;
  NamesMode names = NamesMode::kEncrypted;
  bool xattrs = false;         ///< objects of the store may have extended attributes
  bool audit_required = true;  ///< what can't be put on the audit log must not happen
  std::vector<ScopeRow> scopes;
  std::vector<GrantRow> grants;
};

/// What names a data key.
struct DekId {
  FileId file;
  KeyVersion version;
};

/// A data key with what names it.
struct Dek {
  FileId file;
  KeyVersion version;
  ScopeId scope;
  KeyState state = KeyState::kPreActivation;
  std::uint64_t generation = 0;  ///< recorded with the file's last close; 0 if never
  Digest root{};
  SecretBytes key;
};

/// What a DEK is wanted for: to use the file, or to look into what is left of one that was damaged
/// or deleted. The second gets the key of a deleted file too, as long as it is not destroyed.
enum class DekUse { kOrdinary, kRecovery };

/// What is recorded of a file once it is durable.
struct FileRecord {
  FileId file;
  KeyVersion version;
  KeyState state = KeyState::kActive;  ///< kActive, or kDeactivated when the last link is gone
  std::uint64_t generation = 0;
  Digest root{};
};

/// A row of `coffer key list`: no key.
struct KeyRow {
  FileId file;
  KeyVersion version;
  ScopeId scope;
  KeyVersion kek_version;
  KeyState state = KeyState::kPreActivation;
  std::int64_t created_at = 0;
  std::int64_t changed_at = 0;
  std::uint64_t generation = 0;
};

/// The newest checkpoint of an audit log that the keystore knows (keystore/AUDIT.md, "Tree and
/// checkpoints").
struct LogCheckpoint {
  LogId log;
  std::uint64_t size = 0;  ///< lines
  std::int64_t at = 0;
  std::string place;  ///< "HOST:PATH" of the log
  std::string note;   ///< signed
};

/// What the audit log's lines and checkpoints are authenticated by.
struct AuditSecrets {
  SecretBytes lines;
  SecretBytes seed;
};

/// A row of a scope's KEKs.
struct KekRow {
  ScopeId scope;
  KeyVersion version;
  KeyState state = KeyState::kActive;
  std::int64_t created_at = 0;
};

}  // namespace coffer

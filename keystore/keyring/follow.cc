// How a Keyring goes on when the store moves to another master key (keystore/FORMAT.md, "Another
// master key").

#include "keystore/crypto/kdf.h"
#include "keystore/keyring/keyring.h"
#include "keystore/keyring/master_rows.h"
#include "keystore/keyring/schema.h"
#include "keystore/kms/lockable_kms.h"

namespace coffer {
namespace {

constexpr int kAttempts = 4;

}  // namespace

Result<void> Keyring::check_policy_key(const SecretBytes& policy_key) {
  const Digest digest =
      sha256(hkdf_sha256(policy_key.expose(), store_.view(), "coffer/1/policy-known", 32).expose());
  MutexLock lock(read_mutex_);
  if (!policy_key_digest_.has_value()) policy_key_digest_ = digest;
  if (*policy_key_digest_ == digest) return {};
  return Error{Code::kWrongKey, 0,
               "the keystore has another policy key than it had when it was opened"};
}

Result<MasterKeyRecord> Keyring::recorded_primary() {
  MutexLock lock(read_mutex_);
  return select_active_master(reader_);
}

Result<void> Keyring::follow(const MasterKeyRecord& record) {
  if (record == master_.describe()) return {};
  if (locked()) return keys_are_locked();
  if (!take_up_master_) {
    return Error{Code::kKeyUnavailable, 0,
                 "the store has another master key now, " + record.uri + "; open it anew"};
  }
  // Whose policy key we know has made the store move there.
  return take_up_master_(record, [this](MasterKms& other) -> Result<void> {
    ByteVector wrapped;
    {
      MutexLock lock(read_mutex_);
      wrapped = TRY(read_meta(reader_, "policy_key"));
    }
    return check_policy_key(TRY(other.unwrap(wrapped, KeyContext::of_policy_key(store_))));
  });
}

Result<MasterKeyRecord> Keyring::primary() {
  MasterKeyRecord record = TRY(recorded_primary());
  if (record == master_.describe()) return record;
  TRY(read_verified([&](Database& database, const PolicyKeys&) -> Result<void> {
    record = TRY(select_active_master(database));
    return {};
  }));
  TRY(follow(record));
  return record;
}

Result<ByteVector> Keyring::from_source(Database& database, const HmacKey* records,
                                        const KeyContext& context, ByteVector wrapped) const {
  if (source_ == Source::kPrimary) return wrapped;
  const auto recovery = TRY(select_recovery(database));
  // What the RecoveredKms makes of no bytes: there is no copy.
  if (!recovery) return ByteVector();
  const MasterId id = recovery->master.id;
  if (context.purpose == KeyContext::Purpose::kDek)
    return TRY(select_dek_copy(database, *records, id, context)).value_or(ByteVector());
  return TRY(select_copy(database, id, context)).value_or(ByteVector());
}

Result<SecretBytes> Keyring::unwrap_policy_key() {
  const KeyContext context = KeyContext::of_policy_key(store_);
  for (int attempt = 1;; ++attempt) {
    // Not authentic yet: what authenticates it is this key. Without a way to follow, ours tells.
    const MasterKeyRecord asked = TRY(recorded_primary());
    if (take_up_master_) {
      auto followed = follow(asked);
      // Or the store has moved on in the midst of it.
      if (!followed && attempt < kAttempts && TRY(recorded_primary()) != asked) continue;
      TRY(std::move(followed));
    }
    ByteVector wrapped;
    {
      MutexLock lock(read_mutex_);
      wrapped = TRY(from_source(reader_, nullptr, context, TRY(read_meta(reader_, "policy_key"))));
    }
    auto key = master_.unwrap(wrapped, context);
    if (!key && attempt < kAttempts && TRY(recorded_primary()) != asked) continue;
    if (key) TRY(check_policy_key(*key));
    return key;
  }
}

Result<SecretBytes> Keyring::unwrap_by_primary(const std::function<Result<ByteVector>()>& read,
                                               const KeyContext& context) {
  for (int attempt = 1;; ++attempt) {
    const MasterKeyRecord asked = TRY(primary());
    const ByteVector wrapped = TRY(read());
    auto key = master_.unwrap(wrapped, context);
    // What was read may be another master key's already, or ours may be.
    if (key || attempt == kAttempts || TRY(recorded_primary()) == asked) return key;
  }
}

}  // namespace coffer

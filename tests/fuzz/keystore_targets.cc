#include "tests/fuzz/keystore_targets.h"

#include <unistd.h>

#include <cstdio>
#include <map>
#include <optional>

#include "keystore/base/atomic_file.h"
#include "keystore/broker/policy.h"
#include "keystore/crypto/box.h"
#include "keystore/crypto/kdf.h"
#include "keystore/keyring/keyring.h"
#include "keystore/keyring/policy_rows.h"
#include "keystore/keyring/schema.h"
#include "keystore/kms/local_kms.h"
#include "keystore/kms/tpm2_record.h"

namespace coffer::fuzz {
namespace {

const SecretBytes& fixed_key() {
  static const SecretBytes key = SecretBytes::copy_of(ByteVector(32, 0x5a));
  return key;
}

StoreId fixed_store() {
  StoreId id;
  id.bytes.fill(9);
  return id;
}

KeyContext context_from(Input& input) {
  KeyContext context;
  context.purpose = static_cast<KeyContext::Purpose>(1 + input.byte() % 4);
  context.store = fixed_store();
  context.store.bytes[0] = input.byte();
  context.scope = ScopeId{input.byte()};
  context.wrapping_kek = KeyVersion{input.byte()};
  context.file.bytes[15] = input.byte();
  context.version = KeyVersion{input.byte()};
  return context;
}

/// A keystore of two scopes, three grants and a few keys, as bytes and as what they mean.
struct SampleKeystore {
  LocalKms master{"local:/fuzz", "", fixed_key()};
  Clock clock;
  std::string path = scratch_directory() + "/keystore.db";
  ByteVector file;
  PolicySnapshot policy;
  std::map<FileId, Dek> deks;
  ByteVector secret;

  SampleKeystore() {
    Keyring::CreateOptions create;
    create.path = path;
    create.store = fixed_store();
    create.root_dir.bytes.fill(1);
    create.first_grant.rights = 7;
    create.first_grant.everyone = true;
    create.first_grant.purpose = "fuzz";
    got(Keyring::create(create, master, clock), "making a keystore");
    {
      const auto keyring = got(open(Keyring::Access::kReadWrite), "opening a keystore");
      const ScopeId scope = got(keyring->add_scope("/models", DirId{}, {}), "adding a scope");
      GrantRow grant = create.first_grant;
      grant.scope = scope;
      grant.everyone = false;
      grant.deny = true;
      grant.selectors = {"unix:uid:1000", "unix:gid:7"};
      got(keyring->add_grant(grant), "adding a grant");
      std::vector<FileRecord> records;
      for (Dek& dek : got(keyring->make_deks(scope, 4), "making keys")) {
        if (records.size() < 2) {
          records.push_back({.file = dek.file,
                             .version = dek.version,
                             .state = KeyState::kActive,
                             .generation = 5,
                             .root = Digest{1}});
        }
        deks.emplace(dek.file, std::move(dek));
      }
      got(keyring->record(records), "recording keys");
      for (auto& [id, dek] : deks) dek = got(keyring->dek(id, dek.version), "a key");
      policy = got(keyring->policy(), "the policy");
      const SecretBytes scope_secret = got(keyring->scope_secret(scope), "a scope's secret");
      secret.assign(scope_secret.expose().begin(), scope_secret.expose().end());
    }
    file = got(read_small_file(path, std::size_t{1} << 24U), "the keystore's bytes");
  }
  Result<std::unique_ptr<Keyring>> open(Keyring::Access access) {
    return Keyring::open(path, access, fixed_store(), master, clock);
  }
};

/// What an altered keystore may be refused with: nothing else tells a user what happened.
constexpr std::initializer_list<Code> kRefusals = {
    Code::kCorrupt,        Code::kUnknownVersion, Code::kForeignKeystore, Code::kWrongKey,
    Code::kKeyUnavailable, Code::kRevoked,        Code::kInvalid,         Code::kReadOnly};

bool same(const GrantRow& a, const GrantRow& b) {
  return a.id == b.id && a.scope == b.scope && a.deny == b.deny && a.rights == b.rights &&
         a.everyone == b.everyone && a.not_before == b.not_before && a.not_after == b.not_after &&
         a.revoked_at == b.revoked_at && a.selectors == b.selectors;
}

bool same(const ScopeRow& a, const ScopeRow& b) {
  return a.id == b.id && a.path == b.path && a.root_dir == b.root_dir &&
         a.settings.suite == b.settings.suite && a.settings.chunk_log2 == b.settings.chunk_log2 &&
         a.settings.wrap == b.settings.wrap && a.state == b.state &&
         a.kek_version == b.kek_version && a.settings.sensitivity == b.settings.sensitivity;
}

bool same(const PolicySnapshot& a, const PolicySnapshot& b) {
  bool equal = a.generation == b.generation && a.names == b.names &&
               a.scopes.size() == b.scopes.size() && a.grants.size() == b.grants.size();
  for (std::size_t i = 0; equal && i < a.scopes.size(); ++i) equal = same(a.scopes[i], b.scopes[i]);
  for (std::size_t i = 0; equal && i < a.grants.size(); ++i) equal = same(a.grants[i], b.grants[i]);
  return equal;
}

/// All that a keystore says is what was written, or an error.
void check_keystore(SampleKeystore& sample, Keyring& keyring) {
  const auto policy = keyring.policy();
  require_code(policy, kRefusals, "the policy of an altered keystore");
  require(!policy || same(*policy, sample.policy), "an authentic policy is the one written");
  for (const auto& [id, written] : sample.deks) {
    const auto dek = keyring.dek(id, written.version);
    require_code(dek, kRefusals, "a key of an altered keystore");
    require(!dek || (equal(dek->key.expose(), written.key.expose()) &&
                     dek->scope == written.scope && dek->state == written.state &&
                     dek->generation == written.generation && dek->root == written.root),
            "an authentic key is the one written");
  }
  const auto secret = keyring.scope_secret(ScopeId{2});
  require_code(secret, kRefusals, "a scope's secret in an altered keystore");
  require(!secret || equal(secret->expose(), sample.secret), "an authentic secret is the one made");
  const auto visited = keyring.visit_keys([](const KeyRow&) { return true; });
  require_code(visited, kRefusals, "the list of keys of an altered keystore");
  require_code(keyring.keks(), kRefusals, "the list of KEKs of an altered keystore");
}

}  // namespace

int fuzz_box(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  if (input.byte() % 2 == 0) {
    const auto opened = open_box(fixed_key().expose(), {}, input.rest());
    require(!opened.ok(), "what was never sealed does not open");
    require_code(opened, {Code::kUnknownVersion, Code::kCorrupt}, "a box");
    return 0;
  }
  const Bytes associated = input.take(input.byte() % 64);
  const Bytes plain = input.take(input.byte());
  const ByteVector box = seal_box(fixed_key().expose(), associated, plain);
  require(box.size() == plain.size() + kBoxOverhead, "a box is longer by its overhead");
  const auto whole = open_box(fixed_key().expose(), associated, box);
  require(whole.ok() && equal(whole->expose(), plain), "a box gives back what was sealed");
  const ByteVector other = seal_box(fixed_key().expose(), associated, plain);
  const ByteVector changed = altered(box, input, other);
  const auto opened = open_box(fixed_key().expose(), associated, changed);
  require_code(opened, {Code::kUnknownVersion, Code::kCorrupt}, "an altered box");
  require(!opened.ok() || changed == box || changed == other, "an altered box is refused");
  return 0;
}

std::vector<ByteVector> box_seeds() {
  ByteVector raw = seal_box(fixed_key().expose(), as_bytes("elsewhere"), as_bytes("plain"));
  raw.insert(raw.begin(), 0);
  return {raw, {0}, {1, 0, 4, 'p', 'l', 'a', 'i', 1, 0, 3, 0, 0, 0}, {1, 2, 'a', 'b', 0, 1, 4}};
}

int fuzz_wrapped_key(const std::uint8_t* data, std::size_t size) {
  static LocalKms master("local:/fuzz", "", fixed_key());
  Input input(data, size);
  const KeyContext context = context_from(input);
  const KeyContext elsewhere = context_from(input);
  const SecretBytes key = SecretBytes::copy_of(ByteVector(32, input.byte()));
  const ByteVector wrapped = got(master.wrap(key, context), "wrapping a key");
  const auto back = master.unwrap(wrapped, context);
  require(back.ok() && equal(back->expose(), key.expose()), "a wrapped key can be unwrapped");
  if (elsewhere.encode() != context.encode()) {
    require(!master.unwrap(wrapped, elsewhere).ok(), "a wrapped key opens at its place alone");
  }
  const ByteVector other = got(master.wrap(key, elsewhere), "wrapping a key");
  const ByteVector changed = altered(wrapped, input, other);
  const auto opened = master.unwrap(changed, context);
  require_code(opened, {Code::kUnknownVersion, Code::kCorrupt}, "an altered wrapped key");
  require(!opened.ok() || changed == wrapped ||
              (changed == other && elsewhere.encode() == context.encode()),
          "an altered wrapped key is refused");
  const auto raw = master.unwrap(input.rest(), context);
  require_code(raw, {Code::kUnknownVersion, Code::kCorrupt}, "a wrapped key");
  return 0;
}

std::vector<ByteVector> wrapped_key_seeds() {
  return {{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 7, 0},
          {3, 1, 1, 1, 9, 1, 3, 1, 1, 1, 8, 1, 7, 1, 0, 20, 0, 0, 0, 1, 0, 0, 0, 3},
          {3, 1, 1, 1, 9, 1, 3, 1, 1, 1, 8, 1, 7, 1, 7, 0, 0, 0, 0, 61, 0, 0, 0}};
}

int fuzz_key_file(const std::uint8_t* data, std::size_t size) {
  const std::string path = scratch_directory() + "/master.key";
  const Bytes content(data, size);
  put_file(path, content);
  const auto master = create_key_file_master("local:" + path, path);
  require_code(master, {Code::kWrongKey}, "a master key file");
  if (!master) return 0;
  constexpr std::string_view kPrefix = "coffer-master-key-1 ";
  require(size >= kPrefix.size() + 64 && as_text(content).starts_with(kPrefix),
          "a master key file names its version");
  const auto key = from_hex(as_text(content).substr(kPrefix.size(), 64));
  require(key.ok(), "a master key file is hex");
  const LocalKms same("local:" + path, "", SecretBytes::copy_of(*key));
  require((*master)->describe().version == same.describe().version,
          "the master key is the one in the file");
  require(size - kPrefix.size() - 64 <= 1, "nothing follows a master key");
  return 0;
}

std::vector<ByteVector> key_file_seeds() {
  std::vector<ByteVector> seeds;
  for (const char* const tail : {"\n", "", " ", "\n\n", "0"}) {
    const std::string text = "coffer-master-key-1 " + std::string(62, 'a') + "0f" + tail;
    seeds.emplace_back(text.begin(), text.end());
  }
  return seeds;
}

int fuzz_passphrase_parameters(const std::uint8_t* data, std::size_t size) {
  bool asked = false;
  const auto source = [&asked](bool) -> Result<SecretBytes> {
    asked = true;
    return Error{Code::kDenied, 0, "none given"};
  };
  const std::string text(as_text({data, size}));
  const auto master =
      open_passphrase_master({.uri = "passphrase:", .version = "", .params = text}, source);
  require(!master.ok(), "no master key without a passphrase");
  require_code(master, {Code::kCorrupt, Code::kInvalid, Code::kDenied}, "passphrase parameters");
  require(asked == (master.error().code == Code::kDenied), "nobody is asked for nothing");
  if (!asked) return 0;
  ScryptCost cost;
  char salt[33] = {};
  const int fields = std::sscanf(text.c_str(), "scrypt ln=%u r=%u p=%u salt=%32[0-9a-f]",
                                 &cost.log2_n, &cost.r, &cost.p, salt);
  require(fields == 4 && check_cost(cost).ok(), "a cost that a node can bear");
  require(text == "scrypt ln=" + std::to_string(cost.log2_n) + " r=" + std::to_string(cost.r) +
                      " p=" + std::to_string(cost.p) + " salt=" + salt,
          "passphrase parameters have one form");
  return 0;
}

std::vector<ByteVector> passphrase_parameters_seeds() {
  std::vector<ByteVector> seeds;
  const std::string salt(32, 'b');
  for (const char* const cost : {"ln=17 r=8 p=1", "ln=20 r=16 p=4", "ln=30 r=8 p=1",
                                 "ln=17 r=99 p=1", "ln=017 r=8 p=1", "ln=-1 r=8 p=1"}) {
    const std::string text = "scrypt " + std::string(cost) + " salt=" + salt;
    seeds.emplace_back(text.begin(), text.end());
  }
  return seeds;
}

/// What is on record of a master key on a TPM: its URI and its parameters.
int fuzz_tpm2_record(const std::uint8_t* data, std::size_t size) {
  const std::string text(as_text({data, size}));
  const auto sealed = Tpm2Sealed::parse(text);
  require_code(sealed, {Code::kCorrupt, Code::kUnknownVersion}, "a TPM's parameters");
  if (sealed) {
    require(sealed->text() == text, "a TPM's parameters have one form");
    require(sealed->storage_key.size() == 34, "a storage key has a name");
  }
  const auto uri = Tpm2Uri::parse(text);
  require_code(uri, {Code::kInvalid}, "a TPM's URI");
  if (!uri) return 0;
  require(uri->pcrs.mask < 1U << 24U, "a PCR is one of 24");
  require(uri->pin || uri->pin_source.empty(), "a file of a PIN holds one");
  const auto again = Tpm2Uri::parse(uri->text());
  require(again && again->text() == uri->text(), "a TPM's URI is kept in one form");
  require(again->pcrs.mask == uri->pcrs.mask && again->pin == uri->pin &&
              again->pin_source == uri->pin_source,
          "what is kept means the same");
  return 0;
}

std::vector<ByteVector> tpm2_record_seeds() {
  std::vector<ByteVector> seeds;
  const Tpm2Sealed sealed{ByteVector(34, 1), ByteVector(78, 2), ByteVector(150, 3)};
  for (const std::string& text :
       {sealed.text(), std::string("tpm2 v=2"), std::string("tpm2:"), std::string("tpm2:pcrs=none"),
        std::string("tpm2:pcrs=sha256:7+11;pin"),
        std::string("tpm2:pin-source=/pin;pcrs=sha384:23")})
    seeds.emplace_back(text.begin(), text.end());
  return seeds;
}

/// The policy's rows with any values, as they would be believed if the policy MAC held.
int fuzz_policy_rows(const std::uint8_t* data, std::size_t size) {
  static Database database = [] {
    Database made = got(Database::open(scratch_directory() + "/rows.db", Database::Mode::kCreate),
                        "making a database");
    got(create_schema(made), "the schema");
    return made;
  }();
  Input input(data, size);
  // Rolled back at the end.
  const Transaction transaction = got(Transaction::begin(database), "a transaction");
  const ByteVector path = seal_scope_path(fixed_key(), fixed_store(), ScopeId{1}, "/");
  const Bytes names = input.take(input.byte() % 16);
  got(write_meta(database, "names", names.empty() ? as_bytes("encrypted") : names), "meta");
  got(write_meta(database, "generation", input.take(input.byte() % 10)), "meta");
  Statement scope =
      got(database.prepare(
              "INSERT INTO scopes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, x'', 1, 0);"),
          "a statement");
  const auto small = [&input] { return static_cast<std::int64_t>(input.byte()) - 2; };
  const bool large = input.byte() % 8 == 0;
  const auto any = [&] {
    return large ? static_cast<std::int64_t>(input.number<std::uint64_t>()) : small();
  };
  const std::int64_t id = input.byte() % 4 == 0 ? any() : 1;
  const Bytes sealed = input.byte() % 4 == 0 ? input.take(60) : Bytes(path);
  const Bytes root = input.take(input.byte() % 32);
  // A row that the table refuses (an id in use) is none.
  (void)scope.start(id, sealed, root, any(), any(), any(), any(), any(), any()).run();
  Statement grant = got(
      database.prepare("INSERT INTO grants VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', 0, ?9);"),
      "a statement");
  const std::string_view purpose = as_text(input.take(input.byte() % 16));
  (void)grant.start(1, id, any(), any(), any(), any(), any(), purpose, any()).run();
  Statement selector =
      got(database.prepare("INSERT INTO grant_selectors VALUES (1, ?1);"), "a statement");
  const std::string_view text = as_text(input.rest());
  (void)selector.start(text).run();

  const auto policy = select_policy(database, fixed_key(), fixed_store());
  require_code(policy, {Code::kCorrupt, Code::kInvalid, Code::kUnknownVersion}, "policy rows");
  if (!policy) return 0;
  for (const ScopeRow& row : policy->scopes) {
    require(row.settings.chunk_log2 >= 12 && row.settings.chunk_log2 <= 20,
            "a chunk size in range");
    require(row.settings.retention_s >= 0, "a retention in range");
    require(row.path == "/", "a path that was sealed");
  }
  const Identity somebody{.selectors = {Selector::unix_uid(4'000'000'000U)}};
  const auto understood = Policy::from(*policy);
  require_code(understood, {Code::kCorrupt}, "a policy");
  if (!understood) return 0;
  for (const Grant& row : understood->grants(ScopeId{1})) {
    require(row.everyone || !row.matches(somebody), "a grant is to those whom it names");
    require(row.rights.bits >= 1 && row.rights.bits <= 7, "a grant is of known rights");
  }
  return 0;
}

std::vector<ByteVector> policy_rows_seeds() {
  ByteVector good = {0, 8, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 16};
  good.insert(good.end(), 16, 1);
  for (const int value : {1, 1, 12, 1, 60, 2}) good.push_back(static_cast<std::uint8_t>(value + 2));
  good.push_back(4);
  for (const char letter : std::string_view("test"))
    good.push_back(static_cast<std::uint8_t>(letter));
  for (const int value : {0, 7, 0, 5, 100, 0}) good.push_back(static_cast<std::uint8_t>(value + 2));
  for (const char letter : std::string_view("unix:uid:1000")) {
    good.push_back(static_cast<std::uint8_t>(letter));
  }
  return {good, {5, 'p', 'l', 'a', 'i', 'n', 8}};
}

int fuzz_keystore_file(const std::uint8_t* data, std::size_t size) {
  static SampleKeystore sample;
  Input input(data, size);
  const auto access =
      input.byte() % 2 == 0 ? Keyring::Access::kReadOnly : Keyring::Access::kReadWrite;
  ByteVector file = altered(sample.file, input, sample.file);
  // Where it counts: pages are 4096 bytes, and what SQLite believes stands at their beginnings.
  for (unsigned i = input.byte() % 4; i > 0 && file.size() >= 4096; --i) {
    const std::size_t page = input.below(file.size() / 4096) * 4096;
    file[page + input.byte() % 128] = input.byte();
  }
  for (const char* const tail : {"-wal", "-shm"}) (void)::unlink((sample.path + tail).c_str());
  put_file(sample.path, file);
  const auto peeked = Keyring::peek(sample.path);
  require_code(peeked, kRefusals, "an altered keystore, unauthenticated,");
  const auto keyring = sample.open(access);
  require_code(keyring, kRefusals, "an altered keystore");
  if (keyring) check_keystore(sample, **keyring);
  return 0;
}

std::vector<ByteVector> keystore_file_seeds() {
  return {
      {0, 0, 0}, {1, 0, 0}, {0, 1, 0, 0, 40, 0, 0, 1, 0, 0, 0, 3}, {1, 0, 1, 3, 0, 0, 0, 5, 13}};
}

}  // namespace coffer::fuzz

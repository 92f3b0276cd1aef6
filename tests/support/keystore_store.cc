#include "tests/support/keystore_store.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>

#include "keystore/crypto/digest.h"
#include "keystore/crypto/kdf.h"
#include "keystore/crypto/random.h"
#include "tests/support/keystore_raw_database.h"

namespace coffer::testing {

TestStore::TestStore(const Options& chosen) : path(dir.file("keystore.db")), options(chosen) {
  random_bytes(id.bytes);
  must_be(Keyring::create(create_options(), kms, clock), "creating the keystore");
}

Keyring::CreateOptions TestStore::create_options() const {
  Keyring::CreateOptions create;
  create.path = path;
  create.store = id;
  random_bytes(create.root_dir.bytes);
  create.root_scope.wrap = options.root_wrap;
  create.first_grant = options.root_selectors.empty()
                           ? everyone_grant(kRootScope)
                           : selector_grant(kRootScope, options.root_selectors);
  return create;
}

std::unique_ptr<Keyring> TestStore::open(Keyring::Access access, KeyLifetime lifetime) {
  return must_be(Keyring::open(path, access, id, kms, clock, lifetime), "opening the keystore");
}

Result<std::unique_ptr<Keyring>> TestStore::try_open() {
  return Keyring::open(path, Keyring::Access::kReadWrite, id, kms, clock);
}

Result<void> TestStore::check() {
  TRY(try_open());
  return {};
}

GrantRow everyone_grant(ScopeId scope, std::uint8_t rights) {
  GrantRow grant;
  grant.scope = scope;
  grant.rights = rights;
  grant.everyone = true;
  grant.purpose = "test";
  grant.created_by = "uid:0";
  return grant;
}

GrantRow selector_grant(ScopeId scope, std::vector<std::string> selectors, std::uint8_t rights) {
  GrantRow grant = everyone_grant(scope, rights);
  grant.everyone = false;
  grant.selectors = std::move(selectors);
  return grant;
}

PolicySecrets policy_secrets(TestStore& store) {
  const ByteVector wrapped =
      RawDatabase(store.path).value("SELECT value FROM meta WHERE name = 'policy_key'");
  KeyContext context;
  context.purpose = KeyContext::Purpose::kPolicyKey;
  context.store = store.id;
  context.version = KeyVersion{1};
  const SecretBytes key = must_be(store.kms.unwrap(wrapped, context));
  const auto derive = [&](const char* info) {
    return hkdf_sha256(key.expose(), store.id.view(), info, 32);
  };
  return {derive("coffer/1/policy"), derive("coffer/1/records"), derive("coffer/1/paths")};
}

ByteVector expected_policy_mac(TestStore& store) {
  RawDatabase raw(store.path);
  ByteWriter message;
  const auto add = [&](const std::string& table, const std::string& rest) {
    message.text(table).zeros(1);
    const std::string columns = table == "sqlite_schema" ? "type, name, tbl_name, sql" : "*";
    for (const auto& row : raw.quoted("SELECT " + columns + " FROM " + table + " " + rest)) {
      message.text("R");
      for (const std::string& cell : row) {
        if (cell == "NULL") {
          message.le(std::uint8_t{0}).le(std::uint64_t{0});
        } else if (cell.starts_with("X'")) {
          const ByteVector bytes = must_be(from_hex(cell.substr(2, cell.size() - 3)));
          message.le(std::uint8_t{3}).le(std::uint64_t{bytes.size()}).bytes(bytes);
        } else if (cell.starts_with("'")) {
          const std::string text = cell.substr(1, cell.size() - 2);
          message.le(std::uint8_t{2}).le(std::uint64_t{text.size()}).text(text);
        } else {
          message.le(std::uint8_t{1}).le(std::uint64_t{8});
          message.le(static_cast<std::uint64_t>(std::stoll(cell)));
        }
      }
    }
  };
  add("sqlite_schema", "ORDER BY type, name");
  add("meta", "WHERE name <> 'policy_mac' ORDER BY name");
  add("masters", "ORDER BY id");
  add("scopes", "ORDER BY id");
  add("keks", "ORDER BY scope_id, version");
  add("grants", "ORDER BY id");
  add("grant_selectors", "ORDER BY grant_id, selector");
  const Digest mac = HmacKey(policy_secrets(store).policy.expose()).mac(message.data());
  return {mac.begin(), mac.end()};
}

void change_policy_by_hand(TestStore& store, const std::string& sql) {
  RawDatabase(store.path).run(sql);
  const auto generation = load_le<std::uint64_t>(
      RawDatabase(store.path).value("SELECT value FROM meta WHERE name = 'generation'"), 0);
  const std::string raised = to_hex(ByteWriter().le(generation + 1).take());
  RawDatabase(store.path)
      .run("UPDATE meta SET value = X'" + raised + "' WHERE name = 'generation'");
  const std::string mac = to_hex(expected_policy_mac(store));
  RawDatabase(store.path).run("UPDATE meta SET value = X'" + mac + "' WHERE name = 'policy_mac'");
}

ByteVector file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool contains(Bytes haystack, Bytes needle) {
  return std::search(haystack.begin(), haystack.end(),
                     std::boyer_moore_searcher(needle.begin(), needle.end())) != haystack.end();
}

}  // namespace coffer::testing

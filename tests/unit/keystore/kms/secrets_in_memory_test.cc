// Keys and passphrases pass through locked memory only: what the process has of ordinary memory is
// searched for them. What it frees meanwhile stays as it is, so that traces are not overwritten.

#include "tests/support/sanitizers.h"

// The sanitizers keep freed memory as it is, and lock none.
#if !COFFER_SANITIZED

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>

#include "keystore/base/atomic_file.h"
#include "keystore/base/unique_fd.h"
#include "keystore/crypto/kdf.h"
#include "keystore/kms/aws_kms.h"
#include "keystore/kms/azure_kms.h"
#include "keystore/kms/gcp_kms.h"
#include "keystore/kms/kmip_kms.h"
#include "keystore/kms/master_kms.h"
#include "keystore/kms/private_file.h"
#include "keystore/kms/secret_text.h"
#include "keystore/kms/tpm2_seal.h"
#include "keystore/kms/vault_kms.h"
#include "tests/support/memory_scan.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/keystore/kms/aws_server.h"
#include "tests/unit/keystore/kms/azure_server.h"
#include "tests/unit/keystore/kms/gcp_server.h"
#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/soft_tpm.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace {

bool keep_freed = false;

}  // namespace

#ifdef __GLIBC__
// What libraries free, too.
extern "C" {
void __libc_free(void* memory);
void free(void* memory) noexcept {
  if (!keep_freed) __libc_free(memory);
}
}
#endif

void* operator new(std::size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace coffer {
namespace {

using testing::count_in_ordinary_memory;
using testing::HiddenNeedle;

/// Does what the tests do with keys of no account, the search included. The dynamic linker,
/// whenever a library first calls a function of another, leaves the vector registers of that moment
/// on the stack, and in these the last key may still stand.
void use_throwaway_keys() {
  const testing::TempDir dir;
  auto master = create_master("local:" + dir.file("key"), no_passphrase);
  ASSERT_TRUE(master.ok());
  master = open_master((*master)->describe(), no_passphrase);
  ASSERT_TRUE(master.ok());
  const KeyContext context;
  const SecretBytes key = SecretBytes::random(32);
  ASSERT_TRUE((*master)->unwrap(*(*master)->wrap(key, context), context).ok());
  ASSERT_TRUE(scrypt(key.expose(), key.expose(), {10, 8, 1}).ok());
  (void)count_in_ordinary_memory(HiddenNeedle(key.expose()));
}

class SecretsInMemory : public ::testing::Test {
 protected:
  SecretsInMemory() {
    use_throwaway_keys();
    keep_freed = true;
  }
  ~SecretsInMemory() override { keep_freed = false; }
};

/// The text of a key file, by way of locked memory.
SecretBytes read_locked(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  SecretBytes text(85);
  EXPECT_EQ(::read(fd.get(), text.expose().data(), text.size()), 85);
  return text;
}

SecretBytes decode_locked(const SecretBytes& text) {
  const auto value = [](std::uint8_t digit) {
    return digit <= '9' ? digit - '0' : digit - 'a' + 10;
  };
  SecretBytes key(32);
  for (std::size_t i = 0; i < 32; ++i) {
    key.expose()[i] = static_cast<std::uint8_t>(value(text.expose()[20 + 2 * i]) * 16 +
                                                value(text.expose()[21 + 2 * i]));
  }
  return key;
}

TEST_F(SecretsInMemory, TheSearchFindsWhatIsThere) {
  const SecretBytes secret = SecretBytes::random(16);
  const HiddenNeedle needle(secret.expose());
  EXPECT_EQ(count_in_ordinary_memory(needle), 0U);
  ByteVector leak(secret.expose().begin(), secret.expose().end());
  EXPECT_EQ(count_in_ordinary_memory(needle), 1U);
  wipe(leak);
  EXPECT_EQ(count_in_ordinary_memory(needle), 0U);
  leak.assign(secret.expose().begin(), secret.expose().end());
  ByteVector().swap(leak);
  EXPECT_EQ(count_in_ordinary_memory(needle), 1U) << "not found once freed";
}

TEST_F(SecretsInMemory, TheMasterKeyOfAKeyFile) {
  const testing::TempDir dir;
  const std::string path = dir.file("key");
  auto master = create_master("local:" + path, no_passphrase);
  ASSERT_TRUE(master.ok());
  master = open_master((*master)->describe(), no_passphrase);
  ASSERT_TRUE(master.ok());
  const KeyContext context;
  const SecretBytes key = SecretBytes::random(32);
  ASSERT_TRUE((*master)->unwrap(*(*master)->wrap(key, context), context).ok());

  const SecretBytes text = read_locked(path);
  const SecretBytes master_key = decode_locked(text);
  const SecretBytes wrapping_key = hkdf_sha256(master_key.expose(), {}, "coffer/1/master", 32);
  for (std::size_t half = 0; half < 2; ++half) {
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(text.expose().subspan(20 + 32 * half, 32))), 0U)
        << "the key file's text";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(master_key.expose().subspan(16 * half, 16))),
              0U)
        << "the master key";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(wrapping_key.expose().subspan(16 * half, 16))),
              0U)
        << "the wrapping key";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().subspan(16 * half, 16))), 0U)
        << "the wrapped key";
  }
}

TEST_F(SecretsInMemory, ThePassphraseAndItsKey) {
  const SecretBytes passphrase = SecretBytes::random(24);
  const PassphraseSource source = [&](bool) -> Result<SecretBytes> { return passphrase.clone(); };
  const std::string params = "scrypt ln=10 r=8 p=1 salt=000102030405060708090a0b0c0d0e0f";
  // Opened with another version on record: the way of a wrong passphrase, with all derivation done.
  ASSERT_EQ(open_master({"passphrase:", "0011223344556677", params}, source).error().code,
            Code::kWrongKey);
  const ByteVector salt = *from_hex(params.substr(26));
  const auto key = scrypt(passphrase.expose(), salt, {10, 8, 1});
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(passphrase.expose())), 0U) << "the passphrase";
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key->expose().first(16))), 0U) << "its key";
}

/// The TPM's library has buffers of its own, which it frees as they are.
TEST_F(SecretsInMemory, WhatATpmUnseals) {
  if (!testing::have_soft_tpm()) COFFER_SKIP("no swtpm or tpm2-tools");
  const testing::SoftTpm tpm;
  const auto sealed_and_back = [](const SecretBytes& secret, const SecretBytes& authorization) {
    const auto sealed = tpm2_seal(secret, {}, authorization);
    ASSERT_TRUE(sealed.ok()) << sealed.error().message();
    const auto back = tpm2_unseal(*sealed, {}, authorization);
    ASSERT_TRUE(back.ok()) << back.error().message();
    ASSERT_TRUE(constant_time_equal(back->expose(), secret.expose()));
  };
  sealed_and_back(SecretBytes::random(32), SecretBytes::copy_of(ByteVector(32, 1)));
  const SecretBytes secret = SecretBytes::random(32);
  SecretBytes authorization = SecretBytes::random(32);
  authorization.expose().back() |= 1;
  sealed_and_back(secret, authorization);
  for (std::size_t half = 0; half < 2; ++half) {
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(secret.expose().subspan(16 * half, 16))), 0U)
        << "the secret";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(authorization.expose().subspan(16 * half, 16))),
              0U)
        << "the authorization";
  }
}

/// Through requests, answers, libcurl and TLS: keys both ways, one by one and many at once, and the
/// token.
TEST_F(SecretsInMemory, KeysOnTheirWayToVault) {
  if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
  keep_freed = false;
  testing::TransitServer server;
  server.set_up_transit();
  server.use_approle(3600);
  const auto master = VaultKms::open(server.uri(), "");
  ASSERT_TRUE(master.ok()) << master.error().message();
  const auto there_and_back = [&](const SecretBytes& key) {
    const auto alone = (*master)->wrap(key, {});
    ASSERT_TRUE(alone.ok()) << alone.error().message();
    ASSERT_TRUE((*master)->unwrap(*alone, {}).ok());
    const KeyInPlace keys[] = {{&key, {}}, {&key, {}}};
    const auto wrapped = (*master)->wrap_all(keys);
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    WrappedInPlace both[] = {{(*wrapped)[0], {}}, {(*wrapped)[1], {}}};
    ASSERT_TRUE((*master)->unwrap_all(both).ok());
    // Of which one is refused, and the other in the answer all the same.
    both[0].context.scope = ScopeId{9};
    ASSERT_FALSE((*master)->unwrap_all(both).ok());
    server.trouble("half", "/decrypt/");
    ASSERT_FALSE((*master)->unwrap_all(both).ok());
  };
  there_and_back(SecretBytes::random(32));
  keep_freed = true;
  const SecretBytes key = SecretBytes::random(32);
  there_and_back(key);
  const SecretBytes text = to_secret_base64(key.expose());
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().first(16))), 0U) << "the key";
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(text.expose().first(20))), 0U) << "as text";
  const HiddenNeedle token(as_bytes("X-Vault-Token: hvs."));
  EXPECT_EQ(count_in_ordinary_memory(token), 0U) << "the token";
}

/// The number of this many bytes at `at`, as OpenSSL has it: least byte first.
SecretBytes reversed(Bytes der, std::size_t at, std::size_t length) {
  SecretBytes out(length);
  std::ranges::reverse_copy(der.subspan(at, length), out.expose().begin());
  return out;
}

/// Besides keys and tokens: the private key of a service account, from its file to a signature.
TEST_F(SecretsInMemory, KeysOnTheirWayToGoogle) {
  if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
  keep_freed = false;
  testing::GcpServer server;
  server.ask(
      {{"do", "service_account_file"}, {"email", testing::GcpServer::kNode}, {"name", "key.json"}});
  testing::set_variable("GOOGLE_APPLICATION_CREDENTIALS", server.file("key.json"));
  const auto throwaway = GcpKms::open(testing::GcpServer::uri(), "");
  ASSERT_TRUE(throwaway.ok()) << throwaway.error().message();
  ASSERT_TRUE((*throwaway)->unwrap(*(*throwaway)->wrap(SecretBytes::random(32), {}), {}).ok());
  keep_freed = true;
  const auto master = GcpKms::open(testing::GcpServer::uri(), "");
  ASSERT_TRUE(master.ok()) << master.error().message();
  const SecretBytes key = SecretBytes::random(32);
  const auto wrapped = (*master)->wrap(key, {});
  ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
  ASSERT_TRUE((*master)->unwrap(*wrapped, {}).ok());
  const SecretBytes text = to_secret_base64(key.expose());
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().first(16))), 0U) << "the key";
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(text.expose().first(20))), 0U) << "as text";
  for (const char* const secret : {"Authorization: Bearer ya29.", "assertion=eyJ"})
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(as_bytes(secret))), 0U) << secret;
  const auto file = GcpCredentialsFile::read(server.file("key.json"));
  ASSERT_TRUE(file.ok()) << file.error().message();
  const auto pem = without_escapes(file->private_key.expose());
  const auto der = from_secret_pem(pem->expose(), "PRIVATE KEY");
  ASSERT_TRUE(der.ok());
  // Past the public numbers: d, and the primes.
  for (const std::size_t at : {330U, 450U, 600U, 700U, 800U, 1000U}) {
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(der->expose().subspan(at, 16))), 0U) << at;
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(reversed(der->expose(), at, 16).expose())), 0U)
        << at;
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(pem->expose().subspan(at, 16))), 0U) << at;
  }
}

/// By way of a vault and of an HSM, with a federated token.
TEST_F(SecretsInMemory, KeysOnTheirWayToAzure) {
  if (!testing::have_transit_server()) COFFER_SKIP("no Python with cryptography");
  keep_freed = false;
  testing::AzureServer server;
  server.ask({{"do", "federate"}, {"subject", "s1"}, {"client", testing::AzureServer::kNode}});
  testing::set_variable("AZURE_CLIENT_SECRET", "");
  server.ask({{"do", "jwt_file"}, {"subject", "s1"}, {"name", "token"}});
  testing::set_variable("AZURE_FEDERATED_TOKEN_FILE", server.file("token"));
  for (const char* const host : {testing::AzureServer::kVault, testing::AzureServer::kHsm}) {
    SCOPED_TRACE(host);
    keep_freed = true;
    const auto master = AzureKms::open(testing::AzureServer::uri("master", host), "");
    ASSERT_TRUE(master.ok()) << master.error().message();
    const SecretBytes key = SecretBytes::random(32);
    const auto wrapped = (*master)->wrap(key, {});
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    ASSERT_TRUE((*master)->unwrap(*wrapped, {}).ok());
    const SecretBytes text = to_secret_base64url(key.expose());
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().first(16))), 0U) << "the key";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(text.expose().first(20))), 0U) << "as text";
    for (const char* const secret : {"Authorization: Bearer eyJ0.", "client_assertion=eyJ"})
      EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(as_bytes(secret))), 0U) << secret;
    if (host == std::string(testing::AzureServer::kVault)) {
      server.ask({{"do", "unwrapped_file"},
                  {"host", host},
                  {"path", "/keys/master//unwrapkey"},
                  {"value", to_base64url(AzureWrapped::parse(*wrapped)->sealed)},
                  {"name", "inner"}});
      const auto inner = read_private_file("inner key", server.file("inner"), 100);
      ASSERT_TRUE(inner.ok()) << inner.error().message();
      const auto bytes = from_secret_base64url(inner->expose());
      ASSERT_TRUE(bytes.ok());
      EXPECT_EQ(bytes->size(), 32U);
      EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(bytes->expose().first(16))), 0U) << "inner";
      EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(inner->expose().first(20))), 0U) << "as text";
    }
    keep_freed = false;
  }
}

/// Likewise, and all that requests are signed with: by way of STS (XML) and of a container (JSON).
TEST_F(SecretsInMemory, KeysAndCredentialsOnTheirWayToAws) {
  if (!testing::have_aws_server()) COFFER_SKIP("no Python with cryptography");
  keep_freed = false;
  testing::AwsServer server;
  for (const bool container : {false, true}) {
    SCOPED_TRACE(container);
    if (container) {
      testing::set_variable("AWS_WEB_IDENTITY_TOKEN_FILE", "");
      server.use_container();
    } else {
      server.use_web_identity();
    }
    keep_freed = true;
    const auto master = AwsKms::create(server.uri());
    ASSERT_TRUE(master.ok()) << master.error().message();
    const SecretBytes key = SecretBytes::random(32);
    const auto wrapped = (*master)->wrap(key, {});
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    ASSERT_TRUE((*master)->unwrap(*wrapped, {}).ok());
    const SecretBytes text = to_secret_base64(key.expose());
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().first(16))), 0U) << "the key";
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(text.expose().first(20))), 0U) << "as text";
    const HiddenNeedle token(as_bytes("a/Hidden/Token/"));
    const HiddenNeedle secret(as_bytes("a/Hidden/Secret/"));
    EXPECT_EQ(count_in_ordinary_memory(token), 0U) << "the token";
    EXPECT_EQ(count_in_ordinary_memory(secret), 0U) << "the secret access key";
    keep_freed = false;
  }
}

/// Through TTLV and TLS: keys both ways, one by one and many at once, and the password.
TEST_F(SecretsInMemory, KeysOnTheirWayToAKmipServer) {
  if (!testing::have_kmip_server()) COFFER_SKIP("no python3-pykmip");
  keep_freed = false;
  testing::KmipServer server;
  SecretBytes password = SecretBytes::random(24);
  for (std::uint8_t& letter : password.expose())
    letter = static_cast<std::uint8_t>('a' + letter % 26);
  const std::string path = server.write("password", "");
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::write(fd.get(), password.expose().data(), 24), 24);
  testing::set_variable("COFFER_KMIP_USER", "node");
  testing::set_variable("COFFER_KMIP_PASSWORD_FILE", path);
  const auto master = KmipKms::open(server.new_key(), "");
  ASSERT_TRUE(master.ok()) << master.error().message();
  const auto there_and_back = [&](const SecretBytes& key) {
    const KeyInPlace keys[] = {{&key, {}}, {&key, {}}};
    const auto wrapped = (*master)->wrap_all(keys);
    ASSERT_TRUE(wrapped.ok()) << wrapped.error().message();
    WrappedInPlace both[] = {{(*wrapped)[0], {}}, {(*wrapped)[1], {}}};
    ASSERT_TRUE((*master)->unwrap_all(both).ok());
    both[1].context.scope = ScopeId{9};
    ASSERT_FALSE((*master)->unwrap_all(both).ok());
    const auto alone = (*master)->wrap(key, {});
    ASSERT_TRUE(alone.ok()) << alone.error().message();
    ASSERT_TRUE((*master)->unwrap(*alone, {}).ok());
    server.ask({{"do", "disconnect"}});
    ASSERT_TRUE((*master)->unwrap(*alone, {}).ok());
  };
  there_and_back(SecretBytes::random(32));
  keep_freed = true;
  const SecretBytes key = SecretBytes::random(32);
  there_and_back(key);
  for (std::size_t half = 0; half < 2; ++half) {
    EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(key.expose().subspan(16 * half, 16))), 0U)
        << "the key";
  }
  EXPECT_EQ(count_in_ordinary_memory(HiddenNeedle(password.expose().first(20))), 0U)
      << "the password";
}

}  // namespace
}  // namespace coffer

#endif

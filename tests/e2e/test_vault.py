"""Stores whose master key is in Vault's Transit engine, or in what stands for it (test_vault_stand_in.py)."""

import os
import subprocess
from pathlib import Path

from files import random_bytes
from harness import CofferTest
from processes import NODE, Outcome, SELF, coffer
from stores import Store
from transit import ADMIN_POLICY, NODE_POLICY, ServedVault

INVALID, KEY_UNAVAILABLE, KMS_DENIED, KMS_KEY_MISSING, KMS_UNAVAILABLE = 2, 11, 23, 24, 26


class VaultTest(CofferTest):
    """A Vault with one key, and a node that logs in by AppRole; its settings are in the file that COFFER_VAULT_CONFIG names."""

    host = "localhost"
    vault: ServedVault
    config: Path
    secret_id: str

    def setUp(self) -> None:
        super().setUp()
        self.vault = ServedVault.of_test(self)
        api = lambda path, **more: self.vault.do("api", path=path, **more)  # pylint: disable=unnecessary-lambda-assignment
        api("sys/mounts/transit", body={"type": "transit"})
        api("transit/keys/master", body={"derived": True})
        self.vault.add_node_policy()
        api("sys/auth/approle", body={"type": "approle"})
        api("auth/approle/role/node", body={"token_policies": ["coffer-node"], "token_ttl": "1h"})
        role_id = api("auth/approle/role/node/role-id", method="GET")["data"]["role_id"]
        self.secret_id = api("auth/approle/role/node/secret-id")["data"]["secret_id"]
        self.write_private("secret-id", self.secret_id + "\n")
        self.config = self.write_private("vault.conf", f"""
            VAULT_ADDR=https://{self.host}:{self.vault.port}
            VAULT_CACERT={self.vault.ca}
            COFFER_VAULT_AUTH=approle
            COFFER_VAULT_ROLE={role_id}
            COFFER_VAULT_SECRET_ID_FILE={self.place('secret-id')}
            """)

        NODE["COFFER_VAULT_CONFIG"] = str(self.config)
        self.addCleanup(NODE.pop, "COFFER_VAULT_CONFIG")

    def write_private(self, name: str, content: str) -> Path:
        path = self.place(name)
        path.write_text(content)
        os.chmod(path, 0o600)
        return path

    @property
    def uri(self) -> str:
        return f"hcvault://{self.host}:{self.vault.port}/transit/keys/master"

    def vault_store(self) -> Store:
        return self.new_store(kms=self.uri)

    def refused(self, store: Store, code: int, words: str) -> Outcome:
        done = self.mount_refused(store, code, words)
        self.assertNotIn(self.secret_id, done.err)
        return done


class Vault(VaultTest):
    def test_a_store_and_its_mount(self) -> None:
        store = self.vault_store()
        store.coffer("scope", "create", store.path, "/own")
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        for scope in ("/own", "/direct"):
            store.grant(scope, "--everyone")
        mount = self.new_mount(store)
        status = mount.status()
        self.assertEqual((status["master_key"], status["system_calls"]), (self.uri, "filtered"))
        content = random_bytes(100_000)
        for name in ("file", "own/file", "direct/file"):
            (mount.path / name).write_bytes(content)
        mount.umount()
        self.vault.do("api", path="transit/keys/master/rotate")
        again = self.new_mount(store)
        for name in ("file", "own/file", "direct/file"):
            self.assert_content(again.path / name, content)
        (again.path / "own/new").write_bytes(content)
        again.umount()
        self.assertEqual(mount.logged_errors() + again.logged_errors(), [])
        store.verify()
        self.assertIn("newest version", store.coffer("kms", "check", store.path).out)

    def test_rotation_at_vault_and_rewrapping(self) -> None:
        store = self.vault_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        for scope in ("/", "/direct"):
            store.grant(scope, "--everyone")
        mount = self.new_mount(store)
        for name in ("file", "direct/file"):
            (mount.path / name).write_text("content")
        self.vault.do("api", path="transit/keys/master/rotate")
        denied = store.coffer("kms", "rewrap", store.path, check=False)
        self.assertEqual(denied.code, KMS_DENIED, str(denied))
        self.vault.do("api", path="sys/policies/acl/coffer-node", body={"policy": NODE_POLICY + ADMIN_POLICY})
        store.coffer("kms", "rewrap", store.path)
        listed = store.coffer("kms", "list", store.path, "--json").json
        self.assertEqual([each["by_version"] for each in listed], [{"2": listed[0]["of"]}])
        self.vault.do("api", path="transit/keys/master/config", body={"min_decryption_version": 2})
        for name in ("file", "direct/file"):
            self.assertEqual((mount.path / name).read_text(), "content")
        mount.umount()
        again = self.new_mount(store, at="again")
        for name in ("file", "direct/file"):
            self.assertEqual((again.path / name).read_text(), "content")

    def test_no_secret_is_in_the_store(self) -> None:
        store = self.vault_store()
        for secret in (self.secret_id, "hvs."):
            found = subprocess.run(["grep", "-rl", secret, store.path, SELF.home / "state"], capture_output=True, check=False)
            self.assertEqual(found.stdout, b"")

    def test_the_server_is_killed_and_brought_back(self) -> None:
        """Under a daemon that may open no sockets but these: what is open goes on, and what takes the key waits for it."""
        store = self.vault_store()
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["system_calls"], "filtered")
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        self.vault.stop()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.refused_elsewhere(store)
        self.vault.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.vault.stop()
        self.assert_content(mount.path / "file", content)
        (mount.path / "file").write_bytes(b"changed")
        mount.umount()
        self.refused(store, KMS_UNAVAILABLE, "localhost")
        self.vault.start()
        self.assert_content(self.new_mount(store).path / "file", b"changed")

    def refused_elsewhere(self, store: Store) -> None:
        done = store.coffer("verify", store.path, check=False)
        self.assertEqual(done.code, KMS_UNAVAILABLE, str(done))

    def test_tokens_run_out_in_mid_run(self) -> None:
        store = self.vault_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        mount = self.new_mount(store)
        for number in range(3):
            self.vault.do("expire")
            coffer("lock", mount.path)
            coffer("unlock", mount.path)
            (mount.path / f"direct/{number}").write_bytes(b"content")
        mount.umount()
        self.assertEqual(mount.logged_errors(), [])
        store.verify()

    def test_the_node_is_shut_out(self) -> None:
        store = self.vault_store()
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        self.vault.do("api", path="sys/policies/acl/coffer-node", body={"policy": 'path "x" { capabilities = ["read"] }'})
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_DENIED, str(refused))
        self.vault.add_node_policy()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", b"content")

    def test_an_answer_that_hangs(self) -> None:
        store = self.vault_store()
        self.vault.do("trouble", kind="hang", where="/decrypt/", times=10)
        self.refused(store, KMS_UNAVAILABLE, "no answer in time")
        self.vault.do("calm")
        self.assertEqual(store.verify()["findings"], [])

    def test_another_vault_in_the_keystore(self) -> None:
        """A keystore that somebody has altered must not choose who is told the node's secrets."""
        store = self.vault_store()
        other = ServedVault.of_test(self)
        run_sql = f"update masters set uri = 'hcvault://localhost:{other.port}/transit/keys/master'"
        subprocess.run(["sqlite3", store.path / ".coffer/keystore.db", run_sql], check=True)
        self.refused(store, KEY_UNAVAILABLE, "no other is told its secrets")
        self.assertEqual(other.do("seen"), [])

    def test_secrets_in_the_uri(self) -> None:
        for uri in (f"{self.uri}?token=7531-secret", f"hcvault://user:7531-secret@localhost:{self.vault.port}/transit/keys/master"):
            done = coffer("init", self.place("other"), "--kms", uri, check=False)
            self.assertEqual(done.code, INVALID, str(done))
            self.assertNotIn("7531-secret", done.err)
            self.assertFalse(self.place("other").exists())

    def test_no_key_and_none_is_made(self) -> None:
        done = coffer("init", self.place("other"), "--kms", self.uri.replace("master", "nothing"), check=False)
        self.assertEqual(done.code, KMS_DENIED, str(done))
        own = f"COFFER_VAULT_AUTH=token\nCOFFER_VAULT_TOKEN_FILE={self.place('t')}\n"
        kept = [line for line in self.config.read_text().splitlines(keepends=True) if "COFFER_VAULT_AUTH" not in line]
        self.write_private("vault.conf", own + "".join(kept))
        self.write_private("t", self.vault.token)
        done = coffer("init", self.place("other"), "--kms", self.uri.replace("master", "nothing"), check=False)
        self.assertEqual(done.code, KMS_KEY_MISSING, str(done))
        self.assertIn("vault write -f transit/keys/nothing", done.err)
        self.assertFalse(self.place("other").exists())

"""Stores whose master key is in Azure Key Vault, or in what stands for it (test_azure_stand_in.py)."""

import os
import subprocess
from pathlib import Path

from azure import HSM, NODE_CLIENT, SECRET, VAULT, ServedAzure
from files import random_bytes
from harness import CofferTest
from processes import NODE, SELF, coffer
from stores import Store

INVALID, KEY_UNAVAILABLE, KMS_DENIED, KMS_KEY_MISSING, KMS_KEY_DISABLED, KMS_UNAVAILABLE = 2, 11, 23, 24, 25, 26
URI = f"azure-kms://{VAULT}/keys/master"


class Azure(CofferTest):
    """A node with a client secret in a file; its settings are in the file that COFFER_AZURE_CONFIG names."""

    def setUp(self) -> None:
        super().setUp()
        self.azure = ServedAzure.of_test(self)
        secret = self.write_private("secret", SECRET)
        config = self.write_private("azure.conf", f"""
            COFFER_AZURE_ENDPOINT={self.azure.url}
            COFFER_AZURE_CA_FILE={self.azure.ca}
            COFFER_AZURE_KEYS={VAULT}/keys/master,{HSM}
            COFFER_AZURE_CLIENT_SECRET_FILE={secret}
            AZURE_AUTHORITY_HOST={self.azure.url}
            AZURE_TENANT_ID={self.azure.tenant}
            AZURE_CLIENT_ID={NODE_CLIENT}
            """)
        NODE["COFFER_AZURE_CONFIG"] = str(config)
        self.addCleanup(NODE.pop, "COFFER_AZURE_CONFIG")

    def write_private(self, name: str, content: str) -> Path:
        path = self.place(name)
        path.write_text(content)
        os.chmod(path, 0o600)
        return path

    def azure_store(self) -> Store:
        return self.new_store(kms=URI)

    def test_a_store_and_its_mount(self) -> None:
        store = self.azure_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        mount = self.new_mount(store)
        status = mount.status()
        self.assertEqual((status["master_key"], status["system_calls"]), (URI, "filtered"))
        content = random_bytes(100_000)
        for name in ("file", "direct/file"):
            (mount.path / name).write_bytes(content)
        mount.umount()
        newest = self.azure.make_key("master")
        again = self.new_mount(store)
        for name in ("file", "direct/file"):
            self.assert_content(again.path / name, content)
        (again.path / "direct/new").write_bytes(content)
        again.umount()
        self.assertEqual(mount.logged_errors() + again.logged_errors(), [])
        store.verify()
        said = store.coffer("kms", "check", store.path).out
        self.assertIn(NODE_CLIENT, said)
        self.assertRegex(said, f"newest version *{newest}")

    def test_on_to_an_hsm(self) -> None:
        store = self.azure_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        mount.umount()
        store.coffer("kms", "rewrap", store.path, "--to", f"azure-kms://{HSM}/keys/master")
        self.azure.do("api", host=VAULT, path="/keys/master", method="DELETE")
        again = self.new_mount(store)
        self.assert_content(again.path / "file", content)

    def test_no_secret_is_in_the_store(self) -> None:
        self.assert_nothing_of(self.azure_store(), SECRET, "eyJ0.")

    def assert_nothing_of(self, store: Store, *secrets: str) -> None:
        for secret in secrets:
            found = subprocess.run(["grep", "-rlF", secret, store.path, SELF.home / "state"], capture_output=True, check=False)
            self.assertEqual(found.stdout, b"")

    def test_a_version_that_is_disabled(self) -> None:
        store = self.azure_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        self.azure.set_enabled("", False)
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_KEY_DISABLED, str(refused))
        self.assertEqual(store.coffer("kms", "check", store.path, check=False).code, KMS_KEY_DISABLED)
        self.azure.set_enabled("", True)
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)

    def test_the_server_is_killed_and_tokens_run_out(self) -> None:
        """Under a daemon that may open no sockets but these: what is open goes on, and what takes the key waits for it."""
        store = self.azure_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        for _ in range(2):
            self.azure.do("expire")
            coffer("lock", mount.path)
            coffer("unlock", mount.path)
        coffer("lock", mount.path)
        self.azure.stop()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.azure.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.azure.stop()
        self.assert_content(mount.path / "file", content)
        mount.umount()
        self.mount_refused(store, KMS_UNAVAILABLE, "/token: Failed to connect")

    def test_the_node_is_shut_out(self) -> None:
        store = self.azure_store()
        self.azure.do("allow", principal=NODE_CLIENT, host=VAULT, permissions=["get"])
        self.mount_refused(store, KMS_DENIED, "AZURE.md")

    def test_another_key_in_the_keystore(self) -> None:
        """A keystore that somebody has altered chooses neither whose key is used nor who is told the node's secrets."""
        store = self.azure_store()
        versions = self.azure.make_key("other") + ":" + self.azure.make_key("other-signer", kty="EC")
        for uri, code, words in ((URI.replace("master", "other"), KEY_UNAVAILABLE, "COFFER_AZURE_KEYS"),
                                 ("azure-kms://evil.vault.azure.net/keys/master", KEY_UNAVAILABLE, "COFFER_AZURE_KEYS")):
            subprocess.run(["sqlite3", store.path / ".coffer/keystore.db",
                            f"update masters set uri = '{uri}', version = '{versions}'"], check=True)
            self.mount_refused(store, code, words)

    def test_uris_and_keys_that_are_none(self) -> None:
        for uri, code in ((f"{URI}?token=7531-secret", INVALID), (URI.replace("master", "nothing"), KEY_UNAVAILABLE)):
            done = coffer("init", self.place("other"), "--kms", uri, check=False)
            self.assertEqual(done.code, code, str(done))
            self.assertNotIn("7531-secret", done.err)
            self.assertFalse(self.place("other").exists())

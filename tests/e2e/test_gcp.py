"""Stores whose master key is in Google Cloud KMS, or in what stands for it (test_gcp_stand_in.py)."""

import json
import os
import subprocess
from pathlib import Path

from files import random_bytes
from gcp import NODE_ACCOUNT, RING, ServedGcp
from harness import CofferTest
from processes import NODE, SELF, coffer
from stores import Store

INVALID, KEY_UNAVAILABLE, KMS_DENIED, KMS_KEY_MISSING, KMS_KEY_DISABLED, KMS_UNAVAILABLE = 2, 11, 23, 24, 25, 26
URI = f"gcp-kms://{RING}/cryptoKeys/master"


class Gcp(CofferTest):
    """A node with a key of its service account; its settings are in the file that COFFER_GCP_CONFIG names."""

    def setUp(self) -> None:
        super().setUp()
        self.gcp = ServedGcp.of_test(self)
        account = self.gcp.do("service_account", email=NODE_ACCOUNT)
        account["token_uri"] = f"https://127.0.0.1:{self.gcp.port}/token"
        self.private_key = account["private_key"].split("\n")[5]
        key = self.write_private("key.json", json.dumps(account, indent=2))
        config = self.write_private("gcp.conf", f"""
            COFFER_GCP_ENDPOINT={self.gcp.url}
            COFFER_GCP_CA_FILE={self.gcp.ca}
            COFFER_GCP_KEYS={RING}
            GOOGLE_APPLICATION_CREDENTIALS={key}
            """)
        NODE["COFFER_GCP_CONFIG"] = str(config)
        self.addCleanup(NODE.pop, "COFFER_GCP_CONFIG")

    def write_private(self, name: str, content: str) -> Path:
        path = self.place(name)
        path.write_text(content)
        os.chmod(path, 0o600)
        return path

    def gcp_store(self) -> Store:
        return self.new_store(kms=URI)

    def test_a_store_and_its_mount(self) -> None:
        store = self.gcp_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        mount = self.new_mount(store)
        status = mount.status()
        self.assertEqual((status["master_key"], status["system_calls"]), (URI, "filtered"))
        content = random_bytes(100_000)
        for name in ("file", "direct/file"):
            (mount.path / name).write_bytes(content)
        mount.umount()
        self.gcp.rotate()
        again = self.new_mount(store)
        for name in ("file", "direct/file"):
            self.assert_content(again.path / name, content)
        (again.path / "direct/new").write_bytes(content)
        again.umount()
        self.assertEqual(mount.logged_errors() + again.logged_errors(), [])
        store.verify()
        said = store.coffer("kms", "check", store.path).out
        self.assertIn(NODE_ACCOUNT, said)
        self.assertRegex(said, "newest version *2")

    def test_no_secret_is_in_the_store(self) -> None:
        store = self.gcp_store()
        for secret in (self.private_key, "ya29."):
            found = subprocess.run(["grep", "-rlF", secret, store.path, SELF.home / "state"], capture_output=True, check=False)
            self.assertEqual(found.stdout, b"")

    def test_a_version_that_is_disabled(self) -> None:
        store = self.gcp_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        self.gcp.set_state(1, "DISABLED")
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_KEY_DISABLED, str(refused))
        self.assertEqual(store.coffer("kms", "check", store.path, check=False).code, KMS_KEY_DISABLED)
        self.gcp.set_state(1, "ENABLED")
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)

    def test_the_server_is_killed_and_tokens_run_out(self) -> None:
        """Under a daemon that may open no sockets but these: what is open goes on, and what takes the key waits for it."""
        store = self.gcp_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        for _ in range(2):
            self.gcp.do("expire")
            coffer("lock", mount.path)
            coffer("unlock", mount.path)
        coffer("lock", mount.path)
        self.gcp.stop()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.gcp.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.gcp.stop()
        self.assert_content(mount.path / "file", content)
        mount.umount()
        self.mount_refused(store, KMS_UNAVAILABLE, "/token: Failed to connect")

    def test_the_node_is_shut_out(self) -> None:
        store = self.gcp_store()
        self.gcp.do("allow", principal=NODE_ACCOUNT, resource=RING, permissions=["cloudkms.cryptoKeys.get"])
        self.mount_refused(store, KMS_DENIED, "GCP.md")

    def test_another_key_in_the_keystore(self) -> None:
        """A keystore that somebody has altered chooses neither whose key is used nor who is told the node's secrets."""
        store = self.gcp_store()
        self.gcp.do("api", path=f"{RING}/cryptoKeys", query={"cryptoKeyId": "other"}, body={"purpose": "ENCRYPT_DECRYPT"})
        for uri, code, words in ((URI.replace("master", "other"), 4, "another key"),
                                 ("gcp-kms://projects/q/locations/l/keyRings/r/cryptoKeys/master", KEY_UNAVAILABLE, "COFFER_GCP_KEYS")):
            subprocess.run(["sqlite3", store.path / ".coffer/keystore.db", f"update masters set uri = '{uri}'"], check=True)
            self.mount_refused(store, code, words)

    def test_uris_and_keys_that_are_none(self) -> None:
        for uri, code in ((f"{URI}?token=7531-secret", INVALID), (URI.replace("master", "nothing"), KMS_KEY_MISSING)):
            done = coffer("init", self.place("other"), "--kms", uri, check=False)
            self.assertEqual(done.code, code, str(done))
            self.assertNotIn("7531-secret", done.err)
            self.assertFalse(self.place("other").exists())

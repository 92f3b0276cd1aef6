"""Stores whose master key is on a KMIP server: pykmip-server."""

import os
import subprocess
from pathlib import Path

from files import random_bytes
from harness import CofferTest
from processes import NODE, coffer
from pykmip import PyKmipServer
from stores import Store

INVALID, KEY_UNAVAILABLE, KMS_DENIED, KMS_KEY_MISSING, KMS_KEY_DISABLED, KMS_UNAVAILABLE = 2, 11, 23, 24, 25, 26


class Kmip(CofferTest):
    """A server with one key, and a node whose settings are in the file that COFFER_KMIP_CONFIG names."""

    server: PyKmipServer
    uid: str
    config: Path

    def setUp(self) -> None:
        super().setUp()
        self.server = PyKmipServer.of_test(self)
        self.uid = self.server.new_key()
        self.config = self.place("kmip.conf")
        self.be("node")
        NODE["COFFER_KMIP_CONFIG"] = str(self.config)
        self.addCleanup(NODE.pop, "COFFER_KMIP_CONFIG")

    def be(self, name: str) -> None:
        """The node has this certificate from here on."""
        self.config.write_text(f"""
            COFFER_KMIP_SERVER=localhost:{self.server.port}
            COFFER_KMIP_CA={self.server.directory}/ca.pem
            COFFER_KMIP_CLIENT_CERT={self.server.directory}/{name}.pem
            COFFER_KMIP_CLIENT_KEY={self.server.directory}/{name}.key
            """)
        os.chmod(self.config, 0o600)

    @property
    def uri(self) -> str:
        return f"kmip://localhost:{self.server.port}/{self.uid}"

    def kmip_store(self) -> Store:
        return self.new_store(kms=self.uri)

    def test_a_store_and_its_mount(self) -> None:
        store = self.kmip_store()
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
        again = self.new_mount(store)
        for name in ("file", "own/file", "direct/file"):
            self.assert_content(again.path / name, content)
        (again.path / "direct/new").write_bytes(content)
        again.umount()
        self.assertEqual(mount.logged_errors() + again.logged_errors(), [])
        store.verify()
        checked = store.coffer("kms", "check", store.path).out
        for words in ("KMIP 1.4", "Active", "CN=node"):
            self.assertIn(words, checked)

    def test_the_key_is_revoked_and_destroyed(self) -> None:
        store = self.kmip_store()
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        self.server.revoke(self.uid)
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_KEY_DISABLED, str(refused))
        self.assertIn("Deactivated", refused.err)
        mount.umount()
        self.mount_refused(store, KMS_KEY_DISABLED, "Deactivated")
        self.server.destroy(self.uid)
        self.mount_refused(store, KMS_KEY_MISSING, self.uri)
        checked = store.coffer("kms", "check", store.path, check=False)
        self.assertEqual(checked.code, KMS_KEY_MISSING, str(checked))

    def test_the_server_is_killed_and_brought_back(self) -> None:
        """Under a daemon that may open no sockets but these: what is open goes on, and what takes the key waits for it."""
        store = self.kmip_store()
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["system_calls"], "filtered")
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        self.server.stop()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.server.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.server.stop()
        self.assert_content(mount.path / "file", content)
        mount.umount()
        self.mount_refused(store, KMS_UNAVAILABLE, "localhost")
        self.server.start()
        self.assert_content(self.new_mount(store).path / "file", content)

    def test_another_node(self) -> None:
        store = self.kmip_store()
        self.be("other")
        self.mount_refused(store, KMS_DENIED, self.uri)
        self.be("node-expired")
        self.mount_refused(store, KMS_DENIED, "refuses our certificate")
        self.be("node")
        self.assertEqual(store.verify()["findings"], [])

    def test_another_server_in_the_keystore(self) -> None:
        """A keystore that somebody has altered must not choose who is brought the node's keys."""
        store = self.kmip_store()
        run_sql = f"update masters set uri = 'kmip://localhost:1/{self.uid}'"
        subprocess.run(["sqlite3", store.path / ".coffer/keystore.db", run_sql], check=True)
        self.mount_refused(store, KEY_UNAVAILABLE, "no other is brought its keys")

    def test_no_key_and_none_is_made(self) -> None:
        for uri, code in ((self.uri + "0", KMS_KEY_MISSING), (f"{self.uri}?password=7531-secret", INVALID)):
            done = coffer("init", self.place("other"), "--kms", uri, check=False)
            self.assertEqual(done.code, code, str(done))
            self.assertNotIn("7531-secret", done.err)
            self.assertFalse(self.place("other").exists())

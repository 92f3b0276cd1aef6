"""Directories that are not this store, keys that are not its keys, and what is damaged."""

import errno
import os
import shutil
import sqlite3
import struct
import unittest

from bad_input import (BadInputTest, CORRUPT, FOREIGN_KEYSTORE, KEYSTORE_MISSING, KEY_UNAVAILABLE, MOVED, NOT_A_STORE,
                       UNKNOWN_VERSION, WRONG_KEY)
from files import random_bytes
from processes import ALICE, coffer
from stores import Store


class NotThisStore(BadInputTest):
    def test_not_a_store(self) -> None:
        empty = self.place("empty")
        empty.mkdir()
        self.refused_mount(NOT_A_STORE, "empty is not a coffer store; .*coffer init", empty)
        self.refused_mount(NOT_A_STORE, "missing is not there; .*coffer init", self.place("missing"))
        file = self.place("file")
        file.write_text("x")
        self.refused_mount(NOT_A_STORE, "file is not a coffer store", file)
        for words in (("verify", empty), ("import", "/etc/hostname", empty), ("export", empty, self.place("out")),
                      ("scope", "list", empty), ("grant", "list", empty), ("key", "list", empty),
                      ("scope", "create", empty, "/x"), ("verify", f"{empty}:/path")):
            self.refused(NOT_A_STORE, "coffer init", *words)

    def test_wrong_passphrase(self) -> None:
        store = self.new_store(passphrase="right")
        wrong = self.place("wrong")
        wrong.write_text("Right\n")
        right, store.secret = store.secret, ("--passphrase-file", wrong)
        self.refused_mount(WRONG_KEY, "passphrase", store)
        self.refused(WRONG_KEY, "passphrase", "verify", store.path, *store.secret)
        wrong.write_text("")
        self.refused(WRONG_KEY, "passphrase", "verify", store.path, *store.secret)
        self.refused(KEY_UNAVAILABLE, "missing", "verify", store.path, "--passphrase-file", self.place("missing"))
        store.secret = right
        self.works(store)

    def test_wrong_key_file(self) -> None:
        store, other = self.new_store(), self.new_store("other")
        kept = store.key.read_bytes()
        store.key.write_bytes(other.key.read_bytes())
        self.refused_mount(WRONG_KEY, f"{store.key} holds another key", store)
        for garbage in (b"", b"coffer-master-key-1 1234\n", os.urandom(85), kept[:-10], kept + kept):
            store.key.write_bytes(garbage)
            self.refused_mount(WRONG_KEY, "is not a coffer master key file; ", store)
        os.unlink(store.key)
        self.refused_mount(KEY_UNAVAILABLE, f"master key file {store.key}.*No such file.*; ", store)
        store.key.mkdir()
        self.refused_mount(KEY_UNAVAILABLE, "is no regular file", store)
        store.key.rmdir()
        store.key.write_bytes(kept)
        os.chmod(store.key, 0o600)
        self.works(store)

    def test_key_file_with_wrong_permissions(self) -> None:
        store = self.new_store()
        for mode in (0o644, 0o640, 0o604, 0o660):
            os.chmod(store.key, mode)
            self.refused_mount(KEY_UNAVAILABLE, f"can be read by others; run: chmod 600 {store.key}", store)
        os.chmod(store.key, 0o600)
        if os.geteuid() == 0:
            os.chown(store.key, ALICE.uid, ALICE.gid)
            self.refused_mount(KEY_UNAVAILABLE, "belongs to another user", store)
            os.chown(store.key, 0, 0)
        self.works(store)

    def test_lost_keystore(self) -> None:
        store = self.new_store()
        keystore = store.path / ".coffer/keystore.db"
        aside = self.place("aside")
        os.rename(keystore, aside)
        self.refused_mount(KEYSTORE_MISSING, f"{keystore}.*; ", store)
        self.refused(KEYSTORE_MISSING, f"{keystore}", "grant", "list", store.path)
        os.rename(aside, keystore)
        self.works(store)

    def test_keystore_elsewhere_lost(self) -> None:
        keystore = self.place("keys.db")
        store = Store(self.place("store"), init=("--keystore", keystore))
        self.works(store)
        os.rename(keystore, self.place("aside"))
        self.refused_mount(KEYSTORE_MISSING, f"{keystore}.*; ", store)

    def test_keystore_of_another_store(self) -> None:
        store, other = self.new_store(), self.new_store("other")
        shutil.copy(other.path / ".coffer/keystore.db", store.path / ".coffer/keystore.db")
        self.refused_mount(FOREIGN_KEYSTORE, f"belongs to store {other.id}.*; ", store)
        self.refused(FOREIGN_KEYSTORE, store.id, "verify", store.path)

    def test_directory_of_another_store(self) -> None:
        """The keystore is the right one, but what lies in the backing is another store's."""
        store, other = self.new_store(), self.new_store("other")
        shutil.copy(other.path / ".coffer.dir", store.path / ".coffer.dir")
        failed = coffer("scope", "create", store.path, "/scope", check=False)
        self.assertEqual(failed.code, MOVED, str(failed))
        self.assertIn("another store", failed.err)
        self.assertEqual(len(coffer("scope", "list", store.path, "--json").json), 1)
        outcome = coffer("verify", store.path, "--json", check=False)
        self.assertEqual(outcome.code, MOVED, str(outcome))
        self.assertEqual([finding["path"] for finding in outcome.json["findings"]], ["/"])


class DamagedStore(BadInputTest):
    def test_unknown_format_versions(self) -> None:
        store = self.new_store()
        config = store.path / ".coffer/store.toml"
        kept = config.read_text()
        config.write_text(kept.replace("format = 1", "format = 2"))
        self.refused_mount(UNKNOWN_VERSION, "format 2.* knows 1 and 3; use a newer coffer", store)
        config.write_text(kept)
        self.alter_keystore(store, "PRAGMA user_version = 99")
        self.refused_mount(UNKNOWN_VERSION, "99.*; use a newer coffer", store)
        self.alter_keystore(store, "PRAGMA user_version = 1")
        self.works(store)

    def test_damaged_store_toml(self) -> None:
        store = self.new_store()
        config = store.path / ".coffer/store.toml"
        kept = config.read_text()
        damaged = [b"", b"format = ", b"\x00\xff\xfe", b"format = 1\n", kept.replace(store.id, store.id[:-1]).encode(),
                   kept.replace(store.id, "x" * 32).encode(), kept.replace("format = 1", "format = 'one'").encode(),
                   kept.replace("format = 1", "format = 1.0").encode(), kept.replace("format = 1", "format = 1e99").encode(),
                   kept.replace(".coffer/keystore.db", "").encode(), b"x" * 100_000, kept.encode() + b"[[[[["]
        for content in damaged:
            config.write_bytes(content)
            self.refused_mount(CORRUPT, "store.toml.*; ", store)
        config.write_text(kept)
        self.works(store)

    def test_damaged_keystore(self) -> None:
        store = self.new_store()
        keystore = store.path / ".coffer/keystore.db"
        kept = keystore.read_bytes()
        for content in (b"", b"garbage" * 1000, kept[:100], kept[:len(kept) // 2], bytes(len(kept))):
            keystore.write_bytes(content)
            self.refused_mount(CORRUPT, f"{keystore}.*; ", store)
        keystore.write_bytes(kept)
        self.works(store)

    def test_altered_policy(self) -> None:
        """A grant that nobody with the master key made."""
        store = self.new_store()
        self.alter_keystore(store, "INSERT INTO grants SELECT 77, scope_id, deny, rights, 1, NULL, NULL, '', '', 0, NULL FROM grants")
        self.refused_mount(CORRUPT, "keystore.*; ", store)
        self.refused(CORRUPT, "keystore.*; ", "grant", "list", store.path)
        self.alter_keystore(store, "DELETE FROM grants WHERE id = 77")
        self.works(store)

    def test_damaged_root_record(self) -> None:
        store = self.new_store()
        record = store.path / ".coffer.dir"
        kept = record.read_bytes()
        for content in (b"", kept[:-1], kept + b"\0", kept[:100] + b"\x01" + kept[101:], bytes(512)):
            record.write_bytes(content)
            outcome = coffer("verify", store.path, "--json", check=False)
            self.assertEqual(outcome.code, CORRUPT, str(outcome))
            self.assertEqual([finding["path"] for finding in outcome.json["findings"]], ["/"])
        record.write_bytes(kept)
        self.works(store)

    def test_damaged_files(self) -> None:
        """Truncated and altered headers, each in its way: that file gives EIO and a line in the log; the others are fine."""
        store = self.new_store()
        mount = self.new_mount(store)
        contents = {name: random_bytes(30_000, number) for number, name in enumerate("abcdefgh")}
        backing = {}
        for name, data in contents.items():
            known = set(os.listdir(store.path))
            (mount.path / name).write_bytes(data)
            (backing[name],) = set(os.listdir(store.path)) - known
        mount.umount()

        def alter(name: str, offset: int, data: bytes) -> None:
            with open(store.path / backing[name], "r+b") as stream:
                for slot in (0, 4096):
                    os.pwrite(stream.fileno(), data, slot + offset)

        alter("a", 0, b"NOT-OURS")
        alter("b", 8, struct.pack("<H", 2))  # a newer format
        alter("c", 72, bytes(32))  # another content root
        alter("d", 4064, os.urandom(32))  # MAC
        os.truncate(store.path / backing["e"], 5000)
        os.truncate(store.path / backing["f"], 0)
        alter("g", 16, os.urandom(16))  # another store's
        mount = self.new_mount(store)
        for name in "abcdefg":
            self.assert_errno(errno.EIO, (mount.path / name).read_bytes)
        self.assertEqual((mount.path / "h").read_bytes(), contents["h"])
        self.assertEqual(sorted(os.listdir(mount.path)), sorted(contents))
        for name in "abcdefg":
            lines = [line for line in mount.logged_errors() if f" /{name}: " in line]
            self.assertTrue(lines, name)
            self.assertRegex(lines[0], r"\[(corrupt|unknown-version|moved|rolled-back)\]; [a-z]", name)
        self.assertIn("[unknown-version]; use a newer coffer", [line for line in mount.logged_errors() if " /b: " in line][0])
        for name in "ef":  # whose sizes are no sizes: nothing is guessed
            self.assert_errno(errno.EIO, os.stat, mount.path / name)
        # What is damaged can be removed and made anew.
        for name in "abcdefg":
            os.unlink(mount.path / name)
            (mount.path / name).write_bytes(contents[name])
        mount.umount()
        self.assertEqual(coffer("verify", store.path, "--json", check=False).json["files"], 8)

    @staticmethod
    def alter_keystore(store: Store, statement: str) -> None:
        database = sqlite3.connect(store.path / ".coffer/keystore.db")
        with database:
            database.execute(statement)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()


if __name__ == "__main__":
    unittest.main()

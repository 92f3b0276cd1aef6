"""The keystore put back to an earlier state, alone or with its backing: nothing in it is false, and a node that saw a newer one refuses it."""

import contextlib
import errno
import os
import random
import shutil
import threading
import time
import unittest
from pathlib import Path

from damage import BUSY, ROLLED_BACK
from harness import CofferTest
from processes import Outcome, wait_until
from stores import Store

TAILS = ("", "-wal", "-shm")


class RolledBack(CofferTest):
    limit = 120.0

    def setUp(self) -> None:
        super().setUp()
        self.store = self.new_store()
        self.keystore = self.store.path / ".coffer/keystore.db"
        self.write(b"first")
        self.older = self.keep("older")
        self.write(b"second")
        self.newer = self.keep("newer")

    def write(self, content: bytes) -> None:
        mount = self.new_mount(self.store)
        (mount.path / "file").write_bytes(content)
        mount.umount()

    def read(self) -> bytes:
        mount = self.new_mount(self.store, "--read-only")
        content = (mount.path / "file").read_bytes()
        mount.umount()
        return content

    def keep(self, name: str) -> Path:
        kept = self.place(name)
        for tail in TAILS:
            if Path(f"{self.keystore}{tail}").exists():
                shutil.copy2(f"{self.keystore}{tail}", f"{kept}{tail}")
        return kept

    def put_back(self, kept: Path) -> None:
        for tail in TAILS:
            Path(f"{self.keystore}{tail}").unlink(missing_ok=True)
            if Path(f"{kept}{tail}").exists():
                shutil.copy2(f"{kept}{tail}", f"{self.keystore}{tail}")

    def refused(self, *words: str | Path, **options) -> Outcome:
        outcome = self.store.coffer(*words, check=False, **options)
        self.assertEqual(outcome.code, ROLLED_BACK, str(outcome))
        self.assertRegex(outcome.err, rf"keystore {self.keystore} was put back to an earlier state: it is of generation \d+, this node has "
                                      r"seen \d+; .*coffer accept STORE\n$")
        return outcome

    def assert_refused_everywhere(self) -> None:
        path = self.store.path
        self.place("empty").mkdir(exist_ok=True)
        before = self.keystore.read_bytes()
        for words in (("verify", path), ("verify", path, "--repair"), ("export", path, self.place("plain")), ("import", self.place("empty"), path),
                      ("salvage", path, self.place("saved")), ("path", path, "/file"), ("key", "list", path), ("key", "show", path, "/file"),
                      ("scope", "list", path), ("scope", "create", path, "/scope"), ("grant", "list", path),
                      ("grant", "add", path, "/", "--everyone", "--right", "read"), ("grant", "revoke", path, "1"),
                      ("accept", f"{path}:/file"), ("mount", path, self.mountpoint()), ("mount", path, self.mountpoint(), "--read-only")):
            with self.subTest(words=words[:2]):
                self.refused(*words)
        self.assertEqual(self.keystore.read_bytes(), before)

    def mountpoint(self) -> Path:
        point = self.place("mnt")
        point.mkdir(exist_ok=True)
        return point

    def notes(self) -> list[str]:
        return [line["detail"] for line in self.store.audit() if line.get("detail", "").startswith("accept: keystore")]

    def test_refused_until_it_is_accepted(self) -> None:
        self.put_back(self.older)
        self.assert_refused_everywhere()
        would = self.store.coffer("accept", self.store.path, "--dry-run", "--json").json["keystore"]
        self.refused("verify", self.store.path)
        self.assertEqual(self.notes(), [])
        done = self.store.coffer("accept", self.store.path, "--json").json["keystore"]
        self.assertEqual(done.pop("new_generation"), done["seen_generation"] + 1)
        self.assertEqual(done, would)
        self.assertGreater(done["seen_generation"], done["found_generation"])
        (note,) = self.notes()
        for number in done.values():
            self.assertIn(f"generation {number}", note)
        self.store.verify()
        self.assertEqual(self.read(), b"second", "a file newer than its record")
        self.write(b"third")
        self.assertEqual(self.read(), b"third")
        self.assertNotIn("keystore", self.store.coffer("accept", self.store.path, "--json").json)
        self.put_back(self.newer)
        self.assertEqual(self.store.coffer("verify", self.store.path, check=False).code, ROLLED_BACK)

    def test_with_its_backing(self) -> None:
        backup = self.place("backup")
        shutil.copytree(self.store.path, backup, symlinks=True)
        self.write(b"third")
        shutil.rmtree(self.store.path)
        shutil.copytree(backup, self.store.path, symlinks=True)
        self.assert_refused_everywhere()
        self.store.coffer("accept", self.store.path)
        self.store.verify()
        self.assertEqual(self.read(), b"second")

    def test_an_older_file_with_it(self) -> None:
        """Of the keystore that was accepted, the records count."""
        self.write(b"third")
        file = self.store.path / self.store.coffer("path", self.store.path, "/file", "--json").json["backing"]
        third = file.read_bytes()
        self.write(b"fourth")
        fourth, kept = file.read_bytes(), self.keep("fourth")
        self.write(b"fifth")
        self.put_back(kept)
        file.write_bytes(fourth)
        self.store.coffer("accept", self.store.path)
        self.assertEqual(self.read(), b"fourth")
        file.write_bytes(third)
        findings = self.store.coffer("verify", self.store.path, "--json", check=False).json["findings"]
        self.assertEqual([finding["cause"] for finding in findings], ["rolled-back"])

    def test_not_without_the_master_key(self) -> None:
        self.put_back(self.older)
        before = self.keystore.read_bytes()
        self.store.key.write_text("coffer-master-key-1 " + "5" * 64 + "\n")
        self.assertEqual(self.store.coffer("accept", self.store.path, check=False).code, 4)
        self.assertEqual(self.keystore.read_bytes(), before)
        self.assertEqual(self.notes(), [])

    def test_exchanged_under_a_mount(self) -> None:
        mount = self.new_mount(self.store)
        self.assert_content(mount.path / "file", b"second")
        aside = self.place("aside")
        os.rename(self.keystore, aside)
        shutil.copy2(self.older, self.keystore)
        wait_until(lambda: "exchanged" in mount.status()["policy"], "the daemon sees it", 10)
        self.assert_errno(errno.EIO, (mount.path / "file").read_bytes)
        self.assert_errno(errno.EIO, (mount.path / "new").write_bytes, b"")
        self.assertIn("exchanged for another file", mount.log())
        self.assertEqual(self.store.coffer("accept", self.store.path, check=False).code, BUSY)
        os.rename(aside, self.keystore)
        wait_until(lambda: "exchanged" not in mount.status()["policy"], "the daemon sees it", 10)
        self.assert_content(mount.path / "file", b"second")
        mount.umount()
        self.store.verify()

    def test_kills_are_no_rollback(self) -> None:
        chooser = random.Random(1)
        for number in range(20):
            mount = self.new_mount(self.store)
            # Not by its path, which is that of the plain directory below once the mount is cleared away.
            top = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
            writer = threading.Thread(target=self.write_until_dead, args=(top, number))
            writer.start()
            time.sleep(chooser.uniform(0.1, 1.6))
            if number % 2:
                self.store.coffer("grant", "add", self.store.path, "/", "--everyone", "--right", "list")
            mount.kill()
            writer.join()
            os.close(top)
            if number % 3 == 0:
                self.store.coffer("key", "list", self.store.path)
        self.store.coffer("verify", self.store.path)
        self.assertEqual(self.read(), b"second")

    @staticmethod
    def write_until_dead(top: int, number: int) -> None:
        with contextlib.suppress(OSError):
            for count in range(1_000_000):
                fd = os.open(f"{number}-{count % 5}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=top)
                try:
                    os.write(fd, b"x" * count)
                finally:
                    os.close(fd)

    def test_nodes_that_share_a_store(self) -> None:
        other, late = self.place("other"), self.place("late")
        for content in (b"third", b"fourth"):
            self.write(content)
            self.store.coffer("verify", self.store.path, state=other)
            self.store.coffer("grant", "add", self.store.path, "/", "--everyone", "--right", "read", state=other)
            self.store.verify()
        self.put_back(self.older)
        self.refused("key", "list", self.store.path)
        self.refused("key", "list", self.store.path, state=other)
        self.store.coffer("key", "list", self.store.path, state=late)  # has seen nothing
        self.store.coffer("accept", self.store.path)
        self.store.coffer("verify", self.store.path, state=other)
        self.write(b"fifth")
        self.store.coffer("verify", self.store.path, state=other)

    def test_where_nothing_can_be_remembered(self) -> None:
        seen = self.store.audit_log.parent / "keystore.seen"
        self.assertEqual(oct(seen.stat().st_mode & 0o7777), "0o600")
        seen.unlink()
        seen.mkdir()
        mount = self.new_mount(self.store)
        for number in range(3):
            (mount.path / "file").write_bytes(b"%d" % number)
            time.sleep(1.2)
        lines = [line for line in mount.log().splitlines() if "may go unnoticed" in line]
        self.assertEqual(len(lines), 1, mount.log())
        self.assertIn(str(seen), lines[0])
        mount.umount()
        seen.rmdir()
        self.store.verify()
        self.assertTrue(seen.is_file())


if __name__ == "__main__":
    unittest.main()

"""coffer accept: an honest restore is put on record; nobody else gains by it."""

import errno
import os
import shutil
import unittest

from damage import BUSY, CORRUPT, DENIED, MOVED, NOT_FOUND, REVOKED, DamagedTest, chunk_at, flip


class Accept(DamagedTest):
    def setUp(self) -> None:
        super().setUp()
        self.a = self.backing("/a")
        self.older = self.a.read_bytes()
        mount = self.new_mount(self.store)
        (mount.path / "a").write_bytes(b"newer")
        mount.umount()
        self.newer = self.a.read_bytes()

    def accept(self, path: str, code: int = 0, *words: str) -> dict:
        outcome = self.store.coffer("accept", f"{self.store.path}:{path}", "--json", *words, check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.json

    def read(self, name: str) -> bytes:
        mount = self.new_mount(self.store)
        try:
            return (mount.path / name).read_bytes()
        finally:
            mount.umount()

    def assert_refused(self, path: str, cause: str) -> None:
        findings = self.store.coffer("verify", self.store.path, "--json", check=False).json["findings"]
        self.assertEqual([(f["path"], f["cause"]) for f in findings], [(path, cause)])

    def test_an_older_file_put_back(self) -> None:
        self.a.write_bytes(self.older)
        self.assert_refused("/a", "rolled-back")
        lines = len(self.store.audit())
        would = self.accept("/a", 0, "--dry-run")["accepted"]
        self.assertEqual(self.a.read_bytes(), self.older)
        self.assertFalse(self.detail("accept:"))
        self.assertGreater(len(self.store.audit()), lines, "its key was released, to read it whole")
        (done,) = self.accept("/a")["accepted"]
        self.assertGreater(done["recorded_generation"], done["found_generation"])
        self.assertEqual(done.pop("new_generation"), done["recorded_generation"] + 1)
        self.assertEqual([done], would)
        self.assertEqual(self.read("a"), self.content["/a"])
        self.store.verify()
        (line,) = self.detail("accept:")
        self.assertEqual(line["identity"]["uid"], os.geteuid())
        for word in (done["file"], f"generation {done['recorded_generation']}", f"generation {done['found_generation']}"):
            self.assertIn(word, line["detail"])
        self.assertEqual(self.accept("/a"), {"accepted": [], "unchanged": 1, "failed": []})

    def test_what_came_between_can_not_be_put_back(self) -> None:
        """Not the state that was given up, nor the very one that was accepted, as it lay there before."""
        self.a.write_bytes(self.older)
        self.accept("/a")
        accepted = self.a.read_bytes()
        for state in (self.newer, self.older):
            self.a.write_bytes(state)
            self.assert_refused("/a", "rolled-back")
        self.a.write_bytes(accepted)
        self.assertEqual(self.read("a"), self.content["/a"])

    def test_a_deleted_file_put_back(self) -> None:
        place = self.backing("/dir/d")
        old = place.read_bytes()
        mount = self.new_mount(self.store)
        os.unlink(mount.path / "dir/d")
        mount.umount()
        place.write_bytes(old)
        self.assert_refused("/dir/d", "revoked")
        (done,) = self.accept("/dir/d")["accepted"]
        self.assertTrue(done["deleted"])
        self.assertEqual(self.read("dir/d"), self.content["/dir/d"])
        self.store.verify()
        self.assertEqual(self.store.coffer("key", "show", self.store.path, "/dir/d", "--json").json["state"], "active")

    def test_a_tree(self) -> None:
        backup = self.place("backup")
        directory = self.backing("/dir")
        shutil.copytree(directory, backup, symlinks=True)
        mount = self.new_mount(self.store)
        (mount.path / "dir/d").write_bytes(b"overwritten by mistake")
        os.unlink(mount.path / "dir/e")
        mount.umount()
        shutil.copytree(backup, directory, symlinks=True, dirs_exist_ok=True)
        report = self.accept("/dir")
        self.assertEqual([row["path"] for row in report["accepted"]], ["/dir/d", "/dir/e"])
        self.store.verify()
        for name in ("dir/d", "dir/e"):
            self.assertEqual(self.read(name), self.content[f"/{name}"])

    def test_what_is_not_whole_is_not_accepted(self) -> None:
        self.a.write_bytes(self.older)
        flip(self.a, chunk_at(9))
        report = self.accept("/a", CORRUPT)
        self.assertEqual(report["accepted"], [])
        self.assertIn("36864-40959", report["failed"][0]["message"])
        self.assertFalse(self.detail("accept:"))
        os.truncate(self.a, chunk_at(9))
        self.accept("/a", CORRUPT)
        self.assertFalse(self.detail("accept:"))

    def test_what_was_moved_is_not_accepted(self) -> None:
        """An older state of one file at the place of another; a deleted one at a place that was never its own."""
        self.backing("/b").write_bytes(self.older)
        self.accept("/b", MOVED)
        os.unlink(self.backing("/b"))
        place = self.backing("/dir/d")
        old = place.read_bytes()
        mount = self.new_mount(self.store)
        os.unlink(mount.path / "dir/d")
        mount.umount()
        self.backing("/dir/other").write_bytes(old)
        self.accept("/dir/other", MOVED)
        self.accept("/missing", NOT_FOUND)

    def test_only_for_those_who_may_write(self) -> None:
        """The attacker on the node: he can put back what he likes, and has no grant, or one to read."""
        self.a.write_bytes(self.older)
        for grant in self.store.coffer("grant", "list", self.store.path, "--json").json:
            self.store.revoke(grant["id"])
        outcome = self.refused(REVOKED, "accept", f"{self.store.path}:/a")
        self.assertIn("0 files accepted", outcome.out)
        self.store.grant("/", "--selector", f"unix:uid:{os.geteuid()}", rights=("list", "read"))
        for words in ((), ("--dry-run",)):
            outcome = self.store.coffer("accept", f"{self.store.path}:/a", *words, check=False)
            self.assertIn(outcome.code, (DENIED, REVOKED), str(outcome))
        self.assertEqual(self.a.read_bytes(), self.older)
        self.assertFalse(self.detail("accept:"))
        self.assert_refused("/a", "rolled-back")

    def test_not_without_the_master_key(self) -> None:
        """The attacker on the storage: he has all of the store, and not its key."""
        self.a.write_bytes(self.older)
        key = self.store.key.read_text()
        self.store.key.write_text("coffer-master-key-1 " + "5" * 64 + "\n")
        before = (self.store.path / ".coffer/keystore.db").read_bytes()
        self.refused(4, "accept", f"{self.store.path}:/a")
        self.store.key.unlink()
        self.refused(11, "accept", f"{self.store.path}:/a")
        self.assertEqual((self.store.path / ".coffer/keystore.db").read_bytes(), before)
        self.store.key.write_text(key)
        os.chmod(self.store.key, 0o600)
        self.assert_refused("/a", "rolled-back")

    def test_beside_a_mount_it_is_refused(self) -> None:
        self.a.write_bytes(self.older)
        mount = self.new_mount(self.store)
        outcome = self.refused(BUSY, "accept", f"{self.store.path}:/a")
        self.assertIn(str(mount.pid), outcome.err)
        self.assert_errno(errno.EIO, (mount.path / "a").read_bytes)


if __name__ == "__main__":
    unittest.main()

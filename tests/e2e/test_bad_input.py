"""Mount points, disks and command lines that will not do."""

import os
import re
import unittest
from pathlib import Path

from bad_input import (BUSY, BadInputTest, DENIED, EXISTS, IO, KEY_UNAVAILABLE, MOUNT_POINT, NOT_FOUND, NO_SPACE, READ_ONLY,
                       USAGE, WRONG_KEY)
from files import MIB
from guard import daemons_below
from processes import ALICE, BINARY, coffer, need_root, run, wait_until
from stores import Store


class MountPoints(BadInputTest):
    def test_unfit_mount_points(self) -> None:
        store = self.new_store()
        file = self.place("file")
        file.write_text("x")
        full = self.place("full")
        (full / "sub").mkdir(parents=True)
        inside = store.path / "inside"
        inside.mkdir()
        self.refused_mount(MOUNT_POINT, "mount point .*missing.*No such file.*; ", store, self.place("missing"))
        self.refused_mount(MOUNT_POINT, "mount point .*file.*Not a directory; ", store, file)
        self.refused_mount(MOUNT_POINT, "is not empty; choose another or give -o nonempty", store, full)
        self.refused_mount(MOUNT_POINT, "; choose another", store, inside)
        self.refused_mount(MOUNT_POINT, "; choose another", store, store.path)
        self.refused_mount(MOUNT_POINT, "; choose another", store, self.place("").parent / store.path.parent.name)
        inside.rmdir()
        mount = self.new_mount(store, "-o", "nonempty", at="full")
        mount.umount()
        self.assertEqual(os.listdir(full), ["sub"])
        self.works(store)

    def test_busy(self) -> None:
        store, other = self.new_store(), self.new_store("other")
        mount = self.new_mount(store)
        self.refused_mount(BUSY, f"mounted at {mount.path} already; run: coffer umount {mount.path}", other, mount.path)
        elsewhere = self.place("elsewhere")
        elsewhere.mkdir()
        self.refused_mount(BUSY, f"in use for writing: mounted at {mount.path} .*; see who uses it: coffer status", store, elsewhere)
        (mount.path / "file").write_bytes(b"undisturbed")
        self.assertEqual((mount.path / "file").read_bytes(), b"undisturbed")

    def test_dead_mount_in_the_way(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        os.kill(mount.pid, 9)
        wait_until(lambda: not daemons_below(str(mount.path)), "the daemon dies")
        failed = coffer("mount", store.path, mount.path, check=False)
        self.assertEqual(failed.code, BUSY, str(failed))
        self.assertRegex(failed.err, f"^coffer: .*; run: (coffer umount|fusermount3 -u) {mount.path}\n$")
        failed = coffer("status", mount.path, check=False)
        self.assertEqual(failed.code, IO, str(failed))
        self.assertIn(f"; run: coffer umount {mount.path}", failed.err)
        coffer("umount", mount.path)
        self.assertFalse(mount.mounted())
        self.works(store)

    def test_unknown_options(self) -> None:
        store = self.new_store()
        for option in ("frobnicate", "ro,frobnicate=1", "threads=many", "log=", "passphrase_file"):
            self.refused_mount(USAGE, "mount option '.*' is not known; see coffer mount --help", store, None, "-o", option)
        self.works(store)

    def test_no_mount_here(self) -> None:
        here = self.place("here")
        here.mkdir()
        self.refused(NOT_FOUND, f"no coffer mount at {here}; see: coffer status", "umount", here)
        self.refused(NOT_FOUND, f"no coffer mount at {here}; ", "status", here)
        self.refused(NOT_FOUND, "no coffer mount at /; ", "umount", "/")

    def test_unwritable_log(self) -> None:
        store = self.new_store()
        self.refused_mount(IO, "log", store, None, "--log", self.make("directory"))

    def make(self, name: str) -> Path:
        path = self.place(name)
        path.mkdir()
        return path


class UnwritableBacking(BadInputTest):
    def setUp(self) -> None:
        super().setUp()
        need_root()

    def test_read_only_backing(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        mount.umount()
        bound = self.place("bound")
        bound.mkdir()
        run("mount", "--bind", store.path, bound)
        run("mount", "-o", "remount,bind,ro", bound)
        self.refused_mount(READ_ONLY, "; mount with --read-only", bound)
        self.refused(READ_ONLY, "; ", "import", "/etc/hostname", bound)
        self.refused(READ_ONLY, "; ", "grant", "add", bound, "/", "--everyone", "--right", "read")
        self.refused(READ_ONLY, "; ", "scope", "create", bound, "/scope")
        self.assertEqual(coffer("verify", bound, "--json").json["findings"], [])
        coffer("mount", bound, self.place("mnt"), "--read-only")
        self.assertEqual((self.place("mnt") / "file").read_bytes(), b"content")
        coffer("umount", self.place("mnt"))

    def full_disk(self) -> tuple[Path, Path]:
        """A small filesystem, and the file in it that fills it up to the last block."""
        disk = self.place("disk")
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", disk)
        return disk, disk / "ballast"

    @staticmethod
    def fill(ballast: Path) -> None:
        with open(ballast, "ab", buffering=0) as stream:
            for size in (MIB, 4096):
                try:
                    while stream.write(bytes(size)):
                        pass
                except OSError:
                    pass

    def test_init_on_a_full_disk(self) -> None:
        disk, ballast = self.full_disk()
        key = self.place("key")
        self.fill(ballast)
        self.refused(NO_SPACE, "; make room", "init", disk / "store", "--kms", f"local:{key}")
        # And at every point on the way: with room for a little more each time.
        for blocks in range(1, 40):
            os.truncate(ballast, os.stat(ballast).st_size - 4096)
            outcome = coffer("init", disk / "store", "--kms", f"local:{key}", check=False)
            if outcome.code == 0:
                break
            self.assertEqual(outcome.code, NO_SPACE, f"with {blocks} blocks free: {outcome}")
            self.assertEqual(len(outcome.err.splitlines()), 1, str(outcome))
            self.assertEqual(os.listdir(disk), ["ballast"], f"with {blocks} blocks free")
            self.assertFalse(key.exists())
        else:
            self.fail("160 KiB were not enough for an empty store")
        self.assertGreater(blocks, 3)

    def test_mounting_a_store_on_a_full_disk(self) -> None:
        disk, ballast = self.full_disk()
        store = Store(disk / "store")
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        mount.umount()
        self.fill(ballast)
        at = self.place("mnt")
        for option in ((), ("--read-only",)):
            outcome = coffer("mount", store.path, at, *option, check=False)
            self.assertEqual(outcome.code, NO_SPACE, str(outcome))
            self.assertEqual(len(outcome.err.splitlines()), 1, str(outcome))
            self.assertIn("; make room", outcome.err)
        os.unlink(ballast)
        self.works(store)

    @unittest.expectedFailure
    def test_reading_a_store_on_a_full_disk(self) -> None:
        """SQLite makes 32 KiB of shared memory beside the keystore even to read it, so that not even a read-only mount comes up."""
        disk, ballast = self.full_disk()
        store = Store(disk / "store")
        self.fill(ballast)
        self.new_mount(store, "--read-only")


class Init(BadInputTest):
    def test_where_something_is(self) -> None:
        store = self.new_store()
        key = f"local:{self.place('key')}"
        self.refused(EXISTS, "is a coffer store already; ", "init", store.path, "--kms", key)
        full = self.place("full")
        full.mkdir()
        (full / "file").write_text("mine")
        self.refused(EXISTS, "full.*; give a new or empty directory", "init", full, "--kms", key)
        self.refused(USAGE, "file: Not a directory", "init", full / "file", "--kms", key)
        self.refused(NOT_FOUND, "missing", "init", self.place("missing/deeper/store"), "--kms", key)
        keystore = self.place("keystore")
        keystore.write_text("another's")
        self.refused(EXISTS, "keystore.* is there already; ", "init", self.place("new"), "--kms", key, "--keystore", keystore)
        self.refused(NOT_FOUND, "nowhere", "init", self.place("new"), "--kms", key, "--keystore", self.place("nowhere/keystore"))
        self.works(store)

    def test_key_in_the_wrong_place(self) -> None:
        new = self.place("new")
        self.refused(USAGE, "must not lie in the store.*; ", "init", new, "--kms", f"local:{new}/key")
        new.mkdir()
        self.refused(USAGE, "must not lie in the store.*; ", "init", new, "--kms", f"local:{new}/../new/key")
        link = self.place("link")
        link.symlink_to(new)
        self.refused(USAGE, "must not lie in the store.*; ", "init", new, "--kms", f"local:{link}/key")
        open_key = self.place("open-key")
        open_key.write_text("x")
        os.chmod(open_key, 0o644)
        self.refused(KEY_UNAVAILABLE, "chmod 600", "init", new, "--kms", f"local:{open_key}")
        os.chmod(open_key, 0o600)
        self.refused(WRONG_KEY, "is not a coffer master key file; ", "init", new, "--kms", f"local:{open_key}")

    def test_values(self) -> None:
        new, key = self.place("new"), f"local:{self.place('key')}"
        for words in (("--names", "rot13"), ("--suite", "des"), ("--chunk-size", "5k"), ("--chunk-size", "2M"), ("--chunk-size", "x"),
                      ("--sensitivity", "secret")):
            self.refused(USAGE, f"{words[1]}.*", "init", new, "--kms", key, *words)
        self.refused(USAGE, "local:", "init", new, "--kms", "local:")
        for kms in ("vault-of-mine:x", "other-kms://arn", "key.file"):
            outcome = self.refused(USAGE, re.escape(kms.split(":")[0]), "init", new, "--kms", kms)
            self.assertIn("local:", outcome.err)

    def test_without_permission(self) -> None:
        need_root()
        locked = self.place("locked")
        locked.mkdir(mode=0o755)
        for target in (locked / "store", locked):
            self.refused(DENIED, "locked.*Permission denied; ", "init", target, "--kms", f"local:{ALICE.home}/denied.key", user=ALICE)
        self.assertFalse((ALICE.home / "denied.key").exists())

    def test_without_a_terminal(self) -> None:
        self.place("x").mkdir()
        before = self.snapshot(None)
        failed = run("setsid", "-w", BINARY, "init", self.place("new"), "--kms", "passphrase:", check=False)
        self.assertEqual(failed.code, KEY_UNAVAILABLE, str(failed))
        self.assertRegex(failed.err, "no terminal.*; give --passphrase-file")
        self.assert_same_tree(self.snapshot(None), before)


class CommandLine(BadInputTest):
    def test_usage(self) -> None:
        for words in ((), ("frobnicate",), ("mount",), ("mount", "a"), ("init",), ("init", "--frobnicate", "x"), ("grant",),
                      ("key", "list"), ("umount",), ("verify", "a", "b", "c")):
            outcome = coffer(*words, check=False)
            self.assertEqual(outcome.code, USAGE, str(outcome))
            self.assertEqual(outcome.out, "", str(outcome))
            self.assertIn("--help", outcome.err, str(outcome))

    def test_help(self) -> None:
        """Fits a screen, on stdout, and names the exit codes."""
        for words in (("--help",), ("mount", "--help"), ("init", "--help"), ("grant", "add", "--help"), ("scope", "create", "--help")):
            outcome = coffer(*words)
            self.assertEqual(outcome.err, "")
            self.assertLess(len(outcome.out.splitlines()), 40)
        self.assertRegex(coffer("--help").out, r"(?s)Exit codes: .*15 mount point.*22 unsupported")
        self.assertRegex(coffer("--version").out, r"^coffer \d+\.\d+")

    def test_paths(self) -> None:
        store = self.new_store()
        self.refused(USAGE, "have no place in it", "verify", f"{store.path}:/../etc")
        outcome = coffer("verify", f"{store.path}:/missing", "--json", check=False)
        self.assertEqual(outcome.code, NOT_FOUND, str(outcome))
        self.refused(NOT_FOUND, "/missing", "export", f"{store.path}:/missing", self.place("out"))
        self.refused(NOT_FOUND, "no-such-file", "import", self.place("no-such-file"), store.path)
        self.refused(NOT_FOUND, "/missing", "key", "show", store.path, "/missing")
        self.refused(USAGE, "neither a path", "key", "show", store.path, "missing")
        self.refused(NOT_FOUND, "scope.*; ", "scope", "show", store.path, "/missing")
        self.refused(EXISTS, "root scope.*; ", "scope", "create", store.path, "/")


if __name__ == "__main__":
    unittest.main()

"""Modes, owners, privileges, times and inode numbers on a mount."""

import errno
import mmap
import os
import stat
import time
import unittest
from pathlib import Path

from files import mode_of, random_bytes, write_file
from harness import MountedTest
from processes import ALICE, BOB, User, as_user, drop_caches, need_root, run

CHUNK = 4096
GROUP = 128 * CHUNK  # one leaf of the hash tree


class Times(MountedTest):
    """mtime is what backups, rsync, git and make go by."""

    OLD = (1_000_000_000_123_456_789, 1_100_000_000_987_654_321)  # atime, mtime

    def test_utimens_survives_close_and_remount(self) -> None:
        path = self.dir / "file"
        with open(path, "wb") as stream:
            stream.write(random_bytes(2 * GROUP))
            stream.flush()
            os.utime(stream.fileno(), ns=self.OLD)  # changed data, not committed yet: closing must not touch the time
        self.assertEqual(os.stat(path).st_mtime_ns, self.OLD[1])
        os.mkdir(self.dir / "directory")
        os.symlink("target", self.dir / "symlink")
        for name in ("directory", "symlink"):
            os.utime(self.dir / name, ns=self.OLD, follow_symlinks=False)
        self.remount()
        for name in ("file", "directory", "symlink"):
            status = os.lstat(self.dir / name)
            self.assertEqual((name, status.st_mtime_ns), (name, self.OLD[1]))
        self.assertEqual(os.stat(path).st_atime_ns, self.OLD[0])

    def test_mtime_stays_when_nothing_is_written(self) -> None:
        path = self.dir / "file"
        write_file(path, random_bytes(GROUP))
        os.utime(path, ns=self.OLD)
        with open(path, "r+b") as stream:
            stream.read()
            os.fsync(stream.fileno())
        os.link(path, self.dir / "link")
        os.rename(self.dir / "link", self.dir / "renamed")
        os.chmod(path, 0o600)
        os.unlink(self.dir / "renamed")
        self.assertEqual(os.stat(path).st_mtime_ns, self.OLD[1])

    def test_mtime_moves_with_writing(self) -> None:
        path = self.dir / "file"
        changes = {
            "write": lambda: os.pwrite(fd, b"x", 10),
            "truncate": lambda: os.ftruncate(fd, 3),
            "grow": lambda: os.ftruncate(fd, GROUP),
            "O_TRUNC": lambda: write_file(path, b""),
            "touch": lambda: os.utime(path),
        }
        for what, change in changes.items():
            write_file(path, random_bytes(CHUNK))
            fd = os.open(path, os.O_RDWR)
            os.utime(fd, ns=self.OLD)
            change()
            os.close(fd)
            self.assertLess(abs(os.stat(path).st_mtime_ns - time.time_ns()), 10**10, what)

    def test_mtime_moves_with_a_mapping(self) -> None:
        path = self.dir / "file"
        write_file(path, bytes(CHUNK))
        os.utime(path, ns=self.OLD)
        with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
            view[0:1] = b"x"
            view.flush()
        self.assertLess(abs(os.stat(path).st_mtime_ns - time.time_ns()), 10**10)

    def test_mtime_of_directories(self) -> None:
        inner = self.dir / "inner"
        inner.mkdir()
        write_file(inner / "file", b"1")
        changes = {
            "create": (True, lambda: write_file(inner / "new", b"")),
            "unlink": (True, lambda: os.unlink(inner / "new")),
            "mkdir": (True, lambda: os.mkdir(inner / "sub")),
            "rmdir": (True, lambda: os.rmdir(inner / "sub")),
            "symlink": (True, lambda: os.symlink("x", inner / "symlink")),
            "rename": (True, lambda: os.rename(inner / "symlink", inner / "renamed")),
            "write": (False, lambda: write_file(inner / "file", b"22")),
            "moved itself": (False, lambda: os.rename(inner, self.dir / "moved")),
        }
        for what, (moves, change) in changes.items():
            os.utime(inner, ns=self.OLD)
            change()
            now = os.stat(inner if inner.exists() else self.dir / "moved").st_mtime_ns
            self.assertEqual(now != self.OLD[1], moves, what)

    def test_only_one_time_is_set(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x")
        os.utime(path, ns=self.OLD)
        run("touch", "-a", "-d", "@1200000000.5", path)
        status = os.stat(path)
        self.assertEqual((status.st_atime_ns, status.st_mtime_ns), (1_200_000_000_500_000_000, self.OLD[1]))
        run("touch", "-m", "-d", "@-5", path)
        self.assertEqual(os.stat(path).st_mtime_ns, -5 * 10**9)

    def test_ctime_moves_with_the_mode(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x")
        before = os.stat(path).st_ctime_ns
        time.sleep(0.02)
        os.chmod(path, 0o600)
        self.assertGreater(os.stat(path).st_ctime_ns, before)


class Privileges(MountedTest):
    """suid and sgid go when somebody else writes."""

    def test_suid_is_cleared_by_another_writer(self) -> None:
        need_root()
        os.chmod(self.dir, 0o777)
        changes = {
            "write": lambda path: write_into(path),
            "truncate": lambda path: os.truncate(path, 1),
        }
        for what, change in changes.items():
            path = self.dir / what
            write_file(path, b"#!/bin/true")
            os.chmod(path, 0o6777)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o6777)
            as_user(BOB, change, path)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o777, what)
            drop_caches()
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o777, f"{what}, asked again")

    def test_suid_is_cleared_by_a_new_owner(self) -> None:
        need_root()
        path = self.dir / "file"
        write_file(path, b"x")
        os.chmod(path, 0o6755)
        os.chown(path, ALICE.uid, ALICE.gid)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o755)


def write_into(path: str | Path) -> None:
    with open(path, "r+b") as stream:
        stream.write(b"y")


class ModesAndOwners(MountedTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()

    def test_creation_modes_and_owners(self) -> None:
        """The creator's umask and ids count, not the daemon's."""
        os.chmod(self.dir, 0o777)

        def make() -> None:
            os.umask(0o027)
            write_file(self.dir / "file")
            os.mkdir(self.dir / "d")
            os.mkfifo(self.dir / "fifo")
            os.symlink("x", self.dir / "s")

        as_user(ALICE, make)
        for name, mode in {"file": 0o640, "d": 0o750, "fifo": 0o640}.items():
            status = os.lstat(self.dir / name)
            self.assertEqual((name, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid),
                             (name, mode, ALICE.uid, ALICE.gid))
        self.assertEqual(os.lstat(self.dir / "s").st_uid, ALICE.uid)

    def test_chmod_and_chown(self) -> None:
        write_file(self.dir / "file", b"x")
        for mode in (0o000, 0o400, 0o1777, 0o4755, 0o2755, 0o644):
            os.chmod(self.dir / "file", mode)
            self.assertEqual(mode_of(self.dir / "file"), mode)
        os.chown(self.dir / "file", ALICE.uid, BOB.gid)
        self.remount()
        status = os.stat(self.dir / "file")
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid), (0o644, ALICE.uid, BOB.gid))
        self.assert_errno(errno.EPERM, as_user, BOB, os.chmod, self.dir / "file", 0o666)
        self.assert_errno(errno.EPERM, as_user, ALICE, os.chown, self.dir / "file", BOB.uid, -1)
        as_user(ALICE, os.chmod, self.dir / "file", 0o600)
        self.assertEqual(mode_of(self.dir / "file"), 0o600)

    def test_modes_are_enforced(self) -> None:
        os.chmod(self.dir, 0o755)
        write_file(self.dir / "secret", b"x")
        os.chmod(self.dir / "secret", 0o600)
        self.assert_errno(errno.EACCES, as_user, BOB, os.open, self.dir / "secret", os.O_RDONLY)
        self.assert_errno(errno.EACCES, as_user, BOB, os.mkdir, self.dir / "d")
        os.mkdir(self.dir / "closed", 0o700)
        write_file(self.dir / "closed/file")
        self.assert_errno(errno.EACCES, as_user, BOB, os.stat, self.dir / "closed/file")
        self.assertFalse(as_user(BOB, os.access, self.dir / "secret", os.R_OK))

    def test_setgid_directories(self) -> None:
        os.chown(self.dir, -1, 4242)
        os.chmod(self.dir, 0o2777)

        def make() -> None:
            os.umask(0o022)
            write_file(self.dir / "file")
            os.mkdir(self.dir / "d")

        as_user(ALICE, make)
        self.assertEqual((os.stat(self.dir / "file").st_uid, os.stat(self.dir / "file").st_gid), (ALICE.uid, 4242))
        self.assertEqual(os.stat(self.dir / "d").st_gid, 4242)
        self.assertEqual(mode_of(self.dir / "d"), 0o2755)
        as_user(ALICE, write_file, self.dir / "d/inner")
        self.assertEqual(os.stat(self.dir / "d/inner").st_gid, 4242)

    def test_sticky_directories(self) -> None:
        os.chmod(self.dir, 0o1777)
        as_user(ALICE, write_file, self.dir / "file")
        self.assert_errno(errno.EPERM, as_user, BOB, os.unlink, self.dir / "file")
        self.assert_errno(errno.EPERM, as_user, BOB, os.rename, self.dir / "file", self.dir / "renamed")
        as_user(ALICE, os.unlink, self.dir / "file")

    def test_group_members(self) -> None:
        write_file(self.dir / "file", b"shared")
        os.chown(self.dir / "file", 0, 4242)
        os.chmod(self.dir / "file", 0o640)
        os.chmod(self.dir, 0o755)
        member = User(BOB.uid, BOB.gid, (4242,))
        self.assertEqual(as_user(member, (self.dir / "file").read_bytes), b"shared")
        self.assert_errno(errno.EACCES, as_user, BOB, (self.dir / "file").read_bytes)


class InodeNumbers(MountedTest):
    def test_stable_over_remount(self) -> None:
        os.makedirs(self.dir / "d/sub")
        write_file(self.dir / "d/file", b"x")
        os.symlink("x", self.dir / "d/symlink")
        os.mkfifo(self.dir / "d/fifo")

        def numbers() -> dict:
            return {name: os.lstat(self.dir / name).st_ino
                    for name in ("", "d", "d/sub", "d/file", "d/symlink", "d/fifo")}

        before = numbers()
        self.assertEqual(len(set(before.values())), len(before))
        write_file(self.dir / "d/file", b"y" * 100_000)
        os.rename(self.dir / "d/file", self.dir / "moved")
        os.rename(self.dir / "moved", self.dir / "d/file")
        self.remount()
        self.assertEqual(numbers(), before)
        with os.scandir(self.dir / "d") as entries:
            self.assertEqual({f"d/{entry.name}": entry.inode() for entry in entries},
                             {name: number for name, number in before.items() if "/" in name})

    def test_link_counts_of_directories(self) -> None:
        """Where the backing counts subdirectories, so does the mount: its own directories must not show."""
        for name in ("a", "b", "c"):
            os.mkdir(self.dir / name)
        write_file(self.dir / "file")
        self.assertIn(os.stat(self.dir).st_nlink, (1, 5))
        subdirectories = sum(entry.is_dir() for entry in os.scandir(self.mount.path))
        self.assertIn(os.stat(self.mount.path).st_nlink, (1, 2 + subdirectories))


if __name__ == "__main__":
    unittest.main()

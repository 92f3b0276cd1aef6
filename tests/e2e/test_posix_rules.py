"""Rules of a local filesystem one by one, and what differs here (fs/SEMANTICS.md names the tests)."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import time
import unittest

from files import mode_of, rename_with_flags, write_file
from guard import LIBC
from harness import MountedTest
from processes import ALICE, BOB, User, as_user, in_child, need_root, run

TIB = 1 << 40
F_OFD_SETLK = 37
RENAME_WHITEOUT = 4


class Clearing(MountedTest):
    """suid and sgid, beside test_posix_attributes."""

    def test_the_superuser_keeps_them(self) -> None:
        need_root()
        write_file(self.dir / "file", b"x")
        os.chmod(self.dir / "file", 0o6755)
        with open(self.dir / "file", "r+b") as stream:
            stream.write(b"y")
        os.truncate(self.dir / "file", 0)
        self.assertEqual(mode_of(self.dir / "file"), 0o6755)

    def test_sgid_without_execute_stays(self) -> None:
        """It is no privilege then (once it was mandatory locking); ext4 clears it for those who are not of the group."""
        need_root()
        os.chmod(self.dir, 0o777)
        write_file(self.dir / "file", b"x")
        os.chmod(self.dir / "file", 0o2766)
        as_user(BOB, os.truncate, self.dir / "file", 0)
        self.assertEqual(mode_of(self.dir / "file"), 0o2766)

    def test_of_directories_stay(self) -> None:
        need_root()
        os.mkdir(self.dir / "d")
        os.chmod(self.dir / "d", 0o6755)
        os.chown(self.dir / "d", ALICE.uid, ALICE.gid)
        self.assertEqual(mode_of(self.dir / "d"), 0o6755)

    def test_sgid_is_for_members_to_set(self) -> None:
        need_root()
        write_file(self.dir / "file")
        os.chown(self.dir / "file", ALICE.uid, 4242)
        os.chmod(self.dir, 0o755)
        as_user(ALICE, os.chmod, self.dir / "file", 0o2755)
        self.assertEqual(mode_of(self.dir / "file"), 0o755)
        as_user(User(ALICE.uid, ALICE.gid, (4242,)), os.chmod, self.dir / "file", 0o2755)
        self.assertEqual(mode_of(self.dir / "file"), 0o2755)

    def test_opening_to_cut(self) -> None:
        need_root()
        os.chmod(self.dir, 0o777)
        write_file(self.dir / "file", b"x")
        os.chmod(self.dir / "file", 0o6777)
        as_user(BOB, write_file, self.dir / "file", b"")
        self.assertEqual(mode_of(self.dir / "file"), 0o777)


class Times(MountedTest):
    def test_ctime_moves_with_every_change_of_the_object(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x")
        changes = {
            "link": lambda: os.link(path, self.dir / "second"),
            "unlink of another name": lambda: os.unlink(self.dir / "second"),
            "rename": lambda: (os.rename(path, self.dir / "moved"), os.rename(self.dir / "moved", path)),
            "truncate": lambda: os.truncate(path, 5),
            "write": lambda: write_file(path, b"other"),
            "utimes": lambda: os.utime(path, ns=(1, 2)),
            "setxattr": lambda: os.setxattr(path, "user.a", b"x"),
        }
        for what, change in changes.items():
            before = os.stat(path).st_ctime_ns
            time.sleep(0.02)
            change()
            self.assertGreater(os.stat(path).st_ctime_ns, before, what)

    def test_reading_from_the_cache_moves_no_atime(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x" * 5000)
        self.assertEqual(len(path.read_bytes()), 5000)
        time.sleep(1.1)  # as long as attributes are cached
        before = os.stat(path)
        path.read_bytes()
        time.sleep(1.1)
        after = os.stat(path)
        self.assertEqual(after.st_atime_ns, before.st_atime_ns)
        self.assertEqual((after.st_mtime_ns, after.st_ctime_ns), (before.st_mtime_ns, before.st_ctime_ns))

    def test_no_birth_time(self) -> None:
        write_file(self.dir / "file")
        self.assertEqual(run("stat", "-c", "%W %w", self.dir / "file").out, "0 -\n")


class Errors(MountedTest):
    def test_eloop(self) -> None:
        os.symlink("b", self.dir / "a")
        os.symlink("a", self.dir / "b")
        self.assert_errno(errno.ELOOP, os.stat, self.dir / "a")
        write_file(self.dir / "file")
        os.symlink("file", self.dir / "link-0")
        for number in range(40):
            os.symlink(f"link-{number}", self.dir / f"link-{number + 1}")
        self.assertEqual(os.stat(self.dir / "link-39").st_size, 0)
        self.assert_errno(errno.ELOOP, os.stat, self.dir / "link-40")
        self.assert_errno(errno.ELOOP, os.open, self.dir / "link-0", os.O_RDONLY | os.O_NOFOLLOW)

    def test_no_unnamed_files(self) -> None:
        self.assert_errno(errno.EOPNOTSUPP, os.open, self.dir, os.O_TMPFILE | os.O_RDWR)

    def test_no_whiteouts(self) -> None:
        write_file(self.dir / "a")
        self.assert_errno(errno.EINVAL, rename_with_flags, self.dir / "a", self.dir / "b", RENAME_WHITEOUT)
        self.assertEqual(os.listdir(self.dir), ["a"])

    def test_paths_and_names_too_long(self) -> None:
        os.mkdir(self.dir / ("n" * 255))
        self.assert_errno(errno.ENAMETOOLONG, os.mkdir, self.dir / ("n" * 256))
        self.assert_errno(errno.ENAMETOOLONG, os.stat, f"{self.dir}/{'./' * 2048}")
        write_file(self.dir / "file")
        self.assert_errno(errno.ENOTDIR, os.stat, self.dir / "file/x")

    def test_other_filesystems(self) -> None:
        write_file(self.dir / "file")
        self.assert_errno(errno.EXDEV, os.rename, self.dir / "file", self.place("outside"))
        self.assert_errno(errno.EXDEV, os.link, self.dir / "file", self.place("outside"))


class Locks(MountedTest):
    def test_open_file_description_locks(self) -> None:
        """Those of two descriptors of one process meet, and go with the descriptor."""
        path = self.dir / "file"
        write_file(path, b"0123456789")

        def lock(fd: int, kind: int, start: int, length: int) -> bool:
            request = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
            try:
                fcntl.fcntl(fd, F_OFD_SETLK, request)
                return True
            except BlockingIOError:
                return False

        one, two = (os.open(path, os.O_RDWR) for _ in range(2))
        self.assertTrue(lock(one, fcntl.F_WRLCK, 0, 5))
        self.assertFalse(lock(two, fcntl.F_WRLCK, 4, 1))
        self.assertTrue(lock(two, fcntl.F_WRLCK, 5, 5))
        os.close(os.dup(one))
        self.assertFalse(lock(two, fcntl.F_RDLCK, 0, 1))
        os.close(one)
        self.assertTrue(lock(two, fcntl.F_WRLCK, 0, 5))
        os.close(two)

    def test_byte_ranges_of_processes(self) -> None:
        path = self.dir / "file"
        write_file(path, b"0123456789")

        def try_range(start: int, length: int) -> bool:
            with open(path, "r+b") as other:
                try:
                    fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
                    return True
                except BlockingIOError:
                    return False

        with open(path, "r+b") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX, 5, 2)
            self.assertFalse(in_child(try_range, 6, 1))
            self.assertTrue(in_child(try_range, 7, 3))
            self.assertTrue(in_child(try_range, 0, 2))


class Listing(MountedTest):
    """seekdir(3) to what telldir(3) said, while entries come and go."""

    def test_positions_stay_good(self) -> None:
        kept = {f"kept-{number:04}" for number in range(3000)}
        for name in kept:
            write_file(self.dir / name)
        for number in range(500):
            write_file(self.dir / f"goes-{number:04}")
        LIBC.opendir.restype = LIBC.readdir.restype = ctypes.c_void_p
        LIBC.telldir.restype = ctypes.c_long
        stream = ctypes.c_void_p(LIBC.opendir(os.fsencode(self.dir)))
        self.addCleanup(LIBC.closedir, stream)

        def read(count: int) -> list[str]:
            names = []
            while len(names) < count and (entry := LIBC.readdir(stream)):
                names.append(os.fsdecode(ctypes.string_at(entry + 19)))  # d_name
            return names

        first = read(1000)
        position = LIBC.telldir(stream)
        for number in range(500):
            os.unlink(self.dir / f"goes-{number:04}")
            write_file(self.dir / f"comes-{number:04}")
        rest = [read(10_000)]
        LIBC.seekdir(stream, ctypes.c_long(position))
        rest.append(read(10_000))
        for later in rest:
            seen = [name for name in first + later if name in kept]
            self.assertEqual(len(seen), len(set(seen)), "none twice")
            self.assertEqual(set(seen), kept, "and none left out")
        LIBC.rewinddir(stream)
        self.assertEqual({name for name in read(10_000) if name not in (".", "..")},
                         kept | {f"comes-{number:04}" for number in range(500)})


class Numbers(MountedTest):
    def test_a_renamed_symlink_gets_another_number(self) -> None:
        """Its name is bound into it, so that it is made anew."""
        os.symlink("target", self.dir / "a")
        os.lstat(self.dir / "a")
        before = os.lstat(self.dir / "a")
        time.sleep(0.02)
        os.rename(self.dir / "a", self.dir / "b")
        self.remount()
        after = os.lstat(self.dir / "b")
        self.assertNotEqual(after.st_ino, before.st_ino)
        self.assertEqual((after.st_mtime_ns, after.st_uid, stat.S_IFMT(after.st_mode)),
                         (before.st_mtime_ns, before.st_uid, stat.S_IFLNK))

    def test_hard_links_share_theirs(self) -> None:
        write_file(self.dir / "a")
        os.link(self.dir / "a", self.dir / "b")
        number = os.stat(self.dir / "a").st_ino
        self.remount()
        self.assertEqual({os.stat(self.dir / name).st_ino for name in ("a", "b")}, {number})


class Sparse(MountedTest):
    def test_16_tib(self) -> None:
        path = self.dir / "file"
        try:
            write_file(path)
            os.truncate(path, 16 * TIB)
        except OSError as refused:
            # ext4 ends at 16 TiB of backing, which is a little less of plaintext.
            self.assertEqual(refused.errno, errno.EFBIG)
            os.truncate(path, 15 * TIB)
        size = os.stat(path).st_size
        with open(path, "r+b") as stream:
            for offset in (5 * TIB + 3, size - 4):
                self.assertEqual(os.pwrite(stream.fileno(), b"here", offset), 4)
        self.remount()
        with open(path, "rb") as stream:
            self.assertEqual(os.fstat(stream.fileno()).st_size, size)
            for offset in (5 * TIB + 3, size - 4):
                self.assertEqual(os.pread(stream.fileno(), 8, offset - 2)[2:6], b"here")
            self.assertEqual(os.pread(stream.fileno(), 4096, 3 * TIB), bytes(4096))
            self.assertEqual(os.lseek(stream.fileno(), 0, os.SEEK_DATA) // TIB, 5)
        self.assertLess(os.stat(path).st_blocks * 512, 1 << 20)


if __name__ == "__main__":
    unittest.main()

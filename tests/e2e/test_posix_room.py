"""fallocate(2): room that is made and given back. The page cache is dropped before what the daemon is to be asked."""

import errno
import os

from files import (FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, MIB,
                   fallocate, random_bytes, write_file)
from harness import MountedTest
from processes import ALICE, as_user, drop_caches, need_root, run

CHUNK = 4096
PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class Room(MountedTest):
    expected_errors = r"fallocate /test_more_room\S*: .*\[no-space\]"

    def room(self, path: object) -> int:
        return os.stat(path).st_blocks * 512

    def check_now_and_later(self, path: object, right: bytes) -> None:
        """From the kernel's pages, from the daemon, and from another daemon."""
        self.assert_content(path, right)
        drop_caches()
        self.assert_content(path, right)
        self.remount()
        self.assert_content(path, right)

    def test_punching_gives_room_back(self) -> None:
        path = self.dir / "file"
        content = bytearray(random_bytes(4 * MIB, 1))
        write_file(path, content)
        with open(path, "r+b") as stream:
            os.fsync(stream.fileno())
            before = self.room(path)
            fallocate(stream.fileno(), PUNCH, MIB - 100, 2 * MIB + 200)
            content[MIB - 100:3 * MIB + 100] = bytes(2 * MIB + 200)
            self.assertLessEqual(self.room(path), before - 2 * MIB + 16 * CHUNK)
            self.assertEqual(os.fstat(stream.fileno()).st_size, 4 * MIB)
            self.assertEqual(os.lseek(stream.fileno(), MIB, os.SEEK_HOLE), MIB)
            self.assertEqual(os.lseek(stream.fileno(), MIB, os.SEEK_DATA), 3 * MIB)
            fallocate(stream.fileno(), PUNCH, 5 * MIB, MIB)  # past its end
        self.check_now_and_later(path, bytes(content))
        run("fallocate", "--dig-holes", path)
        self.check_now_and_later(path, bytes(content))

    def test_zeros(self) -> None:
        path = self.dir / "file"
        content = bytearray(random_bytes(MIB, 2))
        write_file(path, content)
        with open(path, "r+b") as stream:
            fallocate(stream.fileno(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, MIB - 10_000, 20_000)
            self.assertEqual(os.fstat(stream.fileno()).st_size, MIB)
            fallocate(stream.fileno(), FALLOC_FL_ZERO_RANGE, MIB - 20_000, 40_000)
            self.assertEqual(os.fstat(stream.fileno()).st_size, MIB + 20_000)
        content[MIB - 20_000:] = bytes(40_000)
        self.check_now_and_later(path, bytes(content))

    def test_room_is_made(self) -> None:
        path = self.dir / "file"
        write_file(path, b"begin")
        with open(path, "r+b") as stream:
            fallocate(stream.fileno(), FALLOC_FL_KEEP_SIZE, 0, MIB)
            self.assertEqual(os.fstat(stream.fileno()).st_size, 5)
            self.assertGreaterEqual(self.room(path), MIB)
            os.posix_fallocate(stream.fileno(), 0, 2 * MIB)
            self.assertEqual(os.fstat(stream.fileno()).st_size, 2 * MIB)
            self.assertGreaterEqual(self.room(path), 2 * MIB)
            self.assertEqual(os.pwrite(stream.fileno(), b"end", 2 * MIB - 3), 3)
        self.check_now_and_later(path, b"begin" + bytes(2 * MIB - 8) + b"end")

    def test_more_room_than_there_is(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x" * 5000)
        there = os.statvfs(self.dir)
        with open(path, "r+b") as stream:
            self.assert_errno(errno.ENOSPC, os.posix_fallocate, stream.fileno(), 0, (there.f_bavail + 1000) * there.f_frsize * 2)
            self.assertEqual(os.fstat(stream.fileno()).st_size, 5000)
        self.check_now_and_later(path, b"x" * 5000)

    def test_what_is_not_offered(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x" * 20_000)
        with open(path, "r+b") as stream:
            for mode in (FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE):
                self.assert_errno(errno.EOPNOTSUPP, fallocate, stream.fileno(), mode, CHUNK, CHUNK)
            self.assert_errno(errno.EINVAL, fallocate, stream.fileno(), 0, 0, 0)
        with open(path, "rb") as stream:
            self.assert_errno(errno.EBADF, fallocate, stream.fileno(), PUNCH, 0, CHUNK)
        self.assert_content(path, b"x" * 20_000)

    def test_it_is_a_modification(self) -> None:
        need_root()
        path = self.dir / "file"
        os.chmod(self.dir, 0o777)
        write_file(path, b"x" * 20_000)
        for mode in (0, FALLOC_FL_KEEP_SIZE, PUNCH, FALLOC_FL_ZERO_RANGE):
            os.chmod(path, 0o6777)
            os.utime(path, ns=(1, 1))

            def use() -> None:
                with open(path, "r+b") as stream:
                    fallocate(stream.fileno(), mode, 0, 3 * CHUNK)
            as_user(ALICE, use)
            self.assertNotEqual(os.stat(path).st_mtime_ns, 1, mode)
            self.assertEqual(os.stat(path).st_mode & 0o7777, 0o777, mode)

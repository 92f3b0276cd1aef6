"""What file contents do on a mount: reading, writing, sizes, mappings, O_DIRECT, appending."""

import errno
import fcntl
import mmap
import os
import random
import subprocess
import unittest

from files import GIB, MIB, digest, random_bytes, write_file
from harness import MountedTest
from processes import drop_caches, in_child, in_processes, run

CHUNK = 4096
GROUP = 128 * CHUNK  # one leaf of the hash tree


def aligned(size: int) -> mmap.mmap:
    """Memory that O_DIRECT takes."""
    return mmap.mmap(-1, size)


class Content(MountedTest):
    """Bytes go in and come out the same, whatever the way."""

    def test_create_and_read_back(self) -> None:
        sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 17]
        for size in sizes:
            write_file(self.dir / str(size), random_bytes(size, size))
        for again in range(2):
            for size in sizes:
                self.assertEqual(os.stat(self.dir / str(size)).st_size, size)
                self.assert_content(self.dir / str(size), random_bytes(size, size))
            if again == 0:
                self.remount()

    def test_open_flags(self) -> None:
        path = self.dir / "file"
        self.assert_errno(errno.ENOENT, os.open, path, os.O_RDWR)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640))
        self.assert_errno(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
        self.assert_errno(errno.EISDIR, os.open, self.dir, os.O_WRONLY)
        self.assert_errno(errno.ENOTDIR, os.open, path / "below", os.O_RDONLY)
        self.assert_errno(errno.ENOTDIR, os.open, path, os.O_RDONLY | os.O_DIRECTORY)
        write_file(path, b"content")
        reading = os.open(path, os.O_RDONLY)
        self.assert_errno(errno.EBADF, os.write, reading, b"x")
        os.close(reading)
        writing = os.open(path, os.O_WRONLY)
        self.assert_errno(errno.EBADF, os.read, writing, 1)
        os.close(writing)
        self.assert_content(path, b"content")
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
        self.assert_content(path, b"")

    def test_random_operations_as_on_another_filesystem(self) -> None:
        """The same writes, truncations and reads here and on a plain file give the same bytes."""
        ours, plain = self.dir / "file", self.place("plain")
        dice = random.Random(4711)
        here, there = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in (ours, plain))
        top = 5 * GROUP // 2
        for step in range(1500):
            choice = dice.random()
            offset = dice.choice([dice.randrange(top), dice.randrange(top // CHUNK) * CHUNK])
            if choice < 0.55:
                data = random_bytes(dice.choice([1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 70_000]), step)
                self.assertEqual(os.pwrite(here, data, offset), len(data))
                os.pwrite(there, data, offset)
            elif choice < 0.7:
                os.ftruncate(here, offset)
                os.ftruncate(there, offset)
            elif choice < 0.95:
                length = dice.choice([1, CHUNK, 100_000])
                self.assert_bytes(os.pread(here, length, offset), os.pread(there, length, offset), f"step {step}")
            elif choice < 0.97:
                os.fsync(here)
            else:
                os.close(here)
                here = os.open(ours, os.O_RDWR)
            self.assertEqual(os.fstat(here).st_size, os.fstat(there).st_size, f"step {step}")
        os.close(here)
        os.close(there)
        self.assert_content(ours, plain.read_bytes())
        self.remount()
        self.assert_content(ours, plain.read_bytes())

    def test_truncate_down_then_up_reads_zeros(self) -> None:
        path = self.dir / "file"
        for cut in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, GROUP - 5, GROUP):
            data = random_bytes(GROUP + 3 * CHUNK, cut)
            write_file(path, data)
            os.truncate(path, cut)
            self.assert_content(path, data[:cut])
            os.truncate(path, len(data))
            drop_caches()
            self.assert_content(path, data[:cut] + bytes(len(data) - cut))

    def test_holes_read_zeros_and_take_no_room(self) -> None:
        path = self.dir / "file"
        data = random_bytes(1000)
        with open(path, "wb") as stream:
            os.pwrite(stream.fileno(), data, 64 * MIB + 123)
        size = 64 * MIB + 123 + len(data)
        self.assertEqual(os.stat(path).st_size, size)
        with open(path, "rb") as stream:
            self.assertEqual(stream.read(64 * MIB + 123).count(0), 64 * MIB + 123)
            self.assert_bytes(stream.read(), data, "after the hole")
        stored = sum(os.lstat(os.path.join(top, name)).st_blocks * 512
                     for top, _, names in os.walk(self.store.path) for name in names
                     if os.lstat(os.path.join(top, name)).st_size > size)
        self.assertGreater(stored, 0)
        self.assertLess(stored, 4 * MIB)

    def test_seek_finds_data_and_holes(self) -> None:
        path, copy = self.dir / "sparse", self.dir / "copy"
        with open(path, "wb") as stream:
            os.pwrite(stream.fileno(), random_bytes(5000, 1), MIB)
        os.truncate(path, 64 * MIB)
        for again in range(2):
            with open(path, "rb") as stream:
                fd = stream.fileno()
                self.assertEqual(os.lseek(fd, 0, os.SEEK_HOLE), 0)
                self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), MIB)
                self.assertEqual(os.lseek(fd, MIB + 9, os.SEEK_DATA), MIB + 9)
                self.assertEqual(os.lseek(fd, MIB, os.SEEK_HOLE), MIB + 2 * CHUNK)
                self.assert_errno(errno.ENXIO, os.lseek, fd, MIB + 2 * CHUNK, os.SEEK_DATA)
                self.assert_errno(errno.ENXIO, os.lseek, fd, 64 * MIB, os.SEEK_HOLE)
                self.assertEqual(os.lseek(fd, 0, os.SEEK_END), 64 * MIB)
            if again == 0:
                self.remount()
        run("cp", "--sparse=auto", path, copy)
        self.assert_content(copy, path.read_bytes())
        with open(copy, "rb") as stream:
            self.assertEqual(os.lseek(stream.fileno(), 0, os.SEEK_DATA), MIB, "cp kept the hole")

    def test_offsets_beyond_4_gib(self) -> None:
        path = self.dir / "file"
        offsets = [0, 4 * GIB - 7, 4 * GIB + 10_001, 5 * GIB + 4095, 128 * GROUP * 128 - 3, 1 << 40]
        with open(path, "wb") as stream:
            for number, offset in enumerate(offsets):
                os.pwrite(stream.fileno(), random_bytes(9000, number), offset)
            self.assert_errno(errno.EFBIG, os.pwrite, stream.fileno(), b"x", (1 << 50) + 1)
        for again in range(2):
            self.assertEqual(os.stat(path).st_size, offsets[-1] + 9000)
            with open(path, "rb") as stream:
                for number, offset in enumerate(offsets):
                    self.assert_bytes(os.pread(stream.fileno(), 9000, offset), random_bytes(9000, number), f"at {offset}")
                    self.assert_bytes(os.pread(stream.fileno(), CHUNK, offset + 2 * GIB), bytes(CHUNK)
                                      if offset + 2 * GIB + CHUNK < offsets[-1] else b"", f"2 GiB after {offset}")
            if again == 0:
                self.remount()
        os.truncate(path, 5 * GIB)  # the verification at the end reads holes, too

    def test_o_direct(self) -> None:
        path = self.dir / "file"
        size = GROUP + 8 * CHUNK
        data = random_bytes(size)
        buffer = aligned(size)
        buffer.write(data)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
        self.assertEqual(os.pwritev(fd, [buffer], 0), size)
        self.assertEqual(os.fstat(fd).st_size, size)
        got = aligned(size)
        self.assertEqual(os.preadv(fd, [got], 0), size)
        self.assert_bytes(got[:], data, "read with O_DIRECT")
        self.assert_content(path, data)  # fills the page cache
        patch = aligned(CHUNK)
        patch.write(b"P" * CHUNK)
        os.pwritev(fd, [patch], 16 * CHUNK)
        data = data[:16 * CHUNK] + b"P" * CHUNK + data[17 * CHUNK:]
        self.assert_content(path, data)  # and the cached page must not hide the write
        os.ftruncate(fd, size - 100)
        self.assertEqual(os.preadv(fd, [got], 0), size - 100)
        self.assert_bytes(got[:size - 100], data[:-100], "a short tail read with O_DIRECT")
        os.close(fd)
        self.remount()
        self.assert_content(path, data[:-100])

    def test_dd_with_o_direct(self) -> None:
        source = self.place("source")
        source.write_bytes(random_bytes(3 * MIB + 4096))
        run("dd", f"if={source}", f"of={self.dir}/file", "bs=1M", "oflag=direct", "conv=fsync")
        run("dd", f"if={self.dir}/file", f"of={source}.back", "bs=1M", "iflag=direct")
        self.assertEqual(digest(f"{source}.back"), digest(source))

    def test_append_from_two_processes(self) -> None:
        """Whole records, none lost: the kernel places each at the end under the inode's lock."""
        path = self.dir / "log"
        path.touch()
        count, length = 1500, 173

        def writer(letter: int) -> None:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            for number in range(count):
                os.write(fd, bytes([letter]) + b"%08d" % number + b"." * (length - 10) + b"\n")
            os.close(fd)

        in_processes([lambda: writer(65), lambda: writer(66)])
        for again in range(2):
            lines = path.read_bytes().splitlines(keepends=True)
            self.assertEqual(len(lines), 2 * count)
            for letter in (b"A", b"B"):
                mine = [line for line in lines if line.startswith(letter)]
                self.assertEqual([int(line[1:9]) for line in mine], list(range(count)))
                self.assertTrue(all(len(line) == length for line in mine))
            if again == 0:
                self.remount()

    def test_fsync_and_fdatasync(self) -> None:
        path = self.dir / "file"
        with open(path, "wb", buffering=0) as stream:
            for number in range(20):
                stream.write(random_bytes(5000, number))
                (os.fsync if number % 2 else os.fdatasync)(stream.fileno())
        directory = os.open(self.dir, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        self.assert_content(path, b"".join(random_bytes(5000, number) for number in range(20)))

    def test_copying_in_the_kernel(self) -> None:
        data = random_bytes(MIB - 1) + b"tail"
        write_file(self.dir / "a", data)
        with open(self.dir / "a", "rb") as source, open(self.dir / "b", "wb") as target:
            copied = 0
            while part := os.copy_file_range(source.fileno(), target.fileno(), len(data)):
                copied += part
            self.assertEqual(copied, len(data))
        with open(self.dir / "a", "rb") as source, open(self.dir / "c", "wb") as target:
            at = 0
            while part := os.sendfile(target.fileno(), source.fileno(), at, len(data)):
                at += part
        self.assert_content(self.dir / "b", data)
        self.assert_content(self.dir / "c", data)

    def test_locks_between_processes(self) -> None:
        path = self.dir / "file"
        write_file(path, b"x")

        def try_lock(lock: str) -> bool:
            with open(path, "r+b") as stream:
                try:
                    (fcntl.flock if lock == "flock" else fcntl.lockf)(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    return False

        with open(path, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self.assertFalse(in_child(try_lock, "flock"))
            fcntl.flock(stream, fcntl.LOCK_UN)
            self.assertTrue(in_child(try_lock, "flock"))
            fcntl.lockf(stream, fcntl.LOCK_EX)
            self.assertFalse(in_child(try_lock, "fcntl"))
        self.assertTrue(in_child(try_lock, "fcntl"))

    def test_statfs(self) -> None:
        ours, backing = os.statvfs(self.dir), os.statvfs(self.store.path)
        self.assertEqual(ours.f_namemax, 255)
        self.assertEqual(ours.f_bsize, backing.f_bsize)
        self.assertEqual(ours.f_blocks, backing.f_blocks)
        self.assertLess(abs(ours.f_bavail - backing.f_bavail) * ours.f_frsize, GIB)
        self.assertIn("fuse", run("stat", "-f", "-c", "%T", self.dir).out)

    def test_execute(self) -> None:
        copy = self.dir / "echo"
        run("cp", "--preserve=mode", "/bin/echo", copy)
        self.assertEqual(run(copy, "hello").out, "hello\n")
        with open(copy, "r+b"):
            self.assert_errno(errno.ETXTBSY, subprocess.run, [copy], check=False)


class Mappings(MountedTest):
    """mmap, as the frameworks use it."""

    def test_shared_mapping_reads_what_was_written(self) -> None:
        data = random_bytes(3 * GROUP + 77)
        write_file(self.dir / "file", data)
        drop_caches()
        with open(self.dir / "file", "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            for offset in (2 * GROUP, 0, len(data) - 1):  # faults in no order
                self.assertEqual(view[offset], data[offset])
            self.assert_bytes(view[:], data, "mapped")
            page_end = -len(data) % CHUNK
            self.assertGreater(page_end, 0)

    def test_populated_mapping(self) -> None:
        data = random_bytes(MIB - 3)
        write_file(self.dir / "file", data)
        drop_caches()
        with open(self.dir / "file", "rb") as stream:
            with mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ) as view:
                view.madvise(mmap.MADV_SEQUENTIAL)
                view.madvise(mmap.MADV_WILLNEED)
                self.assert_bytes(view[:], data, "populated")

    def test_shared_mapping_writes(self) -> None:
        path = self.dir / "file"
        data = bytearray(random_bytes(GROUP + 5 * CHUNK))
        write_file(path, data)
        with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
            for offset in (5, CHUNK - 2, GROUP - 3, GROUP + 4 * CHUNK):
                view[offset:offset + 7] = data[offset:offset + 7] = b"written"
            self.assertEqual(os.pread(stream.fileno(), 7, GROUP - 3), b"written")
            view.flush()
            os.pwrite(stream.fileno(), b"through the descriptor", 9000)
            data[9000:9022] = b"through the descriptor"
            self.assertEqual(view[9000:9022], b"through the descriptor")
            view[20000:20006] = data[20000:20006] = b"no sync"[:6]
        self.assert_content(path, bytes(data))
        self.remount()
        self.assert_content(path, bytes(data))

    def test_private_mapping_changes_nothing(self) -> None:
        data = random_bytes(3 * CHUNK)
        write_file(self.dir / "file", data)
        with open(self.dir / "file", "rb") as stream:
            with mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
                view[100:107] = b"private"
                self.assertEqual(view[100:107], b"private")
                self.assert_bytes(view[107:], data[107:], "the rest of the mapping")
        drop_caches()
        self.assert_content(self.dir / "file", data)

    def test_two_processes_share_a_mapping(self) -> None:
        write_file(self.dir / "file", bytes(2 * CHUNK))

        def write() -> None:
            with open(self.dir / "file", "r+b") as mine, mmap.mmap(mine.fileno(), 0) as mapping:
                mapping[CHUNK:CHUNK + 4] = b"ping"

        with open(self.dir / "file", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
            self.assertEqual(view[CHUNK:CHUNK + 4], bytes(4))
            in_processes([write])
            self.assertEqual(view[CHUNK:CHUNK + 4], b"ping")

    def test_mapping_outlives_close_and_unlink(self) -> None:
        data = random_bytes(GROUP)
        write_file(self.dir / "file", data)
        drop_caches()
        fd = os.open(self.dir / "file", os.O_RDONLY)
        view = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        os.close(fd)
        os.unlink(self.dir / "file")
        self.assert_bytes(view[:], data, "mapping of a file that is gone")
        view.close()

    def test_end_of_the_last_page_is_zeros(self) -> None:
        """Also after the file shrank within the page and grew again."""
        path = self.dir / "file"
        write_file(path, b"\xff" * (CHUNK + 100))
        os.truncate(path, CHUNK + 10)
        os.truncate(path, CHUNK + 50)
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            self.assertEqual(view[CHUNK:], b"\xff" * 10 + bytes(40))


if __name__ == "__main__":
    unittest.main()

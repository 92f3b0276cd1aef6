"""Processes of identities that know a file by numbers of their own, and so have pages of their own, beside one that writes to it.

On a writable mount those are the ones who may not write. Whatever a write, a cut or a change of attributes has done when it returns,
they find, though the kernel knows nothing of its being the same file.
"""

import contextlib
import errno
import mmap
import os
import signal
import stat
import struct
import sys
import time
import unittest
from functools import partial
from pathlib import Path
from typing import Any, Callable

from files import fallocate, random_bytes
from peers import Peer
from processes import ALICE, BOB, User, alive, as_user, in_processes, wait_until
from test_access import AccessTest, put, read

PAGE = 4096
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2


_memory: mmap.mmap


def keep_mapped(file: int) -> None:
    global _memory
    _memory = mmap.mmap(file, 0, mmap.MAP_SHARED, mmap.PROT_READ)


def mapped() -> bytes:
    return _memory[:]


class Reader(Peer):
    """A process of `user` with an open descriptor and a mapping of the file at hand."""

    def __init__(self, user: User, path: Path) -> None:
        super().__init__(user)
        file = self.open(path, os.O_RDONLY)
        self(keep_mapped, file)
        self.questions: dict[str, Callable[[], Any]] = {
            "pread": lambda: self(os.pread, file, 1 << 20, 0),
            "mapped": lambda: self(mapped),
            "size": lambda: self(os.fstat, file).st_size,
            "path size": lambda: self(os.stat, path).st_size,
            "mode": lambda: stat.S_IMODE(self(os.stat, path).st_mode),
            "mtime": lambda: self(os.stat, path).st_mtime_ns,
            "links": lambda: self(os.fstat, file).st_nlink,
            "anew": lambda: self(read, path),
        }

    def ask(self, question: str) -> Any:
        return self.questions[question]()

    def result(self, timeout: float = 20.0) -> Any:
        return super().result(timeout)


class ViewsTest(AccessTest):
    size = 8 * PAGE

    def setUp(self) -> None:
        super().setUp()
        for user in (ALICE, BOB):
            self.store.grant("/", "--selector", f"unix:uid:{user.uid}", rights=("list", "read"))
        self.path = self.top / "shared"
        put(self.path, bytes(self.size))
        os.chmod(self.path, 0o666)
        for user in (ALICE, BOB):
            self.become(0, user, read, self.path)
            self.become(errno.EACCES, user, put, self.path, b"")

    def reader(self, user: User = BOB) -> Reader:
        reader = Reader(user, self.path)
        self.addCleanup(reader.end)
        self.assertEqual(reader.ask("pread"), reader.ask("mapped"))  # which the kernel keeps from here on
        return reader


class OneWrites(ViewsTest):
    def setUp(self) -> None:
        super().setUp()
        self.readers = [self.reader(ALICE), self.reader(BOB)]

    def finds(self, content: bytes) -> None:
        for reader in self.readers:
            self.assertEqual(reader.ask("pread"), content)
            self.assertEqual(reader.ask("size"), len(content))
            self.assertEqual(reader.ask("path size"), len(content))
            self.assertEqual(reader.ask("anew"), content)
            if len(content) == self.size:
                self.assertEqual(reader.ask("mapped"), content)

    def test_writes(self) -> None:
        content = bytearray(self.size)
        with open(self.path, "r+b", buffering=0) as file:
            for at, data in ((0, b"first"), (PAGE - 2, b"over two"), (self.size - 4, b"last")):
                os.pwrite(file.fileno(), data, at)
                content[at:at + len(data)] = data
                self.finds(bytes(content))

    def test_what_is_written_through_a_mapping_once_it_is_synced(self) -> None:
        with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[PAGE:PAGE + 6] = b"mapped"
            memory.flush()
            self.finds(memory[:])

    def test_appends_and_cuts(self) -> None:
        with open(self.path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"behind", self.size)
            self.finds(bytes(self.size) + b"behind")
            os.ftruncate(file.fileno(), 100)
            self.finds(bytes(100))
            os.ftruncate(file.fileno(), self.size)
            self.finds(bytes(self.size))
        os.truncate(self.path, 10)
        self.finds(bytes(10))
        put(self.path, b"anew")
        self.finds(b"anew")

    def test_holes(self) -> None:
        content = random_bytes(self.size)
        put(self.path, content)
        self.finds(content)
        with open(self.path, "r+b", buffering=0) as file:
            fallocate(file.fileno(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE)
        self.finds(content[:PAGE] + bytes(2 * PAGE) + content[3 * PAGE:])

    def test_attributes(self) -> None:
        for mode in (0o644, 0o604):
            os.chmod(self.path, mode)
            self.assertEqual([reader.ask("mode") for reader in self.readers], [mode] * 2)
        os.utime(self.path, ns=(1, 123456789))
        self.assertEqual([reader.ask("mtime") for reader in self.readers], [123456789] * 2)
        os.setxattr(self.path, "user.a", b"b")
        self.assertEqual(os.getxattr(self.path, "user.a"), b"b")
        os.link(self.path, self.top / "other")
        self.assertEqual([reader.ask("links") for reader in self.readers], [2] * 2)
        os.unlink(self.top / "other")
        self.assertEqual([reader.ask("links") for reader in self.readers], [1] * 2)

    def test_another_file_under_the_name(self) -> None:
        put(self.top / "new", b"another")
        with open(self.path, "rb") as before:
            os.rename(self.top / "new", self.path)
            self.assertEqual(os.fstat(before.fileno()).st_nlink, 0)
        for reader in self.readers:
            self.assertEqual(reader.ask("anew"), b"another")
            self.assertEqual(reader.ask("pread"), bytes(self.size))
            self.assertEqual(reader.ask("links"), 0)

    def test_the_reader_comes_by_the_writers_name_and_back(self) -> None:
        """The kernel keeps one number under a name, for all: each is led to his own, whatever he does."""
        for round in range(50):
            data = struct.pack("<Q", round) * (PAGE // 8)
            with open(self.path, "r+b", buffering=0) as file:
                self.assertEqual(self.readers[round % 2].ask("path size"), self.size)
                file.write(data)
            self.assertEqual(self.readers[round % 2].ask("anew")[:PAGE], data)
            os.chmod(self.path, 0o644 + round % 2)
            self.assertEqual(self.readers[round % 2].ask("mode"), 0o644 + round % 2)
            os.truncate(self.path, self.size)


class UnderLoad(ViewsTest):
    """Several files at once, so that those who answer requests could be waiting for one another."""

    files = 12
    seconds = 4.0

    def test_no_read_is_older_than_the_last_write_before_it(self) -> None:
        paths = [self.top / f"file{i}" for i in range(self.files)]
        for path in paths:
            put(path, bytes(16 * PAGE))
            os.chmod(path, 0o666)
        written = mmap.mmap(-1, PAGE)  # of each file, the newest number that its writer knows to be in all of its pages
        end = time.monotonic() + self.seconds

        def write(index: int) -> None:
            with open(paths[index], "r+b", buffering=0) as file:
                number = 0
                while time.monotonic() < end:
                    number += 1
                    for page in range(16):
                        os.pwrite(file.fileno(), struct.pack("<Q", number) * (PAGE // 8), page * PAGE)
                    struct.pack_into("<Q", written, 8 * index, number)

        def check(index: int, user: User) -> None:
            user.be()
            rounds = 0
            with open(paths[index], "rb", buffering=0) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
                while time.monotonic() < end:
                    rounds += 1
                    for page in range(16):
                        least = struct.unpack_from("<Q", written, 8 * index)[0]
                        data = os.pread(file.fileno(), PAGE, page * PAGE) if rounds % 2 else memory[page * PAGE:(page + 1) * PAGE]
                        oldest = min(struct.unpack(f"<{PAGE // 8}Q", data))
                        if oldest < least:
                            raise AssertionError(f"file {index}, page {page}: {oldest} after {least} was written")
            if rounds < 2:
                raise AssertionError("it hardly came to reading")

        in_processes([partial(write, index) for index in range(self.files)] +
                     [partial(check, index, user) for index in range(self.files) for user in (ALICE, BOB)])
        self.assertTrue(all(struct.unpack_from("<Q", written, 8 * index)[0] > 1 for index in range(self.files)))


def ended(pid: int, what: str, seconds: float) -> int:
    """The status of a child that is to end within that time."""
    answer = wait_until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, what, seconds)
    return answer[1]


class NobodyWaitsForEver(ViewsTest):
    """The kernel has pages wait for reads and writes, and has those wait for others: what is dropped must not wait for what waits
    for it."""

    def side_by_side(self, *jobs: Callable[[], None], seconds: float = 3.0) -> None:
        """Each again and again in a process of its own; all have to come to an end, and none before it began."""
        counts = mmap.mmap(-1, PAGE)
        end = time.monotonic() + seconds

        def repeat(index: int) -> None:
            while time.monotonic() < end:
                jobs[index]()
                counts[index] = 1

        pids = []
        for index in range(len(jobs)):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    repeat(index)
                    code = 0
                except OSError as failure:
                    print(f"job {index}: {failure}", file=sys.stderr, flush=True)
                finally:
                    os._exit(code)
            pids.append(pid)
        for index, pid in enumerate(pids):
            status = ended(pid, f"job {index} ends", 40)
            self.assertEqual(os.waitstatus_to_exitcode(status), 0, f"job {index}")
            self.assertTrue(counts[index], f"job {index} was never done")

    def reads(self, user: User, path: Path) -> Callable[[], None]:
        def job() -> None:
            if os.geteuid() == 0:
                user.be()
            read(path)
        return job

    def refused(self, user: User, path: Path) -> Callable[[], None]:
        def job() -> None:
            if os.geteuid() == 0:
                user.be()
            with contextlib.suppress(PermissionError):
                os.utime(path)
        return job

    def test_parts_of_pages_beside_changes_of_attributes(self) -> None:
        """The kernel keeps a page that is written to in part until the write is answered."""
        def append() -> None:
            with open(self.path, "ab", buffering=0) as file:
                for _ in range(50):
                    file.write(b"a line\n")
            os.truncate(self.path, self.size)

        def change() -> None:
            os.chmod(self.path, 0o666)
            os.utime(self.path)

        def rewrite() -> None:
            with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), self.size) as memory:
                memory[PAGE] ^= 1
                memory.flush()

        self.side_by_side(append, append, change, rewrite, self.reads(ALICE, self.path), self.reads(BOB, self.path),
                          self.refused(ALICE, self.path))

    def test_more_at_once_than_the_kernel_lets_wait(self) -> None:
        """It has no more than so many reads ahead, direct writes and written pages under way."""
        size = 160 << 20
        put(self.path, bytes(size))
        buffer = mmap.mmap(-1, size)  # aligned

        def direct() -> None:
            file = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
            os.pwrite(file, buffer, 0)
            os.close(file)

        def mapped() -> None:
            with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), size) as memory:
                for at in range(0, size, PAGE):
                    memory[at] = 1

        self.side_by_side(direct, mapped, self.reads(ALICE, self.path), self.reads(BOB, self.path), seconds=5)

    def test_the_daemon_ends_under_load(self) -> None:
        self.end_under_load(signal.SIGTERM)

    def test_the_daemon_is_killed_under_load(self) -> None:
        """One of its threads may wait in the kernel for pages that it was to read itself."""
        for _ in range(5):
            self.end_under_load(signal.SIGKILL)
            self.mount.clear_away()
            self.mount = self.new_mount(self.store)

    def end_under_load(self, number: int) -> None:
        stop = mmap.mmap(-1, PAGE)

        paths = [self.top / f"file{i}" for i in range(8)]
        for path in paths:
            put(path, bytes(self.size))
            os.chmod(path, 0o666)

        def use(user: User | None, path: Path) -> int:
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(OSError):
                    if user:
                        user.be()
                    file = os.open(path, os.O_RDWR if user is None else os.O_RDONLY)
                    while not stop[0]:
                        if user is None:
                            os.pwrite(file, b"x" * 100, 50)
                        else:
                            os.pread(file, self.size, 0)
                os._exit(0)
            return pid

        pids = [use(user, path) for path in paths for user in (None, ALICE, BOB)]
        time.sleep(1)
        os.kill(self.mount.pid, number)
        wait_until(lambda: not alive(self.mount.pid), "the daemon ends", 30)
        stop[0] = 1
        for pid in pids:
            ended(pid, "they end", 10)


if __name__ == "__main__":
    unittest.main()

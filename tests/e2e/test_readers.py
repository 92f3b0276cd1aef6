"""Read-only mounts beside the one that writes: what they see of its changes, and when."""

import errno
import mmap
import os
import stat
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

from damage import chunk_at, flip
from files import MIB, random_bytes, write_file
from harness import CofferTest
from processes import coffer
from stores import Mount, Store

CHUNK = 4096
# The kernel keeps names and attributes for a second, and so does the daemon with what it reads.
SEEN = 1.4


def put_synced(path: Path, data: bytes, at: int | None = None) -> None:
    """Writes into a file that stays as it is otherwise, or at its end, and syncs it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if at is None else 0), 0o644)
    try:
        assert os.pwrite(fd, data, at or 0) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def from_daemon(fd: int, size: int, offset: int = 0) -> bytes:
    """Through a descriptor of O_DIRECT: the daemon answers, and none of the kernel's pages."""
    with mmap.mmap(-1, size) as memory:
        return memory[:os.preadv(fd, [memory], offset)]


class Beside(CofferTest):
    """A store, mounted once for writing and twice for reading."""

    limit = 120.0

    def setUp(self) -> None:
        super().setUp()
        self.store: Store = self.new_store()
        self.writer: Mount = self.new_mount(self.store, at="writer")
        self.readers: list[Mount] = [self.new_mount(self.store, "--read-only", at=f"reader-{i}") for i in range(2)]

    def opened(self, name: str, flags: int = 0) -> Iterator[int]:
        """A descriptor for each reader."""
        for reader in self.readers:
            fd = os.open(reader.path / name, os.O_RDONLY | flags)
            self.addCleanup(os.close, fd)
            yield fd

    def each(self, name: str, check: Callable[[Path], None]) -> None:
        for reader in self.readers:
            check(reader.path / name)

    def assert_seen(self, name: str, expected: bytes) -> None:
        """Both readers: by stat, by a new open, and by one that the kernel has no part in."""
        for reader in self.readers:
            path = reader.path / name
            self.assertEqual(os.stat(path).st_size, len(expected), path)
            self.assert_content(path, expected)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
            try:
                self.assert_bytes(from_daemon(fd, (len(expected) // CHUNK + 1) * CHUNK), expected, f"{path}, from the daemon")
            finally:
                os.close(fd)

    def assert_nothing_logged(self) -> None:
        for mount in (self.writer, *self.readers):
            self.assertEqual(mount.logged_errors(), [])


class Content(Beside):
    """Of files that change while they are open here, and of such as are opened after."""

    def check_change(self, name: str, held: list[int], expected: bytes) -> None:
        time.sleep(SEEN)
        # Old handles: the kernel's pages first, as a program reads that has not heard of the change.
        for fd in held:
            self.assert_bytes(os.pread(fd, len(expected) + CHUNK, 0), expected, f"{name}, by an old descriptor")
            self.assertEqual(os.fstat(fd).st_size, len(expected))
        self.assert_seen(name, expected)

    def test_appends_overwrites_and_truncations(self) -> None:
        """Each is seen once it is synced, by old descriptors as well, whether the writer still has the file open or not."""
        path = self.writer.path / "file"
        content = bytearray(random_bytes(40 * CHUNK + 100))
        put_synced(path, content)
        time.sleep(SEEN)
        held = list(self.opened("file"))
        for fd in held:
            self.assert_bytes(os.pread(fd, MIB, 0), bytes(content), "before")
        writing = os.open(path, os.O_RDWR)
        for round_ in range(3):
            at = (7 * round_ + 3) * CHUNK
            content[at:at + CHUNK] = random_bytes(CHUNK, 100 + round_)
            os.pwrite(writing, content[at:at + CHUNK], at)
            os.fsync(writing)
            self.check_change("file", held, bytes(content))
        content += random_bytes(30_000, 7)
        os.pwrite(writing, content[-30_000:], len(content) - 30_000)
        os.fsync(writing)
        self.check_change("file", held, bytes(content))
        os.close(writing)
        self.check_change("file", held, bytes(content))
        del content[5 * CHUNK + 1:]
        os.truncate(path, len(content))
        self.check_change("file", held, bytes(content))
        content += bytes(200 * CHUNK) + b"end"
        put_synced(path, b"end", len(content) - 3)
        self.check_change("file", held, bytes(content))
        self.assert_nothing_logged()

    def test_what_is_not_sealed_is_not_seen(self) -> None:
        old, new = b"o" * (3 * CHUNK), b"n" * CHUNK
        path = self.writer.path / "file"
        put_synced(path, old)
        time.sleep(SEEN)
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, new, CHUNK)
        os.pwrite(fd, new, 3 * CHUNK)
        time.sleep(SEEN)
        for reader in self.readers:
            self.assert_content(reader.path / "file", old)
        os.fsync(fd)
        os.close(fd)
        time.sleep(SEEN)
        self.assert_seen("file", old[:CHUNK] + new + old[2 * CHUNK:] + new)

    def test_mapped_pages(self) -> None:
        """A mapping made after the change was sealed shows it, though the kernel had pages of the file."""
        path = self.writer.path / "file"
        put_synced(path, b"a" * (8 * CHUNK))
        time.sleep(SEEN)
        for reader in self.readers:
            with open(reader.path / "file", "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as memory:
                self.assertEqual(memory[5 * CHUNK], ord("a"))
        # No time of the file tells of it.
        times = os.stat(path)
        put_synced(path, b"b" * CHUNK, 5 * CHUNK)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        time.sleep(SEEN)
        for reader in self.readers:
            with open(reader.path / "file", "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as memory:
                self.assertEqual((memory[4 * CHUNK], memory[5 * CHUNK]), (ord("a"), ord("b")))

    def test_another_file_under_the_name(self) -> None:
        """Renamed over: the name leads to the new file, old descriptors to the old one."""
        path = self.writer.path / "file"
        put_synced(path, b"old" * 5000)
        time.sleep(SEEN)
        held = list(self.opened("file"))
        for generation in range(6):
            new = random_bytes(15_000, generation)  # as long as before
            put_synced(self.writer.path / "new", new)
            os.rename(self.writer.path / "new", path)
            time.sleep(SEEN)
            self.assert_seen("file", new)
        for fd in held:
            self.assert_bytes(os.pread(fd, MIB, 0), b"old" * 5000, "the file that was open")
        self.assert_nothing_logged()

    def test_keys_made_later(self) -> None:
        """Files that were made after the reader was mounted, many enough for new batches of keys."""
        for number in range(600):
            write_file(self.writer.path / f"{number}", b"%d" % number)
        time.sleep(SEEN)
        for reader in self.readers:
            for number in range(600):
                self.assertEqual((reader.path / f"{number}").read_bytes(), b"%d" % number)
        self.assert_nothing_logged()

    def test_a_scope_made_later(self) -> None:
        for reader in self.readers:
            self.assertEqual(os.listdir(reader.path), [])
        self.store.coffer("scope", "create", self.store.path, "/scope")
        self.store.grant("/scope", "--everyone")
        time.sleep(SEEN)
        write_file(self.writer.path / "scope" / "file", b"content")
        time.sleep(SEEN)
        self.each("scope/file", lambda path: self.assert_content(path, b"content"))

    def test_attributes(self) -> None:
        path = self.writer.path / "file"
        write_file(path, b"content")
        os.setxattr(path, "user.first", b"1")
        time.sleep(SEEN)
        held = list(self.opened("file"))
        self.each("file", lambda there: self.assertEqual(os.getxattr(there, "user.first"), b"1"))
        os.setxattr(path, "user.first", b"2")
        os.setxattr(path, "user.second", b"3")
        os.chmod(path, 0o604)
        os.utime(path, ns=(10**18, 10**18 + 1))
        time.sleep(SEEN)
        wanted = os.stat(path)
        for there in (*(reader.path / "file" for reader in self.readers), *held):
            self.assertEqual((os.getxattr(there, "user.first"), os.getxattr(there, "user.second")), (b"2", b"3"))
            found = os.stat(there)
            self.assertEqual((found.st_mode, found.st_mtime_ns, found.st_size), (wanted.st_mode, wanted.st_mtime_ns, wanted.st_size))


class UnderWay(Beside):
    """Reads while the writer is at work: each of one state, and none that fails."""

    BLOCKS = 64

    def hammer(self, readers: list[Callable[[], None]], write: Callable[[int], None], seconds: float) -> int:
        """Runs all at once; how often `write` came round."""
        stop, failures, rounds = threading.Event(), [], 0

        def run_reader(read: Callable[[], None]) -> None:
            try:
                while not stop.is_set():
                    read()
            except BaseException as failure:  # pylint: disable=broad-exception-caught
                failures.append(failure)
                stop.set()

        threads = [threading.Thread(target=run_reader, args=(read,)) for read in readers]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not stop.is_set():
                rounds += 1
                write(rounds)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        return rounds

    def assert_blocks(self, data: bytes, newest: int) -> None:
        """Blocks that bear one number each, none from the future."""
        self.assertEqual(len(data) % CHUNK, 0)
        for at in range(0, len(data), CHUNK):
            block = data[at:at + CHUNK]
            number = int.from_bytes(block[:4], "little")
            self.assertEqual(block, number.to_bytes(4, "little") * (CHUNK // 4), "a mixture")
            self.assertLessEqual(number, newest)

    def test_overwrites_appends_and_cuts(self) -> None:
        path = self.writer.path / "file"
        put_synced(path, bytes(self.BLOCKS * CHUNK))
        time.sleep(SEEN)
        newest = [0]
        size = (self.BLOCKS + 32) * CHUNK

        def buffered(mount: Mount) -> Callable[[], None]:
            def read() -> None:
                with open(mount.path / "file", "rb", buffering=0) as stream:
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    data = stream.read(size)
                # Of the kernel's pages the last may be cut where another state of the file ends.
                self.assert_blocks(data[:len(data) // CHUNK * CHUNK], newest[0])
            return read

        def direct(fd: int) -> Callable[[], None]:
            return lambda: self.assert_blocks(from_daemon(fd, size), newest[0])

        fd = os.open(path, os.O_RDWR)

        def write(round_: int) -> None:
            nonlocal fd
            newest[0] = round_
            data = round_.to_bytes(4, "little") * (CHUNK // 4)
            if round_ % 50 == 0:
                os.ftruncate(fd, self.BLOCKS * CHUNK)
            elif round_ % 7 == 0:
                os.pwrite(fd, data, os.fstat(fd).st_size if os.fstat(fd).st_size < size else 0)
            else:
                os.pwrite(fd, data * 2, (round_ * 13 % (self.BLOCKS - 1)) * CHUNK)
            if round_ % 2:
                os.fsync(fd)
            if round_ % 40 == 0:  # a last close, and its journal applied
                os.close(fd)
                fd = os.open(path, os.O_RDWR)

        held = list(self.opened("file", os.O_DIRECT))
        rounds = self.hammer([*(direct(one) for one in held), *(buffered(mount) for mount in self.readers)], write, 8)
        os.close(fd)
        self.assertGreater(rounds, 100)
        time.sleep(SEEN)
        self.assert_seen("file", path.read_bytes())
        self.assert_nothing_logged()

    def test_files_that_come_and_go(self) -> None:
        """Listed, opened and read while they are made, replaced and removed: what is there is whole."""
        def write(round_: int) -> None:
            name = self.writer.path / f"file-{round_ % 20}"
            if round_ % 3 == 0 and name.exists():
                os.unlink(name)
            elif round_ % 3 == 1:
                write_file(self.writer.path / "temporary", b"%d " % (round_ % 20) * 5000)
                os.rename(self.writer.path / "temporary", name)
            else:
                write_file(name, b"%d " % (round_ % 20) * 3000)

        def read_all(mount: Mount) -> Callable[[], None]:
            def read() -> None:
                for name in os.listdir(mount.path):
                    try:
                        os.stat(mount.path / name)
                        data = (mount.path / name).read_bytes()
                    except FileNotFoundError:
                        continue
                    except OSError as failure:
                        # Gone between two steps of one operation.
                        if failure.errno != errno.ESTALE:
                            raise
                        continue
                    if name != "temporary" and data:
                        number = name.removeprefix("file-").encode() + b" "
                        self.assertEqual(data, (number * 5000)[:len(data)], name)
            return read

        self.assertGreater(self.hammer([read_all(mount) for mount in self.readers], write, 6), 100)


class Names(Beside):
    def test_entries_come_and_go(self) -> None:
        there = self.writer.path
        long_name, longer_name = "l" * 255, "m" * 200
        for reader in self.readers:
            self.assertEqual(os.listdir(reader.path), [])
        os.mkdir(there / long_name)
        write_file(there / long_name / longer_name, b"in a long name")
        os.symlink("one", there / "link")
        os.mkfifo(there / "fifo")
        write_file(there / "mode", b"")
        os.chmod(there / "mode", 0o640)
        os.link(there / "mode", there / "second")
        time.sleep(SEEN)

        def first(reader: Path) -> None:
            self.assertEqual(sorted(os.listdir(reader)), sorted([long_name, "link", "fifo", "mode", "second"]))
            self.assert_content(reader / long_name / longer_name, b"in a long name")
            self.assertEqual(os.readlink(reader / "link"), "one")
            self.assertTrue(stat.S_ISFIFO(os.lstat(reader / "fifo").st_mode))
            self.assertEqual(stat.S_IMODE(os.stat(reader / "mode").st_mode), 0o640)
            self.assertEqual(os.stat(reader / "mode").st_nlink, 2)

        self.each("", first)
        for target in ("two", "three", "four"):  # inode numbers are used again
            os.symlink(target, there / "new link")
            os.rename(there / "new link", there / "link")
        os.rename(there / long_name, there / "renamed")
        os.rename(there / "renamed" / longer_name, there / "file")
        os.mkdir(there / "renamed" / "below")
        os.unlink(there / "mode")
        os.unlink(there / "fifo")
        time.sleep(SEEN)

        def second(reader: Path) -> None:
            self.assertEqual(sorted(os.listdir(reader)), ["file", "link", "renamed", "second"])
            self.assertEqual(os.listdir(reader / "renamed"), ["below"])
            self.assert_content(reader / "file", b"in a long name")
            self.assertEqual(os.readlink(reader / "link"), "four")
            self.assertEqual(os.stat(reader / "second").st_nlink, 1)
            self.assert_content(reader / "second", b"")
            self.assert_errno(errno.ENOENT, os.stat, reader / "mode")
            self.assert_errno(errno.ENOENT, os.stat, reader / long_name)

        self.each("", second)
        # What is made in place of what went, under names and numbers that were there before.
        os.rmdir(there / "renamed" / "below")
        os.rmdir(there / "renamed")
        os.mkdir(there / long_name)
        write_file(there / long_name / "again", b"again")
        write_file(there / "renamed", b"a file now")
        time.sleep(SEEN)
        self.each("renamed", lambda path: self.assert_content(path, b"a file now"))
        self.each(long_name, lambda path: self.assertEqual(os.listdir(path), ["again"]))
        self.assert_nothing_logged()

    def test_a_directory_that_is_open(self) -> None:
        """Its handle lists what is there when it is read again; what is below it is found wherever it went."""
        os.mkdir(self.writer.path / "dir")
        write_file(self.writer.path / "dir" / "one", b"1")
        time.sleep(SEEN)
        held = list(self.opened("dir", os.O_DIRECTORY))
        for fd in held:
            self.assertEqual(os.listdir(fd), ["one"])
        write_file(self.writer.path / "dir" / "two", b"2")
        os.mkdir(self.writer.path / "other")
        os.rename(self.writer.path / "dir", self.writer.path / "other" / "dir")
        time.sleep(SEEN)
        for fd in held:
            self.assertEqual(sorted(os.listdir(fd)), ["one", "two"])
            with open(os.open("two", os.O_RDONLY, dir_fd=fd), "rb") as stream:
                self.assertEqual(stream.read(), b"2")
        self.each("other/dir/one", lambda path: self.assert_content(path, b"1"))


class Refusals(Beside):
    """Following a writer is no reason to believe anybody else."""

    def sealed(self, content: bytes, at: int | None = None) -> Path:
        """A file that is whole in its place, and where it lies in the backing."""
        path = self.writer.path / "file"
        put_synced(path, content, at)
        backing = Path(self.store.coffer("path", self.store.path, "/file").out.splitlines()[0])
        journal = self.store.path / ".coffer" / "journal"
        deadline = time.monotonic() + 20
        while any(journal.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(SEEN)
        return backing

    def test_damage_is_an_error_with_and_without_a_writer(self) -> None:
        content = random_bytes(20 * CHUNK)
        backing = self.sealed(content)
        held = list(self.opened("file", os.O_DIRECT))
        flip(backing, chunk_at(7) + 5)
        for with_writer in (True, False):
            for fd in held:
                self.assert_errno(errno.EIO, from_daemon, fd, CHUNK, 7 * CHUNK)
                self.assert_bytes(from_daemon(fd, CHUNK, 8 * CHUNK), content[8 * CHUNK:9 * CHUNK], "beside it")
            for reader in self.readers:
                self.assertRegex("\n".join(reader.logged_errors()), "chunk 7 was altered")
            if with_writer:
                self.writer.umount()
        flip(backing, chunk_at(7) + 5)
        for fd in held:
            self.assert_bytes(from_daemon(fd, 20 * CHUNK), content, "put right")

    def test_an_older_state_put_back_is_refused(self) -> None:
        backing = self.sealed(b"1" * (10 * CHUNK))
        older = backing.read_bytes()
        self.sealed(b"2" * CHUNK, 3 * CHUNK)
        held = list(self.opened("file", os.O_DIRECT))
        for fd in held:
            self.assertEqual(from_daemon(fd, CHUNK, 3 * CHUNK)[:1], b"2")
        with open(backing, "r+b") as stream:
            stream.write(older)
        time.sleep(SEEN)
        for fd in held:
            self.assert_errno(errno.EIO, from_daemon, fd, CHUNK, 3 * CHUNK)
        for reader in self.readers:
            self.assert_errno(errno.EIO, os.open, reader.path / "file", os.O_RDONLY)
            self.assertRegex("\n".join(reader.logged_errors()), "put back in the backing directory")

    def test_nothing_is_changed(self) -> None:
        for reader in self.readers:
            self.assert_errno(errno.EROFS, write_file, reader.path / "file")
        second = self.place("second")
        second.mkdir()
        self.assertRegex(coffer("mount", self.store.path, second, check=False).err, "in use for writing")


class Writers(Beside):
    """Readers outlive the writer, and see the next one."""

    def test_one_after_another(self) -> None:
        path = self.writer.path / "file"
        put_synced(path, b"1" * (5 * CHUNK))
        time.sleep(SEEN)
        held = list(self.opened("file"))
        for number in (2, 3, 4):
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, b"%d" % number * CHUNK, CHUNK)
            os.fsync(fd)
            # Killed with the journal there, or ended in order.
            if number % 2:
                os.close(fd)
                self.writer.umount()
            else:
                self.writer.kill()
                self.assert_errno(errno.ENOTCONN, os.close, fd)
            time.sleep(SEEN)
            expected = b"1" * CHUNK + b"%d" % number * CHUNK + b"1" * (3 * CHUNK)
            for one in held:
                self.assert_bytes(os.pread(one, MIB, 0), expected, "by an old descriptor")
            self.assert_seen("file", expected)
            self.writer = self.new_mount(self.store, at=f"writer-{number}")
            path = self.writer.path / "file"
            self.assert_content(path, expected)
            self.assert_seen("file", expected)
        for reader in self.readers:
            self.assertEqual(reader.logged_errors(), [])

"""What names do on a mount: directories, renaming, links, symlinks, names of all kinds, modes, owners, inode numbers."""

import errno
import os
import stat
import unittest

from files import mode_of, random_bytes, rename_with_flags, tree, write_file
from harness import MountedTest
from processes import ALICE, drop_caches, need_root, run

NOREPLACE, EXCHANGE = 1, 2


class Directories(MountedTest):
    def test_10_000_entries(self) -> None:
        names = {f"entry-{number:05}" for number in range(10_000)}
        for name in sorted(names):
            os.close(os.open(self.dir / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self.assertEqual(sorted(os.listdir(self.dir)), sorted(names))
        self.remount()
        with os.scandir(self.dir) as entries:  # with types and inode numbers, from readdirplus
            seen = {entry.name: entry.inode() for entry in entries if entry.is_file(follow_symlinks=False)}
        self.assertEqual(seen.keys(), names)
        self.assertEqual(len(set(seen.values())), len(names))
        self.assertEqual(seen["entry-07777"], os.stat(self.dir / "entry-07777").st_ino)
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.dir)
        # Removing while listing, as rm -r does, must skip none.
        with os.scandir(self.dir) as entries:
            for entry in entries:
                os.unlink(entry.path)
        self.assertEqual(os.listdir(self.dir), [])
        os.rmdir(self.dir)
        self.assertFalse(self.dir.exists())

    def test_mkdir_and_rmdir(self) -> None:
        os.mkdir(self.dir / "a", 0o750)
        self.assertEqual(mode_of(self.dir / "a"), 0o750)
        self.assertEqual(os.stat(self.dir / "a").st_nlink, 2)
        self.assert_errno(errno.EEXIST, os.mkdir, self.dir / "a")
        self.assert_errno(errno.ENOENT, os.mkdir, self.dir / "missing/b")
        os.mkdir(self.dir / "a/b")
        write_file(self.dir / "file")
        self.assertEqual(os.stat(self.dir / "a").st_nlink, 3)
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.dir / "a")
        self.assert_errno(errno.ENOTDIR, os.rmdir, self.dir / "file")
        self.assert_errno(errno.ENOTDIR, os.mkdir, self.dir / "file/c")
        self.assert_errno(errno.EISDIR, os.unlink, self.dir / "a")
        os.rmdir(self.dir / "a/b")
        os.rmdir(self.dir / "a")
        self.assertEqual(os.listdir(self.dir), ["file"])

    def test_deep_tree(self) -> None:
        """80 levels, reached by a path and by way of "..", also after a remount and from the deepest level alone."""
        path = self.dir
        for level in range(80):
            path = path / f"level-{level}"
            os.mkdir(path)
        write_file(path / "file", b"deep")
        self.remount()
        self.assertEqual((path / "file").read_bytes(), b"deep")
        before = os.getcwd()
        os.chdir(path)
        try:
            drop_caches()
            self.assertEqual(os.path.samefile("../../..", path.parent.parent.parent), True)
            self.assertEqual(os.getcwd(), str(path))
        finally:
            os.chdir(before)
        run("rm", "-r", self.dir / "level-0")
        self.assertEqual(os.listdir(self.dir), [])

    def test_removed_while_it_is_the_working_directory(self) -> None:
        os.mkdir(self.dir / "gone")
        held = os.open(self.dir / "gone", os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, held)
        os.rmdir(self.dir / "gone")
        self.assertEqual(os.fstat(held).st_nlink, 0)
        self.assertEqual(stat.S_IFMT(os.fstat(held).st_mode), stat.S_IFDIR)
        self.assert_errno(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=held)
        self.assertEqual(os.listdir(held), [])

    def test_reserved_names_are_ordinary_in_the_mount(self) -> None:
        """Names of the backing format mean nothing to those who use the mount."""
        for name in (".coffer", ".coffer.dir", ".coffer.long.x", ".coffer.name.x"):
            write_file(self.dir / name, name.encode())
        self.remount()
        self.assertEqual(len(os.listdir(self.dir)), 4)
        self.assert_content(self.dir / ".coffer.dir", b".coffer.dir")
        self.assertNotIn(".coffer", os.listdir(self.mount.path))
        self.assert_errno(errno.ENOENT, os.stat, self.mount.path / ".coffer")

    def test_special_files(self) -> None:
        need_root()
        os.mkfifo(self.dir / "fifo", 0o640)
        os.mknod(self.dir / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(self.dir / "socket", stat.S_IFSOCK | 0o600)
        self.remount()
        self.assertEqual([stat.filemode(os.lstat(self.dir / name).st_mode) for name in ("fifo", "device", "socket")],
                         ["prw-r-----", "crw-------", "srw-------"])
        self.assertEqual(os.lstat(self.dir / "device").st_rdev, os.makedev(1, 3))
        reader = os.open(self.dir / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(self.dir / "fifo", os.O_WRONLY)
        os.write(writer, b"through")
        self.assertEqual(os.read(reader, 10), b"through")
        os.close(reader)
        os.close(writer)


class Renaming(MountedTest):
    def test_files(self) -> None:
        write_file(self.dir / "a", b"a")
        write_file(self.dir / "b", b"b")
        held = os.open(self.dir / "b", os.O_RDWR)
        os.rename(self.dir / "a", self.dir / "b")
        self.assertEqual(os.listdir(self.dir), ["b"])
        self.assert_content(self.dir / "b", b"a")
        self.assertEqual(os.fstat(held).st_nlink, 0)
        self.assertEqual(os.pread(held, 10, 0), b"b")
        os.close(held)
        self.assert_errno(errno.ENOENT, os.rename, self.dir / "a", self.dir / "c")
        self.remount()
        self.assert_content(self.dir / "b", b"a")

    def test_while_open_and_across_directories(self) -> None:
        os.mkdir(self.dir / "from")
        os.mkdir(self.dir / "to")
        with open(self.dir / "from/file", "wb") as stream:
            stream.write(b"before ")
            stream.flush()
            os.rename(self.dir / "from/file", self.dir / "to/renamed")
            stream.write(b"after")
        self.assertEqual(os.listdir(self.dir / "from"), [])
        self.remount()
        self.assert_content(self.dir / "to/renamed", b"before after")

    def test_directories(self) -> None:
        for name in ("a", "a/sub", "empty", "full"):
            os.mkdir(self.dir / name)
        write_file(self.dir / "a/sub/file", b"content")
        write_file(self.dir / "full/file", b"x")
        write_file(self.dir / "file", b"y")
        self.assert_errno(errno.ENOTEMPTY, os.rename, self.dir / "a", self.dir / "full")
        self.assert_errno(errno.ENOTDIR, os.rename, self.dir / "a", self.dir / "file")
        self.assert_errno(errno.EISDIR, os.rename, self.dir / "file", self.dir / "empty")
        self.assert_errno(errno.EINVAL, os.rename, self.dir / "a", self.dir / "a/sub/below")
        os.rename(self.dir / "a", self.dir / "empty")
        self.assertEqual(sorted(os.listdir(self.dir)), ["empty", "file", "full"])
        os.rename(self.dir / "empty", self.dir / "full/moved")
        self.remount()
        self.assert_content(self.dir / "full/moved/sub/file", b"content")

    def test_noreplace(self) -> None:
        write_file(self.dir / "a", b"a")
        write_file(self.dir / "b", b"b")
        os.mkdir(self.dir / "d")
        for target in ("b", "d"):
            self.assert_errno(errno.EEXIST, rename_with_flags, self.dir / "a", self.dir / target, NOREPLACE)
        rename_with_flags(self.dir / "a", self.dir / "c", NOREPLACE)
        rename_with_flags(self.dir / "d", self.dir / "e", NOREPLACE)
        self.assertEqual(sorted(os.listdir(self.dir)), ["b", "c", "e"])
        self.assert_content(self.dir / "b", b"b")
        self.assert_content(self.dir / "c", b"a")

    def test_exchange(self) -> None:
        write_file(self.dir / "file", b"file")
        os.mkdir(self.dir / "d")
        write_file(self.dir / "d/inner", b"inner")
        os.symlink("target", self.dir / "d/symlink")
        self.assert_errno(errno.ENOENT, rename_with_flags, self.dir / "file", self.dir / "missing", EXCHANGE)
        rename_with_flags(self.dir / "file", self.dir / "d", EXCHANGE)
        self.remount()
        self.assert_content(self.dir / "d", b"file")
        self.assert_content(self.dir / "file/inner", b"inner")
        rename_with_flags(self.dir / "d", self.dir / "file/symlink", EXCHANGE)
        self.remount()
        self.assertEqual(os.readlink(self.dir / "d"), "target")
        self.assert_content(self.dir / "file/symlink", b"file")

    def test_two_links_of_one_file(self) -> None:
        write_file(self.dir / "a", b"a")
        os.link(self.dir / "a", self.dir / "b")
        os.rename(self.dir / "a", self.dir / "b")  # POSIX: does nothing
        self.assertEqual(sorted(os.listdir(self.dir)), ["a", "b"])

    def test_long_and_short_names(self) -> None:
        """Either side of where a name no longer fits and gets a sidecar."""
        names = [letter * length for letter, length in zip("abcde", (1, 175, 176, 255, 30))]
        write_file(self.dir / names[0], b"moved")
        for old, new in zip(names, names[1:]):
            os.rename(self.dir / old, self.dir / new)
            self.assertEqual(os.listdir(self.dir), [new])
        os.mkdir(self.dir / ("d" * 200))
        os.rename(self.dir / ("d" * 200), self.dir / ("e" * 201))
        self.remount()
        self.assert_content(self.dir / names[-1], b"moved")
        self.assertEqual(sorted(os.listdir(self.dir)), sorted([names[-1], "e" * 201]))
        os.rmdir(self.dir / ("e" * 201))
        os.unlink(self.dir / names[-1])
        self.assertEqual(leftovers(self), set())


def leftovers(test: MountedTest) -> set[str]:
    """Sidecars in the whole backing, of which there may be none once no long name is left."""
    return {name for _, _, names in os.walk(test.store.path) for name in names
            if name.startswith((".coffer.name.", ".coffer.target.", ".coffer.long."))}


class Unlinking(MountedTest):
    def test_with_open_handles(self) -> None:
        data = random_bytes(600_000)
        write_file(self.dir / "file", data)
        one, two = (os.open(self.dir / "file", os.O_RDWR) for _ in range(2))
        os.unlink(self.dir / "file")
        self.assert_errno(errno.ENOENT, os.stat, self.dir / "file")
        self.assertEqual(os.fstat(one).st_nlink, 0)
        os.pwrite(one, b"written after", 1000)
        self.assert_bytes(os.pread(two, len(data), 0), data[:1000] + b"written after" + data[1013:], "an unlinked file")
        os.ftruncate(two, 10)
        self.assertEqual(os.fstat(one).st_size, 10)
        os.fchmod(one, 0o400)
        self.assertEqual(stat.S_IMODE(os.fstat(two).st_mode), 0o400)
        write_file(self.dir / "file", b"another")  # of the same name
        self.assertEqual(os.pread(one, 100, 0), data[:10])
        self.assert_content(self.dir / "file", b"another")
        os.close(one)
        os.close(two)

    def test_fifos_and_sockets_that_are_open(self) -> None:
        os.mkfifo(self.dir / "fifo", 0o640)
        os.mkfifo(self.dir / "replaced", 0o600)
        fds = [os.open(self.dir / name, os.O_RDWR | os.O_NONBLOCK) for name in ("fifo", "replaced")]
        before = [os.fstat(fd) for fd in fds]
        os.unlink(self.dir / "fifo")
        write_file(self.dir / "file")
        os.rename(self.dir / "file", self.dir / "replaced")
        for fd, status in zip(fds, before):
            now = os.fstat(fd)
            self.assertEqual((now.st_mode, now.st_ino, now.st_nlink), (status.st_mode, status.st_ino, 0))
            os.close(fd)

    def test_nothing_stays_in_the_backing(self) -> None:
        before = {path for path in tree(self.store.path, times=False)}
        for name in ("short", "l" * 255):
            write_file(self.dir / name, b"x")
            os.unlink(self.dir / name)
            os.mkdir(self.dir / name)
            os.rmdir(self.dir / name)
            os.symlink("t" * 4000, self.dir / name)
            os.unlink(self.dir / name)
        self.assertEqual({path for path in tree(self.store.path, times=False)} - before, set())


class Links(MountedTest):
    def test_hard_links(self) -> None:
        os.mkdir(self.dir / "d")
        write_file(self.dir / "a", b"content")
        os.link(self.dir / "a", self.dir / "d/b")
        self.assertEqual(os.stat(self.dir / "a").st_nlink, 2)
        self.assertEqual(os.stat(self.dir / "a").st_ino, os.stat(self.dir / "d/b").st_ino)
        with open(self.dir / "d/b", "ab") as stream:
            stream.write(b" and more")
        self.assert_content(self.dir / "a", b"content and more")
        self.assert_errno(errno.EEXIST, os.link, self.dir / "a", self.dir / "d/b")
        self.remount()
        self.assert_content(self.dir / "a", b"content and more")
        os.unlink(self.dir / "a")
        self.remount()
        self.assert_content(self.dir / "d/b", b"content and more")
        self.assertEqual(os.stat(self.dir / "d/b").st_nlink, 1)

    def test_written_by_one_name_and_linked_meanwhile(self) -> None:
        with open(self.dir / "a", "wb") as stream:
            stream.write(b"first ")
            stream.flush()
            os.link(self.dir / "a", self.dir / "b")
            stream.write(b"second")
            stream.flush()
            os.unlink(self.dir / "a")
            stream.write(b" third")
        self.remount()
        self.assert_content(self.dir / "b", b"first second third")

    def test_as_many_as_fit(self) -> None:
        """238, as fs/FORMAT.md has it; then EMLINK, and the file is none the worse."""
        write_file(self.dir / "0", b"linked")
        for number in range(1, 238):
            os.link(self.dir / "0", self.dir / str(number))
        self.assert_errno(errno.EMLINK, os.link, self.dir / "0", self.dir / "238")
        self.assertEqual(os.stat(self.dir / "0").st_nlink, 238)
        self.remount()
        for name in ("0", "119", "237"):
            self.assert_content(self.dir / name, b"linked")
        os.unlink(self.dir / "100")
        os.link(self.dir / "0", self.dir / "238")

    def test_what_can_not_be_linked(self) -> None:
        os.mkdir(self.dir / "d")
        os.symlink("x", self.dir / "s")
        self.assert_errno(errno.EPERM, os.link, self.dir / "d", self.dir / "e")
        self.assert_errno(errno.EPERM, os.link, self.dir / "s", self.dir / "e", follow_symlinks=False)

    def test_symlinks_of_all_lengths(self) -> None:
        lengths = (1, 2, 255, 3023, 3024, 4000, 4095)
        for length in lengths:
            os.symlink("t" * length, self.dir / str(length))
        self.assert_errno(errno.ENAMETOOLONG, os.symlink, "t" * 4096, self.dir / "4096")
        self.assert_errno(errno.ENOENT, os.symlink, "", self.dir / "empty")
        for again in range(2):
            for length in lengths:
                self.assertEqual(os.lstat(self.dir / str(length)).st_size, length)
                self.assertEqual(os.readlink(self.dir / str(length)), "t" * length)
            if again == 0:
                self.remount()
        os.mkdir(self.dir / "d")
        for length in lengths:
            os.rename(self.dir / str(length), self.dir / f"d/{length}")
        self.remount()
        for length in lengths:
            self.assertEqual(os.readlink(self.dir / f"d/{length}"), "t" * length)
            os.unlink(self.dir / f"d/{length}")
        self.assertEqual(leftovers(self), set())

    def test_symlinks_are_followed(self) -> None:
        os.mkdir(self.dir / "d")
        write_file(self.dir / "d/file", b"content")
        os.symlink("d/file", self.dir / "relative")
        os.symlink(self.dir / "d", self.dir / "absolute")
        os.symlink(b"\xff\xfe not UTF-8", os.fsencode(self.dir) + b"/bytes")
        os.symlink("loop", self.dir / "loop")
        self.assert_content(self.dir / "relative", b"content")
        self.assert_content(self.dir / "absolute/file", b"content")
        self.assert_errno(errno.ELOOP, os.stat, self.dir / "loop")
        self.assertEqual(os.readlink(os.fsencode(self.dir) + b"/bytes"), b"\xff\xfe not UTF-8")
        if os.geteuid() == 0:
            os.lchown(self.dir / "relative", ALICE.uid, ALICE.gid)
            self.assertEqual(os.lstat(self.dir / "relative").st_uid, ALICE.uid)
            self.assertNotEqual(os.stat(self.dir / "relative").st_uid, ALICE.uid)


class Names(MountedTest):
    NAMES = (b"a" * 255, "ä".encode() * 127 + b"x", "🗝".encode() * 63 + b"xyz", b"b" * 175, b"c" * 176, b"\xff\xfe\xfd",
             b"\xc3\x28 broken UTF-8", b"new\nline", b"tab\tand\x01control", b" ", b"-rf", b"back\\slash", b"*?[", b"...", b"~",
             "e\u0301".encode(), "é".encode(), b"Case", b"case")

    def test_all_kinds(self) -> None:
        top = os.fsencode(self.dir) + b"/"
        for name in self.NAMES:
            write_file(top + name, name)
            os.mkdir(top + name[:254] + b"D") if len(name) < 255 else None
        expected = set(self.NAMES) | {name[:254] + b"D" for name in self.NAMES if len(name) < 255}
        for again in range(2):
            self.assertEqual(set(os.listdir(top)), expected)
            for name in self.NAMES:
                self.assert_content(top + name, name)
            if again == 0:
                self.remount()

    def test_too_long(self) -> None:
        for make in (lambda path: write_file(path), os.mkdir, lambda path: os.symlink("x", path), os.stat):
            self.assert_errno(errno.ENAMETOOLONG, make, self.dir / ("x" * 256))


class PlainNames(MountedTest):
    """With names = plain the format's own names can't be used, and 255 bytes still fit."""

    init = ("--names", "plain")

    def test_reserved_names_are_refused(self) -> None:
        for name in (".coffer", ".coffer.dir", ".coffer-mine"):
            for make in (lambda path: write_file(path), os.mkdir, lambda path: os.symlink("x", path)):
                self.assert_errno(errno.EINVAL, make, self.dir / name)
        write_file(self.dir / "file")
        self.assert_errno(errno.EINVAL, os.rename, self.dir / "file", self.dir / ".coffer.dir")
        self.assertEqual(os.listdir(self.dir), ["file"])
        self.assert_errno(errno.ENOENT, os.stat, self.mount.path / ".coffer-none")

    def test_names_stand_as_they_are(self) -> None:
        top = os.fsencode(self.dir) + b"/"
        for name in Names.NAMES:
            write_file(top + name, name)
        self.remount()
        self.assertEqual(set(os.listdir(top)), set(Names.NAMES))
        backing = os.fsencode(self.store.path / self.dir.name)
        self.assertEqual(set(os.listdir(backing)) - {b".coffer.dir"}, set(Names.NAMES))


if __name__ == "__main__":
    unittest.main()

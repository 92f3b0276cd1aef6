"""A full disk, a read-only mount, an empty store."""

import errno
import os
import unittest
from pathlib import Path

from files import MIB, random_bytes, write_file
from harness import CofferTest
from processes import coffer, need_root, run

GROUP = 128 * 4096  # one leaf of the hash tree


class FullDisk(CofferTest):
    """ENOSPC is said as such and spoils nothing."""

    def test_full_backing(self) -> None:
        need_root()
        backing = self.place("backing")
        backing.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", backing)
        store = self.new_store("backing/store")
        mount = self.new_mount(store)
        early = random_bytes(3 * MIB)
        write_file(mount.path / "early", early)

        written, failure = 0, None
        fd = os.open(mount.path / "large", os.O_WRONLY | os.O_CREAT)
        try:
            for number in range(64):
                written += os.write(fd, random_bytes(MIB - 1, number))
        except OSError as full:
            failure = full.errno
        self.assertEqual(failure, errno.ENOSPC)
        self.assertGreater(written, 8 * MIB)
        try:
            os.close(fd)
        except OSError as full:
            self.assertEqual(full.errno, errno.ENOSPC)
        self.assert_content(mount.path / "early", early)
        # The last blocks are taken by small things; nothing but ENOSPC may come of it either.
        for number in range(1000):
            try:
                os.mkdir(mount.path / f"directory-{number}")
                write_file(mount.path / f"directory-{number}/file", b"x" * 20_000)
            except OSError as full:
                self.assertEqual(full.errno, errno.ENOSPC)
                break
        else:
            self.fail("a full disk took 1000 more directories")
        self.assert_content(mount.path / "early", early)
        os.unlink(mount.path / "large")
        write_file(mount.path / "late", early[::-1])

        mount.umount()
        report = store.verify()
        self.assertGreaterEqual(report["files"], 2)
        mount = self.new_mount(store, at="again")
        self.assert_content(mount.path / "early", early)
        self.assert_content(mount.path / "late", early[::-1])

    def test_unmounting_a_full_store(self) -> None:
        """The keystore shares the disk, so that nothing can be recorded. What was synced is there nevertheless."""
        need_root()
        backing = self.place("backing")
        backing.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", backing)
        store = self.new_store("backing/store")
        mount = self.new_mount(store)
        data = random_bytes(MIB - 1)
        with open(mount.path / "synced", "wb") as stream:
            stream.write(data)
            os.fsync(stream.fileno())
            self.fill(backing / "ballast")
        coffer("umount", mount.path, check=False)
        self.assertFalse(mount.mounted())
        os.unlink(backing / "ballast")
        store.verify()
        mount = self.new_mount(store, at="again")
        self.assert_content(mount.path / "synced", data)

    @staticmethod
    def fill(path: Path) -> None:
        with open(path, "wb", buffering=0) as stream:
            for size in (MIB, 4096):
                try:
                    while stream.write(bytes(size)):
                        pass
                except OSError:
                    pass


class ReadOnly(CofferTest):
    """A read-only mount: everything can be read, nothing changed; and it stands beside a writing one."""

    def test_everything_is_refused_with_erofs(self) -> None:
        store = self.new_store()
        writing = self.new_mount(store, at="rw")
        data = random_bytes(GROUP + 5)
        write_file(writing.path / "file", data)
        os.mkdir(writing.path / "dir")
        os.symlink("file", writing.path / "symlink")
        writing.umount()
        for option in (("--read-only",), ("-o", "ro")):
            mount = self.new_mount(store, *option, at="ro" + option[0].strip("-"))
            self.assertTrue(mount.status()["read_only"])
            self.assert_content(mount.path / "file", data)
            self.assertEqual(os.readlink(mount.path / "symlink"), "file")
            self.assertEqual(sorted(os.listdir(mount.path)), ["dir", "file", "symlink"])
            file, new = mount.path / "file", mount.path / "new"
            self.assert_errno(errno.EROFS, os.open, file, os.O_RDWR)
            self.assert_errno(errno.EROFS, os.open, file, os.O_RDONLY | os.O_TRUNC)
            self.assert_errno(errno.EROFS, os.open, new, os.O_WRONLY | os.O_CREAT)
            self.assert_errno(errno.EROFS, os.truncate, file, 0)
            self.assert_errno(errno.EROFS, os.mkdir, new)
            self.assert_errno(errno.EROFS, os.rmdir, mount.path / "dir")
            self.assert_errno(errno.EROFS, os.unlink, file)
            self.assert_errno(errno.EROFS, os.rename, file, new)
            self.assert_errno(errno.EROFS, os.link, file, new)
            self.assert_errno(errno.EROFS, os.symlink, "x", new)
            self.assert_errno(errno.EROFS, os.chmod, file, 0o600)
            self.assert_errno(errno.EROFS, os.utime, file)
            mount.umount()

    def test_beside_a_writing_mount(self) -> None:
        """Two daemons on one store. The reader's kernel keeps names and attributes for a second, pages for as long as a file is
        unchanged by what it sees; a file not seen before is seen at once."""
        store = self.new_store()
        writing = self.new_mount(store, at="rw")
        write_file(writing.path / "before", b"before")
        reading = self.new_mount(store, "--read-only", at="ro")
        self.assert_content(reading.path / "before", b"before")
        write_file(writing.path / "after", random_bytes(GROUP))
        self.assert_content(reading.path / "after", random_bytes(GROUP))
        failed = store.coffer("mount", store.path, self.make_directory("second"), check=False)
        self.assertEqual(failed.code, 16, str(failed))
        self.assertIn(str(writing.path), failed.err)

    def make_directory(self, name: str) -> Path:
        path = self.place(name)
        path.mkdir()
        return path


class Empty(CofferTest):
    def test_root_of_a_new_store(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        self.assertEqual(os.listdir(mount.path), [])
        self.assertEqual(run("find", mount.path, "-mindepth", "1").out, "")
        self.assert_errno(errno.EBUSY, os.rmdir, mount.path)
        mount.umount()
        self.assertEqual(store.verify()["files"], 0)


if __name__ == "__main__":
    unittest.main()

"""Extended attributes on a mount: limits and errors as xattr(7) has them, who may do what, and what the backing shows."""

import ctypes
import errno
import os
import shutil
import subprocess
import unittest
from pathlib import Path

from files import random_bytes, write_file
from guard import LIBC
from harness import CofferTest, MountedTest
from processes import ALICE, BOB, as_user, need, need_root, run, wait_until


def attributes(path: str | Path, **options) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, **options) for name in os.listxattr(path, **options)}


def sidecars(store: Path) -> list[Path]:
    return sorted((store / ".coffer/xattrs").glob("*/*"))


class Xattrs(MountedTest):
    def test_set_read_list_and_remove(self) -> None:
        write_file(self.dir / "file", b"content")
        os.mkdir(self.dir / "d")
        values = {"user.empty": b"", "user.zero": b"\0", "user.text": b"text", "user.large": random_bytes(65536)}
        for name in ("file", "d"):
            self.assertEqual(os.listxattr(self.dir / name), [])
            self.assert_errno(errno.ENODATA, os.getxattr, self.dir / name, "user.none")
            self.assert_errno(errno.ENODATA, os.removexattr, self.dir / name, "user.none")
            for key, value in values.items():
                os.setxattr(self.dir / name, key, value)
            self.assertEqual(attributes(self.dir / name), values)
        self.remount()
        for name in ("file", "d"):
            self.assertEqual(attributes(self.dir / name), values)
            os.setxattr(self.dir / name, "user.text", b"replaced")
            os.removexattr(self.dir / name, "user.large")
            self.assertEqual(attributes(self.dir / name), {"user.empty": b"", "user.zero": b"\0", "user.text": b"replaced"})
        self.assert_content(self.dir / "file", b"content")

    def test_create_and_replace(self) -> None:
        write_file(self.dir / "file")
        self.assert_errno(errno.ENODATA, os.setxattr, self.dir / "file", "user.a", b"1", os.XATTR_REPLACE)
        os.setxattr(self.dir / "file", "user.a", b"1", os.XATTR_CREATE)
        self.assert_errno(errno.EEXIST, os.setxattr, self.dir / "file", "user.a", b"2", os.XATTR_CREATE)
        os.setxattr(self.dir / "file", "user.a", b"2", os.XATTR_REPLACE)
        self.assertEqual(os.getxattr(self.dir / "file", "user.a"), b"2")

    def test_sizes_are_told_and_checked(self) -> None:
        """The system calls themselves: length 0 asks for the size, and a buffer too small is ERANGE."""
        write_file(self.dir / "file")
        path = os.fsencode(self.dir / "file")
        os.setxattr(path, "user.a", b"12345")
        os.setxattr(path, "user.bc", b"")

        def getxattr(size: int) -> int:
            return LIBC.getxattr(path, b"user.a", bytes(16), size)

        self.assertEqual([getxattr(size) for size in (0, 5, 16, 4)], [5, 5, 5, -1])
        self.assertEqual(ctypes.get_errno(), errno.ERANGE)
        self.assertEqual([LIBC.listxattr(path, bytes(32), size) for size in (0, 15, 32, 14)], [15, 15, 15, -1])
        self.assertEqual(ctypes.get_errno(), errno.ERANGE)

    def test_limits(self) -> None:
        write_file(self.dir / "file")
        path = self.dir / "file"
        os.setxattr(path, "user." + "n" * 250, b"longest name")
        self.assert_errno(errno.ERANGE, os.setxattr, path, "user." + "n" * 251, b"")
        self.assert_errno(errno.E2BIG, os.setxattr, path, "user.a", bytes(65537))
        self.assert_errno(errno.EOPNOTSUPP, os.setxattr, path, "plain", b"")
        self.assert_errno(errno.EOPNOTSUPP, os.setxattr, path, "os2.a", b"")
        for number in range(15):
            os.setxattr(path, f"user.{number}", bytes(65536))
        self.assert_errno(errno.ENOSPC, os.setxattr, path, "user.more", bytes(65536))
        self.assertEqual(len(os.listxattr(path)), 16)

    def test_by_descriptor_and_of_an_unlinked_file(self) -> None:
        before = len(sidecars(self.store.path))
        fd = os.open(self.dir / "file", os.O_RDWR | os.O_CREAT)
        os.setxattr(fd, "user.a", b"1")
        os.unlink(self.dir / "file")
        self.assertEqual(os.getxattr(fd, "user.a"), b"1")
        os.setxattr(fd, "user.a", b"2")
        self.assertEqual(attributes(fd), {"user.a": b"2"})
        os.close(fd)
        self.remount()
        self.assertEqual(len(sidecars(self.store.path)), before)

    def test_permissions(self) -> None:
        """user. goes by the mode, and in a sticky directory by the owner; trusted. and security. are the superuser's."""
        need_root()
        os.chmod(self.dir, 0o755)
        write_file(self.dir / "file")
        os.chmod(self.dir / "file", 0o644)
        os.setxattr(self.dir / "file", "user.a", b"1")
        os.setxattr(self.dir / "file", "trusted.a", b"1")
        self.assertEqual(as_user(BOB, os.getxattr, self.dir / "file", "user.a"), b"1")
        self.assert_errno(errno.EACCES, as_user, BOB, os.setxattr, self.dir / "file", "user.a", b"2")
        self.assert_errno(errno.EACCES, as_user, BOB, os.removexattr, self.dir / "file", "user.a")
        self.assert_errno(errno.EPERM, as_user, BOB, os.setxattr, self.dir / "file", "trusted.a", b"2")
        self.assert_errno(errno.ENODATA, as_user, BOB, os.getxattr, self.dir / "file", "trusted.a")
        self.assert_errno(errno.EPERM, as_user, BOB, os.setxattr, self.dir / "file", "security.a", b"2")
        self.assertEqual(as_user(BOB, os.listxattr, self.dir / "file"), ["user.a"])
        os.chmod(self.dir / "file", 0o600)
        self.assert_errno(errno.EACCES, as_user, BOB, os.getxattr, self.dir / "file", "user.a")
        os.mkdir(self.dir / "sticky")
        os.chmod(self.dir / "sticky", 0o1777)
        self.assert_errno(errno.EPERM, as_user, BOB, os.setxattr, self.dir / "sticky", "user.a", b"2")
        self.assertEqual(os.listxattr(self.dir / "file"), ["trusted.a", "user.a"])

    def test_what_is_no_file_and_no_directory(self) -> None:
        need_root()
        os.symlink("target", self.dir / "symlink")
        os.mkfifo(self.dir / "fifo")
        write_file(self.dir / "file")
        os.setxattr(self.dir / "file", "user.a", b"1")  # so that the store has any
        for name in ("symlink", "fifo"):
            path = self.dir / name
            self.assert_errno(errno.EPERM, os.setxattr, path, "user.a", b"1", follow_symlinks=False)
            self.assert_errno(errno.EOPNOTSUPP, os.setxattr, path, "trusted.a", b"1", follow_symlinks=False)
            self.assert_errno(errno.ENODATA, os.getxattr, path, "trusted.a", follow_symlinks=False)
            self.assertEqual(os.listxattr(path, follow_symlinks=False), [])

    def test_times(self) -> None:
        write_file(self.dir / "file", b"x")
        os.mkdir(self.dir / "d")
        for name in ("file", "d"):
            os.utime(self.dir / name, ns=(5, 7))
            before = os.stat(self.dir / name)
            os.setxattr(self.dir / name, "user.a", b"1")
            after = os.stat(self.dir / name)
            self.assertEqual(after.st_mtime_ns, 7)
            self.assertGreater(after.st_ctime_ns, before.st_ctime_ns)

    def test_copied_by_programs(self) -> None:
        """cp -a, tar and rsync -X carry them in and out."""
        need(shutil.which("rsync"), "rsync is not installed")
        source = self.place("source")
        source.mkdir()
        write_file(source / "file", b"x")
        try:
            os.setxattr(source / "file", "user.origin", b"hub")
        except OSError as refused:
            need(refused.errno != errno.EOPNOTSUPP, f"{source} has no user attributes (COFFER_E2E_DIR can choose another)")
            raise
        os.setxattr(source, "user.kind", b"model")
        run("cp", "-a", source, self.dir / "cp")
        run("rsync", "-aX", f"{source}/", self.dir / "rsync")
        os.mkdir(self.dir / "tar")
        subprocess.run(f"tar --xattrs -C '{source}' -cf - . | tar --xattrs -C '{self.dir}/tar' -xf -", shell=True, check=True)
        for name in ("cp", "rsync", "tar"):
            self.assertEqual(attributes(self.dir / name / "file"), {"user.origin": b"hub"}, name)
            self.assertEqual(attributes(self.dir / name), {"user.kind": b"model"}, name)
        run("cp", "-a", self.dir / "cp", self.place("back"))
        self.assertEqual(attributes(self.place("back") / "file"), {"user.origin": b"hub"})

    def test_capabilities_work_and_go_with_a_write(self) -> None:
        need_root()
        need(shutil.which("setcap"), "setcap is not installed (package libcap2-bin)")
        os.chmod(self.dir, 0o755)
        path = self.dir / "program"
        shutil.copy("/bin/sleep", path)
        run("setcap", "cap_net_raw+ep", path)
        self.assertIn("cap_net_raw", run("getcap", path).out)
        os.chmod(path, 0o777)
        as_user(BOB, append_byte, path)
        self.assertEqual(run("getcap", path).out, "")
        run("setcap", "cap_net_raw+ep", path)
        os.chown(path, ALICE.uid, ALICE.gid)
        self.assertEqual(run("getcap", path).out, "")


def append_byte(path: Path) -> None:
    with open(path, "ab") as stream:
        stream.write(b"\n")


class BackingOfXattrs(CofferTest):
    """What lies in the backing, the store's format, and damage as `coffer verify` tells it."""

    def test_first_attribute_raises_the_format(self) -> None:
        store = self.new_store()
        config = store.path / ".coffer/store.toml"
        mount = self.new_mount(store)
        write_file(mount.path / "file", b"content")
        self.assertEqual(os.listxattr(mount.path / "file"), [])
        self.assertIn("format = 1\n", config.read_text())
        os.setxattr(mount.path / "file", "user.hush_name", b"hushed value")
        self.assertIn("format = 3\n", config.read_text())
        mount.umount()
        store.verify()
        self.assertEqual(os.listxattr(self.new_mount(store, at="again").path / "file"), ["user.hush_name"])

    def test_nothing_in_the_clear(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        os.setxattr(mount.path, "user.hush_name", b"hushed value")
        write_file(mount.path / "file")
        os.setxattr(mount.path / "file", "user.hush_name", b"hushed value")
        mount.umount()
        self.assertEqual(len(sidecars(store.path)), 2)
        for directory, _, names in os.walk(store.path):
            for name in names:
                content = Path(directory, name).read_bytes()
                self.assertFalse(b"hush" in content, name)
                self.assertNotIn("hush", name)
                self.assertEqual(os.listxattr(Path(directory, name)), [], "the backing's own are not used")

    def test_damage_is_found(self) -> None:
        store = self.new_store()
        mount = self.new_mount(store)
        os.mkdir(mount.path / "d")
        write_file(mount.path / "file", b"content")
        os.setxattr(mount.path / "d", "user.a", b"of d")
        os.setxattr(mount.path / "file", "user.a", b"of file")
        mount.umount()
        store.verify()
        for path in sidecars(store.path):
            os.unlink(path)
        report = store.coffer("verify", store.path, "--json", check=False).json
        self.assertEqual([(finding["path"], finding["cause"]) for finding in report["findings"]],
                         [("/d", "corrupt"), ("/file", "corrupt")])
        mount = self.new_mount(store, at="again")
        self.assert_errno(errno.EIO, os.getxattr, mount.path / "file", "user.a")
        self.assert_content(mount.path / "file", b"content")

    def test_read_only_mount_beside(self) -> None:
        """It sees the first attribute of the store, though it was mounted before."""
        store = self.new_store()
        mount = self.new_mount(store)
        write_file(mount.path / "file", b"content")
        reading = self.new_mount(store, "--read-only", at="ro")
        self.assertEqual(os.listxattr(reading.path / "file"), [])
        os.setxattr(mount.path / "file", "user.a", b"1")
        wait_until(lambda: os.listxattr(reading.path / "file") == ["user.a"], "the reader sees the attribute")
        self.assertEqual(os.getxattr(reading.path / "file", "user.a"), b"1")
        self.assert_errno(errno.EROFS, os.setxattr, reading.path / "file", "user.a", b"2")


if __name__ == "__main__":
    unittest.main()

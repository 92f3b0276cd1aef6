"""mount(8) and fstab."""

import errno
import os
import unittest
from pathlib import Path

from guard import daemons_below, mounts_below
from harness import CofferTest
from processes import BINARY, coffer, need, need_root, own_mount_namespace, run, wait_until


class System(CofferTest):
    """mount(8) runs /sbin/mount.fuse.coffer. That is laid over /usr/sbin in a mount namespace of this process alone."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()
        own_mount_namespace()
        helpers = cls.home / "sbin"
        helpers.mkdir()
        (helpers / "mount.fuse.coffer").symlink_to(BINARY)
        sbin = os.path.realpath("/sbin")
        overlaid = run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={helpers}:{sbin}", sbin, check=False)
        need(overlaid.code == 0, f"can't lay a directory over {sbin}: {overlaid.err}")
        cls.addClassCleanup(run, "umount", sbin)

    def mount_point(self, name: str = "mnt") -> Path:
        path = self.place(name)
        path.mkdir()
        self.addCleanup(run, "fusermount3", "-u", "-z", "-q", path, check=False)
        return path

    def test_mount_and_umount(self) -> None:
        store, at = self.new_store(), self.mount_point()
        run("mount", "-t", "fuse.coffer", store.path, at)
        (at / "file").write_bytes(b"content")
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {at} " in line)
        self.assertIn(f" - fuse.coffer {store.path} ", line)
        self.assertIn("default_permissions,allow_other", line)
        self.assertEqual(coffer("status", at, "--json").json["mountpoint"], str(at))
        run("umount", at)
        wait_until(lambda: not daemons_below(str(at)), "the daemon ends")
        run("mount", "-t", "fuse.coffer", "-o", "ro,nosuid,nodev,noexec,noatime,x-systemd.automount,_netdev", store.path, at)
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {at} " in line)
        self.assertIn(" ro,nosuid,nodev,noexec,noatime ", line)
        self.assertEqual((at / "file").read_bytes(), b"content")
        self.assert_errno(errno.EROFS, (at / "new").write_bytes, b"")
        coffer("umount", at)

    def test_fstab(self) -> None:
        store = self.new_store(passphrase="of the table")
        plain, secret = self.new_store("a store with spaces"), store.secret[1]
        one, two = self.mount_point("one"), self.mount_point("mount point, too")
        fstab = self.place("fstab")
        escaped = [str(path).replace(" ", "\\040") for path in (plain.path, two)]
        fstab.write_text(f"# coffer\n{store.path} {one} fuse.coffer noauto,user,passphrase_file={secret} 0 0\n"
                         f"{escaped[0]} {escaped[1]} fuse.coffer defaults,nofail,x-test=1 0 0\n")
        run("mount", "-T", fstab, one)
        (one / "file").write_bytes(b"one")
        run("mount", "-T", fstab, "-a")
        (two / "file").write_bytes(b"two")
        found = {row["mountpoint"]: row["store"] for row in coffer("status", "--json").json}
        self.assertEqual((found[str(one)], found[str(two)]), (str(store.path), str(plain.path)))
        self.assertEqual(run("findmnt", "-n", "-o", "FSTYPE,SOURCE", two).out.split(maxsplit=1), ["fuse.coffer", f"{plain.path}\n"])
        for at in (one, two):
            run("umount", at)
            wait_until(lambda: not daemons_below(str(at)), "the daemon ends")
        for each in (store, plain):
            self.assertEqual(each.verify()["files"], 1)

    def test_failures_reach_mount(self) -> None:
        """mount(8) hands on what the helper said, and its exit code says that the mount failed."""
        store, at = self.new_store(), self.mount_point()
        empty = self.place("empty")
        empty.mkdir()
        for words, pattern in ((("-o", "frobnicate", store.path, at), "frobnicate.*coffer mount --help"), ((empty, at), "coffer init")):
            failed = run("mount", "-t", "fuse.coffer", *words, check=False)
            self.assertEqual(failed.code, 32, str(failed))
            self.assertRegex(failed.err, pattern)
        self.assertEqual([path for path in mounts_below(str(self.home)) if "mnt" in path], [])

    def test_called_directly(self) -> None:
        helper = self.home / "sbin/mount.fuse.coffer"
        store, at = self.new_store(), self.mount_point()
        run(helper, store.path, at, "-n", "-v", "-o", "rw,noatime")
        (at / "file").write_bytes(b"x")
        coffer("umount", at)
        failed = run(helper, store.path, check=False)
        self.assertEqual(failed.code, 1, str(failed))
        self.assertIn("usage:", failed.err)


if __name__ == "__main__":
    unittest.main()

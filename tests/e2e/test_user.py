"""Coffer for an ordinary user: no capability, /dev/fuse by way of fusermount3, a home directory of his own.

Run by root the tests act as uid 12345, run by anyone else as himself.
"""

import errno
import mmap
import os
import stat
import unittest
from pathlib import Path

from files import random_bytes, tree
from harness import CofferTest
from processes import ALICE, BINARY, BOB, SELF, as_user, coffer, need, ordinary_machine, run, start, wait_until
from stores import Mount, Store

setUpModule = ordinary_machine
USER = ALICE if os.geteuid() == 0 else SELF


def put(path: str | Path, data: bytes = b"") -> None:
    with open(path, "wb") as stream:
        stream.write(data)


def get(path: str | Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def mine(function, *arguments):
    """Runs `function` as the user."""
    return as_user(USER, function, *arguments)


class UserTest(CofferTest):
    store: Store
    mount: Mount

    def setUp(self) -> None:
        super().setUp()
        self.store = self.new_store(user=USER)
        self.mount = self.new_mount(self.store)
        self.top = self.mount.path

    def remount(self) -> None:
        self.mount.umount()
        self.assertEqual(self.mount.logged_errors(), [])
        self.mount = self.new_mount(self.store)

    def finish(self) -> None:
        """Everything written is whole, and the daemon had nothing to complain of."""
        self.mount.umount()
        self.assertEqual(self.mount.logged_errors(), [])
        self.store.verify()


class Basics(UserTest):
    def test_write_and_read(self) -> None:
        data = random_bytes(1_500_000)

        def fill() -> None:
            (self.top / "a/b").mkdir(parents=True)
            put(self.top / "a/b/file", data)
            os.symlink("b/file", self.top / "a/symlink")
            os.link(self.top / "a/b/file", self.top / "a/hard-link")
            os.rename(self.top / "a/b", self.top / "a/c")
            os.mkfifo(self.top / "fifo")
            os.utime(self.top / "a/c/file", ns=(10**18, 10**18 + 9))
            os.mkdir(self.top / ("n" * 255))

        mine(fill)
        before = mine(tree, self.top)
        self.assertEqual(before[b"a/c/file"][1], (USER.uid, USER.gid))
        self.remount()
        self.assert_same_tree(mine(tree, self.top), before)
        self.assert_bytes(mine(get, self.top / "a/hard-link"), data, "after a remount")
        self.finish()
        out = self.store.user.home / f"{self.id()}.out"
        coffer("export", self.store.path, out, user=USER)
        exported = mine(tree, out)
        for name, entry in before.items():
            if name != b"." and entry[2] != 2:  # hard links become two files
                self.assertEqual(exported[name], entry, name)

    def test_nobody_else_gets_in(self) -> None:
        """Not even root: the kernel keeps a mount without allow_other for the user who made it."""
        mine(put, self.top / "file", b"x")
        if SELF != USER:
            self.assert_errno(errno.EACCES, os.listdir, self.top)
            self.assert_errno(errno.EACCES, as_user, BOB, os.listdir, self.top)
        self.finish()

    def test_unmounting_while_in_use(self) -> None:
        # Held by a process of the user; the test's own could not even look inside.
        holder = run_holder(self.top)
        self.addCleanup(holder.kill)
        failed = coffer("umount", self.top, user=USER, check=False)
        self.assertEqual(failed.code, 16, str(failed))
        self.assertIn("fuser -vm", failed.err)
        self.assertTrue(self.mount.mounted())
        holder.kill()
        holder.wait()
        self.finish()

    def test_killed_daemon(self) -> None:
        def write_synced() -> None:
            with open(self.top / "file", "wb") as stream:
                stream.write(b"synced")
                os.fsync(stream.fileno())

        mine(write_synced)
        self.mount.kill()
        self.mount = self.new_mount(self.store)
        self.assertEqual(mine(get, self.top / "file"), b"synced")
        self.finish()

    def test_allow_other_without_permission(self) -> None:
        """/etc/fuse.conf has to allow it; where it does not, one hears so."""
        self.mount.umount()
        allowed = os.path.exists("/etc/fuse.conf") and "\nuser_allow_other" in "\n" + Path("/etc/fuse.conf").read_text()
        need(not allowed, "/etc/fuse.conf allows allow_other")
        failed = coffer("mount", self.store.path, self.top, "-o", "allow_other", user=USER, check=False)
        self.assertNotEqual(failed.code, 0)
        self.assertIn("user_allow_other", failed.err)
        self.assertFalse(self.mount.mounted())

    def test_defaults_of_a_plain_account(self) -> None:
        """With nothing in the environment but a home: keys in ~/.config, the audit log in ~/.local/state."""
        home = self.place("home")
        home.mkdir()
        os.chown(home, USER.uid, USER.gid)
        store, at = home / "store", home / "mnt"
        command = ["env", "-i", f"HOME={home}", f"XDG_RUNTIME_DIR={home}/run", "PATH=/usr/bin:/bin", BINARY]
        mine(os.mkdir, home / "run")
        mine(os.mkdir, at)
        run(*command, "init", store, user=USER)
        run(*command, "mount", store, at, user=USER)
        mine(put, at / "file", b"content")
        self.assertIn(str(at), run(*command, "status", user=USER).out)
        run(*command, "umount", at, user=USER)
        self.assertEqual(run(*command, "verify", store, "--json", user=USER).json["files"], 1)
        keys = list((home / ".config/coffer/keys").iterdir())
        self.assertEqual([stat.S_IMODE(key.stat().st_mode) for key in keys], [0o600])
        self.assertEqual(len(list((home / ".local/state/coffer").glob("*/audit.jsonl"))), 1)


def run_holder(top: Path):
    """A process of the user that works in the mount; started once it is there."""
    holder = start("sh", "-c", f"cd '{top}' && exec sleep 60", user=USER)
    wait_until(lambda: b"sleep" in Path(f"/proc/{holder.pid}/cmdline").read_bytes(), "the holder runs")
    return holder


class Modes(UserTest):
    """Modes are for those who use the mount. The daemon, which is the same user, must not stumble over them in the backing."""

    def test_files_without_permissions(self) -> None:
        data = random_bytes(50_000)

        def use() -> None:
            for mode in (0o444, 0o400, 0o200, 0o000):
                path = self.top / f"{mode:04o}"
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)  # may be written by who makes it
                os.write(fd, data)
                os.pwrite(fd, b"again", 100)
                os.ftruncate(fd, 40_000)
                os.fsync(fd)
                os.close(fd)

        mine(use)
        expected = (data[:100] + b"again" + data[105:])[:40_000]
        self.remount()
        for mode, readable in ((0o444, True), (0o400, True), (0o200, False), (0o000, False)):
            path = self.top / f"{mode:04o}"
            status = mine(os.stat, path)
            self.assertEqual((stat.S_IMODE(status.st_mode), status.st_size), (mode, 40_000))
            if USER.uid != 0:
                self.assert_errno(errno.EACCES, mine, os.open, path, os.O_RDWR)
                if readable:
                    self.assert_bytes(mine(get, path), expected, str(path))
                else:
                    self.assert_errno(errno.EACCES, mine, get, path)
            mine(set_times, path)
            mine(os.rename, path, f"{path}-renamed")
            mine(os.link, f"{path}-renamed", f"{path}-linked")
            mine(os.unlink, f"{path}-renamed")
            self.assertEqual(stat.S_IMODE(mine(os.stat, f"{path}-linked").st_mode), mode)
        self.remount()
        for mode in (0o444, 0o400, 0o200, 0o000):
            path = self.top / f"{mode:04o}-linked"
            self.assertEqual(mine(os.stat, path).st_mtime_ns, 10**18)
            mine(os.chmod, path, 0o600)
            self.assert_bytes(mine(get, path), expected, str(path))
            mine(os.chmod, path, mode)
        backing = [stat.S_IMODE(os.lstat(os.path.join(top, name)).st_mode)
                   for top, _, names in os.walk(self.store.path) for name in names]
        self.assertIn(0o000, backing, "the backing has the modes, too, whoever was lent them")
        self.finish()

    def test_directories_without_permissions(self) -> None:
        def make() -> None:
            for mode in (0o555, 0o500, 0o000):
                path = self.top / f"{mode:04o}"
                path.mkdir()
                put(path / "file", b"x")
                (path / "sub").mkdir()
                path.chmod(mode)

        mine(make)
        self.remount()
        for mode in (0o555, 0o500, 0o000):
            path = self.top / f"{mode:04o}"
            self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), mode)
            if USER.uid != 0:
                self.assert_errno(errno.EACCES, mine, put, path / "new")
                self.assert_errno(errno.EACCES, mine, os.unlink, path / "file")
                self.assert_errno(errno.EACCES, mine, os.mkdir, path / "new")
                if mode == 0:
                    self.assert_errno(errno.EACCES, mine, os.listdir, path)
            mine(os.rename, path, f"{path}-renamed")
            self.assertEqual(stat.S_IMODE(mine(os.stat, f"{path}-renamed").st_mode), mode)
        self.remount()
        for mode in (0o555, 0o500, 0o000):
            path = self.top / f"{mode:04o}-renamed"
            self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), mode)
            mine(os.chmod, path, 0o700)
            self.assertEqual(sorted(mine(os.listdir, path)), ["file", "sub"])
            self.assertEqual(mine(get, path / "file"), b"x")
            mine(os.unlink, path / "file")
            mine(os.rmdir, path / "sub")
            mine(os.chmod, path, mode)
            mine(os.rmdir, path)
        self.assertEqual(mine(os.listdir, self.top), [])
        self.finish()

    def test_offline_commands_see_past_modes(self) -> None:
        """verify, export and import work for the store's owner whatever the modes of files are, and with directories he may enter."""
        def make() -> None:
            (self.top / "closed").mkdir()
            put(self.top / "closed/file", b"closed")
            put(self.top / "secret", b"secret")
            os.chmod(self.top / "secret", 0o000)
            os.chmod(self.top / "closed", 0o500)

        mine(make)
        before = mine(lambda: (os.stat(self.top / "secret").st_mode, os.stat(self.top / "closed").st_mode))
        self.finish()
        out = USER.home / "out-of-modes"
        coffer("export", self.store.path, out, user=USER)
        self.assertEqual(mine(lambda: (os.stat(out / "secret").st_mode, os.stat(out / "closed").st_mode)), before)
        mine(os.chmod, out / "secret", 0o400)
        self.assertEqual((mine(get, out / "secret"), mine(get, out / "closed/file")), (b"secret", b"closed"))
        coffer("import", out, f"{self.store.path}:/back", user=USER)
        self.store.verify()

    def test_closed_directory_offline(self) -> None:
        """A directory that keeps its owner out keeps his offline commands out, too: told in so many words, and the rest is done."""
        need(USER.uid != 0, "root is kept out of nothing")

        def make() -> None:
            (self.top / "closed").mkdir()
            put(self.top / "closed/file", b"closed")
            put(self.top / "open", b"open")
            os.chmod(self.top / "closed", 0o000)

        mine(make)
        self.mount.umount()
        told = "/closed: its mode closes the backing directory to this user; run: chmod u+rx"
        verified = coffer("verify", self.store.path, user=USER, check=False)
        self.assertEqual((verified.code, verified.out.splitlines()[0]), (12, f"denied: {told}"), str(verified))
        out = USER.home / "out-of-closed"
        exported = coffer("export", self.store.path, out, user=USER, check=False)
        self.assertEqual((exported.code, exported.err.splitlines()[0]), (12, f"coffer: {told}"), str(exported))
        self.assertEqual(mine(get, out / "open"), b"open")
        self.mount = self.new_mount(self.store)
        mine(os.chmod, self.top / "closed", 0o700)
        self.finish()

    def test_umask_of_the_creator(self) -> None:
        def make() -> None:
            os.umask(0o077)
            put(self.top / "file")
            os.mkdir(self.top / "d")

        mine(make)
        self.assertEqual([stat.S_IMODE(mine(os.stat, self.top / name).st_mode) for name in ("file", "d")], [0o600, 0o700])


def set_times(path) -> None:
    os.utime(path, ns=(10**18, 10**18))


class Privileges(UserTest):
    def test_suid_and_sgid_stay_until_somebody_writes(self) -> None:
        """The backing's kernel takes them with each write of a daemon that may not keep them, of a header as well."""
        path = self.top / "file"
        mine(put, path, random_bytes(50_000))
        mine(os.chmod, path, 0o6755)
        mine(os.link, path, self.top / "link")
        mine(os.rename, path, self.top / "moved")
        path = self.top / "moved"
        self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), 0o6755)
        self.remount()
        self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), 0o6755)
        mine(write_into, path)
        self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), 0o755)
        mine(os.chmod, path, 0o4711)
        mine(change_mapped, path)
        mine(os.unlink, self.top / "link")
        self.remount()
        self.assertEqual(stat.S_IMODE(mine(os.stat, path).st_mode), 0o4711)
        self.finish()


def write_into(path: Path) -> None:
    with open(path, "r+b") as stream:
        stream.write(b"y")


def change_mapped(path: Path) -> None:
    """Whom that takes no bits from on any filesystem: no write(2) is made."""
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[5000] ^= 1
        mapped.flush()


class Passphrase(CofferTest):
    """A store that a passphrase opens, read from a file or a descriptor, never from the command line."""

    def test_mount_import_verify(self) -> None:
        store = self.new_store(user=USER, passphrase="correct horse battery staple")
        mount = self.new_mount(store)
        self.assertTrue(mount.status()["master_key"].startswith("passphrase:"))
        mine(put, mount.path / "file", b"content")
        mount.umount()
        mount = self.new_mount_by_option(store)
        self.assertEqual(mine(get, mount.path / "file"), b"content")
        mount.umount()
        self.assertEqual(store.verify()["files"], 1)
        listed = run("sh", "-c", f'"$1" key list "$2" --files --json --passphrase-fd 3 3< {store.secret[1]}', "sh", BINARY, store.path,
                     user=USER).json
        self.assertEqual([key["state"] for key in listed], ["active"])

    def new_mount_by_option(self, store: Store) -> Mount:
        """As fstab would give it."""
        words, store.secret = store.secret, ()
        try:
            return self.new_mount(store, "-o", f"passphrase_file={words[1]}")
        finally:
            store.secret = words

    def test_without_a_terminal(self) -> None:
        store = self.new_store(user=USER, passphrase="something")
        failed = run("setsid", "-w", BINARY, "verify", store.path, user=USER, check=False)
        self.assertEqual(failed.code, 11, str(failed))
        self.assertIn("--passphrase-file", failed.err)


if __name__ == "__main__":
    unittest.main()

"""What the daemon of a mount may not do, and what can't be read of it."""

import errno
import os
import re
import signal
import socket
import stat
import unittest
from pathlib import Path

from guard import mounts_below
from harness import CofferTest
from processes import ALICE, BOB, MEMFD_SECRET, SECCOMP, SELF, alive, as_user, coffer, need, need_root, ordinary_machine, refuse, run, wait_until
from stores import Mount

# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, IPC_LOCK, SYS_PTRACE, MKNOD of linux/capability.h
NEEDED = sum(1 << number for number in (0, 1, 3, 4, 14, 19, 27))
SYS_ADMIN, DAC_READ_SEARCH = 1 << 21, 1 << 2
USER = ALICE if os.geteuid() == 0 else SELF


def setUpModule() -> None:
    ordinary_machine()


def statuses(pid: int) -> list[dict[str, str]]:
    """/proc/PID/status of each thread."""
    return [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            for task in Path(f"/proc/{pid}/task").iterdir()]


def key_memory(pid: int) -> list[tuple[int, int, str, set[str]]]:
    """The locked mappings of a process: begin, end, what is mapped, and flags (proc_pid_smaps(5))."""
    found = []
    for mapping in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text()):
        flags = re.search(r"VmFlags: (.*)", mapping)
        if flags and "lo" in flags[1].split():
            begin, end, name = re.match(r"([0-9a-f]+)-([0-9a-f]+) (?:\S+ +){4}(.*)", mapping).groups()
            found.append((int(begin, 16), int(end, 16), name, set(flags[1].split())))
    return found


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


class Hardened(CofferTest):
    def users(self) -> list[tuple[str, Mount]]:
        """A mount of this user, and one of an ordinary one."""
        mounts = [("self", self.new_mount(self.new_store()))]
        if USER != SELF:
            mounts.append(("user", self.new_mount(self.new_store("users", user=USER), at="users-mnt")))
        return mounts

    def test_every_thread(self) -> None:
        for who, mount in self.users():
            as_user(mount.store.user, (mount.path / "file").write_bytes, b"content")  # threads are started as they are needed
            kept = NEEDED if mount.store.user.uid == 0 else 0
            threads = statuses(mount.pid)
            self.assertGreater(len(threads), 3)
            for thread in threads:
                with self.subTest(who, name=thread["Name"]):
                    self.assertEqual((thread["NoNewPrivs"], thread["Seccomp"]), ("1", "2"))
                    self.assertEqual([int(thread[key], 16) for key in ("CapPrm", "CapEff", "CapInh", "CapAmb")], [kept, kept, 0, 0])
                    if kept:
                        self.assertEqual(int(thread["CapBnd"], 16), kept)
            status = mount.status()
            self.assertEqual(status["system_calls"], "filtered")
            self.assertEqual(status["privileges"], ("chown,dac_override,fowner,fsetid,ipc_lock,sys_ptrace,mknod" if kept else "none")
                             + "; no new ones")
            mount.umount()
            self.assertEqual(mount.logged_errors(), [])

    def test_not_dumped(self) -> None:
        for _, mount in self.users():
            limits = Path(f"/proc/{mount.pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size +0 +0 ")
            self.assertEqual(os.stat(f"/proc/{mount.pid}/environ").st_uid, 0, "an undumpable process is root's")
            if mount.store.user.uid != 0:
                self.assert_errno(13, as_user, mount.store.user, open, f"/proc/{mount.pid}/mem", "rb")

    def test_key_memory(self) -> None:
        for _, mount in self.users():
            status = mount.status()
            areas = key_memory(mount.pid) if os.geteuid() == 0 else []
            need(areas, "only root may look")
            self.assertEqual(sum(end - begin for begin, end, _, _ in areas), status["locked_bytes"])
            for begin, _, name, flags in areas:
                self.assertLessEqual({"dd", "dc", "lo"}, flags, "not dumped, not copied to a child, locked")
                if status["key_memory"] == "secret":
                    self.assertIn("secretmem", name)
                    with open(f"/proc/{mount.pid}/mem", "rb", buffering=0) as memory:
                        self.assert_errno(5, os.pread, memory.fileno(), 64, begin)

    def test_files_are_the_users_alone(self) -> None:
        for _, mount in self.users():
            store, home = mount.store, mount.store.user.home
            files = [store.key, store.audit_log, mount.log_file, *(store.path / ".coffer").glob("keystore.db*"),
                     *(home / "state" / store.id).iterdir(), *(home / "run").glob("*.sock")]
            for path in files:
                mode = path.stat().st_mode
                self.assertEqual(oct(stat.S_IMODE(mode)), "0o600", path)
            self.assertGreater(len(files), 6)

    def test_control_socket_knows_its_peer(self) -> None:
        """Even if somebody opens the way to it."""
        need_root()
        mount = self.new_mount(self.new_store("users", user=USER))
        (path,) = (USER.home / "run").glob("*.sock")
        os.chmod(path, 0o666)
        for directory in (path.parent, path.parent.parent):
            self.addCleanup(os.chmod, directory, 0o700)
            os.chmod(directory, 0o755)

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                try:
                    connection.sendall(b'{"verb":"status"}\n')
                    return connection.makefile("rb").readline()
                except ConnectionError:
                    return b""

        self.assertIn(b'"pid"', ask(), "root is heard")
        self.assertIn(b'"pid"', as_user(USER, ask))
        self.assertEqual(as_user(BOB, ask), b"")
        self.assertTrue(alive(mount.pid))


class Mounting(CofferTest):
    """Another process mounts and unmounts, since the daemon may not."""

    def mounter_of(self, mount: Mount) -> int:
        (mounter,) = children(mount.pid)
        return mounter

    def test_it_has_nothing_else(self) -> None:
        need_root()
        mount = self.new_mount(self.new_store())
        mounter = self.mounter_of(mount)
        (status,) = statuses(mounter)
        self.assertEqual([int(status[key], 16) for key in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd")],
                         [SYS_ADMIN | DAC_READ_SEARCH] * 2 + [0, 0, SYS_ADMIN | DAC_READ_SEARCH])
        self.assertEqual(key_memory(mounter), [])
        open_files = {os.readlink(f"/proc/{mounter}/fd/{fd}") for fd in os.listdir(f"/proc/{mounter}/fd")}
        self.assertEqual({re.sub(r"\d+", "N", name) for name in open_files}, {"/dev/null", "socket:[N]", "/N/abort"})
        mount.umount()
        wait_until(lambda: not alive(mounter), "it ends with the daemon")

    def test_terminated(self) -> None:
        """As a service is stopped: all its processes get the signal."""
        for user in {SELF, USER}:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                mount = self.new_mount(self.new_store(f"{user.uid}-{number}", user=user), at=f"mnt-{user.uid}-{number}")
                mounter = self.mounter_of(mount)
                os.kill(mounter, number)
                os.kill(mount.pid, number)
                wait_until(lambda pid=mount.pid: not alive(pid), "the daemon ends", 10)
                self.assertFalse(mount.mounted())
                self.assertEqual(mount.logged_errors(), [])
                self.assertFalse(alive(mounter))
                mount.store.verify()

    def test_killed(self) -> None:
        """A dead mount is left, so that nobody writes plaintext into the bare directory; and no process."""
        for user in {SELF, USER}:
            mount = self.new_mount(self.new_store(f"{user.uid}", user=user), at=f"mnt-{user.uid}")
            mounter = self.mounter_of(mount)
            os.kill(mount.pid, signal.SIGKILL)
            wait_until(lambda pid=mounter: not alive(pid), "it ends with the daemon")
            wait_until(lambda pid=mount.pid: not alive(pid), "the daemon dies", 20)  # who asks before that is cut off: ECONNABORTED
            self.assert_errno(errno.ENOTCONN, as_user, user, os.listdir, mount.path)
            coffer("umount", mount.path, user=user)
            self.assertFalse(mount.mounted())

    def test_without_it(self) -> None:
        """Killed: whoever unmounts does as ever; a daemon that is ended says what is left to do."""
        for user in {SELF, USER}:
            for stopped in (False, True):
                mount = self.new_mount(self.new_store(f"{user.uid}-{stopped}", user=user), at=f"mnt-{user.uid}-{stopped}")
                os.kill(self.mounter_of(mount), signal.SIGKILL)
                if stopped:
                    os.kill(mount.pid, signal.SIGTERM)
                    wait_until(lambda pid=mount.pid: not alive(pid), "the daemon ends", 10)
                    self.assertIn(f"run: coffer umount {mount.path}", mount.log())
                    coffer("umount", mount.path, user=user)
                else:
                    mount.umount()
                    self.assertEqual(mount.logged_errors(), [])
                self.assertFalse(mount.mounted())

    def test_something_else_is_mounted_there(self) -> None:
        """A daemon that ends takes away its own mount and no other."""
        need_root()
        mount = self.new_mount(self.new_store())
        run("mount", "-t", "tmpfs", "tmpfs", mount.path)
        os.kill(mount.pid, signal.SIGTERM)
        wait_until(lambda: not alive(mount.pid), "the daemon ends", 10)
        self.assertEqual(run("stat", "-f", "-c", "%T", mount.path).out, "tmpfs\n")
        run("umount", mount.path)
        coffer("umount", mount.path)
        self.assertEqual(mounts_below(str(mount.path.parent)), [])


class Degraded(CofferTest):
    """Kernels without this or that: the mount goes on, and says what is not there."""

    def mount_without(self, number: int, *options: str) -> Mount:
        need_root()
        store, at = self.new_store(), self.place("mnt")
        at.mkdir()
        log = self.place("log")

        def start() -> None:
            if number >= 0:
                refuse(number)
            coffer("mount", store.path, at, "--log", log, *options)

        as_user(SELF, start)
        mount = Mount.__new__(Mount)
        mount.store, mount.path, mount.log_file = store, at, log
        mount.pid = mount.status()["pid"]
        self.addCleanup(mount.close)
        (at / "file").write_bytes(b"content" * 10_000)
        self.assertEqual((at / "file").read_bytes(), b"content" * 10_000)
        return mount

    def test_no_secret_memory(self) -> None:
        mount = self.mount_without(MEMFD_SECRET)
        status = mount.status()
        self.assertEqual((status["key_memory"], status["system_calls"]), ("locked", "filtered"))
        areas = key_memory(mount.pid)
        self.assertEqual(sum(end - begin for begin, end, _, _ in areas), status["locked_bytes"])
        for _, _, name, flags in areas:
            self.assertLessEqual({"dd", "dc", "lo"}, flags)
            self.assertNotIn("secretmem", name)

    def test_no_filters(self) -> None:
        mount = self.mount_without(SECCOMP)
        self.assertRegex(mount.status()["system_calls"], r"^not filtered: ")
        self.assertRegex(mount.log(), r"\[warning\] system calls are not filtered: ")
        self.assertEqual({thread["NoNewPrivs"] for thread in statuses(mount.pid)}, {"1"})

    def test_option(self) -> None:
        mount = self.mount_without(-1, "-o", "noseccomp")
        self.assertEqual(mount.status()["system_calls"], "not filtered: option noseccomp")
        self.assertEqual({thread["Seccomp"] for thread in statuses(mount.pid)}, {"0"})


if __name__ == "__main__":
    unittest.main()

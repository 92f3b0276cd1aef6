"""Ways around a grant, tried by real processes on a real mount. fs/IDENTITY.md lists all of them, those of other modules too.

Each test says which side it asks: the daemon, which decides an open by who opens; or the kernel, whose pages must not answer whom the
daemon would refuse.
"""

import ctypes
import errno
import hashlib
import mmap
import os
import signal
import struct
import subprocess
import threading
import unittest
from pathlib import Path
from typing import Any

from files import copy_program
from guard import LIBC
from processes import ALICE, BINARY, BOB, User, as_user, in_child, need, own_mount_namespace, run, start, wait_until
from test_access import AccessTest, errno_of, put, read

TEAM, OTHERS = 7000, 7001  # groups: the first is granted
MEMBER = User(BOB.uid, BOB.gid, (TEAM,))
SYS_SETGROUPS, SYS_SETRESUID, SYS_SETRESGID, SYS_CLONE3 = 116, 117, 119, 435  # x86-64's


class AttackTest(AccessTest):
    def setUp(self) -> None:
        super().setUp()
        need(os.uname().machine == "x86_64", "numbers of system calls are x86-64's")
        self.file = self.top / "file"
        os.chmod(self.file, 0o666)

    def grant_team(self) -> None:
        self.store.grant("/", "--selector", f"unix:supplementary_gid:{TEAM}", rights=["list", "read"])
        self.become(0, MEMBER, read, self.file)
        self.assertEqual(as_user(BOB, errno_of, read, self.file), errno.EACCES)

    def shells(self) -> tuple[Path, Path]:
        """Two that do the same; the first one's content is granted."""
        os.chmod(self.place("bin").parent, 0o755)
        self.place("bin").mkdir(0o755)
        granted, other = (copy_program("/bin/sh", self.place("bin") / name, name.encode()) for name in ("granted", "other"))
        digest = hashlib.sha256(granted.read_bytes()).hexdigest()
        self.store.grant("/", "--selector", f"unix:sha256:{digest}", rights=["list", "read"])
        wait_until(lambda: self.opens(granted), "the program is granted")
        self.assertFalse(self.opens(other))
        return granted, other

    def opens(self, shell: Path, user: User = BOB) -> bool:
        """By the shell itself, which executes nothing else for it."""
        return run(shell, "-c", f"read -r line < {self.file}; test -n \"$line\"", user=user, check=False).code == 0


def raw(*words: Any) -> None:
    """A system call for this thread alone; the C library would have all others follow."""
    if LIBC.syscall(*words) != 0:
        raise OSError(ctypes.get_errno(), f"system call {words[0]}")


def raw_groups(*groups: int) -> None:
    raw(SYS_SETGROUPS, len(groups), (ctypes.c_uint32 * max(1, len(groups)))(*groups))


def fork_as(pid: int) -> int:
    """fork(2), choosing the child's number."""
    number = ctypes.c_int(pid)
    arguments = ctypes.create_string_buffer(struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(number), 1, 0))
    child = LIBC.syscall(SYS_CLONE3, arguments, 80)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return child


class Programs(AttackTest):
    """The daemon's decision, by what is executed. (The kernel's pages are in no way here: an open asks the daemon.)"""

    def test_exec_after_open(self) -> None:
        """The descriptor is possession; what the next program opens is decided by that one's content, in both directions."""
        granted, other = self.shells()
        attempt = f"read -r line < {self.file} && echo opened || echo refused"
        script = f"exec 3< {self.file}; exec {other} -c 'read -r line <&3; echo \"$line\"; {attempt}; exec {granted} -c \"{attempt}\"'"
        (self.top / "line").write_text("")
        put(self.file, b"content of file\n")
        for _ in range(10):
            self.assertEqual(run(granted, "-c", script, user=BOB).out.split("\n"), ["content of file", "refused", "opened", ""])

    def test_number_used_again(self) -> None:
        """One after another with the same number: what the daemon remembers of one is no use to the next, while others ask as well."""
        granted, other = self.shells()
        self.store.grant("/", "--deny", "--selector", f"unix:supplementary_gid:{OTHERS}", rights=["read"])
        wait_until(lambda: not self.opens(granted, User(BOB.uid, BOB.gid, (OTHERS,))), "a group is denied")
        load = [start(granted, "-c", f"while :; do read -r line < {self.file}; done", user=BOB) for _ in range(3)]
        try:
            number = in_child(os.getpid)
            for turn in range(240):
                program, group = ((granted, TEAM), (other, TEAM), (granted, OTHERS))[turn % 3]
                child = fork_as(number)
                if child == 0:
                    try:
                        os.setgroups([group])
                        os.setresgid(BOB.gid, BOB.gid, BOB.gid)
                        os.setresuid(BOB.uid, BOB.uid, BOB.uid)
                        os.close(2)
                        os.execv(program, [program, "-c", f"read -r line < {self.file}; test -n \"$line\" && exit 7 || exit 8"])
                    finally:
                        os._exit(1)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                self.assertEqual(code, 7 if turn % 3 == 0 else 8, f"turn {turn}")
        finally:
            for process in load:
                process.kill()
                process.wait()

    def test_same_path_in_other_mounts(self) -> None:
        """There another program lies at the path that is granted."""
        _, other = self.shells()
        tool = copy_program("/bin/sh", self.place("bin") / "tool", b"honest")
        self.store.grant("/", "--selector", f"unix:path:{tool}", rights=["list", "read"])
        wait_until(lambda: self.opens(tool), "the path is granted")

        def within() -> tuple[str, bool]:
            own_mount_namespace()
            run("mount", "--bind", other, tool)
            link = run(tool, "-c", "readlink /proc/$$/exe", user=BOB).out.strip()
            return link, self.opens(tool)

        self.assertEqual(in_child(within), (str(tool), False))
        self.assertTrue(self.opens(tool))

    def test_vfork_fork_and_exec(self) -> None:
        """A child that has its parent's memory is somebody else nevertheless, and so is what it executes."""
        granted, other = self.shells()
        self.grant_team()
        stack = mmap.mmap(-1, 1 << 20)
        top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + (1 << 20)
        seen: list[int] = []
        child = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)

        def by_vfork(group: int) -> int:
            """What its open gives; in a child by clone(2) as vfork does it."""
            def act(_: Any) -> int:
                raw_groups(group)
                seen.append(errno_of(os.open, self.file, os.O_RDONLY))
                return 0  # not os._exit(): it would take the interpreter's lock with it, which is its parent's too
            function = child(act)
            clone_vm, clone_vfork = 0x100, 0x4000
            pid = LIBC.clone(function, ctypes.c_void_p(top), clone_vm | clone_vfork | signal.SIGCHLD, None)
            os.waitpid(pid, 0)
            return seen.pop()

        def several() -> list[int]:
            # As the user, yet with the leave to change groups.
            os.setgroups([TEAM])
            LIBC.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
            os.setresuid(BOB.uid, BOB.uid, BOB.uid)
            allow_setgid = ctypes.create_string_buffer(struct.pack("=6I", 1 << 6, 1 << 6, 0, 0, 0, 0))
            LIBC.capset(struct.pack("=Ii", 0x20080522, 0), allow_setgid)
            answers = []
            for _ in range(10):
                answers += [errno_of(read, self.file), by_vfork(OTHERS), by_vfork(TEAM)]
                forked = os.fork()
                if forked == 0:
                    raw_groups(OTHERS)
                    os._exit(errno_of(read, self.file))
                answers.append(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
            raw_groups()
            for shell in (granted, other):
                spawned = os.posix_spawn(shell, [str(shell), "-c", f"exec 2> /dev/null; read -r line < {self.file}; test -n \"$line\""], {})
                answers.append(os.waitstatus_to_exitcode(os.waitpid(spawned, 0)[1]))
            return answers

        answers = in_child(several)
        self.assertEqual(answers[:-2], [0, errno.EACCES, 0, errno.EACCES] * 10)
        self.assertEqual([code == 0 for code in answers[-2:]], [True, False])


class Credentials(AttackTest):
    """The daemon's decision, by users and groups."""

    def test_changed_groups_and_gid(self) -> None:
        """Each open counts as what the process is then; the daemon keeps nothing of before."""
        self.grant_team()
        self.store.grant("/", "--selector", "unix:gid:7005", rights=["list", "read"])
        self.become(0, User(BOB.uid, 7005), read, self.file)

        def changing() -> list[int]:
            answers = []
            for _ in range(50):
                for gid, groups in ((BOB.gid, [TEAM]), (BOB.gid, [OTHERS]), (7005, [OTHERS]), (BOB.gid, []), (BOB.gid, [OTHERS, TEAM])):
                    os.seteuid(0)
                    os.setgroups(groups)
                    os.setegid(gid)
                    os.seteuid(BOB.uid)
                    answers.append(errno_of(read, self.file))
            return answers

        self.assertEqual(in_child(changing), [0, errno.EACCES, 0, errno.EACCES, 0] * 50)

    def test_threads_with_their_own(self) -> None:
        """By turns, and at the same time: a thread is who it is, not who its process is."""
        self.grant_team()

        def several() -> dict[str, set[int]]:
            os.setgroups([OTHERS])
            answers: dict[str, set[int]] = {}

            def act(name: str, uid: int, groups: tuple[int, ...]) -> None:
                raw_groups(*groups)
                raw(SYS_SETRESGID, BOB.gid, BOB.gid, BOB.gid)
                raw(SYS_SETRESUID, uid, uid, uid)
                answers[name] = {errno_of(read, self.file) for _ in range(300)}

            threads = [threading.Thread(target=act, args=who) for who in
                       (("member", BOB.uid, (TEAM,)), ("none", BOB.uid, ()), ("other", ALICE.uid, (OTHERS,)), ("root", 0, ()))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return answers

        self.assertEqual(in_child(several), {"member": {0}, "none": {errno.EACCES}, "other": {errno.EACCES}, "root": {0}})

    def test_root_of_a_user_namespace(self) -> None:
        """Whom it makes root of itself is who he was, for the daemon; root (and group 0) outside is granted."""
        self.store.grant("/", "--selector", "unix:gid:0")

        def within(user: User) -> tuple[int, int, int]:
            user.be()
            LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its own /proc is root's otherwise
            if LIBC.unshare(0x10000000) != 0:  # CLONE_NEWUSER
                raise OSError(ctypes.get_errno(), "unshare")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user.uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {user.gid} 1")
            return os.geteuid(), os.getegid(), errno_of(read, self.file)

        self.assertEqual(in_child(within, BOB), (0, 0, errno.EACCES))
        self.assertEqual({line["identity"]["uid"] for line in self.refusals(BOB)}, {BOB.uid})
        self.grant_team()
        self.assertEqual(in_child(within, MEMBER), (0, 0, 0), "a group that the namespace does not know is there")
        self.assertEqual(in_child(within, BOB), (0, 0, errno.EACCES))


class OutsideOfThePidNamespace(AttackTest):
    """The daemon runs in a pid namespace, and knows no number of who calls from outside of it."""

    def start_within(self, *options: str) -> Path:
        """The mount as it is seen from outside."""
        self.mount.umount()
        daemon = start("unshare", "--pid", "--fork", "--kill-child", *options, BINARY, "mount", self.store.path, self.top, "--foreground",
                       stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        self.daemon = wait_until(lambda: Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().strip(), "it has begun")
        top = Path(f"/proc/{self.daemon}/root{self.top}")
        wait_until(lambda: os.stat(top).st_dev != os.stat(top.parent).st_dev, "it is mounted")
        return top

    def test_nobody_is_known(self) -> None:
        """Nothing is granted to them, though they are root, whom all is granted."""
        top = self.start_within("--mount-proc")
        self.assert_errno(errno.EACCES, read, top / "file")
        self.assert_errno(errno.EACCES, put, top / "new", b"")
        within = run("nsenter", "--target", self.daemon, "--pid", "--mount", "cat", self.top / "file")
        self.assertEqual(within.out, "content of file")

    def test_proc_of_another_namespace(self) -> None:
        """By it a number would be that of another process: one that everything is granted to, perhaps. The daemon does not begin."""
        self.mount.umount()
        failed = run("unshare", "--pid", "--fork", BINARY, "mount", self.store.path, self.top, check=False)
        self.assertEqual(failed.code, 22, str(failed))
        self.assertIn("/proc is not that of this pid namespace", failed.err)


if __name__ == "__main__":
    unittest.main()

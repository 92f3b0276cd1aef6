"""Ways around a grant that lead to the file by another road than its path, or past the daemon to what the kernel has of it.

As in test_attacks.py, each test says which of the two it asks.
"""

import errno
import mmap
import os
import signal
import socket
import struct
import time
import unittest
from pathlib import Path
from typing import Callable

from files import rename_with_flags
from guard import LIBC
from processes import ALICE, BOB, SELF, User, as_user, in_child, need, own_mount_namespace, run, wait_until
from test_access import errno_of, put, read
from test_attacks import MEMBER, AttackTest, raw
from test_strict import aio_read, io_uring_read, signal_of
from test_withdrawal import PAGE, WithdrawalTest, mapped, reading

EXCHANGE = 2  # renameat2(2)


class Places(AttackTest):
    """The daemon's decision, by what is opened and not by the way there."""

    def setUp(self) -> None:
        super().setUp()
        for scope in ("secret", "lax"):
            self.store.coffer("scope", "create", self.store.path, f"/{scope}")
            self.store.grant(f"/{scope}", "--selector", f"unix:uid:{SELF.uid}")
            self.become(0, SELF, put, self.top / scope / "file", scope.encode())
            (self.top / scope / "dir").mkdir(0o777)
            put(self.top / scope / "dir/file", scope.encode())
            os.chmod(self.top / scope, 0o777)
        self.store.grant("/lax", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, read, self.top / "lax/file")
        self.secret, self.lax = self.top / "secret/file", self.top / "lax"

    def test_links_and_renames_into_a_laxer_scope(self) -> None:
        """Not even for whom both are granted."""
        held = os.open(self.secret, os.O_RDONLY)
        self.addCleanup(os.close, held)

        def ways() -> list[int]:
            return [errno_of(os.link, self.secret, self.lax / "new"), errno_of(os.rename, self.secret, self.lax / "new"),
                    errno_of(os.rename, self.secret, self.lax / "file"), errno_of(os.rename, self.top / "secret/dir", self.lax / "new"),
                    errno_of(lambda: os.link(f"/proc/self/fd/{held}", self.lax / "new", follow_symlinks=True)),
                    errno_of(rename_with_flags, self.secret, self.lax / "file", EXCHANGE),
                    errno_of(rename_with_flags, self.lax / "file", self.secret, EXCHANGE),
                    errno_of(rename_with_flags, self.lax / "dir", self.top / "secret/dir", EXCHANGE)]

        self.assertEqual(ways(), [errno.EXDEV] * 8)
        self.assertLessEqual(set(as_user(BOB, ways)), {errno.EXDEV, errno.EACCES})
        self.assertEqual(sorted(os.listdir(self.lax)), ["dir", "file"])
        self.assertEqual((read(self.secret), read(self.lax / "file")), (b"secret", b"lax"))

    def test_symlinks_out_of_a_scope(self) -> None:
        """Their target is its own scope's; also while a directory is exchanged for one all the time."""
        as_user(BOB, os.symlink, "../secret", self.lax / "out")
        as_user(BOB, os.symlink, self.secret, self.lax / "straight")
        self.assertEqual((read(self.lax / "out/file"), read(self.lax / "straight")), (b"secret", b"secret"))
        for attempt in ((read, self.lax / "out/file"), (read, self.lax / "straight"), (os.listdir, self.lax / "out"),
                        (os.truncate, self.lax / "straight", 0), (put, self.lax / "out/new", b"")):
            self.assertEqual(as_user(BOB, errno_of, *attempt), errno.EACCES, attempt)

        def read_while_it_turns() -> set[bytes | int]:
            turning = os.fork()
            if turning == 0:
                while os.getppid() != 1:
                    rename_with_flags(self.lax / "out", self.lax / "dir", EXCHANGE)
            seen: set[bytes | int] = set()
            try:
                until = time.monotonic() + 3
                while time.monotonic() < until:
                    try:
                        seen.add(read(self.lax / "dir/file"))
                    except OSError as failure:
                        seen.add(failure.errno or 0)
            finally:
                os.kill(turning, signal.SIGKILL)
                os.waitpid(turning, 0)
            return seen

        seen = as_user(BOB, read_while_it_turns)
        self.assertLessEqual({b"lax", errno.EACCES}, seen)
        self.assertNotIn(b"secret", seen)

    def test_opened_again_by_another(self) -> None:
        """/proc/PID/fd is a way to the file; who goes it is decided as himself, and so is what he wants of it."""
        self.grant_team()
        held, told = os.pipe()
        self.addCleanup(os.close, held)
        self.addCleanup(os.close, told)

        def hold() -> None:
            LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, so that others of the user may look
            os.write(told, struct.pack("=ii", os.getpid(), os.open(self.file, os.O_RDONLY)))
            time.sleep(30)

        holder = os.fork()
        if holder == 0:
            try:
                as_user(MEMBER, hold)
            finally:
                os._exit(0)
        pid, file = struct.unpack("=ii", os.read(held, 8))
        try:
            path = f"/proc/{pid}/fd/{file}"
            self.assertEqual(as_user(BOB, os.readlink, path), str(self.file), "the kernel lets him look")
            self.assertEqual(as_user(BOB, errno_of, os.open, path, os.O_RDONLY), errno.EACCES)
            self.assertEqual(self.refusals(BOB)[-1]["path"], "/file")
            self.assertEqual(as_user(MEMBER, errno_of, os.open, path, os.O_RDONLY), 0)
            self.assertEqual(as_user(MEMBER, errno_of, os.open, path, os.O_RDWR), errno.EACCES, "he may not write")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(holder, 0)

    def test_other_mount_namespace_and_bind_mount(self) -> None:
        """Wherever the mount is seen, or a part of it, it is the same file to the same people."""
        elsewhere = self.place("elsewhere")
        elsewhere.mkdir(0o755)

        def within() -> tuple[list[int], list[int]]:
            own_mount_namespace()
            answers = []
            for part in ("", "lax", "secret"):
                run("mount", "--bind", self.top / part, elsewhere)
                place = {"": elsewhere / "secret/file", "lax": elsewhere / "file", "secret": elsewhere / "file"}[part]
                answers.append([as_user(user, errno_of, read, place) for user in (BOB, SELF)])
                run("umount", elsewhere)
            return answers

        self.assertEqual(in_child(within), [[errno.EACCES, 0], [0, 0], [errno.EACCES, 0]])

    def test_through_an_overlay(self) -> None:
        """There uid and gid are those of who mounted the overlay, and let in whoever uses it; a control group, program or group asked
        for beside them is his own."""
        need("\toverlay\n" in Path("/proc/filesystems").read_text(), "no overlayfs")
        above, seen = self.place("above"), self.place("seen")
        for directory in (above, seen):
            directory.mkdir(0o755)
        self.store.coffer("scope", "create", self.store.path, "/team")
        self.store.grant("/team", "--selector", f"unix:uid:{SELF.uid}", "--selector", f"unix:supplementary_gid:{MEMBER.groups[0]}")
        member = User(SELF.uid, SELF.gid, MEMBER.groups)
        self.become(0, member, put, self.top / "team/file", b"team")

        def within() -> list[int]:
            own_mount_namespace()
            run("mount", "-t", "tmpfs", "tmpfs", above)
            for part in ("upper", "work"):
                (above / part).mkdir()
            run("mount", "-t", "overlay", "overlay", seen, "-o", f"lowerdir={self.top},upperdir={above}/upper,workdir={above}/work")
            return [as_user(user, errno_of, read, seen / part) for user in (BOB, MEMBER) for part in ("file", "team/file")]

        self.assertEqual(in_child(within), [0, errno.EACCES, 0, 0])

    def test_threads_of_the_kernel(self) -> None:
        """They read for whoever asks them: a loop device of a file in a strict scope gives nothing; of an ordinary one, what was opened."""
        need(os.path.exists("/dev/loop-control"), "no loop devices")
        self.store.coffer("scope", "set", self.store.path, "/secret", "--strict")
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}", rights=["list"])
        self.become(errno.ENOENT, BOB, os.stat, self.secret)
        data = os.urandom(64 * PAGE)
        for scope, expected in (("lax", 0), ("secret", errno.EIO)):
            put(self.top / scope / "disk", data)
            device = run("losetup", "--find", "--show", "--read-only", self.top / scope / "disk").out.strip()
            try:
                disk = os.open(device, os.O_RDONLY)
                code = errno_of(os.pread, disk, PAGE, 8 * PAGE)
                os.close(disk)
                self.assertEqual(code, expected, scope)
            finally:
                run("losetup", "--detach", device)
        self.assertEqual(read(self.top / "secret/disk"), data)


class Withdrawn(WithdrawalTest):
    """What is open already: the kernel's pages have to go, and the daemon has to refuse to fill new ones."""

    def test_asynchronous_readers(self) -> None:
        need(Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "0", "io_uring is switched off")
        grant = self.grant_to(BOB)

        def by(way: Callable[[int], bytes | int]) -> Callable[[], Callable[[], None]]:
            def prepare() -> Callable[[], None]:
                file = os.open(self.file, os.O_RDONLY)

                def once() -> None:
                    got = way(file)
                    if isinstance(got, int):
                        raise OSError(got, "asynchronous read")
                    if got != self.content[:PAGE]:
                        raise OSError(errno.EILSEQ, "wrong bytes")
                return once
            return prepare

        uses = [self.use(BOB, by(way)) for way in (aio_read, io_uring_read)]
        other = self.use(SELF, reading(self.file, 2048 * PAGE))
        self.store.revoke(grant)
        since = time.monotonic()
        for use in uses:
            self.assert_in_time(use.ends_with(errno.EKEYREVOKED, since))
        other.goes_on()

    def test_through_a_bind_mount_of_another_namespace(self) -> None:
        grant = self.grant_to(BOB)
        elsewhere = self.place("elsewhere")
        elsewhere.mkdir(0o755)

        def within(prepare: Callable[[Path], Callable[[], Callable[[], None]]]) -> Callable[[], Callable[[], None]]:
            def run_within() -> Callable[[], None]:
                own_mount_namespace()
                run("mount", "--bind", self.top, elsewhere)
                os.setresuid(BOB.uid, BOB.uid, BOB.uid)
                return prepare(elsewhere / "large")()
            return run_within

        reads, maps = (self.use(SELF, within(prepare)) for prepare in (reading, mapped))
        self.store.revoke(grant)
        since = time.monotonic()
        self.assert_in_time(reads.ends_with(errno.EKEYREVOKED, since))
        self.assert_in_time(maps.ends_with(-signal.SIGBUS, since))

    def test_readahead_by_another(self) -> None:
        """On a read-only mount, where identities have pages of their own: all that another has the kernel read is that one's."""
        self.mount.umount()
        self.mount = self.new_mount(self.store, "--read-only")
        self.grant_to(ALICE)
        grant = self.grant_to(BOB)
        mine, theirs = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(theirs.close)
        as_user(BOB, lambda: socket.send_fds(theirs, [b"x"], [os.open(self.file, os.O_RDONLY)]))
        bobs = socket.recv_fds(mine, 1, 1)[1][0]
        self.addCleanup(os.close, bobs)
        self.assertEqual(os.pread(bobs, PAGE, 0), self.content[:PAGE])
        memory = mmap.mmap(bobs, len(self.content), mmap.MAP_SHARED, mmap.PROT_READ)
        self.assertEqual(memory[0], self.content[0])
        self.store.revoke(grant)
        wait_until(lambda: errno_of(os.pread, bobs, PAGE, 0) == errno.EKEYREVOKED, "withdrawn", 4)

        def read_ahead() -> None:
            file = os.open(self.file, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            raw(187, file, 0, len(self.content))  # readahead(2)
            self.assertEqual(os.pread(file, len(self.content), 0), self.content)

        as_user(ALICE, read_ahead)
        os.posix_fadvise(bobs, 0, 0, os.POSIX_FADV_WILLNEED)
        for at in range(0, len(self.content), 64 * PAGE):
            self.assertEqual(errno_of(os.pread, bobs, PAGE, at), errno.EKEYREVOKED, at)
            self.assertEqual(signal_of(lambda at=at: memory[at]), signal.SIGBUS, at)


if __name__ == "__main__":
    unittest.main()

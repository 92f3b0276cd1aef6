"""What becomes of files that are open when a grant ends: within two seconds, says the design, their use fails.

Two things have to go: the daemon's leave, which a read that reaches it meets; and what the kernel keeps of the file (pages, and
mappings of them), with which a read does not reach it. `Use` reads the same pages over and over, so that without the second it
would never ask the daemon again.
"""

import errno
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest
from pathlib import Path
from typing import Callable

from files import random_bytes
from processes import ALICE, BOB, SELF, User, wait_until
from test_access import AccessTest, as_user, errno_of, put, read

BAR = 2.0  # seconds, from the command's return
PAGE = 4096


class Use:
    """A process of `user` that uses something again and again until it fails."""

    def __init__(self, user: User, prepare: Callable[[], Callable[[], None]]) -> None:
        # uses so far, time of the last that worked, errno that ended it
        self.shared = mmap.mmap(-1, PAGE)
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(user, prepare)

    def _run(self, user: User, prepare: Callable[[], Callable[[], None]]) -> None:
        try:
            user.be()
            use = prepare()
            count = 0
            while True:
                use()
                count += 1
                struct.pack_into("=Qdi", self.shared, 0, count, time.monotonic(), 0)
                time.sleep(0.001)
        except OSError as failure:
            count, last, _ = struct.unpack_from("=Qdi", self.shared)
            struct.pack_into("=Qdi", self.shared, 0, count, last, failure.errno)
        finally:
            os._exit(0)

    @property
    def count(self) -> int:
        return struct.unpack_from("=Qdi", self.shared)[0]

    @property
    def last(self) -> float:
        return struct.unpack_from("=Qdi", self.shared)[1]

    @property
    def errno(self) -> int:
        return struct.unpack_from("=Qdi", self.shared)[2]

    def running(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def goes_on(self) -> None:
        """Works, and works again."""
        before = self.count
        wait_until(lambda: not self.running() or self.count > before + 2, "it is used", 20)
        if not self.running():
            raise AssertionError(f"ended: errno {self.errno}, exit {self.code}, after {self.count} uses")

    def ends_with(self, code: int, since: float) -> float:
        """How many seconds after `since` it worked for the last time. `code` is the errno, negative for a signal."""
        wait_until(lambda: not self.running(), "it fails", 20)
        got = self.errno if self.code == 0 else self.code
        if got != code:
            raise AssertionError(f"ended with {got}, not {code}, after {self.count} uses")
        return self.last - since

    def end_code(self) -> int:
        """What it ended with: an errno, or a signal as a negative number."""
        wait_until(lambda: not self.running(), "it fails", 20)
        return self.errno if self.code == 0 else self.code or 0

    def end(self) -> None:
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def reading(path: Path, start: int = 0) -> Callable[[], Callable[[], None]]:
    """Eight pages by pread, which the kernel keeps."""
    def prepare() -> Callable[[], None]:
        file = os.open(path, os.O_RDONLY)
        return lambda: [os.pread(file, PAGE, at) for at in range(start, start + 8 * PAGE, PAGE)] and None
    return prepare


def mapped(path: Path, start: int = 0, kind: int = mmap.MAP_SHARED) -> Callable[[], Callable[[], None]]:
    def prepare() -> Callable[[], None]:
        with open(path, "rb") as file:
            memory = mmap.mmap(file.fileno(), 8 * PAGE, kind, mmap.PROT_READ, offset=start)
        return lambda: [memory[at] for at in range(0, 8 * PAGE, PAGE)] and None
    return prepare


def appending(path: Path) -> Callable[[], Callable[[], None]]:
    def prepare() -> Callable[[], None]:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        return lambda: os.write(file, b"line\n") and None
    return prepare


def listing(path: Path) -> Callable[[], Callable[[], None]]:
    def prepare() -> Callable[[], None]:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        return lambda: os.listdir(directory) and None
    return prepare


class WithdrawalTest(AccessTest):
    rights = ("list", "read", "write")

    def setUp(self) -> None:
        super().setUp()
        self.content = random_bytes(4096 * PAGE)
        self.file = self.top / "large"
        put(self.file, self.content)
        os.chmod(self.file, 0o666)

    def use(self, user: User, prepare: Callable[[], Callable[[], None]]) -> Use:
        use = Use(user, prepare)
        self.addCleanup(use.end)
        use.goes_on()
        return use

    def grant_to(self, user: User, *options: str) -> int:
        rights = [word for right in self.rights for word in ("--right", right)]
        words = ("--selector", f"unix:uid:{user.uid}", *rights, *options)
        grant = int(self.store.coffer("grant", "add", self.store.path, "/", *words).out)
        self.become(0, user, read, self.file)
        return grant

    def assert_in_time(self, seconds: float) -> None:
        # A busy machine may take longer to run the daemon at all; the bar itself is the benchmark's.
        self.assertLess(seconds, BAR + 2)

    def withdrawals(self, user: User) -> list[dict]:
        return [line for line in self.store.audit() if line["event"] == "withdraw" and line["identity"]["uid"] == user.uid]


class OpenFiles(WithdrawalTest):
    def test_revoked(self) -> None:
        """Descriptors, shared and private mappings of a file that nobody else has open."""
        grant = self.grant_to(BOB)
        uses = {"reading": self.use(BOB, reading(self.file)), "shared": self.use(BOB, mapped(self.file)),
                "private": self.use(BOB, mapped(self.file, kind=mmap.MAP_PRIVATE)), "listing": self.use(BOB, listing(self.top / "dir"))}
        self.store.revoke(grant)
        since = time.monotonic()
        ends = {"reading": errno.EKEYREVOKED, "listing": errno.EKEYREVOKED, "shared": -signal.SIGBUS, "private": -signal.SIGBUS}
        for what, use in uses.items():
            with self.subTest(what):
                self.assert_in_time(use.ends_with(ends[what], since))
        lines = self.withdrawals(BOB)
        self.assertEqual({(line["reason"], line["grant"], line["decision"]) for line in lines}, {("grant was revoked", grant, "deny")})
        self.assertEqual(sorted(line["path"] for line in lines), ["/dir", "/large", "/large", "/large"])

    def test_expired(self) -> None:
        self.grant_to(BOB, "--ttl", "4s")
        since = time.monotonic() + 4
        use, mapping = self.use(BOB, reading(self.file)), self.use(BOB, mapped(self.file))
        self.assert_in_time(use.ends_with(errno.EKEYEXPIRED, since))
        self.assert_in_time(mapping.ends_with(-signal.SIGBUS, since))

    def test_denied(self) -> None:
        """An explicit deny is added to a grant that goes on."""
        self.grant_to(BOB)
        use = self.use(BOB, reading(self.file))
        self.store.coffer("grant", "add", self.store.path, "/", "--selector", f"unix:gid:{BOB.gid}", "--right", "read", "--deny")
        since = time.monotonic()
        self.assert_in_time(use.ends_with(errno.EKEYREVOKED, since))

    def test_another_grant_is_as_good(self) -> None:
        """Whoever is granted the same otherwise goes on undisturbed."""
        grant = self.grant_to(BOB)
        use, mapping = self.use(BOB, reading(self.file)), self.use(BOB, mapped(self.file))
        self.store.grant("/", "--selector", f"unix:gid:{BOB.gid}")
        time.sleep(1.5)
        self.store.revoke(grant)
        time.sleep(2.5)
        use.goes_on()
        mapping.goes_on()
        self.assertEqual(self.withdrawals(BOB), [])

    def test_what_was_written_before_is_kept(self) -> None:
        """The last write that was answered well is there, and nothing after it; a mapping's too."""
        grant = self.grant_to(BOB)
        target = self.top / "log"
        put(target, b"")
        os.chmod(target, 0o666)
        use = self.use(BOB, appending(target))

        def write_to_mapping() -> Callable[[], None]:
            with open(self.file, "r+b") as file:
                memory = mmap.mmap(file.fileno(), PAGE)
            memory[0:4] = b"mine"
            return lambda: memory[8] and None or None

        mapping = self.use(BOB, write_to_mapping)
        self.store.revoke(grant)
        since = time.monotonic()
        self.assert_in_time(use.ends_with(errno.EKEYREVOKED, since))
        self.assert_in_time(mapping.ends_with(-signal.SIGBUS, since))
        self.assertEqual(read(target), b"line\n" * use.count)
        self.assert_content(self.file, b"mine" + self.content[4:])

    def test_granted_again(self) -> None:
        """A handle that was withdrawn stays so; who opens anew is let in."""
        grant = self.grant_to(BOB)

        def read_on(pipe: int) -> tuple[int, int]:
            with open(self.file, "rb", buffering=0) as stream:
                os.write(pipe, b"x")
                wait_until(lambda: errno_of(os.pread, stream.fileno(), 1, 0) == errno.EKEYREVOKED, "withdrawn", 10)
                wait_until(lambda: errno_of(os.open, self.file, os.O_RDONLY) == 0, "granted again", 10)
                return errno_of(os.pread, stream.fileno(), 1, 60 * PAGE), errno_of(os.close, os.open(self.file, os.O_RDONLY))

        ready, tell = os.pipe()
        self.addCleanup(os.close, ready)
        self.addCleanup(os.close, tell)

        def revoke_and_grant() -> None:
            os.read(ready, 1)
            self.store.revoke(grant)
            self.become(errno.EKEYREVOKED, BOB, read, self.file)
            time.sleep(0.5)
            self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")

        child = os.fork()
        if child == 0:
            try:
                revoke_and_grant()
            finally:
                os._exit(0)
        try:
            self.assertEqual(as_user(BOB, read_on, tell), (errno.EKEYREVOKED, 0))
        finally:
            os.waitpid(child, 0)

    def test_a_descriptor_handed_on(self) -> None:
        """It is possession, and ends with its origin: what it can do is what the process that opened it was granted."""
        grant = self.grant_to(BOB)
        pipe = os.pipe()

        def open_and_hand_on() -> None:
            with socket.socket(fileno=os.dup(theirs.fileno())) as channel, open(self.file, "rb") as stream:
                socket.send_fds(channel, [b"x"], [stream.fileno()])
                os.read(pipe[0], 1)

        mine, theirs = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(theirs.close)
        giver = os.fork()
        if giver == 0:
            try:
                as_user(BOB, open_and_hand_on)
            finally:
                os._exit(0)
        _, (got,), _, _ = socket.recv_fds(mine, 1, 1)

        def prepare() -> Callable[[], None]:
            return lambda: os.pread(got, PAGE, 0) and None

        use = self.use(ALICE, prepare)
        self.store.revoke(grant)
        since = time.monotonic()
        self.assert_in_time(use.ends_with(errno.EKEYREVOKED, since))
        os.write(pipe[1], b"x")
        os.waitpid(giver, 0)
        os.close(got)


class Keys(WithdrawalTest):
    """Scopes and single files whose keys are not to be used: nobody is let in, whatever was granted."""

    def key(self, verb: str, what: str | Path, *options: str, code: int = 0) -> str:
        done = self.store.coffer("key", verb, self.store.path, what, *options, check=False)
        self.assertEqual(done.code, code, str(done))
        return done.err

    def test_a_scope_is_suspended_and_resumed(self) -> None:
        self.store.coffer("scope", "create", self.store.path, "/apart")
        self.store.grant("/apart", "--selector", f"unix:uid:{SELF.uid}")
        self.become(0, SELF, put, self.top / "apart/file", self.content)
        inside, outside = self.use(SELF, mapped(self.top / "apart/file")), self.use(SELF, mapped(self.file))
        directory = self.use(SELF, listing(self.top / "apart"))
        self.key("suspend", "/apart")
        since = time.monotonic()
        self.assert_in_time(inside.ends_with(-signal.SIGBUS, since))
        self.assert_in_time(directory.ends_with(errno.EKEYREVOKED, since))
        self.become(errno.EKEYREVOKED, SELF, read, self.top / "apart/file")
        self.become(errno.EKEYREVOKED, SELF, put, self.top / "apart/new", b"x")
        outside.goes_on()
        self.assertEqual({line["reason"] for line in self.withdrawals(SELF)}, {"the scope is suspended"})
        self.assertIn("suspended already", self.key("suspend", "/apart", code=20))
        self.key("resume", "/apart")
        self.become(0, SELF, read, self.top / "apart/file")
        self.assert_content(self.top / "apart/file", self.content)
        outside.end()
        self.mount.umount()
        self.store.verify()

    def test_a_scope_is_revoked(self) -> None:
        self.store.coffer("scope", "create", self.store.path, "/apart")
        self.store.grant("/apart", "--everyone")
        self.become(0, SELF, put, self.top / "apart/file", self.content)
        self.key("revoke", "/apart")
        self.become(errno.EKEYREVOKED, SELF, read, self.top / "apart/file")
        self.key("resume", "/apart")
        self.become(0, SELF, read, self.top / "apart/file")
        self.key("revoke", "/apart", "--compromised")
        self.become(errno.EKEYREVOKED, SELF, read, self.top / "apart/file")
        self.assertIn("is compromised, and can't become active", self.key("resume", "/apart", code=2))
        self.assertEqual(errno_of(read, self.top / "apart/file"), errno.EKEYREVOKED)

    def test_a_file_is_suspended_and_resumed(self) -> None:
        other = self.top / "other"
        put(other, self.content)
        one, another = self.use(SELF, reading(self.file)), self.use(SELF, reading(other))
        self.key("suspend", "/large")
        self.assert_in_time(one.ends_with(errno.EKEYREVOKED, time.monotonic()))
        self.assertEqual(errno_of(read, self.file), errno.EKEYREVOKED)
        another.goes_on()
        self.key("resume", "/large")
        self.become(0, SELF, read, self.file)
        self.assert_content(self.file, self.content)
        self.assertIn("deleting the file", self.key("revoke", "/large", code=2))
        self.key("revoke", "/large", "--compromised")
        self.become(errno.EKEYREVOKED, SELF, read, self.file)
        self.key("resume", "/large", code=2)

    def test_what_has_no_key(self) -> None:
        self.assertIn("only files have keys of their own", self.key("suspend", "/dir", code=2))
        self.key("suspend", "/missing", code=19)
        self.key("suspend", "0" * 32, code=19)
        self.key("suspend", "nonsense", code=2)


class BesideOthers(WithdrawalTest):
    """Fifty read and map one file; one of their identities is withdrawn. Who may not write has pages of his own."""

    rights = ("list", "read")

    def withdraw_one_of_fifty(self, start: int) -> None:
        """Those who go on use the first pages; the others' begin at `start`."""
        self.grant_to(ALICE)
        grant = self.grant_to(BOB)
        others = [self.use((ALICE, SELF)[i % 4 == 0], (reading, mapped)[i % 2](self.file)) for i in range(40)]
        bobs = [(-signal.SIGBUS, self.use(BOB, mapped(self.file, start))) for _ in range(5)]
        bobs += [(errno.EKEYREVOKED, self.use(BOB, reading(self.file, start))) for _ in range(5)]
        self.store.revoke(grant)
        since = time.monotonic()
        for code, use in bobs:
            self.assert_in_time(use.ends_with(code, since))
        for use in others:
            use.goes_on()

    def test_of_pages_that_only_they_use(self) -> None:
        self.withdraw_one_of_fifty(len(self.content) - 8 * PAGE)

    def test_of_pages_that_all_use(self) -> None:
        self.withdraw_one_of_fifty(0)


class BesideWriters(BesideOthers):
    """Who may write to a file shares its pages with all who may."""

    rights = ("list", "read", "write")

    @unittest.expectedFailure
    def test_of_pages_that_all_use(self) -> None:
        """Else none would see at once what another writes through a mapping. What one of them reads is there for all; a strict
        scope keeps nothing (test_strict.py)."""
        super().test_of_pages_that_all_use()


class BesideOthersReadOnly(BesideOthers):
    def setUp(self) -> None:
        super().setUp()
        shutil.copy("/bin/cat", self.top / "cat")
        os.chmod(self.top / "cat", 0o755)
        self.mount.umount()
        self.mount = self.new_mount(self.store, "--read-only")

    def test_one_of_a_group_is_denied(self) -> None:
        """Nothing set those two apart before."""
        team = [User(user.uid, user.gid, (4242,)) for user in (ALICE, BOB)]
        self.store.grant("/", "--selector", "unix:supplementary_gid:4242")
        for user in team:
            self.become(0, user, read, self.file)
        stays, goes = [self.use(user, mapped(self.file)) for user in team]
        reads = self.use(team[1], reading(self.file))
        self.store.coffer("grant", "add", self.store.path, "/", "--selector", f"unix:uid:{BOB.uid}", "--right", "read", "--deny")
        since = time.monotonic()
        self.assert_in_time(goes.ends_with(-signal.SIGBUS, since))
        self.assert_in_time(reads.ends_with(errno.EKEYREVOKED, since))
        stays.goes_on()

    def test_names_serve_all_in_turn(self) -> None:
        """The kernel finds a name for all callers at once: each is led to what is its own, under load."""
        for user in (ALICE, BOB):
            self.grant_to(user)

        def look(directory: Path) -> Callable[[], Callable[[], None]]:
            def once() -> None:
                for entry in os.scandir(directory):
                    entry.stat()
                if read(self.file)[:PAGE] != self.content[:PAGE]:
                    raise OSError(errno.EILSEQ, "wrong bytes")
                with open(self.file, "rb") as file, mmap.mmap(file.fileno(), PAGE, prot=mmap.PROT_READ) as memory:
                    memory[0]
                subprocess.run([self.top / "cat", self.top / "file"], check=True, stdout=subprocess.DEVNULL)
            return lambda: once

        uses = [self.use(user, look(self.top)) for user in (ALICE, BOB, SELF, ALICE, BOB)]
        time.sleep(3)
        for use in uses:
            use.goes_on()

    def test_a_descriptor_opened_again_by_another(self) -> None:
        """No name leads there: it is read past the kernel's pages."""
        for user in (ALICE, BOB):
            self.grant_to(user)

        def again() -> bytes:
            os.seteuid(ALICE.uid)
            file = os.open(self.file, os.O_RDONLY)
            os.seteuid(0)
            os.setresuid(BOB.uid, BOB.uid, BOB.uid)
            with open(f"/proc/self/fd/{file}", "rb", buffering=0) as stream:
                return stream.read(PAGE)

        self.assertEqual(as_user(SELF, again), self.content[:PAGE])

"""Scopes with flags. Strict: what the kernel keeps of names, attributes and pages helps nobody who is not granted them, and each use
is decided anew. Purge: with the last reader goes what was decrypted.

Each test has the same asked of an ordinary scope, /lax, where the kernel's caches do answer: so it would notice if they did so in the
strict one.
"""

import ctypes
import errno
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import time
import unittest
from pathlib import Path
from typing import Any, Callable

from files import random_bytes
from guard import LIBC
from processes import BOB, SELF, User, as_user, run, wait_until
from test_access import AccessTest, errno_of, put, read
from test_withdrawal import PAGE

NAMES = {"missing": errno.ENOENT, "secret": errno.ENOENT, "dir": errno.ENOENT, "dir/file": errno.ENOENT, "link": errno.ENOENT}


def signal_of(function: Callable[[], Any]) -> int:
    """The signal that ends a process in which this is done; 0 if it is done."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return max(0, -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


class FlagsTest(AccessTest):
    """Root is granted /strict and /lax, as the store itself, and others nothing."""

    flags: dict[str, tuple[str, ...]] = {"strict": ("--strict",), "lax": ()}

    def setUp(self) -> None:
        super().setUp()
        self.content = random_bytes(64 * PAGE)
        # That the scopes are there is the root scope's to tell.
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}", rights=("list",))
        for scope, flags in self.flags.items():
            self.store.coffer("scope", "create", self.store.path, f"/{scope}", *flags)
            self.store.grant(f"/{scope}", "--selector", f"unix:uid:{SELF.uid}")
            top = self.top / scope
            self.become(0, SELF, os.listdir, top)
            os.chmod(top, 0o777)
            (top / "dir").mkdir(0o777)
            os.symlink("secret", top / "link")
            for name in ("secret", "dir/file"):
                put(top / name, self.content)
                os.chmod(top / name, 0o666)

    def grant_to(self, user: User, scope: str) -> int:
        grant = self.store.grant(f"/{scope}", "--selector", f"unix:uid:{user.uid}")
        self.become(0, user, read, self.top / scope / "secret")
        return grant


class Explained(FlagsTest):
    def test_that_a_scope_is_strict(self) -> None:
        for scope, strict in (("strict", True), ("lax", False)):
            words = ("grant", "explain", self.store.path, f"/{scope}/secret", "--right", "read", "--selector", f"unix:uid:{BOB.uid}")
            self.assertEqual(self.store.coffer(*words, "--json", check=False).json["strict"], strict)
            self.assertEqual("finds no names" in self.store.coffer(*words, check=False).out, strict)


class Names(FlagsTest):
    def test_that_the_kernel_has_cached(self) -> None:
        """Whoever is granted them has just asked for them, and they stay in the kernel's cache of names for a second."""
        for name, expected in NAMES.items():
            for scope, code in (("lax", 0 if name != "missing" else errno.EACCES), ("strict", expected)):
                path = self.top / scope / name

                def ask() -> int:
                    errno_of(os.stat, path)  # pylint: disable=cell-var-from-loop
                    return as_user(BOB, errno_of, os.stat, path)  # pylint: disable=cell-var-from-loop

                with self.subTest(scope=scope, name=name):
                    # A second is short for a busy machine; only the ordinary scope needs to be met in time.
                    answers = [ask() for _ in range(1 if scope == "strict" else 5)]
                    self.assertIn(code, answers)
        self.assertEqual(read(self.top / "strict/secret"), self.content)

    def test_nothing_tells_what_is_there(self) -> None:
        """The same errno for a name that is there and one that is not, whatever is asked."""
        def attempts(path: Path) -> list[int]:
            os.path.lexists(path)
            return [as_user(BOB, errno_of, *attempt) for attempt in (
                (os.stat, path), (os.lstat, path), (os.open, path, os.O_RDONLY), (os.open, path, os.O_RDWR), (os.open, path, os.O_PATH),
                (os.readlink, path), (os.unlink, path), (os.rmdir, path), (os.rename, path, self.top / "strict/new"),
                (os.link, path, self.top / "strict/new"), (os.chmod, path, 0o600), (os.truncate, path, 0), (os.getxattr, path, "user.x"),
                (os.listdir, path), (os.chdir, path))]

        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(set(attempts(self.top / "strict" / name)), {errno.ENOENT})
        created = [as_user(BOB, errno_of, os.open, self.top / "strict" / name, os.O_CREAT | os.O_WRONLY) for name in ("secret", "other")]
        self.assertEqual(created, [errno.EACCES] * 2)
        self.assertEqual(as_user(BOB, errno_of, os.listdir, self.top / "strict"), errno.EACCES)
        self.assertEqual(read(self.top / "strict/secret"), self.content)

    def test_who_is_granted_goes_on(self) -> None:
        """That others ask in vain makes the kernel forget the names; it finds them again."""
        inside = self.top / "strict/dir"
        here = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, here)
        file = os.open("file", os.O_RDONLY, dir_fd=here)
        self.addCleanup(os.close, file)
        for _ in range(3):
            self.assertEqual(as_user(BOB, errno_of, os.stat, inside / "file"), errno.ENOENT)
            os.close(os.open("file", os.O_RDONLY, dir_fd=here))
            self.assertEqual(os.pread(file, PAGE, PAGE), self.content[PAGE:2 * PAGE])
            self.assertEqual(os.listdir(here), ["file"])
            os.stat(inside / "file")
            self.assertEqual(os.readlink(f"/proc/self/fd/{here}"), str(inside))

    def test_attributes(self) -> None:
        """Of what was passed as a descriptor, too, that can't be read by."""
        for scope, code in (("lax", 0), ("strict", errno.ENOENT)):
            with self.subTest(scope):
                held = os.open(self.top / scope / "secret", os.O_PATH)
                self.assertEqual(as_user(BOB, errno_of, os.fstat, held), code)
                self.assertEqual(os.fstat(held).st_size, len(self.content))
                os.close(held)

    def test_a_scope_within(self) -> None:
        """Whoever is granted one below may pass, and learns no other name on the way."""
        self.store.coffer("scope", "create", self.store.path, "/strict/dir/inner")
        self.store.grant("/strict/dir/inner", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, os.listdir, self.top / "strict/dir/inner")
        self.assertEqual(as_user(BOB, errno_of, os.stat, self.top / "strict/dir"), 0)
        self.assertEqual(as_user(BOB, errno_of, os.stat, self.top / "strict/dir/file"), errno.ENOENT)
        self.assertEqual(as_user(BOB, errno_of, os.listdir, self.top / "strict/dir"), errno.EACCES)

    def test_nothing_leaves_for_a_laxer_scope(self) -> None:
        secret = self.top / "strict/secret"
        self.assertEqual(errno_of(os.link, secret, self.top / "lax/new"), errno.EXDEV)
        self.assertEqual(errno_of(os.rename, secret, self.top / "lax/new"), errno.EXDEV)
        self.assertEqual(errno_of(os.rename, self.top / "lax/secret", secret), errno.EXDEV)


class Uses(FlagsTest):
    def in_steps(self, user: User, path: Path, then: Callable[[int], Any], between: Callable[[], Any]) -> Any:
        """`then` of a descriptor that `user` opened and read by, after `between` was done here."""
        pipes = [os.pipe(), os.pipe()]

        def steps() -> Any:
            file = os.open(path, os.O_RDONLY)
            os.pread(file, PAGE, 0)
            os.write(pipes[0][1], b"x")
            os.read(pipes[1][0], 1)
            return then(file)

        def tell() -> None:
            os.read(pipes[0][0], 1)
            between()
            os.write(pipes[1][1], b"x")

        child = os.fork()
        if child == 0:
            try:
                tell()
            finally:
                os._exit(0)
        try:
            return as_user(user, steps)
        finally:
            os.waitpid(child, 0)
            for pipe in pipes:
                os.close(pipe[0])
                os.close(pipe[1])

    def test_the_first_read_after_a_revocation_fails(self) -> None:
        """At once, and not within two seconds; in an ordinary scope the kernel answers it."""
        for scope, code in (("lax", 0), ("strict", errno.EKEYREVOKED)):
            with self.subTest(scope):
                grant = self.grant_to(BOB, scope)
                got = self.in_steps(BOB, self.top / scope / "secret", lambda file: errno_of(os.pread, file, PAGE, 0),
                                    lambda grant=grant: self.store.revoke(grant))
                self.assertEqual(got, code)

    def test_so_does_the_first_after_a_key_is_suspended(self) -> None:
        got = self.in_steps(SELF, self.top / "strict/secret", lambda file: errno_of(os.pread, file, PAGE, 0),
                            lambda: self.store.coffer("key", "suspend", self.store.path, "/strict/secret"))
        self.assertEqual(got, errno.EKEYREVOKED)

    def test_a_descriptor_ends_with_its_origin(self) -> None:
        """Even for who is granted the file as well."""
        grant = self.grant_to(BOB, "strict")
        mine, theirs = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(theirs.close)

        def hand_on() -> None:
            file = os.open(self.top / "strict/secret", os.O_RDONLY)
            socket.send_fds(theirs, [b"x"], [file])

        as_user(BOB, hand_on)
        got = socket.recv_fds(mine, 1, 1)[1][0]
        self.assertEqual(os.pread(got, PAGE, 0), self.content[:PAGE])
        self.store.revoke(grant)
        self.assertEqual(errno_of(os.pread, got, PAGE, 0), errno.EKEYREVOKED)
        os.close(got)

    def test_possession_is_not_enough(self) -> None:
        """A descriptor that is passed works for who is granted what it does."""
        uses: dict[str, Callable[[int], Any]] = {
            "read": lambda file: os.pread(file, 16, 0), "write": lambda file: os.pwrite(file, b"x", 0),
            "truncate": lambda file: os.ftruncate(file, len(self.content)), "room": lambda file: os.posix_fallocate(file, 0, 16),
            "seek": lambda file: os.lseek(file, 0, os.SEEK_DATA), "stat": os.fstat, "list": entries_of}
        for scope, code in (("lax", 0), ("strict", errno.EACCES)):
            file = os.open(self.top / scope / "secret", os.O_RDWR)
            directory = os.open(self.top / scope / "dir", os.O_RDONLY | os.O_DIRECTORY)
            for what, use in uses.items():
                with self.subTest(scope=scope, use=what):
                    of = directory if what == "list" else file
                    self.assertEqual(errno_of(use, of), 0)
                    refused = errno.ENOENT if what == "stat" else errno.EACCES
                    self.assertEqual(as_user(BOB, errno_of, use, of), refused if code else 0)
            reopened = as_user(BOB, errno_of, os.open, f"/proc/self/fd/{file}", os.O_RDONLY)
            self.assertEqual(reopened, errno.ENOENT if code else errno.EACCES)
            os.close(file)
            os.close(directory)

    def test_nothing_can_be_mapped(self) -> None:
        """Pages would be there for whoever has them mapped, without another word."""
        with open(self.top / "strict/secret", "rb") as file:
            self.assertEqual(errno_of(mmap.mmap, file.fileno(), PAGE, mmap.MAP_SHARED, mmap.PROT_READ), errno.ENODEV)
            private = mmap.mmap(file.fileno(), PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ)
            self.assertEqual(signal_of(lambda: private[0]), signal.SIGBUS)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            self.assertEqual(signal_of(lambda: private[0]), signal.SIGBUS)
            self.assertEqual(file.read(), self.content)

    def test_other_ways_to_read(self) -> None:
        """The kernel's own copying, which programs do without, O_DIRECT, and what is large or beside pages."""
        path = self.top / "strict/secret"
        run("cp", path, self.place("copied"))
        shutil.copyfile(path, self.place("python"))
        for copy in ("copied", "python"):
            self.assert_content(self.place(copy), self.content)
        with open(path, "r+b", buffering=0) as file, open(self.place("copy"), "w+b", buffering=0) as copy:
            self.assertEqual(errno_of(os.sendfile, copy.fileno(), file.fileno(), 0, len(self.content)), errno.EINVAL)
            with open(self.top / "strict/copy", "wb") as other:
                self.assertEqual(errno_of(os.copy_file_range, file.fileno(), other.fileno(), 16), errno.EINVAL)
            self.assertEqual(os.pread(file.fileno(), 5000, 4000), self.content[4000:9000])
            os.pwrite(file.fileno(), b"mine", 5)
            self.assertEqual(os.pread(file.fileno(), 16, 0), self.content[:5] + b"mine" + self.content[9:16])
        large = random_bytes(5 * 1024 * 1024 + 77)
        put(self.top / "strict/large", large)
        self.assert_content(self.top / "strict/large", large)
        self.assertEqual(os.stat(self.top / "strict/large").st_size, len(large))
        direct = os.open(self.top / "strict/large", os.O_RDONLY | os.O_DIRECT)
        memory = mmap.mmap(-1, 16 * PAGE)
        self.assertEqual(os.preadv(direct, [memory], PAGE), 16 * PAGE)
        self.assertEqual(memory[:], large[PAGE:17 * PAGE])
        os.close(direct)

    def test_asynchronous_readers(self) -> None:
        """AIO and io_uring read as the process that asked, whoever does the work."""
        ways = {"aio": aio_read}
        if Path("/proc/sys/kernel/io_uring_disabled").exists() and not int(Path("/proc/sys/kernel/io_uring_disabled").read_text()):
            ways["io_uring"] = io_uring_read
        file = os.open(self.top / "strict/secret", os.O_RDONLY)
        for name, way in ways.items():
            with self.subTest(name):
                self.assertEqual(as_user(SELF, way, file), self.content[:PAGE])
                self.assertEqual(as_user(BOB, way, file), errno.EACCES)
        os.close(file)

    def test_refusals_are_on_record(self) -> None:
        file = os.open(self.top / "strict/secret", os.O_RDONLY)
        as_user(BOB, errno_of, os.pread, file, 1, 0)
        os.close(file)
        self.assertIn(("/strict/secret", "read"), [(line["path"], line["right"]) for line in self.refusals(BOB)])


class Setting(FlagsTest):
    def shown(self, scope: str) -> tuple[bool, bool]:
        row = self.store.coffer("scope", "show", self.store.path, scope, "--json").json
        return row["strict"], row["purge"]

    def test_flags_are_set_and_shown(self) -> None:
        self.assertEqual((self.shown("/strict"), self.shown("/lax")), ((True, False), (False, False)))
        self.store.coffer("scope", "set", self.store.path, "/lax", "--strict", "--purge")
        self.assertEqual(self.shown("/lax"), (True, True))
        self.assertIn("strict,purge", self.store.coffer("scope", "list", self.store.path).out)
        self.assertIn("strict,purge", self.store.coffer("scope", "show", self.store.path, "/lax").out)
        self.become(errno.ENOENT, BOB, os.stat, self.top / "lax/secret")
        self.store.coffer("scope", "set", self.store.path, "/lax", "--no-strict")
        self.assertEqual(self.shown("/lax"), (False, True))
        self.store.coffer("scope", "set", self.store.path, "/lax", "--no-purge")
        self.assertEqual(self.shown("/lax"), (False, False))
        self.become(errno.EACCES, BOB, os.stat, self.top / "lax/missing")
        self.assertIn("nothing to set", self.store.coffer("scope", "set", self.store.path, "/lax", check=False).err)
        self.assertEqual(self.store.coffer("scope", "set", self.store.path, "/dir", "--strict", check=False).code, 19)
        notes = [line["detail"] for line in self.store.audit() if line["event"] == "admin" and line["detail"].startswith("scope set")]
        self.assertEqual(notes, ["scope set flags strict,purge", "scope set flags purge", "scope set flags -"])
        self.mount.umount()
        self.store.verify()

    def test_of_a_store_that_is_not_mounted(self) -> None:
        self.mount.umount()
        self.store.coffer("scope", "create", self.store.path, "/other", "--strict", "--purge")
        self.store.grant("/other", "--everyone")
        self.assertEqual(self.shown("/other"), (True, True))
        self.store.verify()


class Purge(FlagsTest):
    flags = {"purge": ("--purge",), "lax": ()}

    def cached(self, path: Path) -> int:
        """How many of the file's pages the kernel has: fincore reads none."""
        return json.loads(run("fincore", "--json", "--bytes", path).out)["fincore"][0]["pages"]

    def test_pages_go_with_the_last_reader(self) -> None:
        purged, kept = self.top / "purge/secret", self.top / "lax/secret"
        for path in (purged, kept):
            with open(path, "rb") as one:
                one.read()
                with open(path, "rb") as other:
                    other.read(1)
                # Somebody still has it open.
                time.sleep(0.5)
                self.assertGreater(self.cached(path), 0)
        wait_until(lambda: self.cached(purged) == 0, "the pages are dropped")
        self.assertGreater(self.cached(kept), 0)
        self.assert_content(purged, self.content)

    def test_so_do_those_of_a_mapping_and_of_what_was_written(self) -> None:
        path = self.top / "purge/new"
        put(path, self.content)
        wait_until(lambda: self.cached(path) == 0, "what was written is dropped")
        with open(path, "r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        memory[:4] = b"mine"
        self.assertEqual(memory[4:], self.content[4:])
        self.assertGreater(self.cached(path), 0)
        memory.close()
        wait_until(lambda: self.cached(path) == 0, "the mapping's are dropped")
        self.assert_content(path, b"mine" + self.content[4:])

    def test_nothing_is_left_in_the_daemon(self) -> None:
        """Neither of what was read nor of what was written."""
        marks = {scope: os.urandom(32) for scope in self.flags}
        for scope, mark in marks.items():
            path = self.top / scope / "marked"
            put(path, mark * 1000)
            with open(path, "rb") as file:
                self.assertEqual(len(file.read()), 32000)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                self.assertEqual(len(os.pread(file.fileno(), 32000, 0)), 32000)
        # Last of all the one that is purged, so that nothing else takes its buffers.
        self.assertTrue(in_memory(self.mount.pid, marks["lax"]), "the search finds what is there")
        with open(self.top / "purge/marked", "rb") as file:
            file.read()
        wait_until(lambda: not in_memory(self.mount.pid, marks["purge"]), "it is wiped")


def entries_of(directory: int) -> None:
    """getdents64(2) alone."""
    if LIBC.syscall(217, directory, ctypes.create_string_buffer(PAGE), PAGE) < 0:
        raise OSError(ctypes.get_errno(), "getdents64")


def in_memory(pid: int, what: bytes) -> bool:
    """Whether a process has these bytes in memory that it may write to."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            fields = line.split()
            if "rw" not in fields[1]:
                continue
            start, end = (int(number, 16) for number in fields[0].split("-"))
            for at in range(start, end, 1 << 24):
                try:
                    if what in os.pread(memory.fileno(), min(end - at, (1 << 24) + len(what)), at):
                        return True
                except OSError:
                    continue  # the kernel's, or secret
    return False


def aio_read(file: int) -> bytes | int:
    """A page by io_submit(2): its bytes, or an errno."""
    io_setup, io_destroy, io_getevents, io_submit = 206, 207, 208, 209
    context = ctypes.c_ulong(0)
    if LIBC.syscall(io_setup, 1, ctypes.byref(context)) != 0:
        raise OSError(ctypes.get_errno(), "io_setup")
    buffer = ctypes.create_string_buffer(PAGE)
    block = ctypes.create_string_buffer(struct.pack("=QIIHhIQQqQII", 0, 0, 0, 0, 0, file, ctypes.addressof(buffer), PAGE, 0, 0, 0, 0), 64)
    blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
    event = ctypes.create_string_buffer(32)
    try:
        if LIBC.syscall(io_submit, context, 1, blocks) != 1:
            return ctypes.get_errno()
        LIBC.syscall(io_getevents, context, 1, 1, event, None)
        result = struct.unpack("=QQqq", event.raw)[2]
        return buffer.raw[:result] if result >= 0 else -result
    finally:
        LIBC.syscall(io_destroy, context)


def io_uring_read(file: int) -> bytes | int:
    """A page by io_uring, by one of the kernel's own workers (IOSQE_ASYNC): its bytes, or an errno."""
    io_uring_setup, io_uring_enter = 425, 426
    read_fixed_offset, force_worker, get_events = 22, 1 << 4, 1
    parameters = ctypes.create_string_buffer(120)
    ring = LIBC.syscall(io_uring_setup, 1, parameters)
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    numbers = struct.unpack_from("=30I", parameters.raw)
    submissions, completions = numbers[10:20], numbers[20:30]
    size = max(submissions[6] + 4, completions[5] + 2 * 16)
    with mmap.mmap(ring, size, mmap.MAP_SHARED, offset=0) as rings, \
            mmap.mmap(ring, PAGE, mmap.MAP_SHARED, offset=0x10000000) as entries:
        buffer = ctypes.create_string_buffer(PAGE)
        entries[:64] = struct.pack("=BBHiQQIIQQQQ", read_fixed_offset, force_worker, 0, file, 0, ctypes.addressof(buffer), PAGE, 0, 0, 0, 0, 0)
        struct.pack_into("=I", rings, submissions[6], 0)
        struct.pack_into("=I", rings, submissions[1], 1)
        if LIBC.syscall(io_uring_enter, ring, 1, 1, get_events, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        result = struct.unpack_from("=Qi", rings, completions[5])[1]
    os.close(ring)
    return buffer.raw[:result] if result >= 0 else -result


if __name__ == "__main__":
    unittest.main()

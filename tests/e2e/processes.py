"""Running programs, the binary under test among them, as one user or another."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import threading
import time
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

from guard import LIBC, ROOT

BINARY = os.environ.get("COFFER_BINARY", "")
REQUIRE_ALL = bool(os.environ.get("COFFER_REQUIRE_ALL_TESTS"))


def need(condition: Any, reason: str) -> None:
    """Skips the test (or class) unless `condition` holds; fails it where nothing may be skipped."""
    if condition:
        return
    if REQUIRE_ALL:
        raise AssertionError(f"can't run here, and COFFER_REQUIRE_ALL_TESTS is set: {reason}")
    raise unittest.SkipTest(reason)


def need_root() -> None:
    need(os.geteuid() == 0, "needs root, to act as several users")


NODE: dict[str, str] = {}  # what the environment of every program says besides
_MAKING_HOMES = threading.Lock()  # tests run programs from several threads


@dataclass(frozen=True)
class User:
    """Whom to run something as. Supplementary groups are these and no others."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def home(self) -> Path:
        """With the user's state, sockets and keys."""
        path = ROOT / f"u{self.uid}"
        with _MAKING_HOMES:
            if not path.exists():
                path.mkdir(mode=0o700)
                if os.geteuid() == 0:
                    os.chown(path, self.uid, self.gid)
        return path

    def be(self) -> None:
        """The process that calls it is the user's from here on."""
        if self != SELF:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "COFFER_STATE_DIR": str(self.home / "state"),
            "COFFER_RUNTIME_DIR": str(self.home / "run"),
            **NODE,
        }


SELF = User(os.geteuid(), os.getegid(), tuple(os.getgroups()))
ALICE = User(12345, 12345)
BOB = User(12346, 12346)


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    command: Sequence[str]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.command))}\n  exit {self.code}\n  stdout {self.out!r}\n  stderr {self.err!r}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*command: str | Path, user: User = SELF, check: bool = True, timeout: float = 60, cwd: str | Path | None = None,
        stdin: str | None = None, state: Path | None = None) -> Outcome:
    """Runs a program to its end. An exit code other than 0 is an error unless `check` is off. `state` is where the node that it stands
    for keeps what it knows, if not at the user's."""
    words = [str(word) for word in command]
    credentials = {} if user == SELF else {"user": user.uid, "group": user.gid, "extra_groups": user.groups}
    environment = user.environment() | ({"COFFER_STATE_DIR": str(state)} if state else {})
    done = subprocess.run(words, env=environment, cwd=cwd or "/", timeout=timeout, capture_output=True, check=False,
                          input=None if stdin is None else stdin.encode(),
                          stdin=subprocess.DEVNULL if stdin is None else None, **credentials)
    outcome = Outcome(words, done.returncode, done.stdout.decode(errors="surrogateescape"),
                      done.stderr.decode(errors="surrogateescape"))
    if check and outcome.code != 0:
        raise AssertionError(str(outcome))
    return outcome


def coffer(*words: str | Path, **options: Any) -> Outcome:
    """Runs the binary under test."""
    return run(BINARY, *words, **options)


def own_mount_namespace() -> None:
    """What this process and its children mount from now on is seen by them alone. For root."""
    clone_newns, ms_rec, ms_private = 0x20000, 0x4000, 1 << 18
    done = LIBC.unshare(clone_newns) == 0 and LIBC.mount(b"none", b"/", None, ms_rec | ms_private, None) == 0
    need(done, f"can't make a mount namespace: {os.strerror(ctypes.get_errno())}")


def ordinary_machine() -> None:
    """What an ordinary user finds on most systems, whatever this one is like: an account of his own (fusermount3 wants a name), a
    /dev/fuse that he may open, and no leave to let others in. In a mount namespace of this process; for root, nothing otherwise."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        return
    own_mount_namespace()
    files = ROOT / "machine"
    files.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", files)
    os.mknod(files / "fuse", stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
    os.chmod(files / "fuse", 0o666)
    (files / "passwd").write_text(Path("/etc/passwd").read_text() + f"coffer-e2e:x:{ALICE.uid}:{ALICE.gid}::/:/bin/sh\n")
    (files / "fuse.conf").write_text("")
    for name, place in (("fuse", "/dev/fuse"), ("passwd", "/etc/passwd"), ("fuse.conf", "/etc/fuse.conf")):
        if os.path.exists(place):
            run("mount", "--bind", files / name, place)


def start(*command: str | Path, user: User = SELF, **options: Any) -> subprocess.Popen:
    """Starts a program that the test ends itself."""
    credentials = {} if user == SELF else {"user": user.uid, "group": user.gid, "extra_groups": user.groups}
    return subprocess.Popen([str(word) for word in command], env=user.environment(), cwd="/", **credentials, **options)


def as_user(user: User, function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)` in a process of `user`: its result, or its exception raised here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            user.be()
            answer = (True, function(*arguments))
        except BaseException as failure:  # pylint: disable=broad-except
            answer = (False, failure)
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    worked, result = pickle.loads(answer)
    if not worked:
        raise result
    return result


def in_child(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)` in another process of the same user."""
    return as_user(SELF, function, *arguments)


def in_processes(functions: Iterable[Callable[[], Any]]) -> None:
    """Runs functions side by side, each in a process of its own; an exception in one is an error here."""
    children = []
    for function in functions:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                function()
                code = 0
            except BaseException as failure:  # pylint: disable=broad-except
                print(f"{type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise AssertionError(f"exit codes of the processes: {codes}")


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 5.0) -> Any:
    """What `condition` gives once it is true; an OSError in it means "not yet"."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


MEMFD_SECRET, SECCOMP = 447, 317  # numbers of system calls; the second is x86-64's


def refuse(number: int) -> None:
    """For this process and its children one system call is as if the kernel had none. For root."""
    need(os.uname().machine == "x86_64", "numbers of system calls are x86-64's")
    load, jump_if_equal, give, enosys, allow = 0x20, 0x15, 0x06, 0x50000 | errno.ENOSYS, 0x7FFF0000
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in (
        (load, 0, 0, 0), (jump_if_equal, 0, 1, number), (give, 0, 0, enosys), (give, 0, 0, allow))))
    filter_ = ctypes.create_string_buffer(struct.pack("H6xP", 4, ctypes.addressof(program)))
    if LIBC.prctl(22, 2, filter_, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


def alive(pid: int) -> bool:
    """Whether any thread of a process runs (a zombie does not): its first may end before others, who hold its files open."""
    return any(_runs(thread) for thread in Path(f"/proc/{pid}/task").glob("*"))


def _runs(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def drop_caches() -> None:
    """Makes the kernel forget clean pages, names and attributes, so that the next use asks the daemon."""
    need_root()
    Path("/proc/sys/vm/drop_caches").write_text("3")

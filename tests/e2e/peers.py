"""Other processes that lock files as they are told."""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

from processes import SELF, User

F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
GETLK = {"fcntl": fcntl.F_GETLK, "ofd": F_OFD_GETLK}
SETLK = {"fcntl": (fcntl.F_SETLK, fcntl.F_SETLKW), "ofd": (F_OFD_SETLK, F_OFD_SETLKW)}
FLOCK = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX, fcntl.F_UNLCK: fcntl.LOCK_UN}
SHARED, EXCLUSIVE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK


def lock(kind: str, file: int, how: int, start: int = 0, length: int = 0, wait: bool = False) -> None:
    """`kind` is fcntl, ofd or flock."""
    if kind == "flock":
        fcntl.flock(file, FLOCK[how] | (0 if wait else fcntl.LOCK_NB))
    else:
        fcntl.fcntl(file, SETLK[kind][wait], struct.pack("hhqqi4x", how, os.SEEK_SET, start, length, 0))


def in_the_way(kind: str, file: int, how: int, start: int = 0, length: int = 0) -> tuple[int, int, int, int]:
    """The first lock in the way: how, start, length, process."""
    answer = fcntl.fcntl(file, GETLK[kind], struct.pack("hhqqi4x", how, os.SEEK_SET, start, length, 0))
    how, _, start, length, pid = struct.unpack("hhqqi4x", answer)
    return how, start, length, pid


class Interrupted(Exception):
    pass


def _raise(*_: Any) -> None:
    raise Interrupted


class Peer:
    """A process that calls one function after another. What a call gives is the function's result, or the errno as a negative number."""

    def __init__(self, user: User = SELF, inherits: Peer | None = None) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if inherits is not None:
            # A child of that process, with its descriptors.
            socket.send_fds(inherits.ours, [pickle.dumps((None, ()))], [theirs.fileno()])
            self.pid = inherits.result()
        else:
            self.pid = os.fork()
            if self.pid == 0:
                self._become(user)
                self._serve(theirs)
        theirs.close()
        self.parent = os.getpid() if inherits is None else 0

    @staticmethod
    def _become(user: User) -> None:
        signal.signal(signal.SIGUSR1, _raise)
        user.be()

    @staticmethod
    def _serve(theirs: socket.socket) -> None:
        try:
            while True:
                message, descriptors, *_ = socket.recv_fds(theirs, 1 << 16, 1)
                if not message:
                    break
                function, arguments = pickle.loads(message)
                if function is None:
                    child = os.fork()
                    if child == 0:
                        theirs.close()
                        theirs = socket.socket(fileno=descriptors[0])
                        continue
                    os.close(descriptors[0])
                    answer = child
                else:
                    try:
                        answer = function(*arguments)
                    except Interrupted:
                        answer = "interrupted"
                    except OSError as failure:
                        answer = -(failure.errno or 0)
                theirs.send(pickle.dumps(answer))
        finally:
            os._exit(0)

    def start(self, function: Any, *arguments: Any) -> None:
        self.ours.send(pickle.dumps((function, arguments)))

    def result(self, timeout: float = 10.0) -> Any:
        if not select.select([self.ours], [], [], timeout)[0]:
            raise AssertionError(f"process {self.pid} has no answer after {timeout} s")
        answer = self.ours.recv(1 << 16)
        if not answer:
            raise AssertionError(f"process {self.pid} has ended")
        return pickle.loads(answer)

    def __call__(self, function: Any, *arguments: Any) -> Any:
        self.start(function, *arguments)
        return self.result()

    def open(self, path: Path, flags: int = os.O_RDWR) -> int:
        file = self(os.open, path, flags)
        if file < 0:
            raise AssertionError(f"open: {os.strerror(-file)}")
        return file

    def lock(self, kind: str, file: int, how: int, start: int = 0, length: int = 0) -> bool:
        """Without waiting: whether it got it."""
        answer = self(lock, kind, file, how, start, length)
        if answer not in (None, -11, -13):
            raise AssertionError(f"{kind}: {answer}")
        return answer is None

    def waits_for(self, kind: str, file: int, how: int, start: int = 0, length: int = 0) -> None:
        """Returns when the process waits for the lock; `result` says what becomes of it."""
        self.start(lock, kind, file, how, start, length, True)
        if select.select([self.ours], [], [], 0.1)[0]:
            raise AssertionError(f"{kind}: it did not wait: {self.result()}")

    def kill(self, number: int = signal.SIGKILL) -> float:
        """How long its end took; of a child of ours."""
        since = time.monotonic()
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)
        self.parent = 0
        return time.monotonic() - since

    def end(self) -> None:
        self.ours.close()
        if self.parent:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.parent = 0

"""The directory of this run, and a guard that nothing in it outlives."""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
MNT_FORCE = 1
MNT_DETACH = 2


def mounts_below(root: str) -> list[str]:
    """Mount points in `root`, the newest first. Read from the kernel's table: a dead mount must not be touched."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            at = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
            if at.startswith(root + "/"):
                found.append(at)
    return found[::-1]


def daemons_below(root: str) -> list[int]:
    """Coffer processes that were given a path in `root`."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]) in (b"coffer", b"mount.fuse.coffer") and any(os.fsencode(root) in w for w in words):
            found.append(int(entry))
    return found


def end_mounts(root: str) -> None:
    """Kills the daemons of this run, by their pids, and detaches its mounts. Whoever waits for one gets an error."""
    for pid in daemons_below(root):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    for at in mounts_below(root):
        if LIBC.umount2(os.fsencode(at), MNT_FORCE | MNT_DETACH) != 0:
            subprocess.run(["fusermount3", "-u", "-z", at], stderr=subprocess.DEVNULL, timeout=10, check=False)


class Guard:
    """A process of its own that ends mounts when a test takes too long, and cleans up when the test process is gone.

    A thread could not do it: a page fault in a dead mount is waited for with the interpreter's lock held. Nor could the test
    process itself: ctest kills one that takes too long.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        reader, self._writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(self._writer)
            self._watch(reader)
        os.close(reader)
        os.waitpid(child, 0)

    def arm(self, seconds: float) -> None:
        """From now on, `seconds` until all mounts are ended; 0 is for ever."""
        os.write(self._writer, struct.pack("d", seconds))

    @property
    def expired(self) -> bool:
        return os.path.exists(self._root + "/expired")

    def _watch(self, reader: int) -> NoReturn:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        nothing = os.open("/dev/null", os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.chdir("/")
        deadline: float | None = None
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([reader], [], [], wait)
            if not ready:
                Path(self._root, "expired").touch()
                end_mounts(self._root)
                deadline = None
                continue
            message = os.read(reader, 8)
            if not message:
                break
            (seconds,) = struct.unpack("d", message)
            deadline = time.monotonic() + seconds if seconds > 0 else None
        end_mounts(self._root)
        # One file system: should a mount have stayed, its store's content does not go.
        subprocess.run(["rm", "-rf", "--one-file-system", self._root], timeout=120, check=False)
        os._exit(0)


def _session_root() -> str:
    base = os.environ.get("COFFER_E2E_DIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    root = os.path.realpath(tempfile.mkdtemp(prefix="coffer-e2e-", dir=base))
    os.chmod(root, 0o755)
    return root


ROOT = Path(_session_root())
GUARD = Guard(str(ROOT))

"""What files hold: made, summed, listed and compared."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import struct
from pathlib import Path
from typing import Any, Iterator

from guard import LIBC

MIB = 1 << 20
GIB = 1 << 30


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Incompressible, and the same for the same seed."""
    return hashlib.shake_128(struct.pack("<Q", seed)).digest(size)


def digest(path: str | bytes | Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_program(program: str | Path, path: Path, tail: bytes = b"") -> Path:
    """Another file that does the same: `tail` stands at its end."""
    shutil.copyfile(program, path)
    with open(path, "ab") as stream:
        stream.write(tail)
    os.chmod(path, 0o755)
    return path


def walk(root: str | Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every entry below `root` with its own status, as paths relative to it; the root itself is b"."."""
    top = os.fsencode(root)
    yield b".", os.lstat(top)
    for directory, names, files in os.walk(top):
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            yield os.path.relpath(path, top), os.lstat(path)


def tree(root: str | Path, *, times: bool = True, links: bool = True, owners: bool = True) -> dict[bytes, tuple]:
    """What a directory holds, for comparison: type, mode, owner, links, mtime, and content or target of every entry below."""
    found = {}
    for name, status in walk(root):
        path = os.path.join(os.fsencode(root), name)
        content: Any = None
        if stat.S_ISREG(status.st_mode):
            content = (status.st_size, digest(path))
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        found[name] = (
            stat.filemode(status.st_mode),
            (status.st_uid, status.st_gid) if owners else None,
            status.st_nlink if links and not stat.S_ISDIR(status.st_mode) else None,
            status.st_mtime_ns if times else None,
            content,
        )
    return found


def rename_with_flags(source: str | Path, target: str | Path, flags: int) -> None:
    """renameat2(2), which Python does not have."""
    done = LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags)
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source))


FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_COLLAPSE_RANGE = 8
FALLOC_FL_ZERO_RANGE = 16
FALLOC_FL_INSERT_RANGE = 32


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which Python has without its modes."""
    done = LIBC.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_file(path: str | bytes | Path, data: bytes = b"", flags: int = 0) -> None:
    """Makes or replaces a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def mode_of(path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)

"""What is timed. A workload's figure is units a second, more is better: bytes, files or runs."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from peers import Peer

MIB = 1 << 20


@dataclass
class Sizes:
    file: int  # bytes of the large file
    accesses: int  # pages for random access
    files: int  # small files
    tree: int  # files in the tar


@dataclass
class Workload:
    name: str
    unit: str  # "GB", "files" or "runs"
    cache: str  # "cold": nothing is in the page cache; "warm": all that is read is; "as is"
    run: Callable[[Peer, Sizes], tuple[float, float]]  # seconds, units
    after: str = ""  # the workload that makes what this one works on


def io_load(workload: str, file: str, size: Callable[[Sizes], int] | None = None, per: float = 1e9) -> Callable[[Peer, Sizes], tuple[float, float]]:
    def run(peer: Peer, sizes: Sizes) -> tuple[float, float]:
        command = [os.environ["COFFER_IO_LOAD"], workload, peer.top / file]
        if size is not None:
            command.append(str(size(sizes)))
        seconds, units = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        return float(seconds), float(units) / per

    return run


TORCH = """
import sys, time, torch
what, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
if what == "save":
    state = {f"layer{i}": torch.full((size // 16 // 4,), float(i)) for i in range(16)}
begin = time.perf_counter()
if what == "save":
    torch.save(state, path)
else:
    assert len(torch.load(path)) == 16
print(time.perf_counter() - begin)
"""


def torch(what: str) -> Callable[[Peer, Sizes], tuple[float, float]]:
    def run(peer: Peer, sizes: Sizes) -> tuple[float, float]:
        command = ["/usr/bin/python3", "-c", TORCH, what, peer.top / "model.pt", str(sizes.file // 2)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout), sizes.file / 2e9

    return run


def timed(*command: str | Path) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def make_tar(home: Path, files: int) -> Path:
    """A tree as of sources: many small files, some larger, a few levels deep. The same each time."""
    path = home / "tree.tar"
    if not path.exists():
        chance = random.Random(1)
        with tarfile.open(path, "w") as tar:
            for i in range(files):
                data = chance.randbytes(min(200_000, int(chance.lognormvariate(8, 1.3))))
                entry = tarfile.TarInfo(f"tree/d{i % 23}/e{i % 7}/file{i}.c")
                entry.size = len(data)
                entry.mtime = 1_600_000_000 + i
                tar.addfile(entry, io.BytesIO(data))
    return path


def untar(peer: Peer, sizes: Sizes) -> tuple[float, float]:
    shutil.rmtree(peer.top / "tree", ignore_errors=True)
    tar = make_tar(peer.home.parent, sizes.tree)
    return timed("tar", "-xf", tar, "-C", peer.top), sizes.tree


def git(peer: Peer, *words: str) -> float:
    return timed("git", "-c", "safe.directory=*", "-C", peer.top / "tree", *words)


def git_add(peer: Peer, sizes: Sizes) -> tuple[float, float]:
    shutil.rmtree(peer.top / "tree" / ".git", ignore_errors=True)
    git(peer, "init", "-q")
    return git(peer, "add", "-A"), sizes.tree


def git_status(peer: Peer, sizes: Sizes) -> tuple[float, float]:
    return git(peer, "status", "--short"), sizes.tree


# In this order: what one leaves behind the next ones use.
WORKLOADS = [
    Workload("write+fsync", "GB", "as is", io_load("write", "file", lambda sizes: sizes.file)),
    Workload("overwrite+fsync", "GB", "as is", io_load("overwrite", "file", lambda sizes: sizes.file), "write+fsync"),
    Workload("read cold", "GB", "cold", io_load("read", "file"), "write+fsync"),
    Workload("read warm", "GB", "warm", io_load("read", "file"), "write+fsync"),
    Workload("mmap cold", "GB", "cold", io_load("mmap", "file"), "write+fsync"),
    Workload("mmap warm", "GB", "warm", io_load("mmap", "file"), "write+fsync"),
    Workload("mmap populate", "GB", "cold", io_load("populate", "file"), "write+fsync"),
    Workload("tensors cold", "GB", "cold", io_load("tensors", "file"), "write+fsync"),
    Workload("4 threads", "GB", "cold", io_load("threads", "file"), "write+fsync"),
    Workload("4 processes", "GB", "cold", io_load("processes", "file"), "write+fsync"),
    Workload("O_DIRECT", "GB", "cold", io_load("direct", "file"), "write+fsync"),
    Workload("random mmap", "GB", "cold", io_load("random-mmap", "file", lambda sizes: sizes.accesses), "write+fsync"),
    Workload("random pread", "GB", "cold", io_load("random-pread", "file", lambda sizes: sizes.accesses), "write+fsync"),
    Workload("torch.save", "GB", "as is", torch("save")),
    Workload("torch.load", "GB", "cold", torch("load"), "torch.save"),
    Workload("small create", "files", "as is", io_load("small-create", "small", lambda sizes: sizes.files, 1)),
    Workload("small open+read", "files", "cold", io_load("small-read", "small", lambda sizes: sizes.files, 1), "small create"),
    Workload("small list+stat", "files", "cold", io_load("small-list", "small", lambda sizes: sizes.files, 1), "small create"),
    Workload("small rename", "files", "as is", io_load("small-rename", "small", lambda sizes: sizes.files // 10, 1), "small create"),
    Workload("small unlink", "files", "as is", io_load("small-unlink", "small", lambda sizes: sizes.files, 1), "small create"),
    Workload("untar", "files", "as is", untar),
    Workload("git add", "files", "as is", git_add, "untar"),
    Workload("git status", "files", "cold", git_status, "git add"),
]


def drop_caches() -> None:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError as error:
        print(f"cold reads need root: {error}", file=sys.stderr)
        sys.exit(77)  # as a test: skipped

"""Control groups made by a test, where this machine has them mounted."""

from __future__ import annotations

import os
from pathlib import Path

from processes import need, need_root, wait_until


def hierarchy(controller: str = "") -> Path:
    """Where a hierarchy of control groups is mounted: v2's, or v1's of a controller."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, rest = (part.split() for part in line.split(" - "))
        fits = rest[0] == "cgroup" and controller in rest[2].split(",") if controller else rest[0] == "cgroup2"
        if fits and fields[3] == "/":
            return Path(fields[4])
    need(False, f"control groups are not mounted ({controller or 'version 2'})")
    raise AssertionError


class Group:
    """One control group, with those above it as far as they were not there."""

    def __init__(self, path: str, controller: str = "") -> None:
        need_root()
        self.root = hierarchy(controller)
        self.path = path
        self.directory = self.root / path.lstrip("/")
        self.made: list[Path] = []
        at = self.root
        for part in Path(path.lstrip("/")).parts:
            at = at / part
            if not at.exists():
                try:
                    at.mkdir()
                except OSError as failure:
                    need(False, f"can't make a control group: {failure}")
                self.made.append(at)

    def take(self, pid: int) -> None:
        (self.directory / "cgroup.procs").write_text(str(pid))

    def leave(self, pid: int) -> None:
        """To the root of the hierarchy."""
        (self.root / "cgroup.procs").write_text(str(pid))

    def remove(self, count: int = 1) -> None:
        """The innermost of those that were made; the kernel may take a moment to let one go whose processes just left."""
        for directory in reversed(self.made[-count:]):
            wait_until(lambda at=directory: (os.rmdir(at), True)[1], f"{directory} is empty")
            self.made.remove(directory)

    def close(self) -> None:
        """Ends it in any case: who is still in it goes to the root."""
        for directory in reversed(self.made):
            for pid in (directory / "cgroup.procs").read_text().split():
                self.leave(int(pid))
            os.rmdir(directory)
        self.made.clear()

"""What writers note outside a mount while they write to it, and what their files may hold by it once the daemon was killed."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, NoReturn

from files import random_bytes

CHUNK = 4096


class Log:
    """One JSON line for each thing begun and ended. Not synced: it is the daemon that dies, not the machine."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)

    def note(self, **what: Any) -> None:
        os.write(self._fd, (json.dumps(what) + "\n").encode())


def read_log(path: Path) -> list[dict]:
    # The last line may be half there.
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def write_whole(fd: int, data: bytes, offset: int) -> None:
    """All of it, or an error; a write is short if the daemon dies in the midst of it."""
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


class FileLedger:
    """One file that is written in place: appended to, overwritten, truncated, and fsynced every few times.

    `steps` are the kinds of changes with their weights. In the writer's process `work` goes on until an error; in the test's
    process `check` says whether a content is possible by the log, and takes it for the truth from then on.
    """

    def __init__(self, name: str, log: Path, steps: dict[str, int], size: int) -> None:
        self.name = name
        self._log = log
        self._steps = steps
        self._usual_size = size
        self._known = b""
        self._fresh = True

    def work(self, directory: Path, seed: int) -> NoReturn:
        chooser = random.Random(seed)
        log = Log(self._log)
        fd = os.open(directory / self.name, os.O_RDWR | os.O_CREAT, 0o600)
        size = len(self._known)
        while True:
            for _ in range(chooser.randint(1, 6)):
                step = self._change(chooser, size)
                log.note(**step)
                if step["do"] == "write":
                    write_whole(fd, random_bytes(step["length"], step["seed"]), step["at"])
                    size = max(size, step["at"] + step["length"])
                else:
                    os.ftruncate(fd, step["at"])
                    size = step["at"]
            (os.fsync if chooser.random() < 0.5 else os.fdatasync)(fd)
            log.note(do="synced")
            if chooser.random() < 0.2:
                os.close(fd)
                fd = os.open(directory / self.name, os.O_RDWR)

    def _change(self, chooser: random.Random, size: int) -> dict:
        (kind,) = chooser.choices(list(self._steps), list(self._steps.values()))
        seed = chooser.getrandbits(40)
        if kind == "truncate" or size > 2 * self._usual_size:
            return {"do": "truncate", "at": chooser.randrange(self._usual_size)}
        if kind == "append" or size < CHUNK:
            return {"do": "write", "at": size, "length": chooser.randint(1, 9000), "seed": seed}
        if kind == "overwrite chunk":
            return {"do": "write", "at": chooser.randrange(size // CHUNK) * CHUNK, "length": CHUNK, "seed": seed}
        return {"do": "write", "at": chooser.randrange(size), "length": chooser.randint(1, 9000), "seed": seed}

    def check(self, directory: Path) -> str | None:
        """What is wrong with the file, or nothing."""
        versions = [self._known]
        synced = False
        for step in read_log(self._log):
            if step["do"] == "synced":
                versions = versions[-1:]
                synced = True
            else:
                versions.append(self._after(versions[-1], step))
        os.unlink(self._log)
        try:
            content = (directory / self.name).read_bytes()
        except FileNotFoundError:
            return f"{self.name} is gone, and was synced" if synced or not self._fresh else None
        except OSError as failure:
            return f"{self.name} can't be read: {failure}"
        wrong = self._impossible(content, versions)
        self._known = content
        self._fresh = False
        return wrong

    @staticmethod
    def _after(content: bytes, step: dict) -> bytes:
        at = step["at"]
        if step["do"] == "truncate":
            return content[:at].ljust(at, b"\0")
        return content[:at].ljust(at, b"\0") + random_bytes(step["length"], step["seed"]) + content[at + step["length"]:]

    def _impossible(self, content: bytes, versions: list[bytes]) -> str | None:
        sizes = [len(version) for version in versions]
        # The last change may be there in part.
        in_part = len(sizes) > 1 and sizes[-2] <= len(content) <= sizes[-1]
        if len(content) not in sizes and not in_part:
            return f"{self.name} has {len(content)} bytes; possible are {sizes}"
        for at in range(0, len(content), CHUNK):
            chunk = content[at:at + CHUNK]
            if not any(version[at:at + len(chunk)] == chunk for version in versions):
                return f"{self.name}: chunk {at // CHUNK} of {len(content)} bytes is as it never was since it was synced"
        return None


class ReplacedLedger:
    """A file that is replaced whole, each time by another: written beside, fsynced, renamed over it."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._generation = 0

    @staticmethod
    def _content(generation: int) -> bytes:
        return random_bytes(random.Random(generation).randint(1, 40_000), generation)

    def work(self, directory: Path, _seed: int) -> NoReturn:
        log = Log(self._log)
        generation = self._generation
        while True:
            generation += 1
            fd = os.open(directory / f"{self.name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            write_whole(fd, self._content(generation), 0)
            os.fsync(fd)
            os.close(fd)
            log.note(begun=generation)
            os.rename(directory / f"{self.name}.new", directory / self.name)
            log.note(ended=generation)

    def check(self, directory: Path) -> str | None:
        begun = ended = self._generation
        for step in read_log(self._log):
            begun = step.get("begun", begun)
            ended = step.get("ended", ended)
        os.unlink(self._log)
        try:
            content = (directory / self.name).read_bytes()
            beside = directory / f"{self.name}.new"
            if beside.exists():
                beside.read_bytes()
        except FileNotFoundError:
            return f"{self.name} is gone" if ended > 0 else None
        except OSError as failure:
            return f"{self.name} can't be read: {failure}"
        for generation in range(ended, begun + 1):
            if generation > 0 and content == self._content(generation):
                self._generation = generation
                return None
        return f"{self.name} is neither of the generations {ended} to {begun}: {len(content)} bytes"

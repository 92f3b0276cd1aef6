"""The filesystems that are compared: each shows a directory of the same backing at a mount point of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path


class Peer:
    """A directory to work in, `top`. `pid` is the daemon's, where there is one."""

    name = "bare"
    program = ""  # has to be installed, if any
    variable = ""  # of the environment: has to name a program, if any

    def __init__(self, home: Path) -> None:
        self.home = home / self.name
        self.backing = self.home / "backing"
        self.top = self.home / "top"
        self.daemon: subprocess.Popen[bytes] | None = None
        for directory in (self.home, self.backing, self.top):
            directory.mkdir()

    @classmethod
    def missing(cls) -> str | None:
        """Why it can't be had here, if it can't."""
        if cls.variable and not os.environ.get(cls.variable):
            return f"{cls.variable} names no program"
        return "not installed" if cls.program and not shutil.which(cls.program) else None

    def start(self) -> None:
        self.top = self.backing

    def stop(self) -> None:
        if self.daemon is None:
            return
        for _ in range(50):
            if subprocess.run(["fusermount3", "-u", self.top], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["fusermount3", "-u", "-z", self.top])
        self.daemon.wait(timeout=30)
        self.daemon = None

    def _mount(self, *command: str | Path) -> None:
        with open(self.home / "log", "wb") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while not os.path.ismount(self.top):
            if self.daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} does not mount: {(self.home / 'log').read_text()}")
            time.sleep(0.02)

    def _passphrase(self) -> Path:
        path = self.home / "passphrase"
        path.write_text("benchmark\n")
        return path

    def cpu_seconds(self) -> float:
        if self.daemon is None:
            return 0.0
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        if self.daemon is not None:
            Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The most memory that was resident since forget_peak."""
        if self.daemon is None:
            return 0.0
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


class Passthrough(Peer):
    """libfuse's own example, which encrypts nothing. cache=always: what was read stays in the page cache, as with coffer."""

    name = "passthrough"
    variable = "PASSTHROUGH_LL"

    def start(self) -> None:
        self._mount(os.environ["PASSTHROUGH_LL"], "-f", "-o", f"source={self.backing},cache=always,timeout=1", self.top)


class Gocryptfs(Peer):
    name = program = "gocryptfs"

    def start(self) -> None:
        passphrase = self._passphrase()
        subprocess.run(["gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", passphrase, self.backing], check=True)
        self._mount("gocryptfs", "-q", "-fg", "-passfile", passphrase, self.backing, self.top)


class Securefs(Peer):
    name = program = "securefs"

    def start(self) -> None:
        subprocess.run(["securefs", "create", self.backing, "--pass", "benchmark"], check=True, capture_output=True)
        self._mount("securefs", "mount", self.backing, self.top, "--pass", "benchmark")


class Encfs(Peer):
    name = program = "encfs"

    def start(self) -> None:
        self._mount("encfs", "-f", "--standard", "--extpass", "echo benchmark", self.backing, self.top)


class Cryfs(Peer):
    name = program = "cryfs"

    def start(self) -> None:
        passphrase = self._passphrase()
        os.environ.update(CRYFS_FRONTEND="noninteractive", CRYFS_NO_UPDATE_CHECK="true")
        self._mount("sh", "-c", 'exec cryfs -f "$1" "$2" < "$3"', "sh", self.backing, self.top, passphrase)


class Coffer(Peer):
    name = "coffer"
    variable = "COFFER_BINARY"

    def start(self) -> None:
        binary = os.environ["COFFER_BINARY"]
        os.environ["COFFER_STATE_DIR"] = str(self.home / "state")
        os.environ["COFFER_RUNTIME_DIR"] = str(self.home / "run")
        store = self.backing / "store"
        subprocess.run([binary, "init", store, "--kms", f"local:{self.home}/key"], check=True, capture_output=True)
        self._mount(binary, "mount", "-f", store, self.top)


PEERS: list[type[Peer]] = [Peer, Passthrough, Gocryptfs, Securefs, Encfs, Cryfs, Coffer]

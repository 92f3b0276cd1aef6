"""Stores and their mounts, made by the binary under test."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any, Sequence

from guard import mounts_below
from processes import SELF, Outcome, User, alive, coffer, run, wait_until


class Store:
    """A store of `user`, made by coffer init, with its key outside: in a file, from a passphrase (or PIN), or where `kms` says."""

    def __init__(self, directory: Path, *, user: User = SELF, init: Sequence[str | Path] = (), passphrase: str = "",
                 kms: str = "") -> None:
        self.path = directory
        self.user = user
        self.secret: tuple[str | Path, ...] = ()
        self.key: Path | None = None
        name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        if passphrase:
            secret_file = user.home / f"{name}.passphrase"
            secret_file.write_text(passphrase + "\n")
            os.chmod(secret_file, 0o644)
            self.secret = ("--passphrase-file", secret_file)
        elif not kms:
            self.key = user.home / f"{name}.key"
        self.coffer("init", directory, "--kms", kms or (f"local:{self.key}" if self.key else "passphrase:"), *init)

    def coffer(self, *words: str | Path, **options: Any) -> Outcome:
        """Runs the binary as the store's user, with the store's passphrase."""
        return coffer(*words, *self.secret, **{"user": self.user, **options})

    @property
    def id(self) -> str:
        return re.search(r"^store *= *['\"]([0-9a-f]{32})", (self.path / ".coffer/store.toml").read_text(), re.M)[1]

    @property
    def audit_log(self) -> Path:
        return self.user.home / "state" / self.id / "audit.jsonl"

    def audit(self) -> list[dict]:
        """The lines of the audit log, each of which has to be JSON."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]

    def mount(self, at: Path, *options: str | Path) -> Mount:
        return Mount(self, at, options)

    def verify(self) -> dict:
        """The report of coffer verify, which has to find the store whole."""
        report = self.coffer("verify", self.path, "--json", timeout=300).json
        if report["findings"]:
            raise AssertionError(f"coffer verify: {json.dumps(report['findings'], indent=1)}")
        return report

    def grant(self, scope: str, *who: str, rights: Sequence[str] = ("list", "read", "write")) -> int:
        """Adds a grant (who: --everyone, or --selector S …) and gives its id."""
        words = [word for right in rights for word in ("--right", right)]
        return int(self.coffer("grant", "add", self.path, scope, *who, *words).out)

    def revoke(self, grant: int) -> None:
        self.coffer("grant", "revoke", self.path, str(grant))

    def open_to_all(self) -> None:
        """Grants everything to everyone: then only modes and owners decide."""
        self.grant("/", "--everyone")


class Mount:
    """A store mounted by coffer mount, logging to a file."""

    def __init__(self, store: Store, at: Path, options: Sequence[str | Path] = ()) -> None:
        self.store = store
        self.path = at
        self.log_file = Path(f"{store.user.home}/{at.name}-{time.monotonic_ns()}.log")
        if not at.exists():
            at.mkdir()
            if os.geteuid() == 0:
                os.chown(at, store.user.uid, store.user.gid)
        store.coffer("mount", store.path, at, "--log", self.log_file, *options)
        self.pid: int = self.status()["pid"]

    def status(self) -> dict:
        return coffer("status", self.path, "--json", user=self.store.user).json

    def mounted(self) -> bool:
        return str(self.path) in mounts_below(str(self.path.parent))

    def umount(self) -> None:
        """As coffer umount does it; the daemon has to be gone then."""
        coffer("umount", self.path, user=self.store.user)
        if alive(self.pid):
            raise AssertionError("the daemon runs on after coffer umount")

    def kill(self) -> None:
        """SIGKILL, as a crash would be; and the dead mount taken away."""
        os.kill(self.pid, signal.SIGKILL)
        self.clear_away()

    def clear_away(self) -> None:
        """Takes away the mount of a daemon that is dying."""
        wait_until(lambda: not alive(self.pid), "the daemon dies", 20)
        run("fusermount3", "-u", "-z", self.path)

    def close(self) -> None:
        """Ends it in any case."""
        if self.mounted():
            coffer("umount", self.path, user=self.store.user, check=False)
        if self.mounted():
            run("fusermount3", "-u", "-z", self.path, check=False)
        if alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def logged_errors(self) -> list[str]:
        return [line for line in self.log().splitlines() if "[error]" in line or "[critical]" in line]

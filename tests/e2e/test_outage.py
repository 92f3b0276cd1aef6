"""A KMS that is away for long, under programs that go on: every call of theirs ends, in time and by itself, and who is killed meanwhile goes
at once. It is Vault's stand-in that is away; what it takes is in keystore/kms/bounded_kms.h for all that are asked over a network.

COFFER_OUTAGE_SECONDS (12 unless it is set) is how long: an hour by 3600."""

import errno
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from files import random_bytes
from processes import wait_until
from stores import Mount
from test_vault import VaultTest

SECONDS = int(os.environ.get("COFFER_OUTAGE_SECONDS") or 12)
# A call is 10 s at most; the machine may be busy.
LONGEST = 20


class Program:
    """A process that does one thing again and again until `end`, and then tells how often it ended how, and how long the longest took."""

    def __init__(self, name: str, operation: Callable[[int], object], end: float, report: Path) -> None:
        self.name = name
        self.report = report
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._go_on(operation, end)
            finally:
                os._exit(0)

    def _go_on(self, operation: Callable[[int], object], end: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        outcomes: Counter[str] = Counter()
        longest = 0.0
        number = 0
        while (began := time.monotonic()) < end:
            number += 1
            try:
                operation(number)
                outcomes["done"] += 1
            except OSError as failure:
                outcomes[errno.errorcode[failure.errno]] += 1
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.1)
        self.report.write_text(json.dumps({"outcomes": outcomes, "longest": longest}))

    def ended(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid

    def said(self) -> dict:
        return json.loads(self.report.read_text())


class Outage(VaultTest):
    limit = 120.0 + SECONDS

    def setUp(self) -> None:
        super().setUp()
        store = self.vault_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        self.mount = self.new_mount(store, "-o", "key_ttl=2s")
        self.content = random_bytes(100_000)
        for name in ("file", "direct/file"):
            (self.mount.path / name).write_bytes(self.content)

    def programs(self, mount: Mount) -> list[Program]:
        end = time.monotonic() + SECONDS
        operations = {
            "read": lambda number: (mount.path / "file").read_bytes(),
            "read-direct": lambda number: (mount.path / "direct/file").read_bytes(),
            "create": lambda number: (mount.path / f"new-{number}").write_bytes(b"content"),
            "create-direct": lambda number: (mount.path / f"direct/new-{number}").write_bytes(b"content"),
            "list": lambda number: os.listdir(mount.path),
            "rename": lambda number: os.rename(mount.path / f"name-{number - 1}", mount.path / f"name-{number}"),
        }
        (mount.path / "name-0").write_bytes(b"content")
        return [Program(name, operation, end, self.place(name)) for name, operation in operations.items()]

    def go_through_it(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        programs = self.programs(self.mount)
        begin()
        wait_until(lambda: self.cannot_read() == errno.ENOKEY, "the keys' time is over", 30)
        killed = programs.pop(0)
        os.kill(killed.pid, signal.SIGKILL)
        wait_until(killed.ended, "who was killed is gone", LONGEST)
        for program in programs:
            wait_until(program.ended, f"{program.name} has ended", SECONDS + LONGEST)
        said = {program.name: program.said() for program in programs}
        if "COFFER_OUTAGE_SECONDS" in os.environ:
            print(json.dumps(said))
        for name, report in said.items():
            self.assertLess(report["longest"], LONGEST, name)
            self.assertLessEqual(set(report["outcomes"]), {"done", "ENOKEY"}, name)
        self.assertGreater(said["create-direct"]["outcomes"]["ENOKEY"], 0)
        self.assertEqual(self.mount.status()["key_ttl_s"], 2)
        end()
        wait_until(lambda: self.cannot_read() == 0, "it is over", 30)
        for name in ("file", "direct/file"):
            self.assert_content(self.mount.path / name, self.content)
        (self.mount.path / "direct/afterwards").write_bytes(b"content")

    def cannot_read(self) -> int:
        try:
            (self.mount.path / "file").read_bytes()
        except OSError as failure:
            return failure.errno or 0
        return 0

    def test_nobody_answers(self) -> None:
        self.go_through_it(self.vault.stop, self.vault.start)

    def test_it_hears_and_never_answers(self) -> None:
        self.addCleanup(self.vault.process.send_signal, signal.SIGCONT)
        self.go_through_it(lambda: self.vault.process.send_signal(signal.SIGSTOP), lambda: self.vault.process.send_signal(signal.SIGCONT))

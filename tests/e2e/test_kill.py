"""The daemon is killed at random moments while several programs write, and nothing that was fsynced is lost.

COFFER_KILL_ROUNDS=200 makes a long run of it; COFFER_KILL_SEED=7 begins where a failed round did.
"""

import errno
import json
import os
import random
import signal
import sys
import time
import unittest
from pathlib import Path
from typing import Any

from harness import CofferTest
from ledgers import FileLedger, ReplacedLedger
from processes import wait_until
from stores import Mount, Store

ROUNDS = int(os.environ.get("COFFER_KILL_ROUNDS") or 10)
SEED = int(os.environ.get("COFFER_KILL_SEED") or 1)


def all_ledgers(logs: Path) -> dict[str, Any]:
    """Files by what is done to them; `logs` is where their writers note it."""
    def file(name: str, steps: dict[str, int], size: int) -> FileLedger:
        return FileLedger(name, logs / f"{name}.log", steps, size)
    return {ledger.name: ledger for ledger in (
        file("appended", {"append": 1}, 300_000),
        file("overwritten", {"overwrite chunk": 4, "overwrite": 2, "append": 1}, 200_000),
        # Behind the 128 chunks that the first leaf of the tree covers.
        file("large", {"overwrite chunk": 3, "overwrite": 1, "append": 3}, 700_000),
        file("truncated", {"truncate": 2, "append": 3, "overwrite": 1}, 60_000),
        ReplacedLedger("replaced", logs / "replaced.log"),
    )}


CUT_SHORT = 2
"""Of a writer that got EIO: the kernel's own, for a request that it was just handing to the daemon when that was killed; or the daemon's,
and then the daemon logged it."""


def start_writer(ledger: Any, directory: Path, seed: int) -> int:
    """A process that writes until the daemon is gone."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ledger.work(directory, seed)
        except BaseException as failure:  # pylint: disable=broad-except
            # Nobody behind the mount any more; anything else is the daemon's answer, or a mistake here.
            if getattr(failure, "errno", 0) in (errno.ECONNABORTED, errno.ENOTCONN):
                code = 0
            elif getattr(failure, "errno", 0) == errno.EIO:
                code = CUT_SHORT
            else:
                print(f"{ledger.name}: {type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return child


class KilledAmidWork(CofferTest):
    limit = 60.0 + 5.0 * ROUNDS

    def run_through(self, names: set[str]) -> None:
        """Rounds of work, death, mounting and checking, with the files of these names, or all."""
        logs = self.place("logs")
        logs.mkdir()
        ledgers = [ledger for name, ledger in all_ledgers(logs).items() if not names or name in names]
        store = self.new_store()
        for number in range(SEED, SEED + ROUNDS):
            mount = self.new_mount(store)
            self.kill_amid(mount, ledgers, random.Random(number))
            self.check_all(store, ledgers, number)
        self.assert_verifies(store)

    def kill_amid(self, mount: Mount, ledgers: list, chooser: random.Random) -> None:
        writers = [start_writer(ledger, mount.path, chooser.getrandbits(32)) for ledger in ledgers]
        time.sleep(chooser.uniform(0.02, 0.5))
        os.kill(mount.pid, signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in writers]
        mount.clear_away()
        logged = mount.logged_errors()
        died = {0} if logged else {0, CUT_SHORT}
        self.assertLessEqual(set(codes), died, "\n".join(["a writer met with something else than the daemon's death", *logged]))

    def check_all(self, store: Store, ledgers: list, number: int) -> None:
        """What the next mount shows, without any help."""
        mount = self.new_mount(store)
        wrong = [text for ledger in ledgers if (text := ledger.check(mount.path))]
        self.assertFalse(wrong, f"round {number}:\n" + "\n".join(wrong + mount.logged_errors()[:20]))
        mount.umount()

    def assert_verifies(self, store: Store) -> None:
        """verify finds nothing but deletions in the last second before a crash, which need not be on record."""
        report = store.coffer("verify", store.path, "--json", check=False, timeout=300).json
        findings = [finding for finding in report["findings"] if finding["cause"] != "not-found"]
        self.assertFalse(findings, json.dumps(findings, indent=1))

    def test_appends(self) -> None:
        self.run_through({"appended"})

    def test_overwrites(self) -> None:
        self.run_through({"overwritten", "large"})

    def test_truncations(self) -> None:
        self.run_through({"truncated"})

    def test_replacements(self) -> None:
        self.run_through({"replaced"})

    def test_all_at_once(self) -> None:
        self.run_through(set())


class LedgersNotice(CofferTest):
    """What the rounds above rely on: on a plain directory, a file that lost something is told from one that is whole."""

    def test_every_kind_of_loss(self) -> None:
        directory, logs = self.place("plain"), self.place("logs")
        directory.mkdir()
        logs.mkdir()
        for name, ledger in all_ledgers(logs).items():
            pid = start_writer(ledger, directory, 1)
            wait_until(lambda: (directory / name).exists() and os.path.getsize(logs / f"{name}.log") > 2000, "it writes")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            log = (logs / f"{name}.log").read_bytes()
            whole = (directory / name).read_bytes()

            def judged(content: bytes | None) -> str | None:
                (logs / f"{name}.log").write_bytes(log)
                (directory / name).unlink(missing_ok=True)
                if content is not None:
                    (directory / name).write_bytes(content)
                return all_ledgers(logs)[name].check(directory)

            self.assertIsNone(judged(whole))
            self.assertIsNotNone(judged(None), name)
            self.assertIsNotNone(judged(b""), name)
            self.assertIsNotNone(judged(bytes([whole[0] ^ 1]) + whole[1:]), name)
            self.assertIsNotNone(judged(whole[:-1] + bytes([whole[-1] ^ 1])), name)


if __name__ == "__main__":
    unittest.main()

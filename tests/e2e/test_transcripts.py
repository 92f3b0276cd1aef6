"""Sessions with the command line, word for word: a change in what any command says shows in review.

A file of transcripts/ is a session in an empty directory: "$ " begins a command for the shell, "| " a line of its stdout, "! " one of
its stderr, "? " the exit code if it is not 0. What differs from run to run is written as DIR, HOME, ID-1, TIME, PID and the like.

    COFFER_RECORD=1 COFFER_BINARY=… /usr/bin/python3 -m unittest test_transcripts        writes down what is said now
"""

import os
import re
import unittest
from pathlib import Path

from harness import CofferTest
from processes import BINARY, SELF, Outcome, need_root, run

SESSIONS = Path(__file__).parent / "transcripts"
RECORD = bool(os.environ.get("COFFER_RECORD"))


class Session:
    """Commands run one after the other, and their outcomes in the form of a transcript."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ids: dict[str, str] = {}
        programs = directory.parent / "bin"
        programs.mkdir()
        (programs / "coffer").symlink_to(BINARY)
        self._path = f"PATH={programs}:{SELF.environment()['PATH']}"

    def run(self, command: str) -> list[str]:
        outcome = run("env", self._path, "sh", "-c", command, cwd=self._directory, check=False)
        return [f"$ {command}", *self._lines(outcome)]

    def _lines(self, outcome: Outcome) -> list[str]:
        lines = [f"{mark} {line}".rstrip() for mark, text in (("|", outcome.out), ("!", outcome.err))
                 for line in self._steady(text).splitlines()]
        return lines + ([f"? {outcome.code}"] if outcome.code else [])

    def _steady(self, text: str) -> str:
        """Without what differs from run to run, and without the widths that follow from it."""
        steady = "\n".join(self._steady_line(line) for line in text.splitlines())
        steady = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", steady)
        steady = re.sub(r"20\d{6}T\d{6}Z-[0-9a-f]{8}", "RUN", steady)
        steady = re.sub(r"\b[0-9a-f]{32}\b", lambda found: self._ids.setdefault(found[0], f"ID-{len(self._ids) + 1}"), steady)
        steady = re.sub(r"in [\d.]+ s\b", "in N s", steady)
        steady = re.sub(r'("seconds": ?)[\d.e-]+', r"\1N", steady)
        steady = re.sub(r"\b[0-9a-f]{16}\b", "FINGERPRINT", steady)
        steady = re.sub(r'("pid": |pid +| r[ow] |process )\d+', r"\1PID", steady)
        steady = re.sub(r"host \S+,", "host HOST,", steady)
        steady = re.sub(r'((?:inodes|locked.bytes|audit.lines)"?:? +)\d+', r"\1N", steady)
        steady = re.sub(r'(key.memory"?:? +"?)(?:secret|locked)', r"\1KIND", steady)
        return re.sub(r'(?m)\b(ipsec-mb|OpenSSL)\b.*?(?=( \d+)?$|")', "ENGINE", steady)

    def _steady_line(self, line: str) -> str:
        steady = line.replace(str(self._directory), "DIR").replace(str(SELF.home), "HOME")
        return steady if steady == line else re.sub("  +", "  ", steady)


class Transcripts(CofferTest):
    def check(self, name: str) -> None:
        need_root()  # whose uid is in the grants
        directory = self.place(name)
        directory.mkdir()
        session = Session(directory)
        self.addCleanup(run, "sh", "-c", 'for at in mnt*; do fusermount3 -u -z -q "$at"; done', cwd=directory, check=False)
        transcript = SESSIONS / f"{name}.txt"
        expected = transcript.read_text().splitlines()
        got = []
        for line in expected:
            if line.startswith("$ "):
                got += session.run(line[2:])
            elif not line.startswith(("| ", "! ", "? ")) and line not in ("|", "!"):
                got.append(line)  # comments and blank lines
        if RECORD:
            transcript.write_text("\n".join(got) + "\n")
        self.assertEqual("\n".join(got), "\n".join(expected), f"{transcript}; COFFER_RECORD=1 writes it anew")


def _test_of(name: str):
    return lambda self: self.check(name)


for _session in sorted(SESSIONS.glob("*.txt")):
    setattr(Transcripts, f"test_{_session.stem}", _test_of(_session.stem))


if __name__ == "__main__":
    unittest.main()

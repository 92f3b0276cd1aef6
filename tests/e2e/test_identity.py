"""Who a process is: grants by what it executes, who runs it and where it runs, asked for through a real mount."""

import errno
import hashlib
import os
import socket
import unittest
from pathlib import Path

from files import copy_program
from mounted import MountedTest
from processes import ALICE, User, run, wait_until

DAEMON = User(1, 1)  # has a name on every system
CONTENT = "what is to be read\n"


class Programs(MountedTest):
    """With a file, and copies of a program."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.top / "file"
        self.file.write_text(CONTENT)
        self.bin = self.place("bin")
        self.bin.mkdir()
        os.chmod(self.bin, 0o755)
        self.cat = self.copy("cat")
        self.other = self.copy("other", b"another file, the same program")

    def copy(self, name: str, tail: bytes = b"", directory: Path | None = None) -> Path:
        return copy_program("/bin/cat", (directory or self.bin) / name, tail)

    def reads(self, program: Path, user: User = ALICE) -> bool:
        done = run(program, self.file, user=user, check=False, timeout=20)
        if done.code == 0:
            self.assertEqual(done.out, CONTENT)
            return True
        self.assertIn(os.strerror(errno.EACCES), done.err)
        return False

    def becomes(self, expected: bool, program: Path, user: User = ALICE) -> None:
        wait_until(lambda: self.reads(program, user) == expected, f"{program} reads: {expected}")

    def test_by_path(self) -> None:
        self.assertFalse(self.reads(self.cat))
        self.store.grant("/", "--selector", f"unix:path:{self.cat}", rights=["list", "read"])
        self.becomes(True, self.cat)
        self.assertFalse(self.reads(self.other))
        line = [line for line in self.store.audit() if line["event"] == "release" and line["identity"]["uid"] == ALICE.uid][-1]
        self.assertIn(f"unix:path:{self.cat}", line["identity"]["selectors"])
        self.assertGreater(line["identity"]["pid"], 0)
        # Put in its place.
        os.rename(self.other, self.cat)
        self.assertTrue(self.reads(self.cat), "it is the path that was granted")

    def test_by_content(self) -> None:
        digest = hashlib.sha256(self.cat.read_bytes()).hexdigest()
        self.store.grant("/", "--selector", f"unix:sha256:{digest}", "--selector", f"unix:uid:{ALICE.uid}", rights=["list", "read"])
        self.becomes(True, self.cat)
        self.assertTrue(self.reads(self.copy("elsewhere")))
        self.assertFalse(self.reads(self.other))
        self.assertFalse(self.reads(self.cat, DAEMON), "all selectors have to hold")
        os.rename(self.other, self.cat)
        self.assertFalse(self.reads(self.cat), "it is the content that was granted")

    def test_denied_by_path(self) -> None:
        self.store.grant("/", "--selector", f"unix:uid:{ALICE.uid}", rights=["list", "read"])
        self.becomes(True, self.cat)
        self.store.grant("/", "--deny", "--selector", f"unix:path:{self.cat}", rights=["read"])
        self.becomes(False, self.cat)
        self.assertTrue(self.reads(self.other))

    def test_by_name(self) -> None:
        self.store.grant("/", "--selector", "unix:user:daemon", "--selector", "unix:group:daemon", rights=["list", "read"])
        self.becomes(True, self.cat, DAEMON)
        self.assertFalse(self.reads(self.cat, ALICE))

    def test_by_machine(self) -> None:
        self.store.grant("/", "--selector", f"unix:uid:{ALICE.uid}", "--selector", f"host:name:{socket.gethostname().lower()}",
                         rights=["list", "read"])
        self.store.grant("/", "--selector", f"unix:uid:{DAEMON.uid}", "--selector", "host:name:another-machine",
                         rights=["list", "read"])
        self.becomes(True, self.cat)
        self.assertFalse(self.reads(self.cat, DAEMON))

    def test_a_program_on_the_mount_itself(self) -> None:
        """To read it would be for the daemon to wait for itself: its content stays unknown, and nobody hangs."""
        own = self.copy("tool", directory=self.mount.path)
        digest = hashlib.sha256(own.read_bytes()).hexdigest()
        self.store.grant("/", "--selector", f"unix:sha256:{digest}", rights=["list", "read"])
        self.becomes(True, self.cat)
        done = run(own, self.file, check=False, timeout=20)
        self.assertEqual((done.code, done.out), (0, CONTENT), "root is granted whatever he runs")
        deny = self.store.grant("/", "--deny", "--selector", f"unix:sha256:{'0' * 64}", rights=["read"])
        wait_until(lambda: run(own, self.file, check=False, timeout=20).code != 0, "what is not known may be denied")
        self.store.revoke(deny)
        path = self.store.grant("/", "--deny", "--selector", f"unix:path:{own}", rights=["read"])
        wait_until(lambda: run(self.cat, self.file, check=False, timeout=20).code == 0, "others are not denied")
        wait_until(lambda: run(own, self.file, check=False, timeout=20).code != 0, "its path is known")
        self.store.revoke(path)


if __name__ == "__main__":
    unittest.main()

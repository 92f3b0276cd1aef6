"""What the end-to-end tests share: stores, mounts, other users, and a guard that nothing outlives.

The binary under test is named by COFFER_BINARY. Everything a run makes lies in one directory (below COFFER_E2E_DIR, else
/dev/shm, else the system's temporary directory) and goes with it. Run a module by itself with

    COFFER_BINARY=… /usr/bin/python3 -m unittest -v test_posix_files          (in this directory)

A test that can't run here is skipped and says why; with COFFER_REQUIRE_ALL_TESTS set it fails instead.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import unittest
from pathlib import Path
from typing import Any, Callable, NoReturn, Sequence

from guard import GUARD, ROOT, end_mounts, mounts_below
from processes import BINARY, SELF, Outcome, User, need, run
from stores import Mount, Store


class CofferTest(unittest.TestCase):
    """A test with a directory of its own, `self.home`, and `limit` seconds before the guard ends its mounts."""

    limit = 60.0
    maxDiff = 4000
    home: Path

    @classmethod
    def setUpClass(cls) -> None:
        need(BINARY and os.access(BINARY, os.X_OK), f"COFFER_BINARY names no program: {BINARY!r}")
        need(os.path.exists("/dev/fuse"), "there is no /dev/fuse (modprobe fuse)")
        need(shutil.which("fusermount3"), "fusermount3 is not installed (package fuse3)")
        cls.home = ROOT / cls.__name__
        cls.home.mkdir()
        GUARD.arm(cls.limit)
        cls.addClassCleanup(cls._clear)

    @classmethod
    def _clear(cls) -> None:
        GUARD.arm(cls.limit)
        leftover = mounts_below(str(cls.home))
        if leftover:
            end_mounts(str(cls.home))
        run("rm", "-rf", "--one-file-system", cls.home, timeout=120)
        GUARD.arm(0)

    def setUp(self) -> None:
        GUARD.arm(self.limit)
        # For what waits for something else than a mount.
        signal.signal(signal.SIGALRM, self._too_long)
        signal.setitimer(signal.ITIMER_REAL, self.limit + 5)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        if GUARD.expired:
            self.fail("an earlier test took too long; its mounts were ended")

    def _too_long(self, *_: Any) -> NoReturn:
        raise TimeoutError(f"took longer than {self.limit} s")

    def tearDown(self) -> None:
        if GUARD.expired:
            self.fail(f"took longer than {self.limit} s; the mounts were ended")

    def place(self, name: str) -> Path:
        """A path in this test's own directory, where nothing is yet."""
        mine = self.home / self._testMethodName
        mine.mkdir(exist_ok=True)
        return mine / name

    def new_store(self, name: str = "store", *, user: User = SELF, **options: Any) -> Store:
        path = self.place(name)
        if user != SELF:
            path.mkdir(mode=0o700)
            os.chown(path, user.uid, user.gid)
        return Store(path, user=user, **options)

    def new_mount(self, store: Store, *options: str | Path, at: str = "mnt") -> Mount:
        mount = store.mount(self.place(at), *options)
        self.addCleanup(mount.close)
        return mount

    def mount_refused(self, store: Store, code: int, words: str) -> Outcome:
        """It is not mounted, with this exit code and these words among others."""
        at = self.place("refused")
        at.mkdir(exist_ok=True)
        done = store.coffer("mount", store.path, at, check=False)
        self.assertEqual(done.code, code, str(done))
        self.assertIn(words, done.err)
        return done

    def assert_errno(self, code: int, function: Callable, *arguments: Any, **options: Any) -> None:
        """The call fails with this errno and no other."""
        try:
            function(*arguments, **options)
        except OSError as failure:
            name = errno.errorcode.get(failure.errno or 0, str(failure.errno))
            self.assertEqual(errno.errorcode[code], name, f"{function.__name__}{arguments}: {failure}")
        else:
            self.fail(f"{getattr(function, '__name__', function)}{arguments} did not fail with {errno.errorcode[code]}")

    def assert_content(self, path: str | bytes | Path, expected: bytes) -> None:
        """A file holds these bytes (which a failure does not print)."""
        with open(path, "rb") as stream:
            self.assert_bytes(stream.read(), expected, str(path))

    def assert_bytes(self, got: bytes, expected: bytes, what: str) -> None:
        if got == expected:
            return
        at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
        self.fail(f"{what}: {len(got)} bytes, expected {len(expected)}; first difference at {at}: "
                  f"{got[at:at + 16].hex()} instead of {expected[at:at + 16].hex()}")

    def assert_same_tree(self, got: dict, expected: dict) -> None:
        """Compares two of `tree`, naming what differs."""
        wrong = [f"{name!r}: {got.get(name)} instead of {expected.get(name)}"
                 for name in sorted(got.keys() | expected.keys()) if got.get(name) != expected.get(name)]
        self.assertFalse(wrong, f"{len(wrong)} of {len(expected)} entries differ:\n" + "\n".join(wrong[:20]))


class MountedTest(CofferTest):
    """Tests that share one mounted store, each in a directory of its own, `self.dir`.

    At the end the store is unmounted and verified; no daemon may have logged an error but those that match `expected_errors`.
    """

    init: Sequence[str | Path] = ()
    options: Sequence[str | Path] = ()
    expected_errors = r"(?!)"
    open_to_all = True
    store: Store
    mount: Mount
    dir: Path
    logged: list[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.logged = []
        cls.store = Store(cls.home / "store", init=cls.init)
        if cls.open_to_all:
            cls.store.open_to_all()
        cls.mount = cls.store.mount(cls.home / "mnt", *cls.options)
        cls.addClassCleanup(lambda: cls.mount.close())  # pylint: disable=unnecessary-lambda
        os.chmod(cls.mount.path, 0o755)

    @classmethod
    def tearDownClass(cls) -> None:
        GUARD.arm(cls.limit)
        cls.mount.umount()
        cls.logged += cls.mount.logged_errors()
        cls.store.verify()
        unexpected = [line for line in cls.logged if not re.search(cls.expected_errors, line)]
        if unexpected:
            raise AssertionError("the daemon logged:\n" + "\n".join(unexpected[:20]))

    @classmethod
    def remount(cls) -> None:
        """Unmounts and mounts: nothing is cached any more, neither by the kernel nor by the daemon."""
        cls.mount.umount()
        cls.logged += cls.mount.logged_errors()
        cls.mount = cls.store.mount(cls.mount.path, *cls.options)

    def setUp(self) -> None:
        super().setUp()
        self.dir = self.mount.path / self._testMethodName
        self.dir.mkdir()

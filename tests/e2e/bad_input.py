"""Tests of commands that are to be refused: one line with the next step, an exit code of its own, nothing left behind."""

from pathlib import Path

from files import tree
from guard import ROOT, daemons_below, mounts_below
from harness import CofferTest
from processes import Outcome, SELF, User, coffer
from stores import Store

# The exit codes are an interface (coffer --help).
IO, USAGE, NOT_A_STORE, WRONG_KEY, KEYSTORE_MISSING, FOREIGN_KEYSTORE, UNKNOWN_VERSION, CORRUPT, MOVED, ROLLED_BACK = range(1, 11)
KEY_UNAVAILABLE, DENIED, REVOKED, EXPIRED, MOUNT_POINT, BUSY, READ_ONLY, NO_SPACE, NOT_FOUND, EXISTS = range(11, 21)


class BadInputTest(CofferTest):
    def snapshot(self, store: Store | None) -> dict:
        """What lies in the test's directory and with the user's keys; not the audit log, which is there to grow."""
        found = {("here", name): entry for name, entry in self.settled(self.home / self._testMethodName).items()}
        home = (store.user if store else SELF).home
        found |= {("home", name): entry for name, entry in self.settled(home).items() if not name.startswith((b"state", b"run"))}
        return found

    @staticmethod
    def settled(top: Path) -> dict:
        # The lock file stays, and notes who held it last; SQLite's files come and go with whoever has the keystore open.
        return {name: entry for name, entry in tree(top, times=False).items()
                if not name.endswith((b".coffer/lock", b".db-wal", b".db-shm", b".log"))}

    def refused(self, code: int, pattern: str, *words: str | Path, store: Store | None = None, user: User = SELF) -> Outcome:
        """The command ends with `code` and one line that matches `pattern`; everything is as it was before."""
        (self.home / self._testMethodName).mkdir(exist_ok=True)
        before = self.snapshot(store)
        mounts, daemons = mounts_below(str(ROOT)), daemons_below(str(ROOT))
        outcome = coffer(*words, user=user, check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertEqual(outcome.out, "", str(outcome))
        lines = outcome.err.splitlines()
        self.assertEqual(len(lines), 1, str(outcome))
        self.assertTrue(lines[0].startswith("coffer: "), str(outcome))
        self.assertRegex(lines[0], pattern)
        # What was given wrongly on the command line is its own next step.
        if code not in (USAGE, NOT_FOUND):
            self.assertRegex(lines[0], "; [a-z]", "a next step")
        self.assertNotRegex(lines[0], r"(.{12,}): \1|std::|0x[0-9a-f]{6}|\[.*\.cc", "said twice, or a programmer's words")
        self.assert_same_tree(self.snapshot(store), before)
        self.assertEqual(mounts_below(str(ROOT)), mounts)
        self.assertEqual(daemons_below(str(ROOT)), daemons)
        return outcome

    def refused_mount(self, code: int, pattern: str, store: Store | Path, at: Path | None = None, *options: str | Path) -> Outcome:
        """`coffer mount` is refused, in the background and in the foreground alike."""
        path, secret = (store.path, store.secret) if isinstance(store, Store) else (store, ())
        if at is None:
            at = self.place("mnt")
            at.mkdir(exist_ok=True)
        known = store if isinstance(store, Store) else None
        self.refused(code, pattern, "mount", path, at, *options, *secret, store=known)
        return self.refused(code, pattern, "mount", path, at, "--foreground", *options, *secret, store=known)

    def works(self, store: Store) -> None:
        """The store is none the worse."""
        store.verify()
        mount = self.new_mount(store, at="works")
        (mount.path / "file").write_bytes(b"content")
        self.assertEqual((mount.path / "file").read_bytes(), b"content")
        mount.umount()

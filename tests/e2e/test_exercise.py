"""Random operations on a mount and on ext4, compared in all that a program can see (tests/exercise).

    COFFER_EXERCISE_OPERATIONS    all in all, for each of the two users (default: some seconds' worth)
    COFFER_EXERCISE_SEED          of the first epoch

Between two epochs the mount is taken down, or the kernel's caches are dropped; the trees stay. A failure prints the command
that makes the same operations again on empty trees, if it was the first epoch's; of a later one all epochs have to be run."""

import os
from pathlib import Path

from harness import CofferTest
from processes import ALICE, SELF, User, drop_caches, need, need_root, ordinary_machine, run
from stores import Store

PROGRAM = os.environ.get("COFFER_EXERCISE", "")
setUpModule = ordinary_machine
OPERATIONS = int(os.environ.get("COFFER_EXERCISE_OPERATIONS") or 30_000)
SEED = int(os.environ.get("COFFER_EXERCISE_SEED") or 1)
EPOCHS = 6


class Exercise(CofferTest):
    """One tree on a mount, one beside its store."""

    limit = 120.0 + OPERATIONS / 100

    def exercise(self, user: User, beside: Path) -> None:
        """`beside`: a directory of the user's on the filesystem that is believed."""
        need(PROGRAM and os.access(PROGRAM, os.X_OK), f"COFFER_EXERCISE names no program: {PROGRAM!r}")
        store = Store(beside / "store", user=user)
        store.open_to_all()
        at = self.place("mnt")
        mount = store.mount(at)
        self.addCleanup(lambda: mount.close())  # pylint: disable=unnecessary-lambda
        trees = (at / "tree", beside / "oracle" / "tree")
        run("mkdir", "-p", *trees, user=user)
        run("chmod", "755", at, beside, beside / "oracle", *trees, user=user)
        for epoch in range(EPOCHS):
            done = run(PROGRAM, *trees, str(OPERATIONS // EPOCHS), str(SEED + epoch), user=user, timeout=self.limit, check=False)
            self.assertEqual(done.code, 0, f"epoch {epoch} of seed {SEED}\n{done.err[:20_000]}")
            print(f"    seed {SEED + epoch}: {done.out.strip()}", flush=True)
            if epoch % 2 == 0 and os.geteuid() == 0:
                drop_caches()
            else:
                mount.umount()
                self.assertEqual(mount.logged_errors(), [])
                mount = store.mount(at)
        mount.umount()
        self.assertEqual(mount.logged_errors(), [])
        store.verify()

    def disk(self, user: User) -> Path:
        """A directory of the user's: on an ext4 of its own if that can be had."""
        disk = self.place("disk")
        disk.mkdir()
        if os.geteuid() == 0:
            image = self.place("image")
            with open(image, "wb") as stream:
                stream.truncate(2 << 30)
            run("mkfs.ext4", "-q", "-m", "0", image)
            if run("mount", "-o", "loop", image, disk, check=False).code == 0:
                self.addCleanup(run, "umount", "-l", disk)
            os.chown(disk, user.uid, user.gid)
        return disk

    def test_as_root(self) -> None:
        """Root, who acts as two other users as well."""
        need_root()
        self.exercise(SELF, self.disk(SELF))

    def test_as_a_user(self) -> None:
        """An ordinary user's own store."""
        user = ALICE if os.geteuid() == 0 else SELF
        self.exercise(user, self.disk(user))

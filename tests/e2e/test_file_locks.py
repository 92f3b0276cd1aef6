"""Locks of fcntl, of open file descriptions (OFD) and of flock, which the daemon keeps for all processes of a mount.

What a local filesystem does is tried on one beside, with the same steps.
"""

import errno
import os
import random
import signal
import sqlite3
import unittest
from pathlib import Path
from typing import Callable, Iterator

import harness
from files import write_file
from mounted import MountedTest as OwnMountTest
from peers import EXCLUSIVE, NONE, SHARED, Peer, in_the_way, lock
from processes import ALICE, BOB, SELF, User, alive, coffer, in_processes, wait_until

KINDS = ("fcntl", "ofd", "flock")
SOON = 2.0


class LocksTest(harness.MountedTest):
    """Each file is there twice: on the mount, and on a filesystem of the kernel's."""

    def files(self) -> Iterator[Path]:
        beside = self.home / f"beside-{self._testMethodName}"
        beside.mkdir()
        for number, directory in enumerate((beside, self.dir)):
            with self.subTest(on="mount" if directory == self.dir else "other"):
                write_file(directory / f"file{number}", b"0123456789")
                yield directory / f"file{number}"

    def peer(self, inherits: Peer | None = None) -> Peer:
        peer = Peer(inherits=inherits)
        self.addCleanup(peer.end)
        return peer

    def peers(self, path: Path, count: int, flags: int = os.O_RDWR) -> list[tuple[Peer, int]]:
        return [(peer, peer.open(path, flags)) for peer in (self.peer() for _ in range(count))]


class Held(LocksTest):
    def test_one_process_sees_what_another_has(self) -> None:
        for path in self.files():
            (one, first), (two, second) = self.peers(path, 2)
            self.assertTrue(one.lock("fcntl", first, EXCLUSIVE, 2, 3))
            self.assertTrue(one.lock("fcntl", first, SHARED, 5, 10))
            self.assertEqual(two(in_the_way, "fcntl", second, SHARED, 0, 0), (EXCLUSIVE, 2, 3, one.pid))
            self.assertEqual(two(in_the_way, "fcntl", second, EXCLUSIVE, 5, 1), (SHARED, 5, 10, one.pid))
            self.assertEqual(two(in_the_way, "ofd", second, EXCLUSIVE, 14, 1)[:3], (SHARED, 5, 10))
            self.assertEqual(two(in_the_way, "fcntl", second, SHARED, 5, 0)[0], NONE)
            self.assertEqual(one(in_the_way, "fcntl", first, EXCLUSIVE, 0, 0)[0], NONE)
            self.assertTrue(one.lock("fcntl", first, NONE, 3, 1))
            self.assertEqual(two(in_the_way, "fcntl", second, SHARED, 0, 0), (EXCLUSIVE, 2, 1, one.pid))
            self.assertFalse(two.lock("ofd", second, EXCLUSIVE, 0, 0))
            self.assertTrue(two.lock("flock", second, EXCLUSIVE), "which is of another kind")
            self.assertTrue(two.lock("ofd", second, EXCLUSIVE, 15, 0))

    def test_any_close_ends_those_of_a_process(self) -> None:
        """Of another descriptor as well: one for reading, a copy."""
        for path in self.files():
            (one, first), (two, second) = self.peers(path, 2)
            for close in (lambda p=path: one.open(p, os.O_RDONLY), lambda: one(os.dup, first), lambda p=path: one.open(p, os.O_WRONLY)):
                self.assertTrue(one.lock("fcntl", first, EXCLUSIVE))
                self.assertFalse(two.lock("fcntl", second, SHARED))
                one(os.close, close())
                self.assertTrue(two.lock("fcntl", second, SHARED))
                self.assertTrue(two.lock("fcntl", second, NONE))

    def test_a_child_has_none_of_its_parents(self) -> None:
        for path in self.files():
            (parent, file), (other, second) = self.peers(path, 2)
            self.assertTrue(parent.lock("fcntl", file, EXCLUSIVE))
            child = self.peer(parent)
            self.assertFalse(child.lock("fcntl", file, SHARED))
            child(os.close, file)
            self.assertFalse(other.lock("fcntl", second, SHARED))
            child = self.peer(parent)
            parent(os.close, file)
            self.assertTrue(other.lock("fcntl", second, EXCLUSIVE), "though the child has it open")
            self.assertFalse(child.lock("fcntl", file, EXCLUSIVE))

    def test_those_of_descriptions_end_with_the_last_descriptor(self) -> None:
        for path in self.files():
            for kind in ("ofd", "flock"):
                (parent, file), (other, second) = self.peers(path, 2)
                self.assertTrue(parent.lock(kind, file, EXCLUSIVE))
                child = self.peer(parent)
                self.assertTrue(child.lock(kind, file, EXCLUSIVE), "it is the same description")
                parent(os.close, parent(os.dup, file))
                parent.kill()
                self.assertFalse(other.lock(kind, second, EXCLUSIVE), "the child has it open")
                child(os.close, file)
                wait_until(lambda: other.lock(kind, second, EXCLUSIVE), "it ends with the child's")

    def test_close_is_the_end_of_it(self) -> None:
        """Of what was opened for reading as well, of whose close the daemon hears later."""
        path = self.dir / "file"
        write_file(path, b"x")
        (one, _), (two, second) = self.peers(path, 2)
        for _ in range(300):
            for kind in KINDS:
                file = one.open(path, os.O_RDONLY)
                self.assertTrue(one.lock(kind, file, SHARED))
                self.assertFalse(two.lock(kind, second, EXCLUSIVE))
                one(os.close, file)
                self.assertTrue(two.lock(kind, second, EXCLUSIVE), kind)
                two.lock(kind, second, NONE)

    def test_flock_is_converted(self) -> None:
        for path in self.files():
            (one, first), (two, second) = self.peers(path, 2, os.O_RDONLY)
            self.assertTrue(one.lock("flock", first, SHARED))
            self.assertTrue(two.lock("flock", second, SHARED))
            self.assertFalse(one.lock("flock", first, EXCLUSIVE))
            self.assertTrue(two.lock("flock", second, EXCLUSIVE), "what the first had is gone")
            self.assertFalse(one.lock("flock", first, SHARED))
            self.assertTrue(two.lock("flock", second, SHARED))
            self.assertTrue(one.lock("flock", first, SHARED))
            two.waits_for("flock", second, EXCLUSIVE)
            self.assertTrue(one.lock("flock", first, EXCLUSIVE))
            one(os.close, first)
            self.assertIsNone(two.result())

    def test_modes_that_a_lock_needs(self) -> None:
        for path in self.files():
            (reader, file), = self.peers(path, 1, os.O_RDONLY)
            self.assertEqual(reader(lock, "fcntl", file, EXCLUSIVE), -errno.EBADF)
            self.assertTrue(reader.lock("fcntl", file, SHARED))
            (writer, file), = self.peers(path, 1, os.O_WRONLY)
            self.assertEqual(writer(lock, "ofd", file, SHARED), -errno.EBADF)
            self.assertTrue(writer.lock("flock", file, SHARED))

    def test_names_and_links_are_one_file(self) -> None:
        for path in self.files():
            link, moved = path.with_suffix(".link"), path.with_suffix(".moved")
            (one, first), = self.peers(path, 1)
            os.link(path, link)
            os.rename(path, moved)
            (two, second), = self.peers(link, 1)
            for kind in KINDS:
                self.assertTrue(one.lock(kind, first, EXCLUSIVE))
                self.assertFalse(two.lock(kind, second, EXCLUSIVE))
                self.assertTrue(one.lock(kind, first, NONE))
            os.unlink(link)
            os.unlink(moved)
            self.assertTrue(one.lock("fcntl", first, EXCLUSIVE))
            self.assertFalse(two.lock("fcntl", second, EXCLUSIVE))


class AtRandom(LocksTest):
    def test_random_locks_as_on_another_filesystem(self) -> None:
        """Three processes with two descriptors each; every answer is the same here and there."""
        chooser = random.Random(7)
        places = list(self.files())
        sides = [[(peer, [file, peer.open(path)]) for peer, file in self.peers(path, 3)] for path in places]
        seen = {True: 0, False: 0}
        for step in range(1500):
            who, which, kind = chooser.randrange(3), chooser.randrange(2), chooser.choice(KINDS)
            how, start, length = chooser.choice((SHARED, EXCLUSIVE, NONE)), chooser.randrange(12), chooser.randrange(6)
            what = chooser.randrange(12)
            answers = []
            for side, path in zip(sides, places):
                peer, files = side[who]
                if what == 0:
                    peer(os.close, files[which])
                    files[which] = peer.open(path)
                elif what < 4 and kind != "flock" and how != NONE:
                    answers.append(peer(in_the_way, kind, files[which], how, start, length)[:3])
                else:
                    answers.append(peer.lock(kind, files[which], how, start, length))
                    seen[answers[-1]] += 1
            self.assertEqual(answers[:1], answers[1:], (step, who, which, kind, how, start, length))
        self.assertGreater(min(seen.values()), 100)


class Different(LocksTest):
    """What the daemon can't know of them."""

    def test_a_close_that_is_not_heard(self) -> None:
        """Of a descriptor for reading from before anybody locked the file: what it was locked through ends with the last copy."""
        path = self.dir / "file"
        write_file(path, b"x")
        other, second = self.peers(path, 1)[0]
        for heard in (False, True):
            parent, file = self.peers(path, 1, os.O_RDONLY)[0]
            self.assertTrue(parent.lock("fcntl", file, SHARED))
            child = self.peer(parent)
            parent(os.close, file)
            self.assertEqual(other.lock("fcntl", second, EXCLUSIVE), heard)
            child(os.close, file)
            self.assertTrue(other.lock("fcntl", second, EXCLUSIVE))
            self.assertTrue(other.lock("fcntl", second, NONE))

    def test_those_of_descriptions_are_not_told_apart(self) -> None:
        path = self.dir / "file"
        write_file(path, b"0123456789")
        (one, first), (two, second) = self.peers(path, 2)
        self.assertTrue(one.lock("ofd", first, EXCLUSIVE, 0, 1))
        self.assertEqual(two(in_the_way, "fcntl", second, EXCLUSIVE, 0, 1), (EXCLUSIVE, 0, 1, one.pid))
        self.assertTrue(two.lock("ofd", second, EXCLUSIVE, 1, 1))
        two.waits_for("ofd", second, EXCLUSIVE, 0, 1)
        self.assertEqual(one(lock, "ofd", first, EXCLUSIVE, 1, 1, True), -errno.EDEADLK)

    def test_the_kernels_list_has_none(self) -> None:
        for path in self.files():
            (one, first), = self.peers(path, 1)
            for kind in ("fcntl", "flock"):
                self.assertTrue(one.lock(kind, first, EXCLUSIVE))
            listed = [line for line in Path("/proc/locks").read_text().splitlines() if f" {one.pid} " in line]
            self.assertEqual(len(listed), 0 if path.parent == self.dir else 2)


class Waiting(LocksTest):
    def test_until_the_holder_lets_go(self) -> None:
        ends: dict[str, Callable[[Peer, str, int], object]] = {
            "unlock": lambda peer, kind, file: peer.lock(kind, file, NONE),
            "close": lambda peer, kind, file: peer(os.close, file),
            "death": lambda peer, kind, file: peer.kill(),
        }
        for path in self.files():
            for kind in KINDS:
                for name, end in ends.items():
                    for flags in (os.O_RDWR, os.O_RDONLY):
                        (holder, first), = self.peers(path, 1, flags)
                        (waiter, second), = self.peers(path, 1)
                        self.assertTrue(holder.lock(kind, first, SHARED))
                        waiter.waits_for(kind, second, EXCLUSIVE)
                        end(holder, kind, first)
                        self.assertIsNone(waiter.result(SOON), (kind, name, flags))
                        holder.end()
                        waiter.end()

    def test_who_waits_dies_at_once(self) -> None:
        for path in self.files():
            for kind in KINDS:
                for number in (signal.SIGTERM, signal.SIGKILL):
                    (holder, first), (waiter, second), (third, last) = self.peers(path, 3)
                    self.assertTrue(holder.lock(kind, first, EXCLUSIVE))
                    waiter.waits_for(kind, second, EXCLUSIVE)
                    self.assertLess(waiter.kill(number), SOON)
                    holder(os.close, first)
                    wait_until(lambda: third.lock(kind, last, EXCLUSIVE), "the dead gets none")
                    third.end()

    def test_a_signal_interrupts_it(self) -> None:
        for path in self.files():
            for kind in KINDS:
                (holder, first), (waiter, second) = self.peers(path, 2)
                self.assertTrue(holder.lock(kind, first, EXCLUSIVE))
                waiter.waits_for(kind, second, EXCLUSIVE)
                os.kill(waiter.pid, signal.SIGUSR1)
                self.assertEqual(waiter.result(SOON), "interrupted")
                self.assertTrue(holder.lock(kind, first, NONE))
                self.assertTrue(holder.lock(kind, first, EXCLUSIVE), "the other has none")
                waiter.waits_for(kind, second, EXCLUSIVE)
                holder(os.close, first)
                self.assertIsNone(waiter.result(SOON))
                waiter.end()

    def test_two_who_wait_for_each_other(self) -> None:
        for path in self.files():
            (one, first), (two, second) = self.peers(path, 2)
            self.assertTrue(one.lock("fcntl", first, EXCLUSIVE, 0, 1))
            self.assertTrue(two.lock("fcntl", second, EXCLUSIVE, 1, 1))
            one.waits_for("fcntl", first, EXCLUSIVE, 1, 1)
            self.assertEqual(two(lock, "fcntl", second, EXCLUSIVE, 0, 1, True), -errno.EDEADLK)
            self.assertTrue(two.lock("fcntl", second, NONE, 1, 1))
            self.assertIsNone(one.result(SOON))

    def count_together(self, processes: int, rounds: int, prepare: Callable[[], None] = lambda: None) -> None:
        for kind in KINDS:
            path = self.dir / kind
            write_file(path, b"0")

            def count(path: Path = path, kind: str = kind) -> None:
                prepare()
                file = os.open(path, os.O_RDWR)
                for _ in range(rounds):
                    lock(kind, file, EXCLUSIVE, wait=True)
                    number = int(os.pread(file, 20, 0))
                    os.pwrite(file, str(number + 1).encode(), 0)
                    lock(kind, file, NONE)

            in_processes([count] * processes)
            self.assert_content(path, str(processes * rounds).encode())

    def test_fifty_count_together(self) -> None:
        self.count_together(50, 10)

    def test_signals_all_the_time(self) -> None:
        """Each wait is interrupted and begun anew over and over; none is lost, and nobody has it twice."""
        def be_interrupted() -> None:
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)

        self.count_together(10, 60, be_interrupted)


class Databases(LocksTest):
    limit = 120.0

    def test_no_update_is_lost(self) -> None:
        writers, rounds = 4, 40
        for journal in ("delete", "wal"):
            path = self.dir / f"{journal}.db"
            database = sqlite3.connect(path)
            database.execute(f"PRAGMA journal_mode = {journal}")
            database.execute("CREATE TABLE counts (number INTEGER)")
            database.execute("INSERT INTO counts VALUES (0)")
            database.commit()
            database.close()

            def write(path: Path = path) -> None:
                mine = sqlite3.connect(path, timeout=60, isolation_level=None)
                for _ in range(rounds):
                    mine.execute("BEGIN IMMEDIATE")
                    number = mine.execute("SELECT number FROM counts").fetchone()[0]
                    mine.execute("UPDATE counts SET number = ?", (number + 1,))
                    mine.execute("COMMIT")
                mine.close()

            in_processes([write] * writers)
            database = sqlite3.connect(path)
            self.assertEqual(database.execute("SELECT number FROM counts").fetchone()[0], writers * rounds, journal)
            self.assertEqual(database.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            database.close()


class Leave(OwnMountTest):
    """What becomes of locks when those who use them are others, or may no more."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.top / "file"
        write_file(self.file, b"0123456789")
        os.chmod(self.file, 0o666)

    def peer(self, user: User = SELF, flags: int = os.O_RDWR) -> tuple[Peer, int]:
        peer = Peer(user)
        self.addCleanup(peer.end)
        return peer, wait_until(lambda: max(peer(os.open, self.file, flags), 0), "it can be opened")

    def grant_to(self, user: User) -> int:
        words = [word for right in ("list", "read", "write") for word in ("--right", right)]
        return int(self.store.coffer("grant", "add", self.store.path, "/", "--selector", f"unix:uid:{user.uid}", *words).out)

    def test_between_identities(self) -> None:
        """Who know a file by inodes of their own where it is read-only."""
        for user in (ALICE, BOB):
            self.grant_to(user)
        self.mount.umount()
        self.mount = self.new_mount(self.store, "--read-only")
        (one, first), (two, second), (root, third) = (self.peer(user, os.O_RDONLY) for user in (ALICE, BOB, SELF))
        self.assertTrue(one.lock("flock", first, EXCLUSIVE))
        self.assertFalse(two.lock("flock", second, SHARED))
        self.assertFalse(root.lock("flock", third, SHARED))
        two.waits_for("flock", second, SHARED)
        root.waits_for("flock", third, SHARED)
        one(os.close, first)
        self.assertIsNone(two.result(SOON))
        self.assertIsNone(root.result(SOON))
        for kind in ("fcntl", "ofd"):
            self.assertTrue(two.lock(kind, second, SHARED))
            self.assertEqual(root(in_the_way, kind, third, EXCLUSIVE)[0], SHARED)
            self.assertTrue(two.lock(kind, second, NONE))
            self.assertEqual(root(in_the_way, kind, third, EXCLUSIVE)[0], NONE)

    def test_who_is_withdrawn_gets_none(self) -> None:
        grant = self.grant_to(BOB)
        (one, first), (bob, second), (another, third) = (self.peer(user) for user in (SELF, BOB, BOB))
        self.assertTrue(bob.lock("fcntl", second, EXCLUSIVE, 0, 1))
        self.assertTrue(one.lock("fcntl", first, EXCLUSIVE, 1, 1))
        another.waits_for("fcntl", third, EXCLUSIVE, 1, 1)
        self.store.revoke(grant)
        self.assertEqual(another.result(SOON + 2), -errno.EKEYREVOKED)
        for kind in KINDS:
            self.assertEqual(bob(lock, kind, second, EXCLUSIVE, 2, 1), -errno.EKEYREVOKED)
        self.assertEqual(bob(in_the_way, "fcntl", second, EXCLUSIVE, 1, 1), -errno.EKEYREVOKED)
        self.assertFalse(one.lock("fcntl", first, EXCLUSIVE, 0, 1), "what he has he keeps")
        self.assertIsNone(bob(lock, "fcntl", second, NONE, 0, 1))
        self.assertTrue(one.lock("fcntl", first, EXCLUSIVE, 0, 1))

    def test_a_lock_of_the_mount_lets_them_go(self) -> None:
        (one, first), (two, second) = (self.peer() for _ in range(2))
        self.assertTrue(one.lock("flock", first, EXCLUSIVE))
        two.waits_for("flock", second, EXCLUSIVE)
        coffer("lock", self.top)
        self.assertEqual(two.result(SOON), -errno.EKEYREVOKED)
        self.assertEqual(two(lock, "flock", second, SHARED), -errno.EKEYREVOKED)
        self.assertIsNone(one(lock, "flock", first, NONE))
        coffer("unlock", self.top)
        third, last = self.peer()
        self.assertTrue(third.lock("flock", last, EXCLUSIVE))

    def test_the_daemons_end(self) -> None:
        (one, first), (two, second) = (self.peer() for _ in range(2))
        for kind in ("fcntl", "flock"):
            self.assertTrue(one.lock(kind, first, EXCLUSIVE))
        two.waits_for("fcntl", second, EXCLUSIVE)
        os.kill(self.mount.pid, signal.SIGTERM)
        self.assertEqual(two.result(SOON), -errno.ENOTCONN)
        wait_until(lambda: not alive(self.mount.pid), "the daemon ends", 10)


if __name__ == "__main__":
    unittest.main()

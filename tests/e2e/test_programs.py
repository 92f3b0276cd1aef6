"""Programs that people use on files: SQLite, rsync, git, tar, cp, dd, find, grep."""

import os
import random
import shutil
import sqlite3
import unittest
from pathlib import Path

from files import MIB, digest, random_bytes, tree
from harness import MountedTest
from processes import drop_caches, in_processes, need, run


def make_tree(top: Path) -> None:
    """Files of many sizes, nested directories, symlinks, hard links, a hole, odd modes, times and names."""
    dice = random.Random(99)
    top.mkdir()
    for number in range(12):
        below = top / f"dir-{number}" / ("x" * (number * 16 + 1))
        below.mkdir(parents=True)
        for entry in range(12):
            path = below / f"file-{entry}"
            path.write_bytes(random_bytes(dice.choice([0, 1, 100, 4096, 30_000, 600_000]), number * 100 + entry))
            os.chmod(path, dice.choice([0o644, 0o600, 0o755, 0o444, 0o4755]))
            os.utime(path, ns=(10**18 + entry, 10**18 + dice.randrange(10**17)))
    os.symlink("dir-1", top / "symlink")
    os.symlink("/nowhere/" + "t" * 3500, top / "long-symlink")
    os.link(top / "dir-3" / ("x" * 49) / "file-1", top / "hard-link")
    (top / "leerer Ordner ä").mkdir()
    (top / "with\nnewline").write_text("x")
    with open(top / "sparse", "wb") as stream:
        stream.seek(20 * MIB)
        stream.write(b"end")
    os.mkfifo(top / "fifo")
    os.chmod(top / "dir-2", 0o2750)
    os.utime(top / "dir-4", ns=(10**18, 10**18 + 7))


class Sqlite(MountedTest):
    """Its shared memory file is a shared mapping, its locks are fcntl's."""

    limit = 120.0

    def use(self, path: Path, journal: str) -> None:
        """Two writers and two readers, each in a process of its own; then all rows are there, once."""
        rows, batches = 50, 12
        database = sqlite3.connect(path, timeout=60)
        self.assertEqual(database.execute(f"PRAGMA journal_mode = {journal}").fetchone()[0], journal)
        database.execute("CREATE TABLE t (writer INTEGER, number INTEGER, data BLOB, UNIQUE (writer, number))")
        database.execute("CREATE TABLE counts (writer INTEGER PRIMARY KEY, rows INTEGER)")
        database.executemany("INSERT INTO counts VALUES (?, 0)", [(0,), (1,)])
        database.commit()
        database.close()

        def write(writer: int) -> None:
            mine = sqlite3.connect(path, timeout=60, isolation_level=None)
            for batch in range(batches):
                mine.execute("BEGIN IMMEDIATE")
                mine.executemany("INSERT INTO t VALUES (?, ?, randomblob(700))",
                                 [(writer, batch * rows + row) for row in range(rows)])
                mine.execute("UPDATE counts SET rows = rows + ? WHERE writer = ?", (rows, writer))
                mine.execute("ROLLBACK" if batch % 4 == 3 else "COMMIT")
            mine.close()

        def read() -> None:
            mine = sqlite3.connect(path, timeout=60, isolation_level=None)
            for _ in range(25):
                mine.execute("BEGIN")
                counted = mine.execute("SELECT sum(rows) FROM counts").fetchone()[0]
                there = mine.execute("SELECT count(*) FROM t").fetchone()[0]
                mine.execute("COMMIT")
                assert counted == there, f"a reader saw {there} rows where {counted} were counted"
            mine.close()

        in_processes([lambda: write(0), lambda: write(1), read, read])
        for again in range(2):
            self.assertEqual(run("sqlite3", path, "PRAGMA integrity_check").out, "ok\n")
            kept = batches - batches // 4
            self.assertEqual(run("sqlite3", path, "SELECT writer, count(*), sum(length(data)) FROM t GROUP BY writer").out,
                             "".join(f"{writer}|{kept * rows}|{kept * rows * 700}\n" for writer in (0, 1)))
            run("sqlite3", path, "DELETE FROM t WHERE number % 7 = 3; VACUUM; REINDEX" if again else "SELECT 1")
            if again == 0:
                self.remount()
        self.assertEqual(run("sqlite3", path, "PRAGMA integrity_check").out, "ok\n")

    def test_wal(self) -> None:
        need(shutil.which("sqlite3"), "sqlite3 is not installed")
        self.use(self.dir / "wal.db", "wal")

    def test_rollback_journal(self) -> None:
        need(shutil.which("sqlite3"), "sqlite3 is not installed")
        self.use(self.dir / "delete.db", "delete")

    def test_truncated_and_kept_journals(self) -> None:
        need(shutil.which("sqlite3"), "sqlite3 is not installed")
        for journal in ("truncate", "persist"):
            path = self.dir / f"{journal}.db"
            database = sqlite3.connect(path)
            database.execute(f"PRAGMA journal_mode = {journal}")
            database.execute("CREATE TABLE t (x)")
            for number in range(20):
                with database:
                    database.execute("INSERT INTO t VALUES (?)", (number,))
            database.close()
            drop_caches()
            self.assertEqual(run("sqlite3", path, "SELECT sum(x) FROM t; PRAGMA integrity_check").out, "190\nok\n")


class Trees(MountedTest):
    """Programs that copy whole trees in and out."""

    limit = 120.0
    source: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.source = cls.home / "source"
        make_tree(cls.source)
        cls.expected = tree(cls.source)

    def test_rsync(self) -> None:
        need(shutil.which("rsync"), "rsync is not installed")
        copy = self.dir / "copy"
        command = ["rsync", "-aHS", "--itemize-changes", f"{self.source}/", f"{copy}/"]
        self.assertIn("file-11", run(*command).out)
        self.assert_same_tree(tree(copy), self.expected)
        self.assertEqual(run(*command).out, "", "a second rsync finds nothing to do")
        self.remount()
        self.assertEqual(run(*command).out, "", "nor after a remount")
        self.assertEqual(run(*command, "--checksum").out, "", "nor by content")
        self.assert_same_tree(tree(copy), self.expected)
        (copy / "hard-link").write_bytes(b"changed")
        os.unlink(copy / "symlink")
        (copy / "extra").mkdir()
        changes = run(*command, "--delete").out
        self.assertIn("*deleting   extra/", changes)
        self.assert_same_tree(tree(copy), self.expected)
        run("rsync", "-aH", f"{copy}/", f"{self.place('out')}/")
        self.assert_same_tree(tree(self.place("out")), self.expected)

    def test_rsync_in_place_and_partial(self) -> None:
        need(shutil.which("rsync"), "rsync is not installed")
        data = random_bytes(3 * MIB)
        source = self.place("file")
        source.write_bytes(data)
        run("rsync", "--inplace", "--no-whole-file", source, self.dir / "file")
        source.write_bytes(data[:MIB] + b"changed" + data[MIB + 7:-5])
        run("rsync", "--inplace", "--no-whole-file", "--ignore-times", source, self.dir / "file")
        self.assert_content(self.dir / "file", source.read_bytes())
        with open(source, "ab") as stream:
            stream.write(data)
        run("rsync", "--append-verify", source, self.dir / "file")
        self.remount()
        self.assert_content(self.dir / "file", source.read_bytes())

    def test_tar(self) -> None:
        archive = self.dir / "archive.tar"
        run("tar", "-C", self.source, "--sparse", "-cf", archive, ".")
        (self.dir / "copy").mkdir()
        run("tar", "-C", self.dir / "copy", "-xpf", archive)
        run("tar", "-C", self.dir / "copy", "--compare", "-f", archive)
        self.remount()
        run("tar", "-C", self.dir / "copy", "--compare", "-f", archive)
        whole_seconds = {name: entry[:3] + (entry[3] // 10**9,) + entry[4:] for name, entry in tree(self.dir / "copy").items()}
        self.assert_same_tree(whole_seconds, {name: entry[:3] + (entry[3] // 10**9,) + entry[4:]
                                              for name, entry in self.expected.items()})
        # And that the comparison sees a difference.
        (self.dir / "copy/hard-link").write_bytes(b"changed")
        self.assertEqual(run("tar", "-C", self.dir / "copy", "--compare", "-f", archive, check=False).code, 1)

    def test_cp_and_mv(self) -> None:
        run("cp", "-a", self.source, self.dir / "copy")
        self.assert_same_tree(tree(self.dir / "copy"), self.expected)
        run("cp", "-a", self.dir / "copy", self.dir / "second")
        (self.dir / "holder").mkdir()
        run("mv", self.dir / "second", self.dir / "holder/moved")
        run("mv", self.dir / "holder/moved", self.place("out"))  # across filesystems
        self.assert_same_tree(tree(self.place("out")), self.expected)
        self.remount()
        self.assert_same_tree(tree(self.dir / "copy"), self.expected)
        run("rm", "-r", self.dir / "copy", self.dir / "holder")
        self.assertEqual(os.listdir(self.dir), [])

    def test_cp_sparse(self) -> None:
        for how in ("always", "auto", "never"):
            copy = self.dir / how
            run("cp", f"--sparse={how}", self.source / "sparse", copy)
            self.assertEqual(digest(copy), digest(self.source / "sparse"))
        self.assertLess(os.stat(self.dir / "always").st_blocks * 512, MIB)

    def test_dd(self) -> None:
        source = self.place("source")
        source.write_bytes(random_bytes(2 * MIB + 333))
        run("dd", f"if={source}", f"of={self.dir}/a", "bs=7777", "conv=fsync")
        run("dd", f"if={source}", f"of={self.dir}/b", "bs=64K", "conv=fdatasync,notrunc", "oflag=sync")
        run("dd", f"if={source}", f"of={self.dir}/a", "bs=1000", "count=10", "skip=5", "seek=100", "conv=notrunc")
        expected = bytearray(source.read_bytes())
        expected[100_000:110_000] = expected[5000:15_000]
        self.assert_content(self.dir / "a", bytes(expected))
        self.assert_content(self.dir / "b", source.read_bytes())

    def test_find_and_grep(self) -> None:
        run("cp", "-a", self.source, self.dir / "copy")
        needle = "a needle in a haystack"
        places = [f"dir-{number}/{'x' * (number * 16 + 1)}/file-5" for number in (0, 5, 11)]
        for path in places:
            with open(self.dir / "copy" / path, "ab") as stream:
                stream.write(f"\n{needle}\n".encode())
        drop_caches()
        found = run("grep", "-rlF", "--devices=skip", needle, "copy", cwd=self.dir, check=False).out.splitlines()
        self.assertEqual(sorted(found), sorted(f"copy/{path}" for path in places))
        for test in (["-type", "f"], ["-type", "d"], ["-type", "l"], ["-size", "+100k"], ["-perm", "-4000"], ["-newermt", "2020-01-01"],
                     ["-name", "*ä"], ["-empty"], ["-links", "+1", "-type", "f"]):
            if test[0] in ("-newermt", "-size", "-empty"):
                here, there = (run("find", ".", "-not", "-name", "file-5", *test, cwd=at).out for at in (self.dir / "copy", self.source))
            else:
                here, there = (run("find", ".", *test, cwd=at).out for at in (self.dir / "copy", self.source))
            self.assertEqual(sorted(here.splitlines()), sorted(there.splitlines()), test)
            self.assertTrue(here, test)
        self.assertEqual(run("du", "--apparent-size", "-sb", self.dir / "copy/sparse").out.split()[0], str(20 * MIB + 3))

    def test_editors_and_filters(self) -> None:
        lines = "".join(f"{number * 7919 % 10_000}\n" for number in range(10_000))
        path = self.dir / "lines"
        path.write_text(lines)
        run("sed", "-i.bak", "s/^7/seven/", path)
        self.assertEqual(path.read_text(), "".join(f"seven{line[1:]}\n" if line[0] == "7" else f"{line}\n"
                                                   for line in lines.splitlines()))
        self.assertEqual((self.dir / "lines.bak").read_text(), lines)
        run("sort", "-n", "-S", "64K", "-T", self.dir, "-o", path, self.dir / "lines.bak")
        self.assertEqual(path.read_text(), "".join(f"{number}\n" for number in range(10_000)))
        run("gzip", "-k", path)
        self.assertEqual(run("zcat", f"{path}.gz").out, path.read_text())
        run("install", "-m", "0751", path, self.dir / "installed")
        self.assertEqual(os.stat(self.dir / "installed").st_mode & 0o7777, 0o751)
        run("shred", "-u", "-n", "1", self.dir / "installed")
        run("truncate", "-s", "100", path)
        self.assertEqual(run("wc", "-c", path).out.split()[0], "100")


class Git(MountedTest):
    limit = 120.0

    def git(self, *words: str, at: Path, **options) -> str:
        return run("git", "-c", "user.name=E2E", "-c", "user.email=e2e@example.org", "-c", "gc.auto=0", "-c", "safe.directory=*",
                   *words, cwd=at, **options).out

    def test_clone_commit_gc_fsck_status(self) -> None:
        need(shutil.which("git"), "git is not installed")
        origin = self.place("origin")
        make_tree(origin)
        os.unlink(origin / "fifo")
        self.git("init", "-q", "-b", "main", at=origin)
        self.git("add", "-A", at=origin)
        self.git("commit", "-q", "-m", "one", at=origin)
        clone = self.dir / "clone"
        self.git("clone", "-q", "--no-local", str(origin), str(clone), at=self.home)
        self.assertEqual(self.git("status", "--porcelain", at=clone), "")
        for number in range(5):
            (clone / f"new-{number}").write_bytes(random_bytes(100_000, number))
            (clone / "hard-link").write_text(f"version {number}\n")
            self.git("add", "-A", at=clone)
            self.git("commit", "-q", "-m", f"commit {number}", at=clone)
        self.git("checkout", "-q", "-b", "side", "HEAD~3", at=clone)
        (clone / "side").write_text("side\n")
        self.git("add", "side", at=clone)
        self.git("commit", "-q", "-m", "side", at=clone)
        self.git("merge", "-q", "--no-edit", "main", at=clone)
        tip = self.git("rev-parse", "HEAD^{tree}", at=clone)
        self.git("gc", "-q", "--aggressive", "--prune=now", at=clone)
        self.git("fsck", "--full", "--strict", at=clone)
        self.remount()
        self.assertEqual(self.git("status", "--porcelain", at=clone), "")
        self.git("fsck", "--full", "--strict", at=clone)
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}", at=clone), tip)
        self.git("push", "-q", "origin", "side", at=clone)
        self.assertEqual(self.git("rev-parse", "side^{tree}", at=origin), tip)
        # A fresh checkout of what was pushed holds what the mount's work tree holds.
        self.git("clone", "-q", "-b", "side", str(origin), str(self.place("check")), at=self.home)
        with_git = [tree(path, times=False, links=False) for path in (clone, self.place("check"))]
        contents = [{name: entry for name, entry in found.items() if not name.startswith(b".git") and entry[0][0] != "d"}
                    for found in with_git]
        self.assert_same_tree(*contents)

    def test_index_is_trusted_after_a_remount(self) -> None:
        """git compares sizes, times and inode numbers: were one of them new after a remount, it would read every file again."""
        need(shutil.which("git"), "git is not installed")
        work = self.dir / "work"
        work.mkdir()
        self.git("init", "-q", at=work)
        for number in range(20):
            (work / str(number)).write_bytes(random_bytes(5000, number))
            os.utime(work / str(number), (1.6e9, 1.6e9))
        self.git("add", "-A", at=work)
        self.git("commit", "-q", "-m", "one", at=work)
        self.remount()
        stale = [line for line in run("git", "-c", "safe.directory=*", "diff-files", "--name-only", cwd=work).out.splitlines()]
        self.assertEqual(stale, [], "diff-files shows what differs by its status alone")


if __name__ == "__main__":
    unittest.main()

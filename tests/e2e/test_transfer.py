"""import and export: the ways in and out that need no mount."""

import hashlib
import os
import pty
import random
import shutil
import signal
import stat
import subprocess
import unittest
from pathlib import Path

from files import MIB, digest, random_bytes, tree
from harness import CofferTest
from processes import ALICE, BINARY, BOB, coffer, need, need_root, run, start, wait_until

BUSY, CORRUPT = 16, 8


def make_tree(top: Path) -> None:
    """All that can be brought in: directories, files of many sizes, holes, symlinks, a fifo, modes, times, owners, odd names."""
    dice = random.Random(7)
    top.mkdir()
    for directory in ("a/b/c", "empty", "leerer Ordner ä", "x" * 255):
        (top / directory).mkdir(parents=True)
    sizes = [0, 1, 4095, 4096, 4097, 524_288, 524_289, 1_048_576, 5 * MIB + 1]
    for number, size in enumerate(sizes):
        for directory in ("", "a/b/c"):
            (top / directory / f"file-{size}").write_bytes(random_bytes(size, number))
    for name in (b"\xff\xfe not UTF-8", b"new\nline", b" ", b"-rf", b"n" * 255, "é".encode(), b"colon:slash", b".coffer.dir"):
        with open(os.path.join(os.fsencode(top), name), "wb") as stream:
            stream.write(name)
    with open(top / "sparse", "wb") as stream:
        os.pwrite(stream.fileno(), b"beginning", 0)
        os.pwrite(stream.fileno(), b"middle", 20 * MIB + 11)
        os.ftruncate(stream.fileno(), 50 * MIB)
    with open(top / "hole", "wb") as stream:
        os.ftruncate(stream.fileno(), 10 * MIB + 1)
    os.symlink("a/b", top / "symlink")
    os.symlink("/nowhere/" + "t" * 4000, top / "long-symlink")
    os.symlink(b"\xff", os.path.join(os.fsencode(top), b"odd-symlink"))
    os.mkfifo(top / "fifo", 0o640)
    for path, mode in (("file-1", 0o4755), ("file-0", 0o400), ("a/b", 0o2750), ("file-4096", 0o000), ("empty", 0o500)):
        os.chmod(top / path, mode)
    if os.geteuid() == 0:
        os.chown(top / "file-4095", ALICE.uid, BOB.gid)
        os.lchown(top / "symlink", BOB.uid, ALICE.gid)
    for name in sorted(tree(top), reverse=True):
        when = 10**18 + dice.randrange(10**17)
        os.utime(os.path.join(os.fsencode(top), name), ns=(when, when), follow_symlinks=False)


def comparable(top: Path) -> dict[bytes, tuple]:
    """Without link counts, which do not come along, nor the status of the top directory, which is the receiver's own."""
    return {name: entry for name, entry in tree(top, links=False).items() if name != b"."}


def allocated(path: Path) -> int:
    return os.stat(path).st_blocks * 512


class Copying(CofferTest):
    def test_there_and_back(self) -> None:
        source, out = self.place("source"), self.place("out")
        make_tree(source)
        expected = comparable(source)
        store = self.new_store()
        summary = store.coffer("import", source, store.path, "--json")
        self.assertEqual(summary.err, "", "quiet when stderr is no terminal")
        files = sum(entry[0][0] == "-" for entry in expected.values())
        others = sum(entry[0][0] in "lp" for entry in expected.values())
        self.assertEqual({key: summary.json[key] for key in ("copied", "unchanged", "skipped", "failed")},
                         {"copied": files + others, "unchanged": 0, "skipped": 0, "failed": 0})
        self.assertEqual(store.verify()["files"], files)

        again = store.coffer("import", source, store.path, "--json").json
        self.assertEqual((again["copied"], again["unchanged"]), (0, files + others), "a second import finds all unchanged")

        mount = self.new_mount(store)
        self.assert_same_tree(comparable(mount.path), expected)
        self.assertLess(allocated(mount.path / "sparse"), 3 * MIB)
        self.assertLess(allocated(mount.path / "hole"), 3 * MIB)
        mount.umount()

        self.assertEqual(store.coffer("export", store.path, out).err, "")
        self.assert_same_tree(comparable(out), expected)
        self.assertLess(allocated(out / "sparse"), 3 * MIB)
        self.assertLess(allocated(out / "hole"), 3 * MIB)
        again = store.coffer("export", store.path, out, "--json").json
        self.assertEqual((again["copied"], again["failed"]), (1, 0), "only the fifo is made again")
        self.assert_same_tree(comparable(out), expected)

    def test_changes_are_brought_along(self) -> None:
        source = self.place("source")
        source.mkdir()
        for number in range(6):
            (source / str(number)).write_bytes(random_bytes(6 * MIB if number == 5 else 10_000, number))
        os.symlink("old", source / "symlink")
        store = self.new_store()
        store.coffer("import", source, store.path)
        (source / "1").write_bytes(b"shorter")
        (source / "5").write_bytes(random_bytes(5 * MIB, 50))
        with open(source / "2", "r+b") as stream:
            stream.write(b"same size")
        os.unlink(source / "symlink")
        os.symlink("new", source / "symlink")
        (source / "new").write_bytes(b"new")
        os.unlink(source / "0")
        summary = store.coffer("import", source, store.path, "--json").json
        self.assertEqual((summary["copied"], summary["unchanged"]), (5, 2))
        store.verify()
        out = self.place("out")
        store.coffer("export", store.path, out)
        self.assertEqual(digest(out / "0"), digest_of(random_bytes(10_000, 0)), "what is gone from the source stays in the store")
        os.unlink(out / "0")
        self.assert_same_tree(comparable(out), comparable(source))

    def test_single_files_and_paths(self) -> None:
        source = self.place("one.bin")
        source.write_bytes(random_bytes(100_000))
        store = self.new_store()
        store.coffer("import", source, store.path)
        store.coffer("import", source, f"{store.path}:/renamed")
        tree_source = self.place("tree")
        (tree_source / "sub").mkdir(parents=True)
        (tree_source / "sub/file").write_bytes(b"in a tree")
        store.coffer("import", tree_source, f"{store.path}:/models")
        store.coffer("import", source, f"{store.path}:/models")
        store.coffer("import", source, f"{store.path}:models/sub/")
        store.coffer("import", source, f"{store.path}:/new/deeper/")
        out = self.place("out")
        store.coffer("export", store.path, out)
        names = sorted(name.decode() for name, entry in comparable(out).items() if entry[0][0] == "-")
        self.assertEqual(names, ["models/one.bin", "models/sub/file", "models/sub/one.bin", "new/deeper/one.bin", "one.bin",
                                 "renamed"])
        for name in names:
            self.assertEqual(digest(out / name), digest_of(b"in a tree") if name.endswith("/file") else digest(source))
        # Out again, one by one: to a name, into a directory, and a part of the tree.
        store.coffer("export", f"{store.path}:/renamed", self.place("back"))
        self.assertEqual(digest(self.place("back")), digest(source))
        self.place("into").mkdir()
        store.coffer("export", f"{store.path}:/models/one.bin", self.place("into"))
        self.assertEqual(digest(self.place("into") / "one.bin"), digest(source))
        store.coffer("export", f"{store.path}:/models/sub", self.place("part"))
        self.assertEqual(sorted(os.listdir(self.place("part"))), ["file", "one.bin"])
        self.assertEqual(store.coffer("verify", f"{store.path}:/models/sub", "--json").json["files"], 2)

    def test_what_is_in_the_way(self) -> None:
        source = self.place("source")
        (source / "directory").mkdir(parents=True)
        (source / "file").write_bytes(b"file")
        (source / "fine").write_bytes(b"fine")
        other = self.place("other")
        (other / "file").mkdir(parents=True)
        (other / "directory").write_bytes(b"a file here")
        store = self.new_store()
        store.coffer("import", other, store.path)
        failed = coffer("import", source, store.path, check=False)
        self.assertNotEqual(failed.code, 0, str(failed))
        self.assertIn("/file", failed.err)
        self.assertRegex(failed.err.splitlines()[-1], r"^coffer: \d+ failed; .*run the same command again$")
        out = self.place("out")
        store.coffer("export", store.path, out)
        self.assertTrue((out / "file").is_dir())
        self.assertEqual((out / "directory").read_bytes(), b"a file here")
        self.assertEqual((out / "fine").read_bytes(), b"fine", "the rest is brought in all the same")

    def test_sockets_and_devices_are_left_out(self) -> None:
        need_root()
        source = self.place("source")
        source.mkdir()
        os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
        os.mknod(source / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (source / "file").write_bytes(b"x")
        store = self.new_store()
        outcome = store.coffer("import", source, store.path, "--json")
        self.assertEqual((outcome.json["copied"], outcome.json["skipped"]), (1, 2))
        self.assertEqual(len(outcome.err.splitlines()), 2, str(outcome))

    def test_export_follows_no_symlink(self) -> None:
        """A symlink in the target directory must not lead the export to some other place."""
        source, out, elsewhere = self.place("source"), self.place("out"), self.place("elsewhere")
        (source / "sub").mkdir(parents=True)
        (source / "sub/file").write_bytes(b"sub")
        (source / "file").write_bytes(b"file")
        store = self.new_store()
        store.coffer("import", source, store.path)
        out.mkdir()
        elsewhere.mkdir()
        (elsewhere / "file").write_bytes(b"precious")
        os.symlink(elsewhere, out / "sub")
        os.symlink(elsewhere / "file", out / "file")
        os.symlink(elsewhere / "file", out / "file.coffer-partial")
        coffer("export", store.path, out, check=False)
        self.assertEqual(os.listdir(elsewhere), ["file"])
        self.assertEqual((elsewhere / "file").read_bytes(), b"precious")

    def test_into_a_mounted_store(self) -> None:
        source = self.place("file")
        source.write_bytes(b"x")
        store = self.new_store()
        mount = self.new_mount(store)
        (mount.path / "mine").write_bytes(b"mine")
        failed = coffer("import", source, store.path, check=False)
        self.assertEqual(failed.code, BUSY, str(failed))
        self.assertIn(f"mounted at {mount.path}", failed.err)
        # Reading beside the mount is no trouble.
        store.coffer("export", store.path, self.place("out"))
        self.assertEqual((self.place("out") / "mine").read_bytes(), b"mine")
        self.assertEqual(store.coffer("verify", store.path, "--json").json["findings"], [])
        mount.umount()
        mount = self.new_mount(store, "--read-only")
        store.coffer("import", source, store.path)
        self.assertEqual((mount.path / "file").read_bytes(), b"x")


def attributes(path: Path) -> dict[str, bytes]:
    """Without what a security module gives every file."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name != "security.selinux"}


class Attributes(CofferTest):
    """Extended attributes and ACLs come along, both ways."""

    USERS = {"user.origin": b"somewhere", "user.empty": b"", "user.binary": bytes(range(256))}

    def setUp(self) -> None:
        super().setUp()
        self.source, self.out = self.place("source"), self.place("out")
        (self.source / "dir").mkdir(parents=True)
        for name, size in (("small", 10_000), ("large", 5 * MIB), ("dir/file", 1), ("plain", 5)):
            (self.source / name).write_bytes(random_bytes(size))
        for name in ("small", "large", "dir/file", "dir"):
            for key, value in self.USERS.items():
                os.setxattr(self.source / name, key, value)
        os.chmod(self.source / "small", 0o444)
        os.chmod(self.source / "dir", 0o750)

    def all_of(self, top: Path) -> dict[str, dict[str, bytes]]:
        return {name: attributes(top / name) for name in ("small", "large", "dir/file", "dir", "plain")}

    def there_and_back(self, store) -> None:
        expected = self.all_of(self.source)
        whole = comparable(self.source)
        summary = store.coffer("import", self.source, store.path, "--json")
        self.assertEqual((summary.json["failed"], summary.json["attributes_left_out"], summary.err), (0, 0, ""))
        store.verify()
        store.coffer("export", store.path, self.out)
        self.assertEqual(self.all_of(self.out), expected)
        self.assert_same_tree(comparable(self.out), whole)
        again = store.coffer("export", store.path, self.out, "--json").json
        self.assertEqual((again["copied"], again["attributes_left_out"]), (0, 0))

    def test_there_and_back(self) -> None:
        self.there_and_back(self.new_store())

    def test_what_root_alone_sees(self) -> None:
        need_root()
        os.setxattr(self.source / "small", "trusted.origin", b"t")
        os.setxattr(self.source / "dir", "trusted.origin", b"d")
        run("setcap", "cap_net_raw+ep", self.source / "large")
        os.chown(self.source / "large", ALICE.uid, ALICE.gid)
        run("setcap", "cap_net_raw+ep", self.source / "large")
        self.there_and_back(self.new_store())
        self.assertIn("security.capability", attributes(self.out / "large"))

    def test_access_control_lists(self) -> None:
        need(shutil.which("setfacl"), "setfacl is not installed (package acl)")
        run("setfacl", "-m", f"u:{BOB.uid}:rw,m:r", self.source / "large")
        run("setfacl", "-m", f"u:{BOB.uid}:rx,d:u:{BOB.uid}:rwx", self.source / "dir")
        self.assertEqual(set(attributes(self.source / "dir")) - set(self.USERS), {"system.posix_acl_access", "system.posix_acl_default"})
        store = self.new_store()
        # Nothing is inherited from where it goes to: what has no list is let in to by none.
        mount = self.new_mount(store)
        self.out.mkdir()
        for top in (mount.path, self.out):
            run("setfacl", "-m", f"d:u:{BOB.uid}:rwx", top)
        mount.umount()
        self.there_and_back(store)
        mount = self.new_mount(store)
        self.assertEqual(self.all_of(mount.path), self.all_of(self.source))

    def test_what_the_target_can_not_hold(self) -> None:
        need_root()
        os.mkdir(self.out)
        run("mount", "-t", "ramfs", "none", self.out)
        self.addCleanup(run, "umount", self.out)
        store = self.new_store()
        store.coffer("import", self.source, store.path)
        outcome = store.coffer("export", store.path, self.out, "--json")
        self.assertEqual((outcome.json["copied"], outcome.json["failed"], outcome.json["attributes_left_out"]), (4, 0, 4))
        self.assertIn("coffer: /dir: attributes that can't be kept are left out: user.binary (Operation not supported), user.empty",
                      outcome.err)
        self.assert_content(self.out / "small", (self.source / "small").read_bytes())
        self.assertIn(", 1 without some attributes\n", store.coffer("export", store.path, self.out).out)

    def test_a_damaged_sidecar_is_a_failure(self) -> None:
        store = self.new_store()
        store.coffer("import", self.source, store.path)
        for path in (store.path / ".coffer/xattrs").glob("*/*"):
            path.write_bytes(bytes(path.stat().st_size))
        outcome = store.coffer("export", store.path, self.out, check=False)
        self.assertEqual(outcome.code, CORRUPT, str(outcome))
        self.assertIn("extended attributes", outcome.err)
        self.assertEqual((self.out / "plain").read_bytes(), (self.source / "plain").read_bytes())


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Interrupted(CofferTest):
    SIZE = 400 * MIB

    limit = 120.0

    def make_source(self) -> Path:
        source = self.place("source")
        source.mkdir()
        with open("/dev/urandom", "rb") as noise, open(source / "large", "wb") as stream:
            part = noise.read(50 * MIB)
            for number in range(self.SIZE // len(part)):
                stream.write(number.to_bytes(8, "little") + part[8:])
        (source / "small").write_bytes(b"small")
        return source

    def kill_when(self, process: subprocess.Popen, condition) -> None:
        """SIGKILL in the middle of things."""
        while not condition():
            self.assertIsNone(process.poll(), "it was done before it could be killed; give it more to do")
        process.kill()
        process.wait()

    def largest(self, top: Path) -> os.stat_result:
        return max((os.lstat(os.path.join(directory, name)) for directory, _, names in os.walk(top) for name in names),
                   key=lambda status: status.st_size)

    def test_import_and_export_carry_on(self) -> None:
        """Killed while a large file is copied, the second run takes up the same partial file and ends with the whole."""
        source, out = self.make_source(), self.place("out")
        store = self.new_store()
        importing = start(BINARY, "import", source, store.path, stdout=subprocess.DEVNULL)
        self.kill_when(importing, lambda: self.largest(store.path).st_size > 120 * MIB)
        partial = self.largest(store.path)
        self.assertLess(partial.st_size, self.SIZE)
        self.assertEqual(store.coffer("verify", store.path, "--json", check=False).json["findings"], [],
                         "what a killed import leaves is whole as far as it goes")
        store.coffer("import", source, store.path)
        self.assertEqual(self.largest(store.path).st_ino, partial.st_ino, "the same file was carried on")
        self.assertGreater(self.largest(store.path).st_size, self.SIZE)
        store.verify()

        exporting = start(BINARY, "export", store.path, out, stdout=subprocess.DEVNULL)
        self.kill_when(exporting, lambda: out.exists() and self.largest_or_none(out) > 120 * MIB)
        partial = self.largest(out)
        self.assertEqual(sorted(os.listdir(out)), sorted({"large.coffer-partial"} | (set(os.listdir(out)) & {"small"})))
        store.coffer("export", store.path, out)
        self.assertEqual(os.lstat(out / "large").st_ino, partial.st_ino)
        self.assert_same_tree(comparable(out), comparable(source))

    def largest_or_none(self, top: Path) -> int:
        try:
            return self.largest(top).st_size
        except (ValueError, OSError):
            return 0

    def test_partial_that_is_not_this_file(self) -> None:
        """What an earlier export left is compared, not believed."""
        source, out = self.place("source"), self.place("out")
        source.mkdir()
        data = random_bytes(5 * MIB)
        (source / "file").write_bytes(data)
        store = self.new_store()
        store.coffer("import", source, store.path)
        out.mkdir()
        (out / "file.coffer-partial").write_bytes(data[:2 * MIB] + b"other" * 1_000_000)
        store.coffer("export", store.path, out)
        self.assert_content(out / "file", data)
        self.assertEqual(os.listdir(out), ["file"])

    def test_source_that_changed_in_between(self) -> None:
        """The partial of the old content is not mixed into the new."""
        source = self.make_source()
        store = self.new_store()
        importing = start(BINARY, "import", source, store.path, stdout=subprocess.DEVNULL)
        self.kill_when(importing, lambda: self.largest(store.path).st_size > 100 * MIB)
        data = random_bytes(6 * MIB, 1)
        (source / "large").write_bytes(data)
        store.coffer("import", source, store.path)
        out = self.place("out")
        store.coffer("export", f"{store.path}:/large", out)
        self.assert_content(out, data)

    def test_terminated_by_a_user(self) -> None:
        """Ctrl-C: ends at once, and can be carried on like after a kill."""
        source = self.make_source()
        store = self.new_store()
        importing = start(BINARY, "import", source, store.path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: self.largest(store.path).st_size > 100 * MIB, "it has begun", 20)
        importing.send_signal(signal.SIGINT)
        importing.communicate(timeout=20)
        self.assertNotEqual(importing.returncode, 0)
        self.assertEqual(store.coffer("verify", store.path, "--json", check=False).json["findings"], [])


class Progress(CofferTest):
    def test_shown_on_a_terminal(self) -> None:
        """Text in place on stderr, gone at the end; the summary on stdout."""
        source = self.place("source")
        source.mkdir()
        for number in range(4):
            with open(source / str(number), "wb") as stream:
                for part in range(10):
                    stream.write(random_bytes(10 * MIB, number * 10 + part))
        store = self.new_store()
        for words, verb in ((("import", source, store.path), "importing"), (("verify", store.path), "verifying"),
                            (("export", store.path, self.place("out")), "exporting")):
            shown, out = self.on_terminal(*words)
            self.assertIn(verb, shown)
            self.assertRegex(shown, r"[\d.]+ ([KMG]i)?B of 400\.0 MiB, \d/4 files, [\d.]+ ([KMG]i)?B/s")
            self.assertTrue(shown.endswith("\r\x1b[K"), repr(shown[-40:]))
            self.assertNotIn("\n", shown)
            self.assertEqual(len(out.splitlines()), 1)

    def on_terminal(self, *words: str | Path) -> tuple[str, str]:
        master, slave = pty.openpty()
        process = start(BINARY, *words, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        shown = b""
        while True:
            try:
                if not (part := os.read(master, 4096)):
                    break
            except OSError:  # EIO: the other end is closed
                break
            shown += part
        os.close(master)
        out = process.communicate(timeout=30)[0].decode()
        self.assertEqual(process.returncode, 0)
        return shown.decode(), out


if __name__ == "__main__":
    unittest.main()

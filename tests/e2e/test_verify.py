"""verify finds what was done to the backing behind coffer's back."""

import errno
import os
import unittest
from pathlib import Path

from files import random_bytes, tree
from harness import CofferTest
from stores import Store

CORRUPT, MOVED, ROLLED_BACK, NOT_FOUND = 8, 9, 10, 19


def hash_of(name: str) -> int:
    return sum(name.encode())


def swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    os.rename(one, between)
    os.rename(other, one)
    os.rename(between, other)


class Damage(CofferTest):
    """verify finds what was done to the backing behind coffer's back, and says where."""

    store: Store

    def setUp(self) -> None:
        super().setUp()
        source = self.place("source")
        (source / "dir").mkdir(parents=True)
        for name in ("a", "b", "c", "dir/d", "dir/e"):
            (source / name).write_bytes(random_bytes(700_000, hash_of(name)))
        os.symlink("target", source / "symlink")
        self.store = self.new_store()
        known: set[str] = set()
        self.backing: dict[str, Path] = {}
        for name in ("a", "b", "c", "dir", "symlink"):
            # One by one, to learn the stored names.
            self.store.coffer("import", source / name, f"{self.store.path}:/{name}")
            (new,) = set(os.listdir(self.store.path)) - known - {".coffer", ".coffer.dir"}
            self.backing[name] = self.store.path / new
            known.add(new)
        self.store.verify()

    def findings(self, code: int) -> dict[str, str]:
        """path → cause, with the command's exit code as expected; the plain report says the same."""
        outcome = self.store.coffer("verify", self.store.path, "--json", check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        findings = outcome.json["findings"]
        plain = self.store.coffer("verify", self.store.path, check=False)
        self.assertEqual(plain.code, code)
        self.assertEqual(len(plain.out.splitlines()), len(findings) + 1, str(plain))
        for finding in findings:
            self.assertTrue(finding["message"])
            self.assertIn(f"{finding['cause']}: ", plain.out)
        return {finding.get("path", ""): finding["cause"] for finding in findings}

    def test_flipped_byte_anywhere(self) -> None:
        """In the data, the tree, either header slot: none goes unnoticed, and it is told which file it is."""
        path = self.backing["b"]
        whole = path.read_bytes()
        for offset in (8192 + 4096 + 17, 8192 + 100, len(whole) - 1, len(whole) // 2):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1:])
            self.assertEqual(self.findings(CORRUPT), {"/b": "corrupt"}, f"byte {offset}")
        # A damaged slot alone is what a torn write leaves: the other one stands, unless it is older than what is on record.
        damaged = bytearray(whole)
        for offset in (72, 4096 + 72):
            damaged[offset] ^= 1
        path.write_bytes(damaged)
        self.assertEqual(self.findings(CORRUPT), {"/b": "corrupt"})
        path.write_bytes(whole)
        self.assertEqual(self.findings(0), {})

    def test_cut_file(self) -> None:
        for cut in (1, 4096, 300_000):
            path = self.backing["a"]
            whole = path.read_bytes()
            os.truncate(path, len(whole) - cut)
            self.assertEqual(self.findings(CORRUPT), {"/a": "corrupt"})
            path.write_bytes(whole)

    def test_swapped_files(self) -> None:
        swap(self.backing["a"], self.backing["b"])
        self.assertEqual(self.findings(MOVED), {"/a": "moved", "/b": "moved"})

    def test_swapped_contents(self) -> None:
        """Not the files but the bytes in them: a chunk of one put at the place of another."""
        path = self.backing["a"]
        data = bytearray(path.read_bytes())
        first, second = 8192 + 4096, 8192 + 4096 * 2
        data[first:first + 4096], data[second:second + 4096] = data[second:second + 4096], data[first:first + 4096]
        path.write_bytes(data)
        self.assertEqual(self.findings(CORRUPT), {"/a": "corrupt"})

    def test_foreign_file(self) -> None:
        (self.store.path / "foreign").write_bytes(b"not of this store")
        found = self.findings(CORRUPT)
        self.assertEqual(list(found.values()), ["corrupt"])
        outcome = self.store.coffer("verify", self.store.path, "--json", check=False)
        self.assertIn("foreign", outcome.out)
        mount = self.new_mount(self.store)
        self.assertEqual(sorted(os.listdir(mount.path)), ["a", "b", "c", "dir", "symlink"])

    def test_copied_file(self) -> None:
        """A file copied to another name of the backing, as if it were a second file."""
        (entry,) = [name for name in os.listdir(self.backing["dir"]) if name != ".coffer.dir"][:1]
        (self.store.path / entry).write_bytes((self.backing["dir"] / entry).read_bytes())
        self.assertEqual(list(self.findings(CORRUPT).values()), ["corrupt"])

    def test_deleted_file(self) -> None:
        key = self.store.coffer("key", "show", self.store.path, "/c", "--json").json["file"]
        os.unlink(self.backing["c"])
        outcome = self.store.coffer("verify", self.store.path, "--json", check=False)
        self.assertEqual(outcome.code, NOT_FOUND, str(outcome))
        (finding,) = outcome.json["findings"]
        self.assertIn(key, finding["message"])
        self.assertEqual(outcome.json["keys_without_file"], 1)

    def test_older_file_put_back(self) -> None:
        old = self.backing["a"].read_bytes()
        mount = self.new_mount(self.store)
        (mount.path / "a").write_bytes(b"newer")
        mount.umount()
        self.backing["a"].write_bytes(old)
        self.assertEqual(self.findings(ROLLED_BACK), {"/a": "rolled-back"})
        mount = self.new_mount(self.store)
        self.assert_errno(errno.EIO, (mount.path / "a").read_bytes)
        self.assertIn("[rolled-back]", mount.log())

    def test_moved_directory_and_symlink(self) -> None:
        os.rename(self.backing["symlink"], self.backing["dir"] / self.backing["symlink"].name)
        self.assertEqual(list(self.findings(CORRUPT).values()), ["corrupt"])
        os.rename(self.backing["dir"] / self.backing["symlink"].name, self.backing["symlink"])
        swap(self.backing["dir"], self.backing["a"])
        self.assertEqual(set(self.findings(MOVED).values()), {"moved"})

    def test_symlink_to_another_target(self) -> None:
        """One symlink's text put into another."""
        source = self.place("other-symlink")
        os.symlink("elsewhere", source)
        self.store.coffer("import", source, f"{self.store.path}:/other")
        (new,) = {name for name in os.listdir(self.store.path)} - {path.name for path in self.backing.values()} - {".coffer", ".coffer.dir"}
        text = os.readlink(self.store.path / new)
        os.unlink(self.backing["symlink"])
        os.symlink(text, self.backing["symlink"])
        found = self.findings(MOVED)
        self.assertEqual(found, {"/symlink": "moved"})

    def test_damage_is_left_out_of_an_export(self) -> None:
        path = self.backing["b"]
        data = bytearray(path.read_bytes())
        data[300_000] ^= 1
        path.write_bytes(data)
        out = self.place("out")
        outcome = self.store.coffer("export", self.store.path, out, check=False)
        self.assertEqual(outcome.code, CORRUPT, str(outcome))
        self.assertIn("/b", outcome.err)
        names = {os.fsdecode(name) for name, entry in tree(out).items() if entry[0][0] == "-"}
        self.assertEqual(names, {"a", "c", "dir/d", "dir/e"}, "nothing half, all that is whole")


if __name__ == "__main__":
    unittest.main()

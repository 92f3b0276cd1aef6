"""coffer salvage copies out what still authenticates, and says what does not."""

import os
import unittest
from pathlib import Path

from damage import CORRUPT, DENIED, EXISTS, MOVED, NOT_FOUND, REVOKED, ROLLED_BACK, DamagedTest, chunk_at, flip


def with_holes(content: bytes, *ranges: tuple[int, int]) -> bytes:
    data = bytearray(content)
    for begin, end in ranges:
        data[begin:end] = bytes(end - begin)
    return bytes(data)


class Salvage(DamagedTest):
    def salvage(self, path: str, code: int, *words: str) -> tuple[Path, dict]:
        out = self.place("out")
        outcome = self.store.coffer("salvage", f"{self.store.path}:{path}", out, "--json", *words, check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        return out, outcome.json

    def test_a_whole_store(self) -> None:
        out, report = self.salvage("/", 0)
        self.assertEqual((report["findings"], report["bytes_lost"], report["files"]), ([], 0, 5))
        for path, content in self.content.items():
            self.assert_content(out / path[1:], content)
            self.assertEqual((out / path[1:]).stat().st_mtime_ns, (self.place("source") / path[1:]).stat().st_mtime_ns)
        self.assertEqual(os.readlink(out / "symlink"), "target")

    def test_holes_where_chunks_are_lost(self) -> None:
        flip(self.backing("/b"), chunk_at(2), chunk_at(3), chunk_at(150))
        lost = ((8192, 16384), (150 * 4096, 151 * 4096))
        out, report = self.salvage("/b", CORRUPT)
        self.assert_content(out, with_holes(self.content["/b"], *lost))
        (finding,) = report["findings"]
        self.assertEqual(finding["lost"], [{"offset": begin, "length": end - begin} for begin, end in lost])
        self.assertEqual(report["bytes_lost"], 3 * 4096)
        with open(out, "rb") as stream:
            self.assertEqual(os.lseek(stream.fileno(), 0, os.SEEK_HOLE), 8192, "a hole, not zeros")
        # The rest of a tree is whole, and export gives none of the damaged.
        text = self.refused(CORRUPT, "salvage", self.store.path, self.place("all"))
        self.assertIn("lost: 8192-16383, 614400-618495 (12288 bytes)", text.out)
        for path in ("/a", "/c", "/dir/d", "/dir/e"):
            self.assert_content(self.place("all") / path[1:], self.content[path])

    def test_a_cut_file(self) -> None:
        os.truncate(self.backing("/a"), chunk_at(50) + 10)
        out, report = self.salvage("/a", CORRUPT)
        self.assert_content(out, with_holes(self.content["/a"], (50 * 4096, 700_000)))
        # The node that vouches for the rest is gone with the end; each chunk has a tag of its own, and that is said.
        (finding,) = report["findings"]
        self.assertEqual(finding["unvouched"], [{"offset": 0, "length": 50 * 4096}])
        self.assertEqual(finding["lost"], [{"offset": 50 * 4096, "length": 700_000 - 50 * 4096}])

    def test_a_rolled_back_file(self) -> None:
        """What is older than its record is read, and said to be."""
        path = self.backing("/a")
        old = path.read_bytes()
        mount = self.new_mount(self.store)
        (mount.path / "a").write_bytes(b"newer")
        mount.umount()
        path.write_bytes(old)
        out, report = self.salvage("/a", ROLLED_BACK)
        self.assert_content(out, self.content["/a"])
        self.assertIn("may not be current", report["findings"][0]["message"])
        self.assertEqual(report["findings"][0]["cause"], "rolled-back")

    def test_a_moved_file(self) -> None:
        a, b = self.backing("/a"), self.backing("/b")
        os.rename(a, b)
        out, _ = self.salvage("/b", MOVED)
        self.assert_content(out, self.content["/a"])

    def test_a_deleted_file_put_back(self) -> None:
        path = self.backing("/a")
        old = path.read_bytes()
        mount = self.new_mount(self.store)
        os.unlink(mount.path / "a")
        mount.umount()
        path.write_bytes(old)
        out, report = self.salvage("/a", REVOKED)
        self.assert_content(out, self.content["/a"])
        self.assertEqual(report["findings"][0]["kind"], "put-back")

    def test_files_below_a_damaged_directory(self) -> None:
        """Their names are lost, not what they hold."""
        flip(self.backing("/dir") / ".coffer.dir", 500)
        out, report = self.salvage("/dir", CORRUPT)
        found = sorted(path.read_bytes() for path in out.iterdir())
        self.assertEqual(found, sorted((self.content["/dir/d"], self.content["/dir/e"])))
        self.assertIn("directory", {finding["kind"] for finding in report["findings"]})

    def test_from_the_quarantine(self) -> None:
        """A file without a name, by where it lies in the backing."""
        path = self.backing("/b")
        place = self.store.path / ".coffer/quarantine/by-hand"
        place.mkdir(parents=True)
        os.rename(path, place / "1")
        flip(place / "1", chunk_at(4))
        out, report = self.salvage("/.coffer/quarantine/by-hand/1", CORRUPT, "--backing")
        self.assert_content(out, with_holes(self.content["/b"], (4 * 4096, 5 * 4096)))
        self.assertEqual(report["files"], 1)
        # And all of it at once.
        self.refused(CORRUPT, "salvage", f"{self.store.path}:/.coffer/quarantine", self.place("all"), "--backing")
        self.assert_content(self.place("all") / "by-hand/1", with_holes(self.content["/b"], (4 * 4096, 5 * 4096)))

    def test_nothing_is_written_over(self) -> None:
        target = self.place("mine")
        target.write_bytes(b"mine")
        self.refused(EXISTS, "salvage", f"{self.store.path}:/a", target)
        self.assert_content(target, b"mine")
        self.refused(NOT_FOUND, "salvage", f"{self.store.path}:/missing", self.place("out"))

    def test_nothing_that_authenticates_makes_no_file(self) -> None:
        flip(self.backing("/a"), 4090, 8190)
        out, report = self.salvage("/a", CORRUPT)
        self.assertFalse(out.exists())
        self.assertIn("nothing of it can be read", report["findings"][0]["message"])

    def test_only_for_those_who_may_read(self) -> None:
        """Who has the master key, and no grant, gets no byte: by its name, or by where it lies."""
        path = self.backing("/a").relative_to(self.store.path)
        (grant,) = (row["id"] for row in self.store.coffer("grant", "list", self.store.path, "--json").json)
        self.store.revoke(grant)
        for words in ((f"{self.store.path}:/a",), (f"{self.store.path}:/{path}", "--backing")):
            outcome = self.store.coffer("salvage", *words, self.place("out"), check=False)
            self.assertIn(outcome.code, (DENIED, REVOKED), str(outcome))
            self.assertFalse(self.place("out").exists())
        self.assertEqual(self.store.audit()[-1]["decision"], "deny")


if __name__ == "__main__":
    unittest.main()

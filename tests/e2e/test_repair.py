"""coffer verify --repair: what it sets aside, clears away and records; and that it destroys nothing."""

import contextlib
import json
import os
import unittest
from pathlib import Path

from damage import BUSY, CORRUPT, NOT_FOUND, USAGE, DamagedTest, chunk_at, everything_in, flip
from files import random_bytes


class Ranges(DamagedTest):
    """What verify says is lost is what is lost."""

    def test_every_lost_chunk_is_named(self) -> None:
        path = self.backing("/b")
        flip(path, chunk_at(2), chunk_at(3), chunk_at(7), chunk_at(130), chunk_at(170))
        (finding,) = self.verify(CORRUPT)["findings"]
        self.assertEqual(finding["path"], "/b")
        self.assertEqual(finding["backing"], str(path.relative_to(self.store.path)))
        last = 170 * 4096
        self.assertEqual(finding["lost"], [{"offset": 8192, "length": 8192}, {"offset": 7 * 4096, "length": 4096},
                                           {"offset": 130 * 4096, "length": 4096}, {"offset": last, "length": 700_000 - last}])
        text = self.store.coffer("verify", self.store.path, check=False).out
        self.assertIn("lost: 8192-16383, 28672-32767, ", text)
        self.assertIn("coffer salvage", text)

    def test_a_leaf_takes_its_chunks(self) -> None:
        flip(self.backing("/b"), chunk_at(0) - 4096 + 50)
        (finding,) = self.verify(CORRUPT)["findings"]
        self.assertEqual(finding["lost"], [{"offset": 0, "length": 128 * 4096}])

    def test_a_cut_file(self) -> None:
        os.truncate(self.backing("/b"), chunk_at(140))
        (finding,) = self.verify(CORRUPT)["findings"]
        self.assertEqual(finding["lost"], [{"offset": 140 * 4096, "length": 700_000 - 140 * 4096}])
        # With the node that vouches for all of it gone, all of it is.
        os.truncate(self.backing("/b"), chunk_at(100))
        (finding,) = self.verify(CORRUPT)["findings"]
        self.assertEqual(finding["lost"], [{"offset": 0, "length": 700_000}])

    def test_a_part_of_the_store(self) -> None:
        """Keys of files elsewhere are not its concern."""
        os.unlink(self.backing("/c"))
        flip(self.backing("/a"), chunk_at(0))
        self.assertEqual(self.store.coffer("verify", f"{self.store.path}:/dir", "--json").json["findings"], [])
        outcome = self.refused(CORRUPT, "verify", f"{self.store.path}:/a", "--json")
        self.assertEqual(self.kinds(outcome.json["findings"]), [("/a", "file")])
        flip(self.backing("/dir/d"), chunk_at(5))
        outcome = self.refused(CORRUPT, "verify", f"{self.store.path}:/dir/d", "--json")
        self.assertEqual(self.kinds(outcome.json["findings"]), [("/dir/d", "file")])


class Repair(DamagedTest):
    def repair(self, code: int = 0) -> dict:
        return self.verify(code, "--repair")

    def quarantined(self) -> dict[str, Path]:
        """What lies in the quarantine, by where it came from."""
        found = {}
        for note in (self.store.path / ".coffer/quarantine").glob("*/*.json"):
            content = json.loads(note.read_text())
            self.assertEqual(content["format"], 1)
            self.assertEqual(set(content), {"format", "from", "kind", "cause"}, "nothing in plaintext")
            found[content["from"]] = note.with_suffix("")
        return found

    def test_nothing_to_do(self) -> None:
        before = everything_in(self.store.path)
        report = self.repair()
        self.assertEqual((report["findings"], report["notes"]), ([], []))
        self.assertEqual(everything_in(self.store.path), before)
        self.assertFalse((self.store.path / ".coffer/quarantine").exists())

    def test_lost_ranges_are_reported_and_not_touched(self) -> None:
        flip(self.backing("/b"), chunk_at(2))
        before = everything_in(self.store.path)
        report = self.repair(CORRUPT)
        self.assertNotIn("repaired", report["findings"][0])
        self.assertEqual(everything_in(self.store.path), before)

    def test_an_unreadable_header_is_set_aside(self) -> None:
        path = self.backing("/b")
        flip(path, 4090, 8190)
        damaged = path.read_bytes()
        self.assertEqual(self.kinds(self.verify(CORRUPT)["findings"]), [("/b", "file")])
        report = self.repair()
        self.assertIn("moved to .coffer/quarantine/", report["findings"][0]["repaired"])
        place = self.quarantined()[str(path.relative_to(self.store.path))]
        self.assertEqual(place.read_bytes(), damaged)
        self.assertFalse(path.exists())
        # Whose it was is not known for sure: no key is recorded as deleted.
        after = self.verify(0)
        self.assertEqual(self.kinds(after["notes"]), [("", "quarantined")])
        self.repair()
        self.assertEqual(self.store.coffer("key", "list", self.store.path, "--json").json[0]["files"], 5)
        # Put back with its header mended, it is as it was.
        flip(place, 4090, 8190)
        os.rename(place, path)
        self.assertEqual(self.verify(0)["findings"], [])
        self.assertTrue(self.detail("verify --repair: set aside"))

    def test_a_file_that_is_gone_is_recorded_as_deleted(self) -> None:
        path = self.backing("/c")
        whole = path.read_bytes()
        os.unlink(path)
        self.assertEqual(self.kinds(self.verify(NOT_FOUND)["findings"]), [("", "missing-file")])
        report = self.repair()
        self.assertIn("kept for 7d", report["findings"][0]["repaired"])
        self.assertEqual(self.verify(0)["findings"], [])
        self.assertTrue(self.detail(report["findings"][0]["file"]))
        # Within its retention it can still be brought back.
        path.write_bytes(whole)
        self.store.coffer("accept", f"{self.store.path}:/c")
        self.assertEqual(self.verify(0)["findings"], [])

    def test_a_file_that_was_moved_is_not_taken_for_deleted(self) -> None:
        """Its bytes are there, and its key with them, wherever somebody has put it."""
        path, elsewhere = self.backing("/c"), self.store.path / "saved-by-hand"
        os.rename(path, elsewhere)
        report = self.repair(CORRUPT)
        self.assertEqual(self.kinds(report["findings"]), [("", "missing-file"), ("/", "foreign")])
        self.assertTrue(all("repaired" not in finding for finding in report["findings"]))
        self.assertIn("saved-by-hand", report["findings"][0]["message"])
        os.rename(elsewhere, path)
        self.assertEqual(self.verify(0)["findings"], [])

    def test_below_a_damaged_directory_nothing_is_taken_for_deleted(self) -> None:
        record = self.backing("/dir") / ".coffer.dir"
        whole = record.read_bytes()
        flip(record, 500)
        before = everything_in(self.store.path)
        report = self.repair(CORRUPT)
        self.assertEqual(self.kinds(report["findings"]), [("/dir", "directory")])
        self.assertEqual(everything_in(self.store.path), before)
        record.write_bytes(whole)
        self.assertEqual(self.verify(0)["findings"], [])

    def test_junk_sidecars_and_leftovers(self) -> None:
        junk = self.store.path / "readme.txt"
        junk.write_text("put here by hand")
        planted = self.backing("/dir") / "planted"
        os.symlink("/etc/passwd", planted)
        sidecar = self.store.path / (".coffer.name." + "A" * 43)
        sidecar.write_bytes(b"orphan")
        temporary = self.backing("/dir") / ".coffer.dir.new"
        temporary.write_bytes(b"half")
        left = self.store.path / ".coffer/tmp/left"
        left.mkdir()
        before = everything_in(self.store.path)
        report = self.verify(CORRUPT)
        self.assertEqual(self.kinds(report["findings"]), [("/", "foreign"), ("/dir", "foreign")])
        self.assertEqual(self.kinds(report["notes"]), [("", "leftover"), ("/", "orphan"), ("/dir", "orphan")])
        report = self.repair()
        self.assertTrue(all("repaired" in row for row in report["findings"] + report["notes"]), report)
        self.assertFalse(left.exists())
        self.assertLessEqual(before, everything_in(self.store.path), "moved, all of it")
        relative = {str(path.relative_to(self.store.path)) for path in (junk, planted, sidecar, temporary)}
        self.assertEqual(set(self.quarantined()), relative)
        self.assertEqual(self.verify(0)["findings"], [])

    def test_a_damaged_symlink_is_set_aside(self) -> None:
        path = self.backing("/symlink")
        text = os.readlink(path)
        path.unlink()
        os.symlink(text[:-2] + "AA", path)
        report = self.repair()
        self.assertEqual(self.kinds(report["findings"]), [("/symlink", "symlink")])
        self.assertEqual(os.readlink(self.quarantined()[path.name]), text[:-2] + "AA")

    def test_a_moved_symlink_stays(self) -> None:
        """It is good, somewhere else."""
        path = self.backing("/symlink")
        other = self.backing("/dir") / path.name
        os.rename(path, other)
        report = self.repair(CORRUPT)
        self.assertNotIn("repaired", report["findings"][0])
        self.assertTrue(other.is_symlink())

    def test_a_tail_is_a_note_and_goes(self) -> None:
        path = self.backing("/a")
        size = path.stat().st_size
        with open(path, "ab") as stream:
            stream.write(bytes(4096))
        report = self.verify(0)
        self.assertEqual(self.kinds(report["notes"]), [("/a", "tail")])
        self.repair()
        self.assertEqual(path.stat().st_size, size)
        self.assertEqual(self.verify(0)["notes"], [])

    def test_a_tail_that_hides_its_file(self) -> None:
        """Of a size that no file has: it is not shown, until the tail is gone."""
        mount = self.new_mount(self.store)
        (mount.path / "full").write_bytes(bytes(range(256)) * 2048)  # 128 chunks: one leaf, full
        mount.umount()
        path = self.backing("/full")
        with open(path, "ab") as stream:
            stream.write(bytes(100))
        (finding,) = self.verify(CORRUPT)["findings"]
        self.assertEqual((finding["path"], finding.get("lost")), ("/full", None))
        self.repair()
        self.assertEqual(self.verify(0)["findings"], [])

    def test_random_damage_loses_nothing_that_verifies(self) -> None:
        """Whatever is done to the backing: after a repair every byte that could be read can be read."""
        damages = (("/a", lambda path: flip(path, 4090)), ("/b", lambda path: flip(path, 8190, chunk_at(1))),
                   ("/c", lambda path: flip(path, 4090, 8190)), ("/dir/d", lambda path: flip(path, chunk_at(60))),
                   ("/dir/e", lambda path: os.truncate(path, chunk_at(20))), ("/dir", lambda path: flip(path / ".coffer.dir", 200)))
        for number, (path, damage) in enumerate(damages):
            damage(self.backing(path))
            (self.store.path / f"junk{number}").write_bytes(os.urandom(9000))
            before = everything_in(self.store.path)
            self.store.coffer("verify", self.store.path, "--repair", check=False)
            self.assertLessEqual(before, everything_in(self.store.path), path)

    def test_beside_a_mount_it_is_refused(self) -> None:
        mount = self.new_mount(self.store)
        outcome = self.refused(BUSY, "verify", self.store.path, "--repair")
        self.assertIn(str(mount.pid), outcome.err)
        self.assertIn(f"host {os.uname().nodename}", outcome.err)
        self.refused(USAGE, "verify", f"{self.store.path}:/dir", "--repair")

    def test_without_a_grant_nothing_is_repaired(self) -> None:
        """Whoever has the master key and may not write: what he finds he may not set aside."""
        for grant in self.store.coffer("grant", "list", self.store.path, "--json").json:
            self.store.revoke(grant["id"])
        uid = os.geteuid()
        self.store.grant("/", "--selector", f"unix:uid:{uid}", rights=("list", "read"))
        flip(self.backing("/b"), 4090, 8190)
        before = everything_in(self.store.path)
        report = self.repair(CORRUPT)
        self.assertIn("could not be repaired", report["findings"][0]["message"])
        self.assertEqual(everything_in(self.store.path), before)


class AfterACrash(DamagedTest):
    """A daemon that was killed while files had journals leaves no damage."""

    JOURNALS = ".coffer/journal"

    def journals(self) -> list[str]:
        return sorted(os.listdir(self.store.path / self.JOURNALS))

    def crash(self) -> bytes:
        """Kills the daemon when /a was overwritten and synced, and /b only overwritten; gives what /a is now."""
        mount = self.new_mount(self.store)
        content = bytearray(self.content["/a"])
        content[5000:14000] = random_bytes(9000, 77)
        fds = [os.open(mount.path / name, os.O_RDWR) for name in ("a", "b")]
        for fd in fds:
            os.pwrite(fd, content[5000:14000], 5000)
        os.fsync(fds[0])
        mount.kill()
        for fd in fds:
            with contextlib.suppress(OSError):  # there is nobody any more to tell
                os.close(fd)
        return bytes(content)

    def exported(self) -> dict[str, bytes]:
        target = self.place(f"out-{len(os.listdir(self.place('.')))}")
        self.store.coffer("export", self.store.path, target)
        return {path: (target / path[1:]).read_bytes() for path in self.content}

    def assert_recovered(self, now: bytes) -> None:
        got = self.exported()
        self.assert_bytes(got.pop("/a"), now, "/a")
        self.assertIn(got.pop("/b")[5000:14000], (now[5000:14000], self.content["/b"][5000:14000]))
        for path, content in got.items():
            self.assert_bytes(content, self.content[path], path)

    def test_journals_are_no_damage_and_are_applied(self) -> None:
        now = self.crash()
        left = self.journals()
        self.assertIn(self.store.coffer("path", self.store.path, "/a", "--json").json["file"], left)
        before = everything_in(self.store.path)
        report = self.verify(0)
        self.assertEqual((report["findings"], report["notes"]), ([], []))
        self.assertNotIn("journals", report)
        self.assert_recovered(now)
        self.assertEqual(everything_in(self.store.path), before, "nothing was written by those who only read")
        salvaged = self.place("salvaged")
        self.store.coffer("salvage", self.store.path, salvaged)
        self.assert_content(salvaged / "a", now)
        report = self.verify(0, "--repair")
        self.assertEqual(report["journals"], {"applied": len(left), "removed": 0})
        self.assertEqual((report["findings"], report["notes"]), ([], []))
        self.assertEqual(self.journals(), [])
        self.assert_recovered(now)
        self.assertEqual(self.verify(0, "--repair")["journals"], {"applied": 0, "removed": 0})

    def test_repair_says_it_in_words(self) -> None:
        self.crash()
        left = len(self.journals())
        outcome = self.store.coffer("verify", self.store.path, "--repair")
        self.assertIn(f"journals that a crash left: {left} applied, 0 removed\n", outcome.out)
        self.assertIn("coffer: /a: after a crash: ", outcome.err)

    def test_the_journal_of_a_file_that_is_gone(self) -> None:
        now = self.crash()
        (self.store.path / self.JOURNALS / ("0123456789abcdef" * 2)).write_bytes(b"COFFER-J")
        left = self.journals()
        report = self.verify(0)
        self.assertEqual(self.kinds(report["notes"]), [("", "journal")])
        self.assertEqual(report["notes"][0]["backing"], f"{self.JOURNALS}/" + "0123456789abcdef" * 2)
        self.assertEqual(self.journals(), left)
        report = self.verify(0, "--repair")
        self.assertEqual(report["notes"][0]["repaired"], "removed")
        self.assertEqual(report["journals"], {"applied": len(left) - 1, "removed": 1})
        self.assertEqual(self.journals(), [])
        self.assertTrue(self.detail("verify --repair: removed the journal of file 0123456789abcdef"))
        self.assert_recovered(now)

    def test_while_a_file_is_not_known_no_journal_goes(self) -> None:
        """It may be that one's."""
        self.crash()
        flip(self.backing("/a"), 4090, 8190)
        stray = "0123456789abcdef" * 2
        (self.store.path / self.JOURNALS / stray).write_bytes(b"COFFER-J")
        report = self.verify(0, "--repair")
        self.assertEqual(report["journals"]["removed"], 0)
        self.assertIn(stray, self.journals())

    def test_a_file_whose_creation_was_interrupted(self) -> None:
        self.crash()
        unborn = self.backing("/new")
        unborn.touch()
        report = self.verify(0)
        self.assertEqual(self.kinds(report["notes"]), [("/new", "leftover")])
        self.assertEqual(self.verify(0, "--repair")["findings"], [])
        self.assertFalse(unborn.exists())
        # Where no program was interrupted it is damage.
        unborn.touch()
        self.assertEqual(self.kinds(self.verify(CORRUPT)["findings"]), [("/new", "file")])


class Sidecars(DamagedTest):
    """Extended attributes that nothing has any more."""

    def setUp(self) -> None:
        super().setUp()
        self.mount = self.new_mount(self.store)
        for name in ("a", "b", "dir"):
            os.setxattr(self.mount.path / name, "user.name", name.encode())
        self.mount.umount()

    def sidecars(self) -> set[str]:
        return {str(path.relative_to(self.store.path)) for path in (self.store.path / ".coffer/xattrs").glob("*/*")}

    def stray_copies(self) -> set[str]:
        """One that an object had once, one of an object that is gone, for each that there is."""
        strays = set()
        for name in self.sidecars():
            path = self.store.path / name
            for stray in (f"{path.name[:32]}-{'0' * 16}", f"{'0' * 30}{path.parent.name}-{path.name[33:]}"):
                path.with_name(stray).write_bytes(path.read_bytes())
                strays.add(str(path.with_name(stray).relative_to(self.store.path)))
        return strays

    def test_are_notes_and_go(self) -> None:
        named = self.sidecars()
        self.assertEqual(len(named), 3)
        self.assertEqual(self.verify(0)["notes"], [])
        strays = self.stray_copies()
        report = self.verify(0)
        self.assertEqual({(note["kind"], note["backing"]) for note in report["notes"]}, {("sidecar", name) for name in strays})
        self.assertEqual(self.sidecars(), named | strays, "nothing was changed")
        self.assertIn("note: sidecar: .coffer/xattrs/", self.store.coffer("verify", self.store.path).out)
        report = self.verify(0, "--repair")
        self.assertEqual([note["repaired"] for note in report["notes"]], ["removed"] * len(strays))
        self.assertEqual(self.sidecars(), named)
        self.assertTrue(self.detail("verify --repair: removed .coffer/xattrs/"))
        report = self.verify(0)
        self.assertEqual((report["findings"], report["notes"]), ([], []))
        self.mount = self.new_mount(self.store)
        for name in ("a", "b", "dir"):
            self.assertEqual(os.getxattr(self.mount.path / name, "user.name"), name.encode())

    def test_beside_a_mount_nothing_is_said_of_them(self) -> None:
        """It makes one before the header that names it, and keeps that of a file which is open and has no name."""
        self.mount = self.new_mount(self.store)
        with open(self.mount.path / "a", "rb") as stream:
            os.unlink(self.mount.path / "a")
            self.stray_copies()
            self.assertEqual(self.verify(NOT_FOUND)["notes"], [], "the key of the unlinked file is live as long as that is open")
            self.assertEqual(os.getxattr(stream.fileno(), "user.name"), b"a")

    def test_what_is_damaged_keeps_its_own(self) -> None:
        """An older state of it, or its header from a backup, may want one that nothing names now."""
        before = self.sidecars()
        flip(self.backing("/a"), 4090, 8190)
        flip(self.backing("/dir") / ".coffer.dir", 500)
        report = self.verify(CORRUPT, "--repair")
        self.assertEqual([note for note in report["notes"] if note["kind"] == "sidecar"], [])
        self.assertEqual(self.sidecars(), before)


class RepairPlain(Repair):
    names = "plain"

    # What nobody can tell from an entry with names in plain.
    test_junk_sidecars_and_leftovers = None
    test_a_file_that_was_moved_is_not_taken_for_deleted = None
    test_a_moved_symlink_stays = None
    test_random_damage_loses_nothing_that_verifies = None


if __name__ == "__main__":
    unittest.main()

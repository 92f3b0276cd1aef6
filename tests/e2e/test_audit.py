"""The audit log: shown, followed, proven whole; and every attack on it found, by the program itself and by other means."""

import base64
import hashlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import unittest
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from damage import CORRUPT, NOT_FOUND, ROLLED_BACK, USAGE
from harness import CofferTest
from processes import coffer, start, wait_until


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + merkle_root(leaves[:k]) + merkle_root(leaves[k:])).digest()


class Audit(CofferTest):
    limit = 120.0

    def setUp(self) -> None:
        super().setUp()
        self.store = self.new_store()
        self.log = self.store.audit_log

    def use(self, name: str = "file") -> None:
        """A mount that comes and goes, and leaves lines."""
        mount = self.new_mount(self.store)
        (mount.path / name).write_bytes(b"content")
        (mount.path / name).read_bytes()
        mount.umount()

    def verify(self, *words: str | Path, code: int = 0) -> dict:
        outcome = self.store.coffer("audit", "verify", self.store.path, "--json", *words, check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertEqual(outcome.json["whole"], code == 0)
        return outcome.json

    def first_finding(self, code: int) -> dict:
        return self.verify(code=code)["findings"][0]

    def show(self, *words: str) -> list[dict]:
        return [json.loads(line) for line in coffer("audit", "show", self.store.path, "--json", *words).out.splitlines()]

    def raw_lines(self) -> list[bytes]:
        return self.log.read_bytes().splitlines(keepends=True)


class Proof(Audit):
    def test_a_log_in_use_is_whole(self) -> None:
        self.use()
        self.store.open_to_all()
        report = self.verify()
        self.assertEqual(len(report["logs"]), 1)
        log = report["logs"][0]
        self.assertEqual(log["lines"], len(self.raw_lines()))
        self.assertEqual(log["signed_lines"], log["lines"], "a daemon that ended in good order has signed all")
        self.assertEqual(log["checkpoints"], 2, "beside the log, and in the keystore")

    def test_others_can_verify_a_checkpoint(self) -> None:
        """By the two specifications, with nothing of coffer's but the printed key."""
        self.use()
        note = self.store.coffer("audit", "checkpoint", self.store.path).out
        text, signatures = note.rsplit("\n\n", 1)
        text += "\n"
        origin, size, root = text.splitlines()
        self.assertEqual(origin.split("/")[:2], ["coffer", self.store.id])
        leaves = [line.rstrip(b"\n") for line in self.raw_lines()]
        self.assertEqual(int(size), len(leaves))
        self.assertEqual(base64.b64decode(root), merkle_root(leaves))
        name, key_id, key = self.store.coffer("audit", "checkpoint", self.store.path, "--key").out.strip().split("+", 2)
        typed = base64.b64decode(key)
        self.assertEqual(name, origin)
        self.assertEqual(typed[0], 1)
        self.assertEqual(hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4].hex(), key_id)
        dash, signer, blob = signatures.strip().split(" ")
        self.assertEqual((dash, signer), ("—", name))
        signature = base64.b64decode(blob)
        self.assertEqual(signature[:4].hex(), key_id)
        public = Ed25519PublicKey.from_public_bytes(typed[1:])
        public.verify(signature[4:], text.encode())
        with self.assertRaises(InvalidSignature):
            public.verify(signature[4:], text.replace(size, size + "0").encode())

    def test_an_earlier_checkpoint_is_held_against_the_log(self) -> None:
        self.use()
        kept = self.place("kept")
        kept.write_text(self.store.coffer("audit", "checkpoint", self.store.path).out)
        self.use("other")
        self.assertEqual(self.verify("--checkpoint", kept)["logs"][0]["checkpoints"], 3)
        other = self.new_store("second")
        foreign = self.place("foreign")
        other.open_to_all()
        foreign.write_text(other.coffer("audit", "checkpoint", other.path).out)
        self.verify("--checkpoint", foreign, code=CORRUPT)
        kept.write_text(kept.read_text().replace("coffer/", "Coffer/"))
        self.verify("--checkpoint", kept, code=CORRUPT)

    def test_a_killed_daemon_loses_no_line(self) -> None:
        mount = self.new_mount(self.store)
        for i in range(20):
            (mount.path / f"file{i}").write_bytes(b"content")
        mount.kill()
        made = {line["path"] for line in self.show("--decision", "allow") if "write" in line.get("right", "")}
        self.assertLessEqual({f"/file{i}" for i in range(20)}, made)
        self.verify()
        self.use()
        self.verify()

    def test_it_is_signed_while_the_daemon_runs(self) -> None:
        mount = self.new_mount(self.store)
        (mount.path / "file").write_bytes(b"content")
        wait_until(lambda: self.verify()["logs"][0]["signed_lines"] == len(self.raw_lines()), "all lines are signed", 10)
        mount.umount()


class Attacks(Audit):
    def setUp(self) -> None:
        super().setUp()
        for name in ("a", "b", "c"):
            self.use(name)
        self.assertGreater(len(self.raw_lines()), 5)

    def put(self, lines: list[bytes]) -> None:
        self.log.write_bytes(b"".join(lines))

    def test_an_altered_line(self) -> None:
        lines = self.raw_lines()
        lines[3] = lines[3].replace(b'"uid":0', b'"uid":7')
        self.put(lines)
        finding = self.first_finding(CORRUPT)
        self.assertEqual((finding["line"], finding["file"], finding["row"]), (3, str(self.log), 4))

    def test_a_removed_line(self) -> None:
        lines = self.raw_lines()
        self.put(lines[:2] + lines[3:])
        self.assertEqual(self.first_finding(CORRUPT)["line"], 2)

    def test_the_end_cut_off(self) -> None:
        self.put(self.raw_lines()[:-2])
        self.assertEqual(self.first_finding(ROLLED_BACK)["line"], len(self.raw_lines()))

    def test_the_end_cut_off_and_the_side_file_gone(self) -> None:
        """The keystore still knows."""
        self.put(self.raw_lines()[:-2])
        os.unlink(f"{self.log}.tree")
        finding = self.first_finding(ROLLED_BACK)
        self.assertIn("the keystore's checkpoint", finding["what"])

    def test_all_of_it_gone(self) -> None:
        for file in self.log.parent.glob("audit.jsonl*"):
            file.unlink()
        self.assertIn("no line of this log is here", self.first_finding(ROLLED_BACK)["what"])
        self.use()  # which begins another
        gone = self.first_finding(ROLLED_BACK)
        self.assertIn("no line of this log is here", gone["what"])
        # An admin who knows why says so, on the record.
        self.store.coffer("audit", "forget", self.store.path, gone["log"])
        self.verify()
        self.assertTrue(any(line.get("detail") == f"audit forget {gone['log']}" for line in self.show()))

    def test_put_back_to_an_earlier_state(self) -> None:
        kept = self.place("kept")
        shutil.copytree(self.log.parent, kept)
        self.use("more")
        for name in ("audit.jsonl", "audit.jsonl.tree"):
            shutil.copy(kept / name, self.log.parent / name)
        self.assertIn("the keystore's checkpoint", self.first_finding(ROLLED_BACK)["what"])

    def test_altered_while_the_daemon_runs(self) -> None:
        mount = self.new_mount(self.store)
        lines = self.raw_lines()
        with open(self.log, "r+b") as stream:
            stream.seek(len(b"".join(lines[:-1])) + 12)
            stream.write(b"9")
        (mount.path / "more").write_bytes(b"content")
        wait_until(lambda: "lines were altered" in mount.log(), "the daemon notices", 10)
        (mount.path / "yet more").write_bytes(b"content")
        mount.umount()
        report = self.verify(code=CORRUPT)
        self.assertEqual(report["findings"][0]["line"], len(lines) - 1)
        self.assertEqual(len(report["logs"]), 2, "what came later is in a log of its own, and proven")


class Show(Audit):
    def test_filters(self) -> None:
        mount = self.new_mount(self.store)
        (mount.path / "dir").mkdir()
        (mount.path / "dir" / "inner").write_bytes(b"x")
        (mount.path / "dirt").write_bytes(b"x")
        mount.umount()
        every = self.show()
        self.assertEqual([line["n"] for line in every], list(range(len(every))))
        below = self.show("--path", "/dir")
        self.assertTrue(below)
        self.assertTrue(all(line["path"] in ("/dir", "/dir/inner") for line in below))
        self.assertTrue(any(line["path"] == "/dir/inner" for line in below))
        self.assertEqual(self.show("--selector", f"unix:uid:{os.getuid()}"), every)
        self.assertEqual(self.show("--selector", "unix:uid:4242"), [])
        self.assertEqual(self.show("--scope", "/nowhere"), [])
        self.assertEqual(self.show("--decision", "deny"), [])
        self.assertEqual(self.show("--since", "1h"), every)
        self.assertEqual(self.show("--until", "1h"), [])
        self.assertEqual(self.show("--since", "2100-01-01"), [])
        self.assertEqual(coffer("audit", "show", self.store.path, "--decision", "perhaps", check=False).code, USAGE)
        table = coffer("audit", "show", self.store.path, "--path", "/dirt").out.splitlines()
        self.assertRegex(table[0], r"^TIME +EVENT +DECISION +RIGHT +WHO +GRANT +WHAT$")
        self.assertEqual(len(table), 1 + len(self.show("--path", "/dirt")))

    def test_without_a_log(self) -> None:
        self.assertEqual(coffer("audit", "show", self.store.path, check=False).code, NOT_FOUND)

    def test_names_do_not_reach_the_terminal(self) -> None:
        self.use("evil\x1b[2J")
        self.assertNotIn("\x1b", coffer("audit", "show", self.store.path).out)

    def test_follow_across_a_rotation(self) -> None:
        self.store.open_to_all()
        follower = start(os.environ["COFFER_BINARY"], "audit", "show", self.store.path, "--json", "--follow",
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            self.assertIn("grant add", json.loads(follower.stdout.readline())["detail"])
            self.store.grant("/", "--selector", "unix:uid:4242")
            self.assertIn("4242", json.loads(follower.stdout.readline())["detail"])
            os.rename(self.log, f"{self.log}.1")
            self.store.grant("/", "--selector", "unix:uid:4343")
            self.assertIn("4343", json.loads(follower.stdout.readline())["detail"])
            follower.send_signal(signal.SIGINT)
            self.assertEqual(follower.wait(10), 0)
        finally:
            follower.kill()
            follower.communicate()
        self.verify()
        self.assertEqual(len(self.show()), 3)


    def test_learning_looks_back_into_older_files(self) -> None:
        began = "2020-01-01T00:00:00Z"
        learn = ("grant", "learn", self.store.path, "/", "--since", began, "--all", "--json")
        self.use()
        requests = self.store.coffer(*learn).json["requests"]
        self.assertGreater(requests, 0)
        os.rename(self.log, f"{self.log}.1")
        self.assertEqual(self.store.coffer(*learn).json["requests"], requests)
        self.use("other")
        self.assertGreater(self.store.coffer(*learn).json["requests"], requests)


class Closes(Audit):
    """One line for each open file, when it is let go of: who had it, by what, and how much went through."""

    def setUp(self) -> None:
        super().setUp()
        self.mount = self.new_mount(self.store)
        self.file = self.mount.path / "file"
        self.content = os.urandom(300_000)
        self.file.write_bytes(self.content)
        self.drop_pages()
        self.closes(1)

    def drop_pages(self) -> None:
        """What the kernel has of the file, so that the daemon is asked."""
        fd = os.open(self.file, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    def closes(self, at_least: int) -> list[dict]:
        """Those of the file, once there are so many: nobody waits for them."""
        found: list[dict] = []

        def there() -> bool:
            found[:] = self.show("--event", "close", "--path", "/file")
            return len(found) >= at_least

        wait_until(there, f"{at_least} closes are on record", 10)
        return found

    def test_of_what_was_written_and_read(self) -> None:
        before = len(self.closes(2))
        with open(self.file, "rb") as stream:
            self.assertEqual(stream.read(), self.content)
        with open(self.file, "r+b", buffering=0) as stream:
            stream.write(b"12345")
        lines = self.closes(before + 2)
        self.assertEqual(lines[0]["bytes_written"], len(self.content))
        # The kernel may read ahead, but there is no more than the file has.
        self.assertEqual(lines[before]["bytes_read"], len(self.content))
        self.assertNotIn("bytes_written", lines[before])
        self.assertEqual(lines[before + 1]["bytes_written"], 5)
        releases = [line for line in self.show("--event", "release", "--path", "/file") if line.get("right") == "read"]
        for name in ("identity", "grant", "file", "scope", "key_version", "right", "path"):
            self.assertEqual(lines[before][name], releases[-1][name], name)
        self.assertNotIn("decision", lines[before])
        self.mount.umount()
        self.verify()
        table = coffer("audit", "show", self.store.path, "--event", "close", "--path", "/file").out.splitlines()
        self.assertIn(f"bytes_read {len(self.content)}", table[1 + before])
        self.assertEqual(coffer("audit", "show", self.store.path, "--event", "opening", check=False).code, USAGE)

    def test_pages_that_the_kernel_has_are_not_read_again(self) -> None:
        self.file.read_bytes()
        before = len(self.closes(3))
        self.assertEqual(self.file.read_bytes(), self.content)
        self.assertEqual(self.closes(before + 1)[-1]["bytes_read"], 0)

    def test_the_last_close_counts(self) -> None:
        before = len(self.closes(2))
        fd = os.open(self.file, os.O_RDONLY)
        other = os.dup(fd)
        os.close(fd)
        mapped = mmap.mmap(other, 0, prot=mmap.PROT_READ)
        os.close(other)
        self.file.stat()
        self.assertEqual(mapped[:10], self.content[:10])
        self.assertEqual(len(self.closes(before)), before, "it is mapped")
        mapped.close()
        self.assertGreater(self.closes(before + 1)[-1]["bytes_read"], 0)

    def test_what_is_written_to_a_mapping_counts(self) -> None:
        before = len(self.closes(2))
        with open(self.file, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
            mapped[:5] = b"12345"
            mapped.flush()
        line = self.closes(before + 1)[-1]
        self.assertGreaterEqual(line["bytes_written"], 4096, "the kernel writes whole pages")

    def test_a_mount_that_ends_closes_what_is_open(self) -> None:
        before = len(self.closes(2))
        with open(self.file, "rb", buffering=0) as stream:
            self.assertEqual(stream.read(10), self.content[:10])
            os.kill(self.mount.status()["pid"], signal.SIGTERM)
            wait_until(lambda: not self.mount.mounted(), "the mount is gone", 10)
            line = self.closes(before + 1)[-1]
        self.assertGreaterEqual(line["bytes_read"], 10)
        self.assertEqual(line["identity"]["pid"], os.getpid())
        self.verify()

    def test_what_was_withdrawn_is_closed(self) -> None:
        grant = self.store.grant("/", "--selector", f"unix:gid:{os.getgid()}", "--selector", f"unix:uid:{os.getuid()}")
        own = [int(line["grant"]) for line in self.show("--event", "release", "--path", "/file")][0]
        before = len(self.closes(2))
        with open(self.file, "rb", buffering=0) as stream:
            stream.read(10)
            for one in (own, grant):
                self.store.revoke(one)
            wait_until(lambda: any(self.show("--event", "withdraw", "--path", "/file")), "it is withdrawn", 10)
        line = self.closes(before + 1)[-1]
        self.assertIn(line["grant"], (own, grant))
        self.assertGreaterEqual(line["bytes_read"], 10)


class Modes(Audit):
    def test_a_mode_is_kept_in_the_keystore_and_followed(self) -> None:
        mount = self.new_mount(self.store)
        self.assertEqual(mount.status()["audit_mode"], "required")
        self.store.coffer("audit", "mode", self.store.path, "best-effort")
        wait_until(lambda: mount.status()["audit_mode"] == "best-effort", "the daemon follows", 5)
        self.store.coffer("audit", "mode", self.store.path, "required")
        wait_until(lambda: mount.status()["audit_mode"] == "required", "the daemon follows", 5)
        self.assertEqual(mount.status()["audit_dropped"], 0)
        self.assertEqual(self.store.coffer("audit", "mode", self.store.path, "sometimes", check=False).code, USAGE)
        mount.umount()
        self.assertEqual([line["detail"] for line in self.show() if line["event"] == "admin"],
                         ["audit mode best-effort", "audit mode required"])
        self.verify()

    def test_nobody_can_write(self) -> None:
        """A log that can't be written: refused, or counted."""
        mount = self.new_mount(self.store)
        (mount.path / "file").write_bytes(b"content")
        away = self.place("away")
        os.rename(self.log.parent, away)  # no directory: no line
        try:
            with self.assertRaises(OSError):
                (mount.path / "file").read_bytes()
        finally:
            os.rename(away, self.log.parent)
        self.assertEqual((mount.path / "file").read_bytes(), b"content")
        self.store.coffer("audit", "mode", self.store.path, "best-effort")
        wait_until(lambda: mount.status()["audit_mode"] == "best-effort", "the daemon follows", 5)
        os.rename(self.log.parent, away)
        try:
            self.assertEqual((mount.path / "file").read_bytes(), b"content")
        finally:
            os.rename(away, self.log.parent)
        self.assertGreater(mount.status()["audit_dropped"], 0)
        (mount.path / "file").read_bytes()
        mount.umount()
        self.assertTrue(any(line["event"] == "dropped" and line["lost"] > 0 for line in self.show()))
        self.verify()


if __name__ == "__main__":
    unittest.main()

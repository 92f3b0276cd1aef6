"""coffer lock and unlock: all keys of a mount go, and come back, while it stays mounted.

What the daemon has in its memory is read through /proc/PID/mem, which root may. The keys to look for are unwrapped by the reader of
the format documents, from a copy of the keystore.
"""

import errno
import mmap
import os
import re
import signal
import sqlite3
import sys
import threading
import time
import unittest
from pathlib import Path
from typing import Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))

from read_store import DEK, KEK, POLICY_KEY, SCOPE_SECRET, Keystore, hkdf  # noqa: E402

from files import random_bytes
from harness import CofferTest
from hmac_states import hmac_states
from processes import ALICE, MEMFD_SECRET, SELF, Outcome, as_user, coffer, need_root, refuse, run
from stores import Mount, Store
from test_access import errno_of, put, read
from test_withdrawal import PAGE, Use, listing, mapped, reading

MAC_KEYS = {"records", "directories", "bindings", "header", "journal"}
PASSPHRASE = "correct horse of the lock's own test"


class LockTest(CofferTest):
    """A store with a passphrase, mounted."""

    store: Store
    mount: Mount

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()

    def setUp(self) -> None:
        super().setUp()
        self.store = self.new_store(passphrase=PASSPHRASE)
        self.mount = Mount(self.store, self.place("mnt"))
        self.top = self.mount.path

    def lock(self, *options: str, code: int = 0) -> Outcome:
        done = coffer("lock", self.top, *options, check=False)
        self.assertEqual(done.code, code, str(done))
        return done

    def unlock(self, code: int = 0) -> Outcome:
        done = coffer("unlock", self.top, *self.store.secret, check=False)
        self.assertEqual(done.code, code, str(done))
        return done

    def use(self, prepare: Callable[[], Callable[[], None]]) -> Use:
        use = Use(SELF, prepare)
        self.addCleanup(use.end)
        use.goes_on()
        return use


class Locking(LockTest):
    def test_what_is_open_ends_and_nothing_new_begins(self) -> None:
        content = random_bytes(64 * PAGE)
        put(self.top / "file", content)
        (self.top / "dir").mkdir()
        put(self.top / "dir/inner", b"inner")
        # Whoever lists may be asked for the directory's attributes first, which is no use of the descriptor.
        ends = {"reading": (self.use(reading(self.top / "file")), {errno.EKEYREVOKED}),
                "mapping": (self.use(mapped(self.top / "file")), {-signal.SIGBUS}),
                "listing": (self.use(listing(self.top / "dir")), {errno.EKEYREVOKED, errno.ENOKEY})}
        with open(self.top / "file", "r+b", buffering=0) as held, open(self.top / "gone", "w+b", buffering=0) as gone:
            memory = mmap.mmap(held.fileno(), PAGE)
            memory[0:4] = b"mine"  # which nobody has synced
            os.pwrite(held.fileno(), b"written", 10 * PAGE)
            gone.write(b"unlinked")
            os.unlink(self.top / "gone")
            self.assertEqual(self.lock().err, "")
            since = time.monotonic()
            for what, (use, codes) in ends.items():
                with self.subTest(what):
                    self.assertIn(use.end_code(), codes)
                    self.assertLess(use.last, since)
            for what in (lambda: os.pread(held.fileno(), 1, 0), lambda: os.pwrite(held.fileno(), b"x", 0), lambda: gone.read(1)):
                self.assert_errno(errno.EKEYREVOKED, what)
            self.assertEqual(errno_of(os.fsync, held.fileno()), 0)
            for what, call in {"open": (read, self.top / "file"), "list": (os.listdir, self.top), "create": (put, self.top / "new", b""),
                               "stat": (os.stat, self.top / "file"), "absent": (os.stat, self.top / "absent"),
                               "mkdir": (os.mkdir, self.top / "new"), "chmod": (os.chmod, self.top, 0o700)}.items():
                with self.subTest(what):
                    self.assertEqual(errno_of(*call), errno.ENOKEY)
            self.assertTrue(os.path.ismount(self.top))
            self.assertGreater(os.statvfs(self.top).f_blocks, 0)
            self.assertIs(self.mount.status()["locked"], True)
            self.assertRegex(coffer("status").out, rf"(?m)^{re.escape(str(self.top))} .* rw, locked ")
            self.assertIn("was locked already", self.lock().err)
            self.unlock()
            self.assertIs(self.mount.status()["locked"], False)
            # For good, whatever is let in now.
            self.assert_errno(errno.EKEYREVOKED, os.pread, held.fileno(), 1, 0)
            memory.close()
        expected = b"mine" + content[4:10 * PAGE] + b"written" + content[10 * PAGE + 7:]
        self.assert_content(self.top / "file", expected)
        self.assertEqual(sorted(os.listdir(self.top)), ["dir", "file"])
        put(self.top / "file", b"new")
        self.assertEqual((read(self.top / "file"), read(self.top / "dir/inner")), (b"new", b"inner"))
        self.assertIn("is not locked", self.unlock().err)
        lines = self.store.audit()
        withdrawn = [line["path"] for line in lines if line["event"] == "withdraw" and line["reason"] == "the mount was locked"]
        # The one who lists may have been refused, and be gone, before it came to that.
        self.assertEqual(sorted(set(withdrawn) - {"/dir"}), ["/(deleted)", "/file"])
        details = [line["detail"] for line in lines if line["event"] == "admin"]
        self.assertEqual(details.count("lock"), 1)
        (said,) = [re.fullmatch(r"unlock, after (\d+) operations were refused", text) for text in details if text.startswith("unlock")]
        self.assertGreater(int(said[1]), 6)
        self.store.coffer("audit", "verify", self.store.path)
        self.mount.umount()
        self.store.verify()

    def test_a_wrong_passphrase(self) -> None:
        put(self.top / "file", b"content")
        self.lock()
        wrong = self.place("wrong")
        wrong.write_text("not it\n")
        done = coffer("unlock", self.top, "--passphrase-file", wrong, check=False)
        self.assertEqual((done.code, "wrong passphrase" in done.err), (4, True), str(done))
        self.assertEqual(errno_of(read, self.top / "file"), errno.ENOKEY)
        self.assertIs(self.mount.status()["locked"], True)
        self.assertEqual(self.store.audit()[-1]["detail"], "unlock failed: wrong-key")
        self.unlock()
        self.assertEqual(read(self.top / "file"), b"content")

    def test_a_key_file_that_is_away(self) -> None:
        store = self.new_store("other")
        mount = self.new_mount(store, at="other-mnt")
        put(mount.path / "file", b"content")
        coffer("lock", mount.path)
        away = store.key.rename(self.place("away"))
        done = coffer("unlock", mount.path, check=False)
        self.assertEqual(done.code, 11, str(done))
        self.assertEqual(errno_of(read, mount.path / "file"), errno.ENOKEY)
        away.rename(store.key)
        coffer("unlock", mount.path)
        self.assertEqual(read(mount.path / "file"), b"content")

    def test_unmounted_while_locked(self) -> None:
        put(self.top / "file", b"content")
        self.lock()
        self.mount.umount()
        self.assertRegex(self.store.audit()[-1]["detail"], r"^unmounted while locked, after \d+ operations? w")
        self.mount = Mount(self.store, self.top)
        self.assertEqual(read(self.top / "file"), b"content")
        self.assertNotIn("crash", self.mount.log_file.read_text())

    def test_read_only(self) -> None:
        content = b"content" * 8 * PAGE
        put(self.top / "file", content)
        second = Mount(self.store, self.place("second"), ("--read-only",))
        use = self.use(mapped(self.top / "file"))
        self.assertEqual(read(second.path / "file"), content)
        coffer("lock", second.path)
        self.assertEqual(errno_of(read, second.path / "file"), errno.ENOKEY)
        use.goes_on()
        coffer("unlock", second.path, *self.store.secret)
        self.assertEqual(read(second.path / "file"), content)

    def test_grants_that_ended_meanwhile(self) -> None:
        put(self.top / "file", b"content")
        self.lock()
        (first,) = self.store.coffer("grant", "list", self.store.path, "--json").json
        self.store.revoke(first["id"])
        self.unlock()
        self.assertIn(errno_of(read, self.top / "file"), (errno.EACCES, errno.EKEYREVOKED))

    def test_what_is_no_mount_of_ours(self) -> None:
        for verb in ("lock", "unlock"):
            done = coffer(verb, self.home, check=False)
            self.assertEqual((done.code, "no coffer mount" in done.err), (19, True), str(done))
        done = coffer("lock", self.top, user=ALICE, check=False)
        self.assertEqual((done.code, "uid 0" in done.err), (12, True), str(done))
        os.kill(self.mount.pid, signal.SIGSTOP)
        os.kill(self.mount.pid, signal.SIGKILL)
        os.kill(self.mount.pid, signal.SIGCONT)
        time.sleep(0.5)
        done = coffer("lock", self.top, check=False)
        self.assertEqual((done.code, "is gone" in done.err), (1, True), str(done))
        self.mount.clear_away()


class Unsaved(LockTest):
    def test_a_full_disk(self) -> None:
        """By default a lock loses nothing; by force it drops the keys at once."""
        small = self.place("small")
        small.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small)
        self.addCleanup(run, "umount", "-l", small)
        keystore = self.place("keystore")
        keystore.mkdir()
        store = Store(small / "store", passphrase=PASSPHRASE, init=("--keystore", keystore / "keystore.db"))
        mount = Mount(store, self.place("small-mnt"))
        self.addCleanup(run, "umount", "-l", mount.path, check=False)
        put(mount.path / "kept", b"kept" * PAGE)
        held = open(mount.path / "file", "w+b", buffering=0)
        held.write(b"first" * PAGE)
        os.fsync(held.fileno())
        with open(small / "ballast", "wb", buffering=0) as ballast:
            with self.assertRaises(OSError):
                while True:
                    ballast.write(bytes(4096))
            ballast.truncate(os.fstat(ballast.fileno()).st_size - 16 * PAGE)
        with self.assertRaises(OSError):  # which leaves no room for what has to be written of it at the end
            while True:
                held.write(b"later" * PAGE)
        done = coffer("lock", mount.path, check=False)
        self.assertEqual(done.code, 18, str(done))
        self.assertIn("/file: writing the backing file: No space left on device; the mount is not locked", done.err)
        self.assertEqual(read(mount.path / "kept"), b"kept" * PAGE)
        self.assertEqual(os.pread(held.fileno(), 5, 0), b"first")
        done = coffer("lock", "--force", mount.path, check=False)
        self.assertEqual((done.code, done.err), (0, "Not all that was written to it is kept: /file\n"), str(done))
        self.assertEqual(errno_of(os.fsync, held.fileno()), errno.EKEYREVOKED)
        self.assert_errno(errno.EKEYREVOKED, held.close)
        os.unlink(small / "ballast")
        coffer("unlock", mount.path, *store.secret)
        self.assertEqual(read(mount.path / "kept"), b"kept" * PAGE)
        self.assertEqual(read(mount.path / "file")[:5 * PAGE], b"first" * PAGE)
        self.assertIn("lock --force, 1 file not saved whole", [line.get("detail") for line in store.audit()])
        mount.umount()
        store.verify()


class Load(LockTest):
    limit = 120.0

    def test_locked_and_unlocked_all_the_time(self) -> None:
        """Each operation gives right bytes or an error that is a lock's, and none hangs."""
        contents = [random_bytes(32 * PAGE, seed) for seed in range(4)]
        for number, content in enumerate(contents):
            put(self.top / f"file{number}", content)
        allowed = {errno.ENOKEY, errno.EKEYREVOKED, errno.EIO}
        stop = threading.Event()
        wrong: list[str] = []
        good = [0] * 12

        def loop(slot: int, once: Callable[[int], None]) -> None:
            step = 0
            while not stop.is_set():
                step += 1
                try:
                    once(step)
                    good[slot] += 1
                except OSError as failure:
                    if failure.errno not in allowed:
                        wrong.append(f"{slot}: {failure}")
                except AssertionError as failure:
                    wrong.append(f"{slot}: {failure}")

        def reader(number: int) -> Callable[[int], None]:
            def once(step: int) -> None:
                with open(self.top / f"file{number}", "rb", buffering=0) as stream:
                    for at in range(0, 32 * PAGE, 4 * PAGE):
                        if os.pread(stream.fileno(), 4 * PAGE, at) != contents[number][at:at + 4 * PAGE]:
                            raise AssertionError(f"other bytes in file{number} at {at}")
            return once

        def writer(number: int) -> Callable[[int], None]:
            def once(step: int) -> None:
                path = self.top / f"written{number}"
                data = bytes([step % 256]) * (3 * PAGE)
                put(path, data)
                got = read(path)
                if got != data:
                    raise AssertionError(f"{path} has {len(got)} other bytes than were written")
            return once

        def lister(step: int) -> None:
            names = os.listdir(self.top)
            if not {f"file{number}" for number in range(4)} <= set(names):
                raise AssertionError(f"listed: {names}")

        work = [*(reader(number) for number in range(4)), *(writer(number) for number in range(3)), lister]
        threads = [threading.Thread(target=loop, args=(slot, once)) for slot, once in enumerate(work)]
        for thread in threads:
            thread.start()
        mappers = []
        try:
            for turn in range(6):
                mappers.append(self.use(mapped(self.top / "file0")))
                time.sleep(0.3)
                self.lock()
                self.assertEqual(mappers[-1].end_code(), -signal.SIGBUS)
                self.unlock()
                time.sleep(0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
            for mapper in mappers:
                mapper.end()
        self.assertEqual(wrong[:5], [])
        self.assertFalse(any(thread.is_alive() for thread in threads), "something hangs")
        self.assertTrue(all(good[:len(work)]), f"some got nothing done: {good}")
        for number, content in enumerate(contents):
            self.assert_content(self.top / f"file{number}", content)
        self.mount.umount()
        self.store.verify()


def not_zero(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts that are not zeros, which most of it is, with their offsets."""
    block, begin = 1 << 16, None
    for at in range(0, len(content) + block, block):
        if content[at:at + block].strip(b"\0"):
            begin = at if begin is None else begin
        elif begin is not None:
            yield begin, content[max(0, begin - 256):at + 256]
            begin = None


def memory_of(pid: int) -> Iterator[tuple[str, bytes]]:
    """All that the process could have written to, with what the kernel calls it."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            fields = line.split(maxsplit=5)
            begin, end = (int(part, 16) for part in fields[0].split("-"))
            name = fields[5].strip() if len(fields) > 5 else "anonymous"
            if "r" not in fields[1] or name in ("[vvar]", "[vsyscall]") or (name.startswith("/") and "w" not in fields[1]):
                continue
            at = begin
            while at < end:
                # With an overlap: what is looked for may lie across two parts.
                length = min(end - at, 64 << 20)
                try:
                    part = os.pread(memory.fileno(), length + min(256, end - at - length), at)
                    for offset, content in not_zero(part):
                        yield f"{name} {fields[1]} {at + offset:x}", content
                except OSError as failure:
                    if failure.errno != errno.EIO:  # a hole, or a device
                        raise
                at += length


def found_in(pid: int, needles: dict[str, bytes]) -> dict[str, list[str]]:
    """Which of them stand in the process's memory, and where."""
    places: dict[str, list[str]] = {}
    for where, content in memory_of(pid):
        for name, needle in needles.items():
            if needle in content:
                places.setdefault(name, []).append(where)
    return places


class MemoryTest(LockTest):
    limit = 300.0

    def mount_readably(self) -> None:
        """Where the kernel has secret memory it shows root nothing of it, and there would be nothing to find: without."""
        def mount() -> Mount:
            refuse(MEMFD_SECRET)
            return Mount(self.store, self.top)

        self.mount = as_user(SELF, mount)

    def secrets(self) -> dict[str, bytes]:
        """Every key of the store by name, and those that come of it; but for the audit log's, which open nothing."""
        copy = self.place(f"copy-{time.monotonic_ns()}")
        source, target = sqlite3.connect(self.store.path / ".coffer/keystore.db"), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        place = self.place("secrets")
        place.mkdir(exist_ok=True)
        (place / "passphrase").write_text(PASSPHRASE)
        store_id = bytes.fromhex(self.store.id)
        keystore = Keystore(copy, store_id, place)
        secrets = {"passphrase": PASSPHRASE.encode(), "master": keystore.master}
        policy = keystore.unwrap(keystore.master, POLICY_KEY, keystore.meta[b"policy_key"], version=1)
        secrets["policy"] = policy
        for name in ("policy", "records", "paths"):
            secrets[f"policy {name}"] = hkdf(policy, store_id, f"coffer/1/{name}")
        for scope, version, box in keystore.rows("SELECT scope_id, version, wrapped FROM keks"):
            secrets[f"kek {scope}.{version}"] = keystore.unwrap(keystore.master, KEK, box, scope=scope, version=version)
        for scope, kek, box in keystore.rows("SELECT id, secret_kek, secret FROM scopes"):
            secret = keystore.unwrap(secrets[f"kek {scope}.{kek}"], SCOPE_SECRET, box, scope=scope, kek=kek, version=1)
            secrets[f"scope {scope}"] = secret
            salt = store_id + scope.to_bytes(4, "little")
            for name, length in (("names", 64), ("symlinks", 64), ("directories", 32), ("bindings", 32), ("xattrs", 32)):
                derived = hkdf(secret, salt, f"coffer/1/{name}", length)
                for half in range(0, length, 32):
                    secrets[f"scope {scope} {name} {half}"] = derived[half:half + 32]
        for file, version, scope, kek, state, box in keystore.rows("SELECT file_id, version, scope_id, kek_version, state, wrapped FROM deks"):
            dek = keystore.unwrap(secrets[f"kek {scope}.{kek}"], DEK, box, scope=scope, kek=kek, file=file, version=version)
            secrets[f"dek {file.hex()} state {state}"] = dek
            if state == 1:
                continue  # in the pool: nothing was made of it
            for info in ("content/aes-256-gcm", "header", "journal", "xattrs/aes-256-gcm", "commitment"):
                if info != "commitment":
                    secrets[f"dek {file.hex()} {info}"] = hkdf(dek, file + version.to_bytes(4, "little"), f"coffer/1/{info}")
        for name in [name for name in secrets if any(word in MAC_KEYS for word in name.split())]:
            for side, state in zip(("inner", "outer"), hmac_states(secrets[name])):
                secrets[f"{name}, {side} state"] = state
        return secrets


class Memory(MemoryTest):
    def test_nothing_is_left(self) -> None:
        read_marker = b"this was read " + os.urandom(16).hex().encode()
        written_marker = b"this was written " + os.urandom(16).hex().encode()
        listed_marker = "this was listed " + os.urandom(16).hex()
        self.store.coffer("scope", "create", self.store.path, "/apart")
        self.store.grant("/apart", "--everyone")
        for top in (self.top, self.top / "apart"):
            put(top / "read", read_marker * 5000)
            put(top / "small", read_marker)
            os.symlink("target", top / "link")
            os.setxattr(top / "read", "user.mark", b"value")
        self.mount.umount()
        self.mount_readably()
        held = []
        for top in (self.top, self.top / "apart"):
            for name in ("read", "small"):
                self.assertTrue(read(top / name).startswith(read_marker))
                held.append(open(top / name, "r+b", buffering=0))
                self.addCleanup(held[-1].close)
            for number in range(20):
                put(top / f"new{number}", written_marker * 300)
            with open(top / "read", "r+b", buffering=0) as stream:
                os.pwrite(stream.fileno(), written_marker, 5)  # part of a chunk, through the journal
                os.pwrite(stream.fileno(), written_marker * 100, 100_000)
            os.listdir(top), os.readlink(top / "link"), os.getxattr(top / "read", "user.mark")
            put(top / listed_marker, b"x")
        secrets = self.secrets()
        before = found_in(self.mount.pid, secrets | {"read": read_marker, "written": written_marker})
        # The search finds what is there: keys of open files, of scopes, of the keystore, and of what is to be made next.
        self.assertTrue({"read", "written"} <= set(before), sorted(before))
        for side in ("inner", "outer"):
            self.assertIn(f"policy records, {side} state", before)
            self.assertGreater(sum(name.endswith(f"header, {side} state") for name in before), 3, sorted(before))
        # Where the kernel has memfd_secret(2), what lies in the locked heap is not to be seen from outside at any time.
        if "secretmem" not in Path(f"/proc/{self.mount.pid}/maps").read_text():
            self.assertTrue({"master", "kek 1.1", "kek 2.1", "scope 1"} <= set(before), sorted(before))
            self.assertGreater(sum("content/aes-256-gcm" in name for name in before), 3, sorted(before))
            self.assertTrue(any("state 1" in name for name in before), sorted(before))
        self.lock()
        needles = secrets | self.secrets() | {"read": read_marker, "written": written_marker}
        self.assertEqual(found_in(self.mount.pid, needles), {})
        # And after they came and went once more.
        self.unlock()
        self.assertTrue(read(self.top / "small").startswith(read_marker))
        put(self.top / "again", written_marker)
        self.lock()
        self.assertEqual(found_in(self.mount.pid, needles | self.secrets()), {})
        wrong = self.place("wrong")
        wrong.write_text("a wrong passphrase, too, is somebody's\n")
        coffer("unlock", self.top, "--passphrase-file", wrong, check=False)
        self.assertEqual(found_in(self.mount.pid, needles | {"wrong": b"a wrong passphrase, too"}), {})


if __name__ == "__main__":
    unittest.main()

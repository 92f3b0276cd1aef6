"""A gibibyte goes in and comes out whole, and nothing of it, content or name, can be found in the backing directory."""

import base64
import os
import stat
import unittest
from pathlib import Path
from typing import Iterator

from files import GIB, MIB, random_bytes
from harness import CofferTest
from processes import drop_caches, need, run, wait_until
from stores import Store

try:
    import numpy
except ImportError:
    numpy = None

BLOCK = 4096
TILE = 1 << 16
WORD = 8  # any 16 bytes of a text hold a whole 8-byte word of it, one that begins at a multiple of 8
MARKER = int.from_bytes(b"MARK", "little")


class Plaintext:
    """A text of any size whose every 16-byte run can be looked for at once: a random tile again and again, and once in a block, now
    here, now there, a word with the block's number, so that no two blocks are alike."""

    def __init__(self) -> None:
        self._tile = numpy.frombuffer(os.urandom(TILE), dtype="<u8")
        self._words = numpy.unique(self._tile)
        self._quick = numpy.zeros(1 << 24, dtype=bool)  # by the low three bytes
        self._quick[self._words & 0xFFFFFF] = True
        self._quick[MARKER & 0xFFFFFF] = True

    def write(self, path: Path, size: int) -> None:
        numbers = numpy.arange(TILE // BLOCK, dtype=numpy.uint64)
        with open(path, "wb") as stream:
            for start in range(0, size, TILE):
                words = self._tile.copy()
                blocks = numbers + numpy.uint64(start // BLOCK)
                places = numbers * numpy.uint64(BLOCK // WORD) + blocks * numpy.uint64(13) % numpy.uint64(BLOCK // WORD)
                words[places] = blocks << numpy.uint64(32) | numpy.uint64(MARKER)
                stream.write(words.tobytes()[:size - start])

    def find(self, data: bytes) -> list[int]:
        """Where `data` has a word of the text, at any offset; nothing, if it has no 16-byte run of it."""
        found: list[int] = []
        for shift in range(WORD):
            words = numpy.frombuffer(data, dtype="<u8", offset=shift, count=max(0, (len(data) - shift) // WORD))
            maybe = numpy.flatnonzero(self._quick[words & 0xFFFFFF])
            marked = (words[maybe] & 0xFFFFFFFF == MARKER) & (words[maybe] >> 32 < 2 * GIB // BLOCK)
            known = numpy.isin(words[maybe], self._words) | marked
            found += [shift + WORD * int(index) for index in maybe[known]]
        return sorted(found)


def parts(path: str, overlap: int = 64) -> Iterator[bytes]:
    """A file's content in overlapping parts."""
    with open(path, "rb") as stream:
        tail = b""
        while data := stream.read(16 * MIB):
            yield tail + data
            tail = data[-overlap:]


def files_below(top: Path) -> list[str]:
    found = [os.path.join(directory, name) for directory, _, names in os.walk(top) for name in names]
    return [path for path in found if stat.S_ISREG(os.lstat(path).st_mode)]


def names_below(top: Path) -> Iterator[bytes]:
    """Every name and every symlink's target."""
    for directory, directories, names in os.walk(os.fsencode(top)):
        for name in directories + names:
            yield name
            path = os.path.join(directory, name)
            if os.path.islink(path):
                yield os.readlink(path)


class Big(CofferTest):
    limit = 200.0

    @classmethod
    def setUpClass(cls) -> None:
        need(numpy, "NumPy is not installed (package python3-numpy)")
        super().setUpClass()

    def assert_unreadable(self, store: Store, text: Plaintext, when: str) -> None:
        for path in files_below(store.path):
            for part in parts(path):
                self.assertEqual(text.find(part), [], f"plaintext in {path}, {when}")

    def test_the_search_finds_what_is_there(self) -> None:
        """Any 16 bytes of the text, wherever they lie."""
        text, plain = Plaintext(), self.place("plain")
        text.write(plain, 2 * MIB)
        data = plain.read_bytes()
        self.assertEqual(len(set(data[at:at + BLOCK] for at in range(0, len(data), BLOCK))), len(data) // BLOCK, "no two blocks alike")
        noise = random_bytes(100_000)
        self.assertEqual(text.find(noise), [])
        dice = numpy.random.default_rng(5)
        for at, to in dice.integers(0, [len(data) - 16, len(noise)], (500, 2)):
            found = text.find(noise[:to] + data[at:at + 16] + noise[to:])
            # A word may begin before it: the noise there can be the text's own bytes by chance.
            self.assertTrue(found and to - WORD < found[0] <= to + WORD, f"bytes {at} of the text put at {to}: {found}")

    def test_one_gibibyte(self) -> None:
        need(os.statvfs(self.home).f_bavail * os.statvfs(self.home).f_frsize > 4 * GIB, "needs 4 GiB of room for its files")
        text, source = Plaintext(), self.place("source")
        text.write(source, GIB)
        store = self.new_store()
        mount = self.new_mount(store)
        run("cp", source, mount.path / "big", timeout=100)
        run("cmp", source, mount.path / "big", timeout=100)  # warm
        drop_caches()
        run("cp", mount.path / "big", self.place("out"), timeout=100)  # cold
        run("cmp", self.place("out"), source, timeout=100)
        os.unlink(self.place("out"))
        mount.umount()
        mount = self.new_mount(store, "--read-only", at="again")
        run("cmp", source, mount.path / "big", timeout=100)
        mount.umount()
        self.assertGreater(sum(os.stat(path).st_size for path in files_below(store.path)), GIB)
        self.assert_unreadable(store, text, "unmounted")

    def test_no_plaintext_in_small_files_and_while_mounted(self) -> None:
        """The keystore's log and journals, too, as they are while the store is in use, and after overwriting and truncating."""
        store = self.new_store()
        mount = self.new_mount(store)
        text, plain = Plaintext(), self.place("plain")
        text.write(plain, 4 * MIB)
        data = plain.read_bytes()
        for number in range(200):
            (mount.path / f"small-{number}").write_bytes(data[number * 5000:number * 5000 + number * 31])
        with open(mount.path / "rewritten", "wb") as stream:
            for at in range(0, len(data), 70_001):
                stream.write(data[at:at + 70_001])
                os.fsync(stream.fileno())
            os.ftruncate(stream.fileno(), 1_000_001)
            os.pwrite(stream.fileno(), data[:100_000], 5003)
        self.assert_unreadable(store, text, "mounted")
        mount.umount()
        self.assert_unreadable(store, text, "unmounted")

    def test_no_plaintext_names(self) -> None:
        """Long and short names, symlink targets and scope paths, in no name, target or content of the backing."""
        token = "Zebrafinkenname"
        names = {"short": f"{token}", "long": f"{token}-" + "l" * 230, "directory": f"{token}-dir", "fifo": f"{token}-fifo"}
        store = self.new_store()
        mount = self.new_mount(store)
        (mount.path / names["directory"]).mkdir()
        for name in ("short", "long"):
            (mount.path / names[name]).write_bytes(b"x")
            (mount.path / names["directory"] / names[name]).write_bytes(b"y")
        os.mkfifo(mount.path / names["fifo"])
        for length in (0, 4000):
            os.symlink(f"/{token}/" + "t" * length, mount.path / f"{token}-symlink-{length}")
        store.coffer("scope", "create", store.path, f"/{token}-scope")
        store.grant(f"/{token}-scope", "--everyone")
        wait_until(lambda: os.listdir(mount.path / f"{token}-scope") == [], "the grant is known to the mount")
        (mount.path / f"{token}-scope" / token).write_bytes(b"z")
        os.rename(mount.path / names["long"], mount.path / f"{token}-renamed")
        for state in ("mounted", "unmounted"):
            self.assert_hidden(token.encode(), store, state)
            if state == "mounted":
                mount.umount()
        store.coffer("scope", "create", store.path, f"/{token}-offline")
        self.assert_hidden(token.encode(), store, "with a scope made offline")
        again = self.new_mount(store, at="again")
        self.assertIn(f"{token}-scope", os.listdir(again.path))

    def assert_hidden(self, token: bytes, store: Store, state: str) -> None:
        """In no case, and not in UTF-16 or base64 either."""
        forms = [token, token.lower(), token.decode().encode("utf-16-le"), token.hex().encode(),
                 base64.b64encode(token[:12]), base64.b64encode(token[1:13]), base64.b64encode(token[2:14])]
        for name in names_below(store.path):
            self.assertFalse([form for form in forms if form in name], f"{name!r}, {state}")
        for path in files_below(store.path):
            content = Path(path).read_bytes()
            self.assertFalse([form for form in forms if form in content or form in content.lower()], f"{path}, {state}")


if __name__ == "__main__":
    unittest.main()

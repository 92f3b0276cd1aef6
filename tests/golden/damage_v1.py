"""How the golden stores of version 1 are damaged, and what has to come of it. Kept as the stores are: an outcome here is part of the
format, and what changes it needs a reason that holds for every store there is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

from golden import manifest
from read_store import Store, base64url

BLOCK = 4096
SLOT = {"magic": 0, "version": 8, "suite": 10, "chunk_log2": 12, "store": 16, "file": 32, "dek_version": 48, "scope": 52, "size": 56, "generation": 64,
        "root": 72, "commitment": 104, "reserved": 136, "bindings": 256, "mac": 4064}
LEAF_0 = 2 * BLOCK
CHUNK_0 = LEAF_0 + BLOCK
# With chunks of 4 KiB (fs/FORMAT.md 3.2).
GROUP = BLOCK + 128 * 4096
INNER_1_0 = LEAF_0 + GROUP  # before leaf 1
LEAF_1 = INNER_1_0 + BLOCK
LEAF_63 = LEAF_0 + 63 * GROUP + BLOCK
INNER_2_0 = LEAF_0 + 128 * GROUP + BLOCK  # before the first node of level 1 that is not its first child
INNER_1_1 = INNER_2_0 + BLOCK
LEAF_128 = INNER_1_1 + BLOCK


class Backing:
    """A copy of a golden store that is being damaged. Entries are named by their plain path; `/path#record` is a directory's record,
    `/path#sidecar` the sidecar of a long name, `/path#target` that of a long target; anything else is a path in the backing directory."""

    def __init__(self, name: str, home: Path) -> None:
        self.facts = manifest(name)
        self.home = home
        self.store = home / "store"

    def at(self, what: str) -> Path:
        path, _, part = what.partition("#")
        if not path.startswith("/"):
            return self.store / path
        backing = self.store / self.facts["entries"][path]["backing"]
        if part == "record":
            return backing / ".coffer.dir"
        if part == "sidecar":
            return backing.with_name(backing.name.replace(".coffer.long.", ".coffer.name."))
        if part == "target":
            return backing.with_name(os.readlink(backing))
        return backing

    def stored_name(self, directory: str, name: bytes) -> Path:
        """Where an entry of that name would stand."""
        opened = Store(self.store, self.home)
        names = opened.scope_names(1)
        directory_id = (self.at(directory) / ".coffer.dir").read_bytes()[32:48]
        return self.at(directory) / base64url(names.names.encrypt(name, [directory_id])).decode()

    @contextmanager
    def changing(self, what: str) -> Iterator[BinaryIO]:
        """The file, open; it keeps its times."""
        with open(self.at(what), "r+b") as stream:
            status = os.fstat(stream.fileno())
            yield stream
        os.utime(self.at(what), ns=(status.st_atime_ns, status.st_mtime_ns))

    def write(self, what: str, offset: int, content: bytes) -> None:
        with self.changing(what) as stream:
            stream.seek(offset)
            stream.write(content)

    def read(self, what: str, offset: int, length: int) -> bytes:
        with open(self.at(what), "rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def flip(self, what: str, *offsets: int) -> None:
        for offset in offsets:
            offset += (self.at(what).stat().st_size if offset < 0 else 0)
            self.write(what, offset, bytes([self.read(what, offset, 1)[0] ^ 1]))

    def slots(self, what: str) -> tuple[int, int]:
        """Where the newer and the older header slot are."""
        generations = [struct.unpack("<Q", self.read(what, slot + SLOT["generation"], 8))[0] for slot in (0, BLOCK)]
        return (0, BLOCK) if generations[0] > generations[1] else (BLOCK, 0)

    def put_field(self, what: str, name: str, content: bytes) -> None:
        """In both slots, where they are used."""
        for slot in (0, BLOCK):
            if any(self.read(what, slot, BLOCK)):
                self.write(what, slot + SLOT[name], content)

    def copy_range(self, what: str, source: int, target: int, length: int) -> None:
        self.write(what, target, self.read(what, source, length))

    def swap_ranges(self, what: str, one: int, other: int, length: int) -> None:
        first, second = self.read(what, one, length), self.read(what, other, length)
        self.write(what, one, second)
        self.write(what, other, first)

    def cut(self, what: str, size: int) -> None:
        """To so many bytes, or by so many if negative."""
        with self.changing(what) as stream:
            stream.truncate(size if size >= 0 else self.at(what).stat().st_size + size)

    def append(self, what: str, content: bytes) -> None:
        self.write(what, self.at(what).stat().st_size, content)

    def exchange(self, one: str, other: str) -> None:
        first, second = self.at(one), self.at(other)
        aside = self.home / "aside"
        os.rename(first, aside)
        os.rename(second, first)
        os.rename(aside, second)

    def copy(self, source: str, target: str) -> None:
        """Over another, as it lies there."""
        first, second = self.at(source), self.at(target)
        second.unlink()
        shutil.copy2(first, second, follow_symlinks=False)

    def put_back(self, older: str, what: str | Path) -> None:
        target = self.at(what) if isinstance(what, str) else what
        target.unlink(missing_ok=True)
        shutil.copy2(self.home / "older" / older, target, follow_symlinks=False)

    def remove(self, what: str) -> None:
        path = self.at(what)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def rename(self, what: str, target: str | Path) -> None:
        os.rename(self.at(what), self.at(target) if isinstance(target, str) else target)

    def link_to(self, what: str, target: str) -> None:
        self.at(what).unlink()
        os.symlink(target, self.at(what))

    def sql(self, statement: str, *values: Any) -> None:
        database = sqlite3.connect(self.store / ".coffer/keystore.db")
        with database:
            assert database.execute(statement, values).rowcount != 0, statement
        database.close()

    def key_of(self, path: str) -> bytes:
        return bytes.fromhex(self.facts["entries"][path]["file_id"])

    def toml(self, old: str, new: str) -> None:
        path = self.store / ".coffer/store.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    @property
    def key_file(self) -> Path:
        return self.home / "coffer/keys" / f"{self.facts['store']}.key"


@dataclass(frozen=True)
class Variant:
    """A damage, and what follows."""

    name: str
    store: str
    damage: Callable[[Backing], object]
    # What coffer verify finds, as path and cause: "" is the path of a key without a file.
    finds: tuple[tuple[str, str], ...] = ()
    # The whole store is refused, by every command: exit code, and what the message has to match.
    refused: tuple[int, str] | None = None
    # What can't be read any more, with what lies below, and the cause; what is not there any more; the rest is as the manifest says.
    lost: dict[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    # Differs from the manifest: what this version does not notice.
    unnoticed: dict[str, dict[str, Any]] = field(default_factory=dict)


# A file of which no header can be read: whose key is left over is not known then, and verify says that one has no file.
NAMELESS = (("", "not-found"),)


def header(name: str, part: str, content: bytes, cause: str, also: tuple[tuple[str, str], ...] = ()) -> Variant:
    """A field of the header has another value, in both slots."""
    path = "/overwritten"
    return Variant(f"header: {name}", "encrypted", lambda s: s.put_field(path, part, content), ((path, cause), *also), lost={path: cause})


def file(name: str, path: str, damage: Callable[[Backing], object], cause: str = "corrupt", *, store: str = "encrypted",
         also: tuple[tuple[str, str], ...] = ()) -> Variant:
    """One file can't be read any more."""
    return Variant(f"file: {name}", store, damage, ((path, cause), *also), lost={path: cause})


def unharmed(name: str, damage: Callable[[Backing], object]) -> Variant:
    """What is altered is not looked at."""
    return Variant(f"unharmed: {name}", "encrypted", damage)


def whole(name: str, damage: Callable[[Backing], object], code: int, message: str, *, store: str = "encrypted") -> Variant:
    """The store is refused."""
    return Variant(f"refused: {name}", store, damage, refused=(code, message))


OW, CH, DEEP = "/overwritten", "/moved/six-chunks", "/deep"

VARIANTS = [
    # --- file headers (3.1) ---
    file("newest header altered: the older is taken, and is too old", OW, lambda s: s.flip(OW, s.slots(OW)[0] + 300), "rolled-back"),
    file("newest header zeroed", OW, lambda s: s.write(OW, s.slots(OW)[0], bytes(BLOCK)), "rolled-back"),
    file("newest header replaced by the older", OW, lambda s: s.copy_range(OW, s.slots(OW)[1], s.slots(OW)[0], BLOCK), "rolled-back"),
    file("newest header of another version", OW, lambda s: s.write(OW, s.slots(OW)[0] + 8, b"\2\0"), "rolled-back"),
    unharmed("older header altered", lambda s: s.flip(OW, s.slots(OW)[1] + 300)),
    unharmed("older header zeroed", lambda s: s.write(OW, s.slots(OW)[1], bytes(BLOCK))),
    unharmed("headers exchanged", lambda s: s.swap_ranges(OW, 0, BLOCK, BLOCK)),
    file("both headers altered", OW, lambda s: s.flip(OW, 4090, BLOCK + 4090)),
    file("both headers zeroed", OW, lambda s: s.write(OW, 0, bytes(2 * BLOCK)), also=NAMELESS),
    file("the MAC of the only header altered", "/unrecorded", lambda s: s.flip("/unrecorded", 4095, 2 * BLOCK - 1)),
    header("magic", "magic", b"COFFER-D", "corrupt", NAMELESS),
    header("format version 2", "version", b"\2\0", "unknown-version", NAMELESS),
    header("format version 0", "version", b"\0\0", "unknown-version", NAMELESS),
    header("unknown suite", "suite", b"\3\0", "corrupt", NAMELESS),
    header("the other suite", "suite", b"\2\0", "corrupt"),
    header("another chunk size", "chunk_log2", b"\x0e", "corrupt"),
    header("a chunk size that there is not", "chunk_log2", b"\x0b", "corrupt", NAMELESS),
    header("another store", "store", bytes(16), "moved"),
    header("a file that there is not", "file", bytes(16), "key-unavailable"),
    header("a DEK version that there is not", "dek_version", b"\2", "key-unavailable"),
    header("another scope", "scope", b"\2", "moved"),
    header("size", "size", b"\1", "corrupt"),
    header("generation", "generation", b"\xff", "corrupt"),
    header("root", "root", b"\0", "corrupt"),
    header("commitment", "commitment", bytes(32), "corrupt"),
    header("reserved bytes in use", "reserved", b"\1", "corrupt", NAMELESS),
    header("binding", "bindings", bytes(16), "corrupt"),
    # --- chunks and tree (3.3, 3.4) ---
    file("chunk altered", "/one-chunk", lambda s: s.flip("/one-chunk", CHUNK_0 + 77)),
    file("last byte altered", "/one-chunk-and-a-byte", lambda s: s.flip("/one-chunk-and-a-byte", -1)),
    file("tag altered", CH, lambda s: s.flip(CH, LEAF_0 + 12)),
    file("nonce altered", CH, lambda s: s.flip(CH, LEAF_0 + 32 * 3)),
    file("entry made a hole", CH, lambda s: s.write(CH, LEAF_0 + 64, bytes(32))),
    file("unused entry altered", CH, lambda s: s.flip(CH, LEAF_0 + 4095)),
    file("leaf zeroed", CH, lambda s: s.write(CH, LEAF_0, bytes(BLOCK))),
    file("chunks exchanged", CH, lambda s: s.swap_ranges(CH, CHUNK_0, CHUNK_0 + 4096, 4096)),
    file("chunks exchanged with their entries", CH, lambda s: (s.swap_ranges(CH, CHUNK_0, CHUNK_0 + 4096, 4096),
                                                               s.swap_ranges(CH, LEAF_0, LEAF_0 + 32, 32))),
    file("chunk of another file", "/twin-1", lambda s: s.write("/twin-1", CHUNK_0, s.read("/twin-2", CHUNK_0, 4096))),
    file("body of another file", "/twin-1", lambda s: s.write("/twin-1", LEAF_0, s.read("/twin-2", LEAF_0, BLOCK + 4097))),
    file("root node altered", "/two-leaves", lambda s: s.flip("/two-leaves", INNER_1_0)),
    file("unused entry of the root node altered", "/two-leaves", lambda s: s.flip("/two-leaves", INNER_1_0 + 4095)),
    file("second leaf altered", "/two-leaves", lambda s: s.flip("/two-leaves", LEAF_1 + 100)),
    unharmed("the place of a hole altered", lambda s: s.flip("/two-leaves", CHUNK_0 + 5 * 4096)),
    unharmed("the place of a hole's leaf altered", lambda s: s.flip("/all-hole", LEAF_0)),
    file("chunk of a big chunk size altered", "/large/second-chunk", lambda s: s.flip("/large/second-chunk", -1)),
    file("ChaCha20-Poly1305 chunk altered", "/chacha/one-chunk-and-a-byte", lambda s: s.flip("/chacha/one-chunk-and-a-byte", CHUNK_0)),
    file("inner node of level 2 altered", DEEP, lambda s: s.flip(DEEP, INNER_2_0), store="deep"),
    file("inner node of level 1 altered", DEEP, lambda s: s.flip(DEEP, INNER_1_0), store="deep"),
    file("second inner node of level 1 altered", DEEP, lambda s: s.flip(DEEP, INNER_1_1), store="deep"),
    file("inner nodes of level 1 exchanged", DEEP, lambda s: s.swap_ranges(DEEP, INNER_1_0, INNER_1_1, BLOCK), store="deep"),
    file("leaf 63 altered", DEEP, lambda s: s.flip(DEEP, LEAF_63), store="deep"),
    file("leaf 128 zeroed", DEEP, lambda s: s.write(DEEP, LEAF_128, bytes(BLOCK)), store="deep"),
    # --- lengths (3.2) ---
    file("cut to nothing", CH, lambda s: s.cut(CH, 0), also=NAMELESS),
    file("cut within the first header", CH, lambda s: s.cut(CH, 100), also=NAMELESS),
    file("cut between the headers", CH, lambda s: s.cut(CH, BLOCK), also=NAMELESS),
    file("cut to the headers", CH, lambda s: s.cut(CH, 2 * BLOCK)),
    file("cut within the leaf", CH, lambda s: s.cut(CH, LEAF_0 + 100)),
    file("cut within a chunk", CH, lambda s: s.cut(CH, CHUNK_0 + 5000)),
    file("cut by one byte", CH, lambda s: s.cut(CH, -1)),
    file("cut within a hole", "/all-hole", lambda s: s.cut("/all-hole", CHUNK_0 + 5000)),
    unharmed("a byte behind the end", lambda s: s.append(CH, b"x")),
    unharmed("chunks behind the end", lambda s: s.append(CH, b"x" * 10_000)),
    # --- whole files (6, and the keystore's records) ---
    Variant("file: exchanged", "encrypted", lambda s: s.exchange("/twin-1", "/twin-2"), (("/twin-1", "moved"), ("/twin-2", "moved")),
            lost={"/twin-1": "moved", "/twin-2": "moved"}),
    file("a copy of another", "/twin-2", lambda s: s.copy("/twin-1", "/twin-2"), "moved", also=NAMELESS),
    file("one of another scope", "/twin-2", lambda s: s.copy("/direct/one-byte", "/twin-2"), "moved", also=NAMELESS),
    file("put back", "/put-back", lambda s: s.put_back("put-back", "/put-back"), "rolled-back"),
    file("put back, with many commits", OW, lambda s: s.put_back("overwritten", OW), "rolled-back"),
    file("put back in place of the one that replaced it", "/replaced", lambda s: s.put_back("replaced", "/replaced"), "revoked"),
    Variant("file: put back after it was deleted", "encrypted", lambda s: s.put_back("deleted", s.stored_name("/", b"deleted")),
            (("/deleted", "revoked"),), lost={"/deleted": "revoked"}),
    Variant("file: deleted", "encrypted", lambda s: s.remove("/twin-1"), (("", "not-found"),), gone=("/twin-1",)),
    Variant("file: newer than its record, in a keystore that was put back", "encrypted", lambda s: s.put_back("keystore.db", ".coffer/keystore.db"),
            (("/replaced", "key-unavailable"), ("/unrecorded", "key-unavailable")),
            lost={"/replaced": "key-unavailable", "/unrecorded": "key-unavailable"}),
    # --- names (4) ---
    Variant("name: altered", "encrypted", lambda s: s.rename("/twin-1", s.store / f"{s.at('/twin-1').name[:-2]}AA"),
            (("/", "corrupt"), ("", "not-found")), gone=("/twin-1",)),
    Variant("name: moved to another directory", "encrypted", lambda s: s.rename("/twin-1", s.at("/setgid") / s.at("/twin-1").name),
            (("/setgid", "corrupt"), ("", "not-found")), gone=("/twin-1",)),
    unharmed("a foreign file that looks like the format's own", lambda s: (s.store / ".coffer.garbage").write_bytes(b"x")),
    Variant("name: a foreign file", "encrypted", lambda s: (s.store / "notes.txt").write_bytes(b"x"), (("/", "corrupt"),)),
    # --- directories (5) ---
    Variant("directory: record deleted", "encrypted", lambda s: s.remove("/setgid#record"), (("/setgid", "corrupt"),), lost={"/setgid": "corrupt"}),
    Variant("directory: record cut", "encrypted", lambda s: s.cut("/setgid#record", 511), (("/setgid", "corrupt"),), lost={"/setgid": "corrupt"}),
    Variant("directory: record longer", "encrypted", lambda s: s.append("/setgid#record", b"x"), (("/setgid", "corrupt"),),
            lost={"/setgid": "corrupt"}),
    Variant("directory: format version 2", "encrypted", lambda s: s.write("/setgid#record", 8, b"\2"), (("/setgid", "unknown-version"),),
            lost={"/setgid": "unknown-version"}),
    Variant("directory: id altered", "encrypted", lambda s: s.flip("/setgid#record", 32), (("/setgid", "corrupt"),), lost={"/setgid": "corrupt"}),
    Variant("directory: binding altered", "encrypted", lambda s: s.flip("/setgid#record", 64), (("/setgid", "corrupt"),),
            lost={"/setgid": "corrupt"}),
    Variant("directory: reserved bytes in use", "encrypted", lambda s: s.flip("/setgid#record", 300), (("/setgid", "corrupt"),),
            lost={"/setgid": "corrupt"}),
    Variant("directory: of another store", "encrypted", lambda s: s.flip("/setgid#record", 16), (("/setgid", "moved"),), lost={"/setgid": "moved"}),
    Variant("directory: claims another scope", "encrypted", lambda s: s.write("/setgid#record", 12, b"\2"), (("/setgid", "moved"),),
            lost={"/setgid": "moved"}),
    Variant("directory: claims a scope that there is not", "encrypted", lambda s: s.write("/setgid#record", 12, b"\x63"), (("/setgid", "moved"),),
            lost={"/setgid": "moved"}),
    Variant("directory: records exchanged", "encrypted", lambda s: s.exchange("/setgid#record", "/sticky#record"),
            (("/setgid", "moved"), ("/sticky", "moved")), lost={"/setgid": "moved", "/sticky": "moved"}),
    Variant("directory: directories exchanged", "encrypted", lambda s: s.exchange("/setgid", "/a"), (("/setgid", "moved"), ("/a", "moved")),
            lost={"/setgid": "moved", "/a": "moved"}),
    Variant("directory: record put back", "encrypted", lambda s: s.put_back("was-called-this", "/moved/is-called-that#record"),
            (("/moved/is-called-that", "moved"),), lost={"/moved/is-called-that": "moved"}),
    Variant("directory: scope's record altered", "encrypted", lambda s: s.flip("/direct#record", 480), (("/direct", "corrupt"),),
            lost={"/direct": "corrupt"}),
    Variant("directory: scopes exchanged", "encrypted", lambda s: s.exchange("/direct", "/large"), (("/direct", "moved"), ("/large", "moved")),
            lost={"/direct": "moved", "/large": "moved"}),
    Variant("directory: record of the root altered", "encrypted", lambda s: s.flip("/#record", 32), (("/", "moved"),), lost={"/": "moved"}),
    Variant("directory: record of the root deleted", "encrypted", lambda s: s.remove("/#record"), (("/", "corrupt"),), lost={"/": "corrupt"}),
    Variant("directory: one that was not made by coffer", "encrypted", lambda s: os.mkdir(s.stored_name("/", b"planted")),
            (("/planted", "corrupt"),), lost={"/planted": "corrupt"}),
    # --- long names and symlinks (4) ---
    Variant("long name: sidecar deleted", "encrypted", lambda s: s.remove("/names/" + "n" * 255 + "#sidecar"),
            (("/names", "corrupt"), ("", "not-found")), gone=("/names/" + "n" * 255,)),
    Variant("long name: sidecar altered", "encrypted", lambda s: s.flip("/names/" + "n" * 255 + "#sidecar", 50),
            (("/names", "corrupt"), ("", "not-found")), gone=("/names/" + "n" * 255,)),
    Variant("long name: sidecar cut", "encrypted", lambda s: s.cut("/names/" + "n" * 255 + "#sidecar", 0),
            (("/names", "corrupt"), ("", "not-found")), gone=("/names/" + "n" * 255,)),
    Variant("long name: of a directory, sidecar deleted", "encrypted", lambda s: s.remove("/names/" + "d" * 255 + "#sidecar"),
            (("/names", "corrupt"), ("", "not-found")), gone=("/names/" + "d" * 255,)),
    Variant("long name: entries exchanged", "encrypted", lambda s: s.exchange("/names/" + "n" * 255, "/names/" + "m" * 200),
            (("/names/" + "n" * 255, "moved"), ("/names/" + "m" * 200, "moved")),
            lost={"/names/" + "n" * 255: "moved", "/names/" + "m" * 200: "moved"}),
    Variant("symlink: target altered", "encrypted", lambda s: s.link_to("/symlinks/short", os.readlink(s.at("/symlinks/short"))[:-2] + "AA"),
            (("/symlinks/short", "corrupt"),), lost={"/symlinks/short": "corrupt"}),
    Variant("symlink: target in plain text", "encrypted", lambda s: s.link_to("/symlinks/short", "/etc/passwd"), (("/symlinks/short", "corrupt"),),
            lost={"/symlinks/short": "corrupt"}),
    Variant("symlink: exchanged", "encrypted", lambda s: s.exchange("/symlinks/short", "/symlinks/dangling"),
            (("/symlinks/short", "moved"), ("/symlinks/dangling", "moved")),
            lost={"/symlinks/short": "moved", "/symlinks/dangling": "moved"}),
    Variant("symlink: copied to another directory", "encrypted", lambda s: s.copy("/symlinks/short", "/moved/one"), (("/moved/one", "moved"),),
            lost={"/moved/one": "moved"}),
    Variant("symlink: sidecar deleted", "encrypted", lambda s: s.remove("/symlinks/longest#target"), (("/symlinks/longest", "corrupt"),),
            lost={"/symlinks/longest": "corrupt"}),
    Variant("symlink: sidecar altered", "encrypted", lambda s: s.flip("/symlinks/longest#target", 1000), (("/symlinks/longest", "corrupt"),),
            lost={"/symlinks/longest": "corrupt"}),
    Variant("symlink: sidecar cut", "encrypted", lambda s: s.cut("/symlinks/longest#target", 3000), (("/symlinks/longest", "corrupt"),),
            lost={"/symlinks/longest": "corrupt"}),
    # --- what version 1 does not notice: it has no record of these entries ---
    Variant("unnoticed: an older symlink put back in its place", "encrypted", lambda s: s.put_back("symlinks_put-back", "/symlinks/put-back"),
            unnoticed={"/symlinks/put-back": {"target": "v1", "mtime": 1_000_000_000}}),
    Variant("unnoticed: a symlink deleted", "encrypted", lambda s: s.remove("/symlinks/short"), gone=("/symlinks/short",)),
    Variant("unnoticed: an empty directory deleted", "encrypted", lambda s: s.remove("/empty-directory"), gone=("/empty-directory",)),
    Variant("unnoticed: one of a file's names deleted", "encrypted", lambda s: s.remove("/links/second"), gone=("/links/second",),
            unnoticed={"/links/first": {"nlink": 2}, "/links/sub/third": {"nlink": 2}}),
    Variant("unnoticed: a mode altered", "encrypted", lambda s: os.chmod(s.at("/one-byte"), 0o606), unnoticed={"/one-byte": {"mode": 0o606}}),
    # --- plain names ---
    # Several at once: each look at this store costs a passphrase.
    Variant("plain names: renamed, exchanged, altered, foreign", "plain",
            lambda s: (s.rename("/one-chunk", "elsewhere"), s.exchange("/one-byte", "/empty"), s.link_to("/renamed/symlink", "../empty"),
                       s.flip("/holes", CHUNK_0 + 2 * 16384), (s.store / "notes.txt").write_bytes(b"x" * 9000)),
            (("/elsewhere", "moved"), ("/one-byte", "moved"), ("/empty", "moved"), ("/renamed/symlink", "corrupt"), ("/holes", "corrupt"),
             ("/notes.txt", "corrupt")),
            lost={"/elsewhere": "moved", "/one-byte": "moved", "/empty": "moved", "/renamed/symlink": "corrupt", "/holes": "corrupt",
                  "/notes.txt": "corrupt"}, gone=("/one-chunk",)),
    Variant("plain names: directory renamed", "plain", lambda s: s.rename("/renamed", "directory"), (("/directory", "moved"),),
            lost={"/directory": "moved"}, gone=("/renamed",)),
    # --- records of keys (keystore/FORMAT.md) ---
    file("key deleted", "/twin-1", lambda s: s.sql("DELETE FROM deks WHERE file_id = ?", s.key_of("/twin-1")), "key-unavailable"),
    file("key: state altered", "/twin-1", lambda s: s.sql("UPDATE deks SET state = 1 WHERE file_id = ?", s.key_of("/twin-1"))),
    file("key: generation altered", OW, lambda s: s.sql("UPDATE deks SET generation = 1 WHERE file_id = ?", s.key_of(OW))),
    file("key: root altered", OW, lambda s: s.sql("UPDATE deks SET root = zeroblob(32) WHERE file_id = ?", s.key_of(OW))),
    file("key: scope altered", OW, lambda s: s.sql("UPDATE deks SET scope_id = 2 WHERE file_id = ?", s.key_of(OW))),
    file("key: of another file", OW, lambda s: s.sql("UPDATE deks SET wrapped = (SELECT wrapped FROM deks WHERE file_id = ?) WHERE file_id = ?",
                                                   s.key_of("/twin-1"), s.key_of(OW))),
    file("key: cut", OW, lambda s: s.sql("UPDATE deks SET wrapped = x'01' WHERE file_id = ?", s.key_of(OW))),
    file("key: box of another version", OW, lambda s: s.sql("UPDATE deks SET wrapped = CAST(x'02' || substr(wrapped, 2) AS BLOB) WHERE file_id = ?",
                                                          s.key_of(OW)), "unknown-version"),
    file("key: a KEK version that there is not", OW, lambda s: s.sql("UPDATE deks SET kek_version = 2 WHERE file_id = ?", s.key_of(OW)),
         "key-unavailable"),
    file("key: said to be wrapped by the master key", OW, lambda s: s.sql("UPDATE deks SET kek_version = 0 WHERE file_id = ?", s.key_of(OW))),
    file("key: the whole record of another", "/twin-1", lambda s: s.sql(
        "UPDATE deks SET (wrapped, changed_at, generation, root, record_mac) = (SELECT wrapped, changed_at, generation, root, record_mac FROM deks"
        " WHERE file_id = ?) WHERE file_id = ?", s.key_of("/twin-2"), s.key_of("/twin-1"))),
    # --- the policy ---
    whole("scope altered", lambda s: s.sql("UPDATE scopes SET sensitivity = 0 WHERE id = 2"), 8, "altered outside coffer"),
    whole("grant altered", lambda s: s.sql("UPDATE grants SET deny = 0 WHERE deny = 1"), 8, "altered outside coffer"),
    whole("grant added", lambda s: s.sql("INSERT INTO grants SELECT 99, scope_id, deny, rights, everyone, not_before, not_after, purpose, created_by,"
                                         " created_at, revoked_at FROM grants WHERE id = 1"), 8, "altered outside coffer"),
    whole("grant deleted", lambda s: s.sql("DELETE FROM grants WHERE deny = 1"), 8, "altered outside coffer"),
    whole("revocation taken back", lambda s: s.sql("UPDATE grants SET revoked_at = NULL WHERE revoked_at IS NOT NULL"), 8, "altered outside coffer"),
    whole("selector altered", lambda s: s.sql("UPDATE grant_selectors SET selector = 'unix:uid:0' WHERE grant_id = 1"), 8, "altered outside coffer"),
    whole("KEK altered", lambda s: s.sql("UPDATE keks SET wrapped = zeroblob(61) WHERE scope_id = 1"), 8, "altered outside coffer"),
    whole("KEK deleted", lambda s: s.sql("DELETE FROM keks WHERE scope_id = 1"), 8, "altered outside coffer"),
    whole("names mode altered", lambda s: s.sql("UPDATE meta SET value = CAST('plain' AS BLOB) WHERE name = 'names'"), 8, "altered outside coffer"),
    whole("generation of the policy altered", lambda s: s.sql("UPDATE meta SET value = zeroblob(8) WHERE name = 'generation'"), 8,
          "altered outside coffer"),
    whole("an entry of meta added", lambda s: s.sql("INSERT INTO meta VALUES ('more', x'00')"), 8, "altered outside coffer"),
    whole("an index added", lambda s: s.sql("CREATE INDEX planted ON grants (scope_id)"), 8, "altered outside coffer"),
    whole("policy MAC altered", lambda s: s.sql("UPDATE meta SET value = zeroblob(32) WHERE name = 'policy_mac'"), 8, "altered outside coffer"),
    whole("policy MAC deleted", lambda s: s.sql("DELETE FROM meta WHERE name = 'policy_mac'"), 8, "policy_mac is missing"),
    whole("policy key altered", lambda s: s.sql("UPDATE meta SET value = CAST(value || x'00' AS BLOB) WHERE name = 'policy_key'"), 8, "authenticate"),
    # --- the keystore, the master key and the configuration ---
    whole("no master key", lambda s: s.sql("UPDATE masters SET state = 4"), 8, "names no master key"),
    whole("master key of another kind", lambda s: s.sql("UPDATE masters SET uri = 'unheard-of:x'"), 2, "no KMS provider"),
    whole("master key's version altered", lambda s: s.sql("UPDATE masters SET version = '0000000000000000'"), 4, "another key"),
    whole("passphrase parameters altered", lambda s: s.sql("UPDATE masters SET params = 'scrypt ln=17'"), 8, "passphrase parameters", store="plain"),
    whole("passphrase parameters that exhaust", lambda s: s.sql("UPDATE masters SET params = replace(params, 'ln=17', 'ln=30')"), 2, "scrypt cost",
          store="plain"),
    whole("another salt", lambda s: s.sql("UPDATE masters SET params = substr(params, 1, length(params) - 2) || '00'"), 4, "wrong passphrase",
          store="plain"),
    whole("another passphrase", lambda s: (s.home / "passphrase").write_text("battery horse\n"), 4, "wrong passphrase", store="plain"),
    whole("another master key", lambda s: s.key_file.write_text("coffer-master-key-1 " + "0" * 64 + "\n"), 4, "another key"),
    whole("a master key file of another version", lambda s: s.key_file.write_text("coffer-master-key-2 " + "0" * 64 + "\n"), 4, "master key file"),
    whole("no master key file", lambda s: s.key_file.unlink(), 11, "master key file"),
    whole("another store's keystore", lambda s: s.sql("UPDATE meta SET value = zeroblob(16) WHERE name = 'store_id'"), 6, "belongs to store 0000"),
    whole("another store's configuration", lambda s: s.toml(s.facts["store"], "0" * 32), 6, "not to 0000"),
    whole("format 2 in store.toml", lambda s: s.toml("format = 1", "format = 2"), 7, "format 2"),
    whole("no format in store.toml", lambda s: s.toml("format = 1", ""), 8, "lacks format"),
    whole("malformed store.toml", lambda s: (s.store / ".coffer/store.toml").write_text("format = "), 8, "store.toml"),
    whole("malformed store id", lambda s: s.toml(s.facts["store"], "0" * 31), 8, "malformed store id"),
    whole("no store.toml", lambda s: (s.store / ".coffer/store.toml").unlink(), 3, "not a coffer store"),
    whole("keystore missing", lambda s: s.remove(".coffer/keystore.db"), 5, "keystore.db is not there"),
    whole("keystore empty", lambda s: s.cut(".coffer/keystore.db", 0), 8, "damaged"),
    whole("keystore cut within its first page", lambda s: s.cut(".coffer/keystore.db", 2000), 8, "damaged"),
    whole("keystore cut to half", lambda s: s.cut(".coffer/keystore.db", 7 * 4096), 8, "damaged"),
    whole("no keystore", lambda s: s.write(".coffer/keystore.db", 0, b"not a database"), 8, "damaged"),
    whole("keystore of schema 2", lambda s: s.sql("PRAGMA user_version = 2"), 7, "schema version 2"),
    whole("keystore without a schema version", lambda s: s.sql("PRAGMA user_version = 0"), 8, "no schema version"),
    whole("keystore of another application", lambda s: s.sql("PRAGMA application_id = 1"), 8, "not a coffer keystore"),
    whole("a rollback journal beside the keystore", lambda s: (s.store / ".coffer/keystore.db-journal").write_bytes(b"x"), 8, "none of its files"),
]

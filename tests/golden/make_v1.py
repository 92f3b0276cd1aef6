#!/usr/bin/python3
"""Made the golden stores of format version 1, once, with the program of that day. It stays as the account of what was done to them,
and as the start of a make_v2.py; it never writes over a store that is there. As root, in this directory:

    COFFER_BINARY=… PYTHONPATH=../e2e /usr/bin/python3 make_v1.py
"""

import json
import lzma
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import processes
import read_store
from files import random_bytes
from golden import STORES, VERSION_1, tree
from guard import ROOT
from processes import User
from stores import Mount

# Whoever makes a store is granted its root scope; what the archives hold is root's.
MAKER = User(1000, 1000)
ABSENT = "unix:uid:4000000001"  # nobody
PASSPHRASE = "correct horse battery staple"
KIB = 1024
MIB = 1024 * KIB

processes.ordinary_machine()


class Making:
    """A store being made in a directory of its own, with its key beside it."""

    def __init__(self, name: str, master: str, *init: str) -> None:
        self.name = name
        self.master = master
        self.home = ROOT / name
        self.store = self.home / "store"
        self.older = self.home / "older"
        self.user = processes.SELF
        self.home.mkdir()
        self.older.mkdir()
        if master == "passphrase":
            (self.home / "passphrase").write_text(PASSPHRASE + "\n")
            self.secret: tuple = ("--passphrase-file", self.home / "passphrase")
            init += ("--kms", "passphrase:")
        else:
            self.secret = ()
        os.chown(self.home, MAKER.uid, MAKER.gid)
        # The default key file of a user is below XDG_CONFIG_HOME: so its URI names no directory of this machine.
        words = ["init", self.store, *init, *self.secret]
        subprocess.run([processes.BINARY, *map(str, words)], cwd=self.home, check=True, user=MAKER.uid, group=MAKER.gid,
                       extra_groups=[], env=MAKER.environment() | {"XDG_CONFIG_HOME": "/proc/self/cwd"})
        for top in (self.home, *below(self.home)):
            os.chown(top, 0, 0, follow_symlinks=False)
        self.coffer("grant", "add", self.store, "/", "--everyone", "--right", "list", "--right", "read", "--right", "write",
                    "--purpose", "the tests, whoever runs them")

    def coffer(self, *words: str | Path, **options) -> processes.Outcome:
        return processes.coffer(*words, *self.secret, cwd=self.home, **options)

    def scope(self, path: str, *options: str, grant: bool = True) -> None:
        self.coffer("scope", "create", self.store, path, *options)
        if grant:
            self.coffer("grant", "add", self.store, path, "--everyone", "--right", "list", "--right", "read", "--right", "write")

    def mount(self) -> Mount:
        return Mount(self, self.home / "mnt")

    # What Mount asks a store for.
    @property
    def path(self) -> Path:
        return self.store

    def keep_older(self, *plain_paths: str) -> None:
        """Copies backing files, and the keystore, as they are now."""
        checkpoint(self.store)
        shutil.copy2(self.store / ".coffer/keystore.db", self.older / "keystore.db")
        opened = read_store.Store(self.store, self.home)
        for path in plain_paths:
            backing = opened.entries()[path].backing
            name = path.strip("/").replace("/", "_")
            source = self.store / backing
            if source.is_dir():
                source = source / ".coffer.dir"
            shutil.copy2(source, self.older / name, follow_symlinks=False)

    def finish(self) -> None:
        checkpoint(self.store)
        opened = read_store.Store(self.store, self.home)
        entries = opened.entries()
        plain = self.home / "plain"
        self.coffer("export", self.store, plain)
        exported = tree(plain)
        assert exported.keys() == entries.keys(), exported.keys() ^ entries.keys()
        for path, entry in entries.items():
            facts = exported[path]
            if facts["kind"] != "directory":
                facts["nlink"] = os.lstat(self.store / entry.backing).st_nlink  # an export has copies in place of links
            facts["scope"] = entry.scope
            facts["backing"] = entry.backing
            if facts["kind"] == "file":
                facts |= {"file_id": entry.file_id.hex(), "generation": entry.generation, "dek_version": entry.dek_version}
        report = self.coffer("verify", self.store, "--json", check=False).json
        del report["seconds"]
        facts = {
            "format": 1,
            "store": opened.store_id.hex(),
            "names": opened.names_mode,
            "master": self.master,
            "scopes": self.coffer("scope", "list", self.store, "--json").json,
            "grants": self.coffer("grant", "list", self.store, "--json").json,
            "keys": self.coffer("key", "list", self.store, "--json").json,
            "verify": report,
            "entries": dict(sorted(exported.items())),
        }
        (VERSION_1 / f"{self.name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="ascii")
        secret = self.home / "passphrase" if self.master == "passphrase" else self.home / f"coffer/keys/{opened.store_id.hex()}.key"
        shutil.copyfile(secret, VERSION_1 / f"{self.name}.{self.master}")
        checkpoint(self.store)
        (self.store / ".coffer/lock").unlink(missing_ok=True)  # names this machine
        # This format of tar notes neither process ids nor times but of change; nothing here has a part of a second.
        own = [path for path in below(self.store) if path.name.startswith((".coffer.dir", ".coffer.name.", ".coffer.target."))]
        for path in (*own, *below(self.older), self.older, *below(self.store / ".coffer"), self.store / ".coffer"):
            os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
        packed = subprocess.run(["tar", "-c", "--sparse", "--format=gnu", "--sort=name", "--owner=root:0", "--group=root:0",
                                 "--numeric-owner", "-C", self.home, "older", "store"], stdout=subprocess.PIPE, check=True)
        archive = lzma.compress(packed.stdout, preset=9 | lzma.PRESET_EXTREME)
        (VERSION_1 / f"{self.name}.tar.xz").write_bytes(archive)
        print(f"{self.name}: {len(archive)} bytes, {len(entries)} entries, findings {report['findings']}")


def below(top: Path) -> list[Path]:
    """Everything below, without a look at where symlinks lead."""
    return [Path(directory, name) for directory, names, files in os.walk(top) for name in names + files]


def checkpoint(store: Path) -> None:
    """The whole keystore in one file."""
    keystore = store / ".coffer/keystore.db"
    database = sqlite3.connect(keystore)
    assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    database.close()
    assert not Path(f"{keystore}-wal").exists() and not Path(f"{keystore}-shm").exists()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def put_sparse(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    with open(path, "wb") as stream:
        stream.truncate(size)
        for offset, piece in pieces.items():
            stream.seek(offset)
            stream.write(piece)


def put_in_commits(path: Path, contents: list[tuple[int, bytes]]) -> None:
    """Each piece is committed for itself, so that the header slots take turns."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for offset, piece in contents:
        os.pwrite(descriptor, piece, offset)
        os.fsync(descriptor)
    os.close(descriptor)


def set_times(top: Path) -> None:
    """Whole seconds, all different, the directories last."""
    paths = sorted(below(top), key=lambda path: (-len(path.parts), str(path)))
    for number, path in enumerate([*paths, top]):
        os.utime(path, (1_500_000_000, 1_500_000_000 + 1000 * number), follow_symlinks=False)


def sizes(top: Path, chunk: int, seed: int) -> None:
    put(top / "empty", b"")
    put(top / "one-byte", b"\x2a")
    put(top / "one-chunk", random_bytes(chunk, seed))
    put(top / "one-chunk-and-a-byte", random_bytes(chunk + 1, seed + 1))


def make_encrypted() -> None:
    making = Making("encrypted", "key")
    making.scope("/chacha", "--suite", "chacha20-poly1305", "--chunk-size", "64k", "--sensitivity", "restricted")
    making.scope("/chacha/inner", "--chunk-size", "4k", "--sensitivity", "public", "--retention", "0")
    making.scope("/direct", "--wrap", "direct", "--chunk-size", "16k", "--sensitivity", "confidential", "--retention", "90d")
    making.scope("/large", "--chunk-size", "1M")
    making.coffer("grant", "add", making.store, "/chacha", "--selector", ABSENT, "--right", "write", "--deny", "--purpose", "never")
    making.coffer("grant", "add", making.store, "/direct", "--selector", ABSENT, "--selector", "unix:gid:4000000001",
                  "--right", "list", "--right", "read", "--ttl", "1s")
    gone = making.coffer("grant", "add", making.store, "/large", "--selector", ABSENT, "--right", "read").out.strip()
    making.coffer("grant", "revoke", making.store, gone)

    mount = making.mount()
    top = mount.path
    sizes(top, 4096, 100)
    put(top / "five-chunks", random_bytes(5 * 4096, 110))
    put_sparse(top / "holes", 300 * KIB + 77, {0: random_bytes(5000, 111), 200 * KIB + 1: b"island", 299 * KIB: random_bytes(1101, 112)})
    put_sparse(top / "all-hole", MIB + 1, {})
    # 129 chunks and a bit: two leaves and a node above them.
    put_sparse(top / "two-leaves", 130 * 4096 + 5, {0: random_bytes(4096, 113), 127 * 4096 + 4000: random_bytes(200, 114), 130 * 4096: b"tail."})
    put_in_commits(top / "grown", [(0, random_bytes(10_000, 115))])
    os.truncate(top / "grown", 3000)
    os.truncate(top / "grown", 9000)
    put_in_commits(top / "overwritten", [(0, random_bytes(9000, 116)), (4000, b"second"), (100, b"third")])
    put_in_commits(top / "put-back", [(0, b"the first state of it\n")])
    put_in_commits(top / "twin-1", [(0, random_bytes(4097, 117))])
    put_in_commits(top / "twin-2", [(0, random_bytes(4097, 118))])
    put(top / "replaced", b"this content is replaced by rename\n")
    put(top / "deleted", b"deleted\n")

    for number, mode in enumerate((0o400, 0o000, 0o666, 0o4755, 0o2755)):
        put(top / f"mode-{mode:04o}", b"mode %d\n" % number)
        os.chmod(top / f"mode-{mode:04o}", mode)
    for name, mode in (("setgid", 0o2775), ("sticky", 0o1777), ("closed", 0o700), ("empty-directory", 0o755)):
        (top / name).mkdir()
        os.chmod(top / name, mode)
    put(top / "setgid/inside", b"inside\n")

    nested = top / "a/b/c/d/e"
    nested.mkdir(parents=True)
    put(nested / "deep-down", random_bytes(5000, 120))
    (top / "was-called-this").mkdir()
    put(top / "was-called-this/file", b"in a renamed directory\n")
    (top / "moved").mkdir()

    names = top / "names"
    names.mkdir()
    for name in ("n" * 175, "n" * 176, "n" * 255, "模型-straße-😀.safetensors", "new\nline", " space ", "-dash", ".coffer.dir", ".coffer.long.x",
                 "back\\slash", "\udcff-not-utf-8", "ä" * 127):
        put(names / name, b"content of a file with the name %r\n" % os.fsencode(name)[:12])
    (names / ("d" * 255)).mkdir()
    put(names / ("d" * 255) / ("f" * 255), b"both names are long\n")

    links = top / "links"
    (links / "sub").mkdir(parents=True)
    put(links / "first", b"a file of three names\n")
    os.link(links / "first", links / "second")
    os.link(links / "first", links / "sub/third")
    put(links / "had-two", b"a file that had two names\n")
    os.link(links / "had-two", links / "removed")
    os.unlink(links / "removed")
    symlinks = top / "symlinks"
    symlinks.mkdir()
    for name, target in (("short", "../one-byte"), ("dangling", "nowhere"), ("absolute", "/etc/hostname"), ("utf-8", "模型/ß"),
                         ("longest-in-line", "t" * 3023), ("in-a-sidecar", "u" * 3024), ("longest", "w" * 4095), ("one", "x")):
        os.symlink(target, symlinks / name)
    os.symlink("v1", symlinks / "put-back")
    os.mkfifo(top / "fifo", 0o640)

    put(top / "chacha/one-byte", b"\x2b")
    put(top / "chacha/one-chunk-and-a-byte", random_bytes(64 * KIB + 1, 130))
    put_sparse(top / "chacha/sparse", 5 * MIB, {3 * MIB + 5: b"in the middle", 5 * MIB - 9: b"atthe end"})
    put(top / "chacha/inner/file", random_bytes(9000, 140))
    put_sparse(top / "chacha/inner/other", 8192, {4096: b"x"})
    sizes(top / "direct", 16 * KIB, 150)
    (top / "direct/directory").mkdir()
    put(top / "direct/directory/file", random_bytes(100, 160))
    put(top / "large/small", random_bytes(1000, 170))
    put_sparse(top / "large/second-chunk", MIB + 500, {MIB: random_bytes(500, 171)})
    mount.umount()

    making.keep_older("/put-back", "/was-called-this", "/symlinks/put-back", "/overwritten", "/deleted", "/replaced", "/twin-1")

    mount = making.mount()
    put_in_commits(top / "put-back", [(0, b"the second state of it, which counts\n")])
    put_in_commits(top / "overwritten", [(8990, b"beyond the end"), (0, b"fourth")])
    put(top / "new", b"the content that replaced another\n")
    os.rename(top / "new", top / "replaced")
    os.unlink(top / "deleted")
    os.rename(top / "was-called-this", top / "moved/is-called-that")
    os.rename(top / "five-chunks", top / "moved/six-chunks")
    put_in_commits(top / "moved/six-chunks", [(5 * 4096, random_bytes(100, 180))])
    os.rename(symlinks / "one", top / "moved/one")
    os.unlink(symlinks / "put-back")
    os.symlink("v2", symlinks / "put-back")
    os.rename(names / ("n" * 176), names / ("m" * 200))
    set_times(top)
    os.utime(top / "empty", (0, 0))
    os.utime(top / "one-byte", (0, -86_400))
    os.utime(top / "one-chunk", (0, 5_000_000_000))
    os.utime(top, (0, 1_600_000_000))
    mount.umount()

    # A daemon that was killed: a file without a record, keys that nobody took.
    mount = making.mount()
    descriptor = os.open(top / "unrecorded", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(descriptor, b"committed, and never recorded\n")
    os.fsync(descriptor)
    os.utime(top / "unrecorded", (0, 1_600_000_001))
    os.utime(top, (0, 1_600_000_000))
    os.fsync(descriptor)
    mount.kill()
    making.finish()


def make_plain() -> None:
    making = Making("plain", "passphrase", "--names", "plain", "--suite", "chacha20-poly1305", "--chunk-size", "16k", "--sensitivity", "public")
    making.scope("/sub", "--chunk-size", "8k")
    mount = making.mount()
    top = mount.path
    sizes(top, 16 * KIB, 200)
    sizes(top / "sub", 8 * KIB, 210)
    (top / "directory").mkdir()
    put(top / "directory" / ("n" * 255), b"a long name\n")
    put(top / "directory/模型-\udcff", b"a name in two encodings\n")
    os.link(top / "one-byte", top / "directory/hard-link")
    os.symlink("../one-byte", top / "directory/symlink")
    os.symlink("s" * 3500, top / "directory/long-symlink")
    put_sparse(top / "holes", 5 * 16 * KIB, {2 * 16 * KIB + 100: b"island"})
    os.rename(top / "directory", top / "renamed")
    set_times(top)
    mount.umount()
    making.finish()


def make_deep() -> None:
    making = Making("deep", "key")
    mount = making.mount()
    top = mount.path
    leaf = 128 * 4096
    # 129 leaves and more: two levels of inner nodes.
    put_sparse(top / "deep", 130 * leaf + 4096 + 17, {0: random_bytes(6000, 300), leaf - 100: random_bytes(200, 301), 63 * leaf: b"middle",
                                                      127 * leaf: b"last of the first", 128 * leaf: random_bytes(5000, 302),
                                                      130 * leaf + 4096: b"seventeen letters"})
    put_sparse(top / "deep-hole", 200 * leaf, {199 * leaf: b"only here"})
    put_in_commits(top / "grew-a-level", [(0, random_bytes(4000, 303)), (leaf, b"level 1"), (128 * leaf + 3, b"level 2")])
    put_in_commits(top / "lost-a-level", [(0, random_bytes(4000, 304)), (leaf, b"level 1"), (128 * leaf + 3, b"level 2")])
    os.truncate(top / "lost-a-level", leaf + 3)
    set_times(top)
    mount.umount()
    making.finish()


def main() -> int:
    there = [name for name in STORES if (VERSION_1 / f"{name}.tar.xz").exists()]
    if there:
        print(f"these golden stores are there already, and stay as they are: {', '.join(there)}", file=sys.stderr)
        return 1
    os.umask(0o022)
    make_encrypted()
    make_plain()
    make_deep()
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Reads a store of format version 1: everything in it, and nothing that does not authenticate.

Written from fs/FORMAT.md and keystore/FORMAT.md alone, with Python's library `cryptography` and none of Coffer's code, and to be read
beside them. That it reads the golden stores proves that those pages say all that is needed to. By hand: read_store.py STORE KEYDIR.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import sqlite3
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

BLOCK = 4096
FAN_OUT = 128
SUITES = {1: ("aes-256-gcm", AESGCM), 2: ("chacha20-poly1305", ChaCha20Poly1305)}
POLICY_KEY, KEK, SCOPE_SECRET, DEK = 1, 2, 3, 4
PRE_ACTIVATION, ACTIVE = 1, 2
ZERO_ID = bytes(16)


class Damage(Exception):
    """Something that is not as the format has it."""


def check(condition: object, what: str) -> None:
    if not condition:
        raise Damage(what)


def hkdf(key: bytes, salt: bytes | None, info: str, length: int = 32) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info.encode()).derive(key)


def mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def opened(attempt: Callable[[], bytes], what: str) -> bytes:
    try:
        return attempt()
    except (InvalidTag, ValueError) as failure:
        raise Damage(what) from failure


def base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def from_base64url(text: bytes) -> bytes:
    check(re.fullmatch(rb"[A-Za-z0-9_-]*", text), "not base64url")
    try:
        content = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as failure:
        raise Damage("not base64url") from failure
    check(base64url(content) == text, "base64url in another form than ours")
    return content


# --- keystore/FORMAT.md ---------------------------------------------------------------------------------------------------


def open_box(key: bytes, associated: bytes, box: bytes) -> bytes:
    check(len(box) >= 29 and box[0] == 1, "a box of another version")
    return opened(lambda: AESGCM(key).decrypt(box[1:13], box[13:], associated), "a box does not authenticate")


class Keystore:
    """The keys of a store. `secrets` is the directory with what opens it: the passphrase, or the key file below it."""

    def __init__(self, path: Path, store_id: bytes, secrets: Path) -> None:
        self.store_id = store_id
        check(not os.path.exists(f"{path}-journal"), "a rollback journal beside the keystore")
        self.database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        self.database.text_factory = bytes
        check(self.one("PRAGMA application_id") == 0x434F4652, "not a keystore")
        check(self.one("PRAGMA user_version") == 1, "another schema version")
        self.meta = dict(self.rows("SELECT name, value FROM meta"))
        check(self.meta[b"store_id"] == store_id, "the keystore of another store")
        self.master = self._open_master(secrets)
        policy_key = self.unwrap(self.master, POLICY_KEY, self.meta[b"policy_key"], version=1)
        self._check_policy(hkdf(policy_key, store_id, "coffer/1/policy"))
        self.records_key = hkdf(policy_key, store_id, "coffer/1/records")
        paths_key = hkdf(policy_key, store_id, "coffer/1/paths")
        self.scope_paths: dict[int, str] = {}
        self.scope_roots: dict[int, bytes] = {}
        self.chunk_log2: dict[int, int] = {}
        for scope, path_box, root, chunk_log2 in self.rows("SELECT id, path, root_dir_id, chunk_log2 FROM scopes"):
            context = b"coffer/1/pth" + bytes(4) + store_id + struct.pack("<I", scope)
            self.scope_paths[scope] = os.fsdecode(open_box(paths_key, context, path_box))
            self.scope_roots[scope] = root
            self.chunk_log2[scope] = chunk_log2

    def rows(self, query: str, *values: object) -> list[tuple]:
        return self.database.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> int:
        return self.rows(query, *values)[0][0]

    def _open_master(self, secrets: Path) -> bytes:
        (row,) = self.rows("SELECT uri, version, params FROM masters WHERE state = ?", ACTIVE)
        uri, version, params = (field.decode() for field in row)
        if uri == "passphrase:":
            fields = re.fullmatch(r"scrypt ln=(\d+) r=(\d+) p=(\d+) salt=([0-9a-f]{32})", params)
            check(fields, "passphrase parameters")
            log2_n, r, p = (int(fields[number]) for number in (1, 2, 3))
            check(log2_n <= 20 and r <= 16 and p <= 4, "passphrase parameters that would exhaust the machine")
            passphrase = (secrets / "passphrase").read_bytes().removesuffix(b"\n")
            key = Scrypt(bytes.fromhex(fields[4]), 32, 1 << log2_n, r, p).derive(passphrase)
        else:
            file = secrets / uri.removeprefix("local:").removeprefix("/proc/self/cwd/")
            line = re.fullmatch(r"coffer-master-key-1 ([0-9a-f]{64})\n?", file.read_text())
            check(line, "not a master key file")
            key = bytes.fromhex(line[1])
        check(hkdf(key, None, "coffer/1/fingerprint", 8).hex() == version, "another master key")
        return hkdf(key, None, "coffer/1/master")

    def unwrap(self, key: bytes, purpose: int, box: bytes, *, scope: int = 0, kek: int = 0, file: bytes = ZERO_ID, version: int) -> bytes:
        context = b"coffer/1/wrp" + struct.pack("<I", purpose) + self.store_id + struct.pack("<II", scope, kek) + file
        content = open_box(key, context + struct.pack("<II", version, 0), box)
        check(len(content) == 32, "a key of another length")
        return content

    def _check_policy(self, key: bytes) -> None:
        tables = [("sqlite_schema", "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"),
                  ("meta", "SELECT * FROM meta WHERE name <> 'policy_mac' ORDER BY name"),
                  ("masters", "SELECT * FROM masters ORDER BY id"), ("scopes", "SELECT * FROM scopes ORDER BY id"),
                  ("keks", "SELECT * FROM keks ORDER BY scope_id, version"), ("grants", "SELECT * FROM grants ORDER BY id"),
                  ("grant_selectors", "SELECT * FROM grant_selectors ORDER BY grant_id, selector")]
        content = b""
        for name, query in tables:
            content += name.encode() + b"\0"
            columns = [column[0] for column in self.database.execute(query).description]
            # Text and blobs look alike to Python here; SQLite says which is which.
            types = ", ".join(f"typeof({column}), {column}" for column in columns)
            for row in self.rows(re.sub("SELECT .*? FROM", f"SELECT {types} FROM", query)):
                content += b"R"
                for kind, value in zip(row[::2], row[1::2]):
                    code = {b"null": 0, b"integer": 1, b"text": 2, b"blob": 3}[kind]
                    value = b"" if value is None else struct.pack("<q", value) if code == 1 else value
                    content += struct.pack("<BQ", code, len(value)) + value
        check(mac(key, content) == self.meta[b"policy_mac"], "the policy was altered")

    def kek(self, scope: int, version: int) -> bytes:
        ((box, state),) = self.rows("SELECT wrapped, state FROM keks WHERE scope_id = ? AND version = ?", scope, version)
        check(state in (PRE_ACTIVATION, ACTIVE), "a KEK that must not be used")
        return self.unwrap(self.master, KEK, box, scope=scope, version=version)

    def scope_secret(self, scope: int) -> bytes:
        ((box, kek),) = self.rows("SELECT secret, secret_kek FROM scopes WHERE id = ?", scope)
        return self.unwrap(self.kek(scope, kek), SCOPE_SECRET, box, scope=scope, kek=kek, version=1)

    def dek(self, file: bytes, version: int) -> tuple[int, bytes, int, bytes]:
        """Scope, key, and the generation and root on record."""
        rows = self.rows("SELECT scope_id, kek_version, state, wrapped, changed_at, generation, root, record_mac FROM deks"
                         " WHERE file_id = ? AND version = ?", file, version)
        check(rows, "there is no such key")
        scope, kek, state, box, changed_at, generation, root, record_mac = rows[0]
        record = file + struct.pack("<IIIQQ", version, scope, state, changed_at, generation) + root
        check(mac(self.records_key, record)[:16] == record_mac, "the key's record was altered")
        check(state in (PRE_ACTIVATION, ACTIVE), "a key that must not be used")
        wrapping = self.kek(scope, kek) if kek else self.master
        return scope, self.unwrap(wrapping, DEK, box, scope=scope, kek=kek, file=file, version=version), generation, root


# --- fs/FORMAT.md ---------------------------------------------------------------------------------------------------------


class Geometry:
    """Section 3.2."""

    def __init__(self, chunk_log2: int, size: int) -> None:
        self.chunk = 1 << chunk_log2
        self.size = size
        self.chunks = -(-size // self.chunk)
        self.leaves = -(-self.chunks // FAN_OUT)
        self.depth = 0
        while FAN_OUT ** self.depth < self.leaves:
            self.depth += 1

    def leaf_at(self, leaf: int) -> int:
        inner, level = 0, 1
        while FAN_OUT ** (level - 1) <= leaf:
            inner += leaf // FAN_OUT ** level + 1
            level += 1
        return 2 * BLOCK + leaf * (BLOCK + FAN_OUT * self.chunk) + BLOCK * inner

    def node_at(self, level: int, index: int) -> int:
        if level == 0:
            return self.leaf_at(index)
        before = FAN_OUT ** (level - 1) if index == 0 else index * FAN_OUT ** level
        return self.leaf_at(before) - BLOCK * level

    def chunk_at(self, chunk: int) -> int:
        return self.leaf_at(chunk // FAN_OUT) + BLOCK + chunk % FAN_OUT * self.chunk

    def chunk_length(self, chunk: int) -> int:
        return min(self.chunk, self.size - chunk * self.chunk)

    def backing_size(self) -> int:
        return self.chunk_at(self.chunks - 1) + self.chunk_length(self.chunks - 1) if self.size else 2 * BLOCK


@dataclass
class Header:
    """Section 3.1."""

    suite: int
    chunk_log2: int
    store: bytes
    file: bytes
    dek_version: int
    scope: int
    size: int
    generation: int
    root: bytes
    commitment: bytes
    bindings: list[bytes]

    @staticmethod
    def parse(slot: bytes) -> Header:
        check(len(slot) == BLOCK and slot[:8] == b"COFFER-F", "no file header")
        version, suite, chunk_log2, reserved, count = struct.unpack_from("<HHBBH", slot, 8)
        check(version == 1, "a file header of another version")
        dek_version, scope, size, generation = struct.unpack_from("<IIQQ", slot, 48)
        check(reserved == 0 and not any(slot[136:256]) and count <= 238 and not any(slot[256 + 16 * count:4064]), "reserved bytes")
        check(suite in SUITES and 12 <= chunk_log2 <= 20 and size <= 1 << 50 and generation > 0, "a malformed header")
        return Header(suite, chunk_log2, slot[16:32], slot[32:48], dek_version, scope, size, generation, slot[72:104], slot[104:136],
                      [slot[256 + 16 * i:272 + 16 * i] for i in range(count)])


class File:
    """A backing file, opened: its newest header, and its content piece by piece."""

    def __init__(self, path: bytes, keystore: Keystore) -> None:
        self.stream = open(path, "rb")  # pylint: disable=consider-using-with
        slots = [self.stream.read(BLOCK), self.stream.read(BLOCK)]
        claims = []
        for slot in slots:
            try:
                claims.append(Header.parse(slot))
            except Damage:
                pass
        check(claims, "no header")
        claim = max(claims, key=lambda header: header.generation)
        scope, dek, generation, root = keystore.dek(claim.file, claim.dek_version)
        salt = claim.file + struct.pack("<I", claim.dek_version)
        header_key, commitment = hkdf(dek, salt, "coffer/1/header"), hkdf(dek, salt, "coffer/1/commitment")
        valid = [Header.parse(slot) for slot in slots if slot.strip(b"\0") and mac(header_key, slot[:4064]) == slot[4064:]]
        check(valid, "no header authenticates")
        self.header = header = max(valid, key=lambda header: header.generation)
        check(header.commitment == commitment, "the commitment to another key")
        check((header.file, header.dek_version, header.store, header.scope) == (claim.file, claim.dek_version, keystore.store_id, scope),
              "the header contradicts the keystore")
        check(header.chunk_log2 == keystore.chunk_log2[scope], "another chunk size than the scope's")
        check(header.generation > generation or (header.generation, header.root) == (generation, root), "rolled back")
        name, cipher = SUITES[header.suite]
        self.cipher = cipher(hkdf(dek, salt, "coffer/1/content/" + name))
        self.geometry = Geometry(header.chunk_log2, header.size)
        check(os.fstat(self.stream.fileno()).st_size >= self.geometry.backing_size(), "cut")

    def _at(self, offset: int, length: int) -> bytes:
        self.stream.seek(offset)
        return self.stream.read(length)

    def leaves(self) -> Iterator[bytes]:
        """The leaf nodes in order, each proven by those above it."""
        def below(level: int, index: int, expected: bytes) -> Iterator[bytes]:
            if index * FAN_OUT ** level >= self.geometry.leaves:
                check(not any(expected), "a node past the end")
                return
            node = bytes(BLOCK)
            if any(expected):
                node = self._at(self.geometry.node_at(level, index), BLOCK)
                check(sha256(node) == expected, f"node {index} of level {level} was altered")
            if level == 0:
                yield node
                return
            for child in range(FAN_OUT):
                yield from below(level - 1, index * FAN_OUT + child, node[32 * child:32 * child + 32])
        if self.geometry.leaves:
            yield from below(self.geometry.depth, 0, self.header.root)
        else:
            check(not any(self.header.root), "the root of an empty file")

    def content(self) -> Iterator[bytes]:
        for index, leaf in enumerate(self.leaves()):
            for slot in range(FAN_OUT):
                chunk, entry = index * FAN_OUT + slot, leaf[32 * slot:32 * slot + 32]
                if chunk >= self.geometry.chunks:
                    check(not any(entry), "an entry past the end")
                    continue
                length = self.geometry.chunk_length(chunk)
                if not any(entry):
                    yield bytes(length)
                    continue
                check(entry[28:] == b"\1\0\0\0", "an entry of an unknown state")
                sealed = self._at(self.geometry.chunk_at(chunk), length)
                check(len(sealed) == length, "a chunk is cut off")
                context = self.header.file + struct.pack("<IQ", self.header.dek_version, chunk)
                nonce, tag = entry[:12], entry[12:28]
                yield opened(lambda: self.cipher.decrypt(nonce, sealed + tag, context), f"chunk {chunk} was altered")

    def describe(self) -> dict:
        digest, size = hashlib.sha256(), 0
        for piece in self.content():
            digest.update(piece)
            size += len(piece)
        check(size == self.header.size, "another size")
        return {"size": size, "sha256": digest.hexdigest()}


class ScopeNames:
    """Names, symlink targets, directory records and bindings of a scope: sections 2, 4 and 5."""

    def __init__(self, secret: bytes, store: bytes, scope: int) -> None:
        salt = store + struct.pack("<I", scope)
        self.store, self.scope = store, scope
        self.names = AESSIV(hkdf(secret, salt, "coffer/1/names", 64))
        self.symlinks = AESSIV(hkdf(secret, salt, "coffer/1/symlinks", 64))
        self.directories = hkdf(secret, salt, "coffer/1/directories")
        self.bindings = hkdf(secret, salt, "coffer/1/bindings")

    def binding(self, kind: bytes, object_id: bytes, directory: bytes, name: bytes) -> bytes:
        return mac(self.bindings, kind + object_id + directory + name)[:16]

    @staticmethod
    def _sidecar(path: bytes, digest: bytes, longest: int) -> bytes:
        check(os.path.exists(path), "a sidecar is missing")
        content = Path(os.fsdecode(path)).read_bytes()
        check(base64url(sha256(content)) == digest and len(base64url(content)) > longest, "a sidecar was altered")
        return content

    def name(self, directory_id: bytes, directory: bytes, stored: bytes) -> bytes:
        if stored.startswith(b".coffer.long."):
            digest = stored.removeprefix(b".coffer.long.")
            sealed = self._sidecar(directory + b"/.coffer.name." + digest, digest, 255)
        else:
            sealed = from_base64url(stored)
        return opened(lambda: self.names.decrypt(sealed, [directory_id]), "a name does not authenticate")

    def target(self, directory_id: bytes, directory: bytes, stored: bytes, name: bytes) -> bytes:
        text = os.readlink(directory + b"/" + stored)
        if text.startswith(b".coffer.target."):
            sealed = self._sidecar(directory + b"/" + text, text.removeprefix(b".coffer.target."), 4095)
        else:
            sealed = from_base64url(text)
        plain = opened(lambda: self.symlinks.decrypt(sealed, [self.store]), "a target does not authenticate")
        here = self.binding(b"L", ZERO_ID, directory_id, name)
        check(len(plain) > 32 and here in (plain[:16], plain[16:32]), "the symlink was moved")
        return plain[32:]

    def directory(self, record: bytes, parent: bytes, name: bytes) -> bytes:
        """The directory's id."""
        check(mac(self.directories, record[:480]) == record[480:], "the directory record was altered")
        directory = record[32:48]
        bindings = [record[64 + 16 * i:80 + 16 * i] for i in range(struct.unpack_from("<H", record, 10)[0])]
        check(self.binding(b"D", directory, parent, name) in bindings, "the directory was moved")
        return directory


def read_record(path: bytes) -> bytes:
    """A directory record, well-formed; its scope claim is at offset 12."""
    check(os.path.isfile(path), "a directory without a record")
    record = Path(os.fsdecode(path)).read_bytes()
    check(len(record) == 512 and record[:8] == b"COFFER-D" and record[8:10] == b"\1\0", "a malformed directory record")
    count, generation = struct.unpack_from("<H", record, 10)[0], struct.unpack_from("<Q", record, 48)[0]
    check(1 <= count <= 8 and generation > 0, "a malformed directory record")
    check(not any(record[56:64]) and not any(record[64 + 16 * count:192]) and not any(record[192:480]), "reserved bytes")
    return record


@dataclass
class Entry:
    """What lies under a path of the plain tree."""

    kind: str
    backing: str
    scope: str
    file: File | None = None
    target: bytes = b""

    @property
    def file_id(self) -> bytes:
        return self.file.header.file

    @property
    def generation(self) -> int:
        return self.file.header.generation

    @property
    def dek_version(self) -> int:
        return self.file.header.dek_version


class Store:
    """A store, and what opens it."""

    def __init__(self, root: Path, secrets: Path) -> None:
        self.root = os.fsencode(root)
        config = dict(re.findall(r"^(\w+) = '?\"?(.*?)'?\"?$", (root / ".coffer/store.toml").read_text(), re.M))
        check(config["format"] == "1", "a store of another format")
        self.store_id = bytes.fromhex(config["store"])
        check(not os.listdir(root / ".coffer/journal"), "journals wait to be replayed")
        self.keystore = Keystore(root / config["keystore"], self.store_id, secrets)
        self.names_mode = self.keystore.meta[b"names"].decode()
        self._scopes: dict[int, ScopeNames] = {}

    def scope_names(self, scope: int) -> ScopeNames:
        if scope not in self._scopes:
            check(scope in self.keystore.scope_paths, "a scope that the keystore does not have")
            self._scopes[scope] = ScopeNames(self.keystore.scope_secret(scope), self.store_id, scope)
        return self._scopes[scope]

    def entries(self) -> dict[str, Entry]:
        """Every entry of the plain tree by its path; the root is "/"."""
        found: dict[str, Entry] = {}
        self._walk(b"/", b".", None, b"", found)
        return found

    def _walk(self, path: bytes, backing: bytes, parent: tuple[int, bytes] | None, name: bytes, found: dict[str, Entry]) -> None:
        here = os.path.join(self.root, backing)
        record = read_record(here + b"/.coffer.dir")
        check(record[16:32] == self.store_id, "a directory of another store")
        (scope,) = struct.unpack_from("<I", record, 12)
        names = self.scope_names(scope)
        parent_scope, parent_id = parent or (0, ZERO_ID)
        directory = names.directory(record, parent_id, name)
        check(scope == parent_scope or self.keystore.scope_roots[scope] == directory, "a directory that claims a scope not its own")
        scope_path = self.keystore.scope_paths[scope]
        found[os.fsdecode(path)] = Entry("directory", os.fsdecode(backing), scope_path)
        for stored in sorted(os.listdir(here)):
            if stored.startswith(b".coffer") and not (self.names_mode == "encrypted" and stored.startswith(b".coffer.long.")):
                continue
            plain = stored if self.names_mode == "plain" else names.name(directory, here, stored)
            plain_path, at = os.path.join(path, plain), os.path.normpath(os.path.join(backing, stored))
            mode = os.lstat(os.path.join(here, stored)).st_mode
            entry = Entry("fifo", os.fsdecode(at), scope_path)
            if stat.S_ISDIR(mode):
                self._walk(plain_path, at, (scope, directory), plain, found)
                continue
            if stat.S_ISREG(mode):
                entry.kind, entry.file = "file", File(os.path.join(here, stored), self.keystore)
                check(entry.file.header.scope == scope, "a file of another scope")
                check(names.binding(b"F", entry.file_id, directory, plain) in entry.file.header.bindings, "the file was moved")
            elif stat.S_ISLNK(mode):
                entry.kind, entry.target = "symlink", names.target(directory, here, stored, plain)
            else:
                check(stat.S_ISFIFO(mode), "an entry of an unknown type")
            found[os.fsdecode(plain_path)] = entry


def main() -> None:
    for path, entry in sorted(Store(Path(sys.argv[1]), Path(sys.argv[2])).entries().items()):
        facts = entry.file.describe() if entry.file else os.fsdecode(entry.target)
        print(ascii(path), entry.kind, entry.scope, facts or "")


if __name__ == "__main__":
    main()

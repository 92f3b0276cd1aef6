"""A store whose backing the tests alter, and what coffer path and verify say of it."""

from __future__ import annotations

import os
from pathlib import Path

from files import random_bytes
from harness import CofferTest
from processes import Outcome
from stores import Store

USAGE, CORRUPT, MOVED, ROLLED_BACK, DENIED, REVOKED, BUSY, NOT_FOUND, EXISTS = 2, 8, 9, 10, 12, 13, 16, 19, 20
CHUNK = 4096
BODY = 8192
LEAF = CHUNK * 129  # a leaf node with its chunks


def chunk_at(chunk: int) -> int:
    """Where a chunk of 4 KiB lies in a backing file of at most three leaves (fs/FORMAT.md, 3.2)."""
    leaf = chunk // 128
    inner = 0 if leaf == 0 else 1  # the first inner node stands after the first leaf
    return BODY + leaf * LEAF + CHUNK * inner + CHUNK + (chunk % 128) * CHUNK


def flip(path: Path, *offsets: int) -> None:
    with open(path, "r+b") as stream:
        for offset in offsets:
            stream.seek(offset)
            byte = stream.read(1)[0]
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))


def everything_in(root: Path) -> set[bytes]:
    """The content of every file of a backing directory but the keystore's, and where every symlink leads."""
    found = set()
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_symlink():
                found.add(os.fsencode(os.readlink(path)))
            elif not name.startswith("keystore.db") and name != "lock":
                found.add(path.read_bytes())
    return found


class DamagedTest(CofferTest):
    """A store with /a, /b, /c of 700,000 bytes, /dir/d, /dir/e and a symlink."""

    store: Store
    content: dict[str, bytes]
    names = "encrypted"

    def setUp(self) -> None:
        super().setUp()
        source = self.place("source")
        (source / "dir").mkdir(parents=True)
        self.content = {f"/{name}": random_bytes(700_000, seed) for seed, name in enumerate(("a", "b", "c", "dir/d", "dir/e"))}
        for path, content in self.content.items():
            (source / path[1:]).write_bytes(content)
        os.symlink("target", source / "symlink")
        self.store = self.new_store(init=("--names", self.names))
        self.store.coffer("import", source, self.store.path)

    def backing(self, path: str) -> Path:
        return self.store.path / self.store.coffer("path", self.store.path, path, "--json").json["backing"]

    def verify(self, code: int, *words: str) -> dict:
        outcome = self.store.coffer("verify", self.store.path, "--json", *words, check=False)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.json

    def kinds(self, findings: list[dict]) -> list[tuple[str, str]]:
        return sorted((finding.get("path", ""), finding["kind"]) for finding in findings)

    def refused(self, code: int, *words: str | Path, **options) -> Outcome:
        outcome = self.store.coffer(*words, check=False, **options)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome

    def detail(self, text: str) -> list[dict]:
        """The audit lines of admin verbs whose detail has this."""
        return [line for line in self.store.audit() if line["event"] == "admin" and text in line.get("detail", "")]

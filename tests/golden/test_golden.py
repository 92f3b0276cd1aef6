"""Stores of every format version as they were made then, whole and damaged: each is read as its manifest says, or refused as the table
of damages says, and never is a wrong byte given out."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import stat
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterable

import files
import golden
import processes
import read_store
from damage_v1 import VARIANTS, Backing, Variant
from guard import ROOT
from harness import CofferTest
from processes import Outcome
from stores import Mount

EXIT_CODES = {"io": 1, "wrong-key": 4, "unknown-version": 7, "corrupt": 8, "moved": 9, "rolled-back": 10, "key-unavailable": 11, "revoked": 13,
              "not-found": 19}
ERRNOS = {"key-unavailable": errno.ENOKEY, "revoked": errno.EKEYREVOKED, "not-found": errno.ENOENT}
NOT_OF_THE_TREE = ("scope", "backing", "file_id", "generation", "dek_version")


class Golden:
    """A golden store, unpacked; with what stores.Mount wants of a store."""

    user = processes.SELF

    def __init__(self, name: str, home: Path) -> None:
        self.home = home
        self.path = home / "store"
        self.facts = golden.manifest(name)

    def coffer(self, *words: str | Path, **options: Any) -> Outcome:
        # The key file is found from the working directory. Each copy has a node of its own: copies go their own ways.
        return processes.coffer(*words, *golden.secret(self.home), cwd=self.home, state=self.home / "state", **options)

    def mount(self, at: Path, *options: str | Path) -> Mount:
        return Mount(self, at, options)

    def expected(self) -> dict[str, dict[str, Any]]:
        """The manifest's tree, as golden.tree gives one."""
        return {path: {name: fact for name, fact in facts.items() if name not in NOT_OF_THE_TREE}
                for path, facts in self.facts["entries"].items()}


class Originals:
    """The golden stores unpacked, and copies of them: each is unpacked once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def copy(self, name: str, home: Path) -> Golden:
        original = ROOT / f"golden-{name}"
        with self._lock:
            if not original.exists():
                golden.unpack(name, original)
        processes.run("cp", "-a", "--sparse=always", original, home)
        return Golden(name, home)


ORIGINALS = Originals()


def is_below(path: str, tops: Any) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def as_known(found: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Without what later versions say beyond what the manifest does."""
    return {name: value for name, value in found.items() if name in known}


def without_links(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """An export has copies in place of hard links."""
    return {path: {name: fact for name, fact in facts.items() if name != "nlink"} for path, facts in tree.items()}


class GoldenTest(unittest.TestCase):
    maxDiff = 6000

    @classmethod
    def setUpClass(cls) -> None:
        processes.need_root()  # there are files in them that only root may read
        processes.need(processes.BINARY, "COFFER_BINARY names no program")

    def copy(self, name: str) -> Golden:
        home = ROOT / f"{self.id()}-{name}"
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        return ORIGINALS.copy(name, home)


class Whole(GoldenTest):
    def test_export(self) -> None:
        """Everything is there, to the byte."""
        for name in golden.STORES:
            with self.subTest(store=name):
                store = self.copy(name)
                store.coffer("export", store.path, store.home / "plain")
                self.assertEqual(without_links(golden.tree(store.home / "plain")), without_links(store.expected()))

    def test_verify(self) -> None:
        for name in golden.STORES:
            with self.subTest(store=name):
                store = self.copy(name)
                report = store.coffer("verify", store.path, "--json").json
                self.assertEqual(as_known(report, store.facts["verify"]), store.facts["verify"])

    def test_scopes_grants_and_keys(self) -> None:
        for name in golden.STORES:
            store = self.copy(name)
            for what in ("scope", "grant", "key"):
                with self.subTest(store=name, what=what):
                    listed = store.coffer(what, "list", store.path, "--json").json
                    expected = store.facts[what + "s"]
                    self.assertEqual(len(listed), len(expected))
                    for row, known in zip(listed, expected):
                        self.assertEqual(as_known(row, known), known)

    def test_reading_changes_nothing(self) -> None:
        store = self.copy("encrypted")
        before = self.settled(store.path)
        store.coffer("verify", store.path)
        store.coffer("export", store.path, store.home / "plain")
        self.assertEqual(self.settled(store.path), before)

    @staticmethod
    def settled(path: Path) -> dict[bytes, tuple]:
        # SQLite's own files come and go.
        return {name: entry for name, entry in files.tree(path).items()
                if name not in (b".coffer", b".coffer/keystore.db-wal", b".coffer/keystore.db-shm")}


class Independent(GoldenTest):
    """fs/FORMAT.md and keystore/FORMAT.md say all that is needed to read a store."""

    def test_read(self) -> None:
        for name in golden.STORES:
            with self.subTest(store=name):
                store = self.copy(name)
                found = {}
                for path, entry in read_store.Store(store.path, store.home).entries().items():
                    facts: dict[str, Any] = {"kind": entry.kind, "scope": entry.scope, "backing": entry.backing}
                    if entry.file is not None:
                        facts |= entry.file.describe()
                        facts |= {"file_id": entry.file_id.hex(), "generation": entry.generation, "dek_version": entry.dek_version}
                    elif entry.kind == "symlink":
                        facts |= {"target": os.fsdecode(entry.target), "size": len(entry.target)}
                    found[path] = facts
                status = ("mode", "mtime", "nlink")
                self.assertEqual(found, {path: {fact: value for fact, value in facts.items() if fact not in status}
                                         for path, facts in store.facts["entries"].items()})

    def test_damaged(self) -> None:
        """What coffer refuses does not authenticate here either."""
        for number, variant in enumerate(VARIANTS):
            # The walk knows no keys without a file, and a put-back keystore is no damage to a file that was never recorded.
            if not variant.lost and variant.refused is None or variant.store == "plain" and variant.refused is not None:
                continue
            with self.subTest(variant=variant.name):
                store = ORIGINALS.copy(variant.store, ROOT / f"{self.id()}-{number}")
                try:
                    variant.damage(Backing(variant.store, store.home))
                    with self.assertRaises((read_store.Damage, OSError, sqlite3.Error, LookupError, ValueError)):
                        for path, entry in read_store.Store(store.path, store.home).entries().items():
                            if entry.file is not None and is_below(path, variant.lost):
                                entry.file.describe()
                finally:
                    shutil.rmtree(store.home)


class Damaged(GoldenTest):
    def test_each(self) -> None:
        """Each damage of the table, in a copy of its own."""
        with ThreadPoolExecutor() as pool:
            homes = [ROOT / f"{self.id()}-{number}" for number in range(len(VARIANTS))]
            for variant, problems in zip(VARIANTS, pool.map(check_variant, VARIANTS, homes)):
                with self.subTest(variant=variant.name):
                    self.assertFalse(problems, "\n".join(problems))


def check_variant(variant: Variant, home: Path) -> list[str]:
    """What comes of a damage, otherwise than it should."""
    store = ORIGINALS.copy(variant.store, home)
    try:
        variant.damage(Backing(variant.store, home))
        verify = store.coffer("verify", store.path, "--json", check=False)
        export = store.coffer("export", store.path, home / "plain", check=False)
        exported = without_links(golden.tree(home / "plain")) if (home / "plain").exists() else {}
    finally:
        shutil.rmtree(home)
    problems = []
    if variant.refused is not None:
        code, message = variant.refused
        for outcome in (verify, export):
            if outcome.code != code or not re.search(message, outcome.err) or outcome.err.count("\n") != 1:
                problems.append(f"not refused with {code} and {message!r}: {outcome}")
        return problems + ([f"exported: {sorted(exported)}"] if exported else [])
    findings = sorted((finding.get("path", ""), finding["cause"]) for finding in verify.json["findings"])
    if findings != sorted(variant.finds):
        problems.append(f"verify finds {findings} instead of {sorted(variant.finds)}")
    if verify.code not in codes(cause for _, cause in variant.finds):
        problems.append(f"exit code of verify: {verify}")
    if export.code not in codes(variant.lost.values()):
        problems.append(f"exit code of export: {export}")
    return problems + wrong_entries(variant, exported, store.expected())


def codes(causes: Iterable[str]) -> set[int]:
    return {EXIT_CODES[cause] for cause in causes} or {0}


def wrong_entries(variant: Variant, exported: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> list[str]:
    """What was exported that should not have been, was not that should, or is not what it should be."""
    problems = []
    expected = without_links({path: facts | variant.unnoticed.get(path, {}) for path, facts in expected.items()})
    for path in sorted(exported.keys() | expected.keys()):
        got, wanted = exported.get(path), expected.get(path)
        if is_below(path, variant.lost):
            # A directory is made before it is found that it can't be listed.
            if got is not None and (got["kind"] != "directory" or path not in variant.lost):
                problems.append(f"{path!r} was given out: {got}")
            continue
        if is_below(path, variant.gone):
            wanted = None
        # Damaging what is in a directory is a change of it.
        got, wanted = ({**facts, "mtime": 0} if facts and facts["kind"] == "directory" else facts for facts in (got, wanted))
        if got != wanted:
            problems.append(f"{path!r} is {got} instead of {wanted}")
    return problems


class Mounted(CofferTest):
    @classmethod
    def setUpClass(cls) -> None:
        processes.need_root()
        super().setUpClass()

    def test_whole(self) -> None:
        """Through a read-only mount, links and all."""
        for name in golden.STORES:
            with self.subTest(store=name):
                store = ORIGINALS.copy(name, self.place(name))
                mount = self.new_mount(store, "--read-only", at=f"mnt-{name}")
                self.assertEqual(golden.tree(mount.path), store.expected())
                mount.umount()
                self.assertEqual(mount.logged_errors(), [])

    def test_damaged(self) -> None:
        """As many damages at once as don't touch the same entries: each is its error, and the rest is whole."""
        for name in golden.STORES:
            with self.subTest(store=name):
                store = ORIGINALS.copy(name, self.place(name))
                lost, touched = self.damage_much(name, store.home)
                mount = self.new_mount(store, "--read-only", at=f"mnt-{name}")
                for path, facts in store.expected().items():
                    if is_below(path, touched):
                        continue
                    got = golden.describe(f"{mount.path}{path}")
                    ignored = {"nlink": 0} | ({"mtime": 0} if facts["kind"] == "directory" else {})
                    self.assertEqual(got | ignored, facts | ignored, path)
                for path, cause in lost.items():
                    self.assert_errno(ERRNOS.get(cause, errno.EIO), self.use, f"{mount.path}{path}")

    @staticmethod
    def damage_much(name: str, home: Path) -> tuple[dict[str, str], set[str]]:
        """What is lost, and what is not as it was."""
        lost: dict[str, str] = {}
        touched: set[str] = set()
        for variant in VARIANTS:
            mine = {*variant.lost, *variant.gone}
            if variant.store != name or dict(variant.finds) != variant.lost or not variant.lost or "/" in mine:
                continue
            if not any(is_below(one, [other]) or is_below(other, [one]) for one in mine for other in touched):
                variant.damage(Backing(name, home))
                lost |= variant.lost
                touched |= mine
        return lost, touched

    @staticmethod
    def use(path: str) -> None:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.listdir(path)
        golden.describe(path)

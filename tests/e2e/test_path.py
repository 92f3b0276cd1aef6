"""coffer path: where a path lies in the backing, and back."""

import os
import unittest
from pathlib import Path

from damage import DENIED, NOT_FOUND, REVOKED, USAGE, DamagedTest


class Paths(DamagedTest):
    def path(self, path: str | Path, *words: str) -> dict:
        # Stored names may begin with "-", too.
        return self.store.coffer("path", "--json", *words, "--", self.store.path, path).json

    def test_there_and_back(self) -> None:
        for path in ("/", "/a", "/dir", "/dir/d", "/symlink"):
            there = self.path(path)
            self.assertEqual(there["path"], path)
            place = self.store.path / there["backing"]
            self.assertTrue(os.path.lexists(place))
            # Relative and absolute are told from a plain path by themselves.
            self.assertEqual(self.path(place)["path"], path)
            if path != "/":
                self.assertEqual(self.path(there["backing"])["path"], path)
                self.assertEqual(self.path(f"/{there['backing']}", "--reverse")["path"], path)
        self.assertEqual([step["name"] for step in self.path("/dir/d")["steps"]], ["dir", "d"])
        self.assertEqual(self.path("/a")["file"], self.store.coffer("key", "show", self.store.path, "/a", "--json").json["file"])

    def test_where_it_would_lie(self) -> None:
        found = self.path("/dir/not-there-yet")
        self.assertEqual(found["type"], "nothing")
        mount = self.new_mount(self.store)
        (mount.path / "dir/not-there-yet").write_bytes(b"x")
        mount.umount()
        self.assertTrue((self.store.path / found["backing"]).is_file())

    def test_sidecars(self) -> None:
        mount = self.new_mount(self.store)
        name = "n" * 255
        (mount.path / name).write_bytes(b"x")
        os.symlink("t" * 4000, mount.path / "long")
        mount.umount()
        found = self.path(f"/{name}")
        self.assertTrue((self.store.path / found["steps"][0]["sidecar"]).is_file())
        self.assertTrue(found["backing"].startswith(".coffer.long."))
        self.assertEqual(self.path(found["backing"])["path"], f"/{name}")
        self.assertTrue((self.store.path / self.path("/long")["target_sidecar"]).is_file())

    def test_what_leads_nowhere(self) -> None:
        self.refused(NOT_FOUND, "path", self.store.path, "AAAAAAAAAAAAAAAAAAAAAAAA")
        self.refused(NOT_FOUND, "path", self.store.path, "/missing/below")
        self.refused(USAGE, "path", self.store.path, "/../up")
        self.refused(NOT_FOUND, "path", self.store.path, ".coffer/keystore.db")

    def test_needs_the_right_to_list(self) -> None:
        for grant in self.store.coffer("grant", "list", self.store.path, "--json").json:
            self.store.revoke(grant["id"])
        for path in ("/a", os.listdir(self.store.path)[0]):
            outcome = self.store.coffer("path", "--", self.store.path, path, check=False)
            self.assertIn(outcome.code, (DENIED, REVOKED), str(outcome))
            self.assertEqual(outcome.out, "")
        self.assertEqual(self.store.audit()[-1]["decision"], "deny")


if __name__ == "__main__":
    unittest.main()

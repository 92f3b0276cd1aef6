"""`coffer kms rewrap` and `coffer kms list`, beside mounts that are in use. Reads are of files that were not open before: their keys come
from the daemon, not from the kernel's cache."""

import json
import shutil

from harness import CofferTest
from processes import coffer, wait_until

WRONG_KEY = 4


class Rewrap(CofferTest):
    """Moving a store from one master key to another."""

    def masters(self, store, *more: object) -> list[dict]:
        return json.loads(coffer("kms", "list", store.path, "--json", *more).out)

    def test_to_another_key_file_under_a_mount(self) -> None:
        store = self.new_store()
        store.open_to_all()
        mounted = self.new_mount(store, "-o", "key_ttl=4s")
        for number in range(20):
            (mounted.path / f"before-{number}").write_text(f"content {number}")
        assert store.key is not None
        new_key = self.place("new.key")
        said = coffer("kms", "rewrap", store.path, "--to", f"local:{new_key}").out
        self.assertIn(f"are wrapped by local:{new_key}", said)
        roles = [(each["role"], each["master_key"]) for each in self.masters(store)]
        self.assertEqual(roles, [("former", f"local:{store.key}"), ("primary", f"local:{new_key}")])
        # Nothing needs the old one any more.
        shutil.move(store.key, self.place("gone"))
        for number in range(20):
            (mounted.path / f"after-{number}").write_text(f"more {number}")
        mounted.umount()
        again = self.new_mount(store, at="again")
        for number in range(20):
            self.assertEqual((again.path / f"before-{number}").read_text(), f"content {number}")
            self.assertEqual((again.path / f"after-{number}").read_text(), f"more {number}")
        store.verify()

    def test_a_daemon_follows_when_its_keys_run_out(self) -> None:
        store = self.new_store()
        store.open_to_all()
        mounted = self.new_mount(store, "-o", "key_ttl=2s")
        (mounted.path / "file").write_text("content")
        assert store.key is not None
        coffer("kms", "rewrap", store.path, "--to", f"local:{self.place('new.key')}")
        store.key.unlink()

        def keys_are_asked_for() -> bool:
            return mounted.status()["master_key"] == f"local:{self.place('new.key')}"

        wait_until(keys_are_asked_for, "the daemon takes up the new master key", 30)
        self.assertEqual((mounted.path / "file").read_text(), "content")
        (mounted.path / "other").write_text("more")

    def test_another_passphrase(self) -> None:
        store = self.new_store(passphrase="before")
        new = self.place("new")
        new.write_text("after\n")
        coffer("kms", "rewrap", store.path, *store.secret, "--to", "passphrase:", "--new-passphrase-file", new)
        self.assertEqual(coffer("kms", "check", store.path, *store.secret, check=False).code, WRONG_KEY)
        coffer("kms", "check", store.path, "--passphrase-file", new)

    def test_what_can_t_be(self) -> None:
        store = self.new_store()
        assert store.key is not None
        same = coffer("kms", "rewrap", store.path, "--to", f"local:{store.key}", check=False)
        self.assertNotEqual(same.code, 0)
        self.assertIn("is the store's master key", same.err)
        inside = coffer("kms", "rewrap", store.path, "--to", f"local:{store.path}/key", check=False)
        self.assertNotEqual(inside.code, 0)
        self.assertIn("must not lie in the store", inside.err)
        versions = coffer("kms", "rewrap", store.path, check=False)
        self.assertNotEqual(versions.code, 0)
        self.assertIn("no versions", versions.err)
        self.assertIn("All keys, 2,", coffer("kms", "rewrap", store.path, "--all").out)
        self.assertNotEqual(coffer("kms", "rewrap", store.path, "--abandon", check=False).code, 0)
        self.assertEqual([each["role"] for each in self.masters(store)], ["primary"])


class Recovery(CofferTest):
    """A second master key, for the day on which the first is lost."""

    def test_the_primary_is_lost(self) -> None:
        store = self.new_store()
        store.open_to_all()
        coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        safe = self.place("safe.key")
        said = coffer("kms", "recovery", "add", store.path, f"local:{safe}").out
        self.assertIn(f"are kept for local:{safe}", said)
        aside = self.place("aside")
        shutil.move(safe, aside)  # into the safe; nothing needs it from day to day
        mounted = self.new_mount(store)
        for name in ("file", "direct/file"):
            (mounted.path / name).write_text(f"content of {name}")
        coffer("scope", "create", store.path, "/late")
        store.grant("/late", "--everyone")
        late = mounted.path / "late" / "file"
        wait_until(lambda: late.write_text("content of late/file"), "the daemon hears of the grant")
        mounted.umount()
        listed = json.loads(coffer("kms", "list", store.path, "--json").out)
        self.assertEqual([(each["role"], each["keys"] == each["of"]) for each in listed],
                         [("primary", True), ("recovery", True)])

        assert store.key is not None
        store.key.unlink()
        self.assertNotEqual(coffer("kms", "list", store.path, check=False).code, 0)
        self.assertNotEqual(coffer("kms", "rewrap", store.path, "--recovery", check=False).code, 0)
        shutil.move(aside, safe)
        self.assertIn("not on its way", coffer("kms", "rewrap", store.path, "--recovery", "--abandon", check=False).err)
        new = self.place("new.key")
        coffer("kms", "rewrap", store.path, "--recovery", "--to", f"local:{new}")
        safe.unlink()
        again = self.new_mount(store, at="again")
        for name in ("file", "direct/file", "late/file"):
            self.assertEqual((again.path / name).read_text(), f"content of {name}")
        again.umount()
        store.verify()
        events = [line["detail"] for line in store.audit() if line["event"] == "admin"]
        self.assertIn(f"kms rewrap to local:{new} by the recovery master key", events)

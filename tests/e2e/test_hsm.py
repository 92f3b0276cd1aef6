"""Stores whose master key is on a token: SoftHSM, found as Debian registers it with p11-kit."""

import errno
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from files import random_bytes
from harness import CofferTest
from processes import BINARY, NODE, SELF, Outcome, coffer, need, need_root, run, wait_until
from stores import Mount, Store
from test_hardening import children
from test_lock import found_in

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "pin-7531"
KMS_UNAVAILABLE, WRONG_KEY, INVALID, KEY_UNAVAILABLE = 26, 4, 2, 11


def make_token(label: str = "models") -> None:
    """With one key."""
    run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "0000", "--pin", PIN)
    run("pkcs11-tool", "--module", MODULE, "--token-label", label, "--login", "--pin", PIN, "--keygen", "--key-type", "AES:32",
        "--label", "master", "--sensitive")


class HsmTest(CofferTest):
    """A token with one key, and its PIN in a file."""

    tokens: Path
    pin_file: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need(all(map(shutil.which, ("softhsm2-util", "pkcs11-tool"))) and os.path.exists(MODULE), "SoftHSM and pkcs11-tool")

    def setUp(self) -> None:
        super().setUp()
        self.tokens = self.place("tokens")
        self.tokens.mkdir()
        conf = SELF.home / ".config/softhsm2/softhsm2.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(f"directories.tokendir = {self.tokens}\n")
        make_token()
        self.pin_file = self.place("pin")
        self.write_pin(PIN)

    def write_pin(self, pin: str) -> None:
        self.pin_file.write_text(pin + "\n")
        os.chmod(self.pin_file, 0o600)

    def store_on_token(self, **options: str) -> Store:
        return self.new_store(kms="pkcs11:token=models;object=master" + ("" if options else f"?pin-source={self.pin_file}"), **options)

    def take_token_away(self) -> None:
        self.tokens.rename(self.place("taken"))
        self.tokens.mkdir()

    def bring_token_back(self) -> None:
        self.tokens.rmdir()
        self.place("taken").rename(self.tokens)


class Tokens(HsmTest):
    def test_a_store_and_its_mount(self) -> None:
        store = self.store_on_token()
        store.coffer("scope", "create", store.path, "/own")
        store.grant("/own", "--everyone")
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["master_key"], f"pkcs11:token=models;object=master?pin-source={self.pin_file}")
        content = random_bytes(100_000)
        (mount.path / "file").write_bytes(content)
        (mount.path / "own/file").write_bytes(content)
        mount.umount()
        again = self.new_mount(store)
        self.assert_content(again.path / "file", content)
        self.assert_content(again.path / "own/file", content)
        again.umount()
        store.verify()

    def test_no_pin_and_no_key_is_in_the_store(self) -> None:
        store = self.store_on_token()
        found = subprocess.run(["grep", "-rl", PIN, store.path, SELF.home / "state"], capture_output=True, check=False)
        self.assertEqual(found.stdout, b"")

    def test_the_pin_is_typed(self) -> None:
        store = self.store_on_token(passphrase=PIN)
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        coffer("unlock", mount.path, *store.secret)
        self.assert_content(mount.path / "file", b"content")

    def test_another_pin(self) -> None:
        store = self.store_on_token()
        self.write_pin("1111")
        self.mount_refused(store, WRONG_KEY, "wrong PIN")
        self.write_pin(PIN)
        self.assertEqual(store.verify()["findings"], [])

    def test_a_wrong_pin_on_the_way_to_another_token(self) -> None:
        """Whoever writes to the keystore says which token is next: a daemon shows it one wrong PIN and no more, for it would lock itself."""
        make_token("others")
        store = self.store_on_token()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        mount = self.new_mount(store)
        file = mount.path / "direct/file"
        file.write_bytes(b"content")
        other = self.place("other-pin")
        self.pin_file.rename(other)
        self.write_pin(PIN)
        store.coffer("kms", "rewrap", store.path, "--to", f"pkcs11:token=others;object=master?pin-source={other}")
        for pin in ("1111", PIN):
            other.write_text(pin + "\n")
            self.assertRaises(OSError, file.read_bytes)
        coffer("lock", mount.path)
        coffer("unlock", mount.path)
        self.assert_content(file, b"content")

    def test_locked_and_unlocked(self) -> None:
        """By a daemon that may start no program and make no socket but the kernel's own: it loads the token's library anew."""
        store = self.store_on_token()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        with self.assertRaises(OSError):
            (mount.path / "file").read_bytes()
        self.take_token_away()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.assertIn("no such token", refused.err)
        self.bring_token_back()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)

    def test_the_token_is_gone(self) -> None:
        """What is mounted goes on with the keys that it has; nothing new is mounted, and nothing is lost."""
        store = self.store_on_token()
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        self.take_token_away()
        self.assert_content(mount.path / "file", b"content")
        (mount.path / "file").write_bytes(b"changed")
        mount.umount()
        self.mount_refused(store, KMS_UNAVAILABLE, "no such token")
        self.bring_token_back()
        self.assert_content(self.new_mount(store).path / "file", b"changed")

    def test_an_outage(self) -> None:
        """Not noticed until the keys' time is over; then there is no key for a file, until the token is back."""
        store = self.store_on_token()
        mount = self.new_mount(store, "-o", "key_ttl=3s")
        (mount.path / "file").write_bytes(b"content")
        self.take_token_away()
        self.assert_content(mount.path / "file", b"content")
        wait_until(lambda: self.outcome_of_open(mount) == errno.ENOKEY, "the keys' time is over", 30)
        self.bring_token_back()
        wait_until(lambda: self.outcome_of_open(mount) == 0, "the token is back", 30)
        self.assert_content(mount.path / "file", b"content")

    def test_an_outage_within_the_grace(self) -> None:
        store = self.store_on_token()
        mount = self.new_mount(store, "-o", "key_ttl=2s,key_grace=1h")
        self.assertEqual((mount.status()["key_ttl_s"], mount.status()["key_grace_s"]), (2, 3600))
        (mount.path / "file").write_bytes(b"content")
        self.take_token_away()
        until = time.monotonic() + 6
        while time.monotonic() < until:
            self.assert_content(mount.path / "file", b"content")
            time.sleep(0.1)

    @staticmethod
    def outcome_of_open(mount: Mount) -> int:
        try:
            os.close(os.open(mount.path / "file", os.O_RDONLY))
        except OSError as failure:
            return failure.errno or 0
        return 0

    def test_check(self) -> None:
        store = self.store_on_token()
        done = coffer("kms", "check", store.path, "--json")
        found = json.loads(done.out)
        self.assertEqual(found["facts"]["token"], "models")
        self.assertIn("SoftHSM", found["facts"]["made by"])
        self.assertEqual([check["ok"] for check in found["checks"]], [True] * 6)
        self.take_token_away()
        gone = coffer("kms", "check", store.path, check=False)
        self.assertEqual(gone.code, KMS_UNAVAILABLE, str(gone))
        self.assertIn("no such token", gone.out)
        self.assertIn("-> see: p11-kit list-modules", gone.out)
        self.assertNotIn(PIN, gone.out + gone.err)

    def test_another_token_of_the_same_name(self) -> None:
        store = self.store_on_token()
        self.take_token_away()
        make_token()
        self.mount_refused(store, WRONG_KEY, "is another key")

    def test_a_module_in_the_uri(self) -> None:
        """A keystore that somebody has altered must not choose what is loaded into the daemon."""
        for what in (f"module-path={MODULE}", f"pin-value={PIN}"):
            done = coffer("init", self.place("other"), "--kms", f"pkcs11:token=models;object=master?{what}", check=False)
            self.assertEqual(done.code, INVALID, str(done))
            self.assertNotIn(PIN, done.err)
            self.assertFalse(self.place("other").exists())


class PinInTheEnvironment(HsmTest):
    """COFFER_PIN: of commands and of the mount, and of nothing that they start."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(NODE.pop, "COFFER_PIN", None)
        NODE["COFFER_PIN"] = PIN
        self.store = self.new_store(kms="pkcs11:token=models;object=master")

    @staticmethod
    def without_terminal(*words: str | Path) -> Outcome:
        return run("setsid", "-w", BINARY, *words, check=False)

    def refused(self, done: Outcome, code: int, words: str) -> None:
        self.assertEqual(done.code, code, str(done))
        self.assertIn(words, done.err)
        # Which it would be if it had been tried again.
        self.assertNotIn("is used once", done.err)
        self.assertNotIn(NODE.get("COFFER_PIN") or PIN, done.err)

    def test_a_mount_and_what_it_leaves(self) -> None:
        need_root()
        mount = self.new_mount(self.store)
        (mount.path / "file").write_bytes(b"content")
        processes = [mount.pid, *children(mount.pid)]
        self.assertEqual(len(processes), 2)
        for pid in processes:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            self.assertIn(b"COFFER_STATE_DIR", environment)
            self.assertNotIn(b"COFFER_PIN", environment)
            self.assertNotIn(PIN.encode(), environment)
        self.assertEqual(found_in(processes[1], {"pin": PIN.encode()}), {})
        for _ in range(2):
            coffer("lock", mount.path)
            found = found_in(mount.pid, {"pin": PIN.encode(), "variables": b"COFFER_STATE_DIR"})
            self.assertEqual(list(found), ["variables"], found)
            coffer("unlock", mount.path)
            self.assertEqual((mount.path / "file").read_bytes(), b"content")

    def test_a_locked_mount_does_not_have_it(self) -> None:
        mount = self.new_mount(self.store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        del NODE["COFFER_PIN"]
        self.refused(self.without_terminal("unlock", mount.path), KEY_UNAVAILABLE, "no terminal")
        NODE["COFFER_PIN"] = "1111"
        self.refused(coffer("unlock", mount.path, check=False), WRONG_KEY, "wrong PIN")
        self.assertIs(mount.status()["locked"], True)
        NODE["COFFER_PIN"] = PIN
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", b"content")

    def test_of_commands(self) -> None:
        self.store.verify()
        self.assertNotIn("FAILED", self.store.coffer("kms", "check", self.store.path).out)
        self.store.coffer("kms", "rewrap", self.store.path, "--all")

    def test_of_mount_helpers(self) -> None:
        helper = self.place("mount.fuse.coffer")
        helper.symlink_to(BINARY)
        at = self.place("mnt")
        at.mkdir()
        run(helper, self.store.path, at)
        self.addCleanup(coffer, "umount", at)
        self.assertIs(coffer("status", at, "--json").json["locked"], False)

    def test_a_wrong_one_is_tried_once(self) -> None:
        NODE["COFFER_PIN"] = "1111"
        self.refused(self.mount_refused(self.store, WRONG_KEY, "wrong PIN"), WRONG_KEY, "wrong PIN")
        for words in (("verify", self.store.path), ("kms", "rewrap", self.store.path, "--all")):
            self.refused(coffer(*words, check=False), WRONG_KEY, "wrong PIN")

    def test_an_empty_one(self) -> None:
        """Is none, and not as if it were not set."""
        NODE["COFFER_PIN"] = ""
        self.mount_refused(self.store, KEY_UNAVAILABLE, "COFFER_PIN is set and empty")

    def test_what_is_given_otherwise_comes_first(self) -> None:
        NODE["COFFER_PIN"] = "1111"
        self.store.coffer("verify", self.store.path, "--passphrase-file", self.pin_file)
        self.new_mount(self.store, "-o", f"passphrase_file={self.pin_file}")
        self.new_store("other", kms=f"pkcs11:token=models;object=master?pin-source={self.pin_file}").verify()

    def test_it_is_no_passphrase(self) -> None:
        store = self.new_store("other", passphrase=PIN)
        self.refused(self.without_terminal("verify", store.path), KEY_UNAVAILABLE, "no terminal")

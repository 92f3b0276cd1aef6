"""Stores whose master key is sealed to a TPM 2.0: swtpm's."""

import json
import os
import shutil
import socket
import subprocess
import threading
import tty
from pathlib import Path

from files import random_bytes
from harness import CofferTest
from processes import NODE, SELF, Outcome, coffer, need, run, start, wait_until
from stores import Store

PIN = "pin-7531"
INVALID, WRONG_KEY, KMS_DENIED, KMS_KEY_MISSING, KMS_UNAVAILABLE = 2, 4, 23, 24, 26


class SoftTpm:
    """A TPM with its state in a directory, whose programs all see it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir()
        self.socket = directory / "tpm"
        self.program: subprocess.Popen | None = None
        self.power_on()

    def power_on(self) -> None:
        self.program = start("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}", "--ctrl", f"type=unixio,path={self.socket}.ctrl",
                             "--server", f"type=unixio,path={self.socket}", "--flags", "not-need-init,startup-clear",
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, "swtpm answers")
        NODE["COFFER_TPM2_TCTI"] = NODE["TPM2TOOLS_TCTI"] = f"swtpm:path={self.socket}"
        for pcr in (7, 11):  # as firmware and boot loaders do
            self.measure(pcr)

    def measure(self, pcr: int) -> None:
        run("tpm2_pcrextend", f"{pcr}:sha256={'ab' * 32}")

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.socket))
            return True

    def power_off(self) -> None:
        if self.program:
            run("tpm2_shutdown", "--clear", check=False, timeout=10)
            self.program.terminate()
            self.program.wait(10)
        self.program = None

    def restart(self) -> None:
        """The machine: its PCRs begin anew."""
        self.power_off()
        self.power_on()

    def end(self) -> None:
        if self.program:
            self.program.kill()
            self.program.wait(10)
        NODE.clear()


class Device:
    """The TPM as a character device that programs open, write to and read from: a terminal that passes all bytes on."""

    def __init__(self, tpm: SoftTpm) -> None:
        self.tpm = tpm
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        NODE["COFFER_TPM2_TCTI"] = f"device:{os.ttyname(self.theirs)}"
        self.commands = 0
        threading.Thread(target=self.pass_on, daemon=True).start()

    def pass_on(self) -> None:
        while True:
            command = os.read(self.ours, 4096)
            while len(command) < 10 or len(command) < int.from_bytes(command[2:6], "big"):
                command += os.read(self.ours, 4096)
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(self.tpm.socket))
                line.sendall(command)
                os.write(self.ours, line.recv(4096))
            self.commands += 1


class TpmTest(CofferTest):
    """A machine with a TPM."""

    tpm: SoftTpm

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need(all(map(shutil.which, ("swtpm", "tpm2_pcrextend", "tpm2_getcap"))), "swtpm and tpm2-tools")

    def setUp(self) -> None:
        super().setUp()
        self.tpm = SoftTpm(self.place("tpm"))
        self.addCleanup(self.tpm.end)

    def refused(self, store: Store, code: int, words: str) -> Outcome:
        done = self.mount_refused(store, code, words)
        self.assertEqual(len(done.err.splitlines()), 1, done.err)
        return done


class Tpm(TpmTest):
    def test_a_store_and_its_mount(self) -> None:
        store = self.new_store(kms="tpm2:")
        store.coffer("scope", "create", store.path, "/own")
        store.grant("/own", "--everyone")
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["master_key"], "tpm2:pcrs=sha256:7")
        content = random_bytes(100_000)
        (mount.path / "file").write_bytes(content)
        (mount.path / "own/file").write_bytes(content)
        mount.umount()
        again = self.new_mount(store)
        self.assert_content(again.path / "file", content)
        self.assert_content(again.path / "own/file", content)
        again.umount()
        store.verify()
        for kind in ("handles-transient", "handles-loaded-session"):
            self.assertEqual(run("tpm2_getcap", kind).out, "")

    def test_started_differently(self) -> None:
        """What is mounted goes on; nothing new is mounted until the machine has started as before."""
        store = self.new_store(kms="tpm2:pcrs=sha256:7+11")
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        self.tpm.measure(16)
        store.coffer("scope", "list", store.path)
        self.tpm.measure(11)
        self.assert_content(mount.path / "file", b"content")
        (mount.path / "file").write_bytes(b"changed")
        mount.umount()
        self.refused(store, KMS_DENIED, "this machine was started differently")
        self.tpm.restart()
        self.assert_content(self.new_mount(store).path / "file", b"changed")

    def test_locked_and_unlocked(self) -> None:
        """By a daemon that may start no program and make no socket but the kernel's own: it loads the TPM's library anew."""
        store = self.new_store(kms="tpm2:")
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["system_calls"], "filtered")
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        with self.assertRaises(OSError):
            (mount.path / "file").read_bytes()
        self.tpm.power_off()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.tpm.power_on()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        coffer("lock", mount.path)
        self.tpm.measure(7)
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_DENIED, str(refused))
        self.assertIn("started differently", refused.err)
        self.tpm.restart()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.assertEqual(mount.logged_errors(), [])

    def test_unlocked_by_a_device(self) -> None:
        """As by the kernel's, the default: it is opened under the filter."""
        device = Device(self.tpm)
        store = self.new_store(kms="tpm2:")
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["system_calls"], "filtered")
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        before = device.commands
        coffer("unlock", mount.path)
        self.assertGreater(device.commands, before)
        self.assert_content(mount.path / "file", b"content")
        mount.umount()

    def test_the_pin_is_typed(self) -> None:
        store = self.new_store(kms="tpm2:pin", passphrase=PIN)
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        coffer("unlock", mount.path, *store.secret)
        self.assert_content(mount.path / "file", b"content")
        mount.umount()
        Path(store.secret[1]).write_text("1111\n")
        self.refused(store, WRONG_KEY, "wrong PIN")
        found = subprocess.run(["grep", "-rl", PIN, store.path, SELF.home / "state"], capture_output=True, check=False)
        self.assertEqual(found.stdout, b"")

    def test_the_pin_comes_from_the_environment(self) -> None:
        self.addCleanup(NODE.pop, "COFFER_PIN", None)
        NODE["COFFER_PIN"] = PIN
        store = self.new_store(kms="tpm2:pin")
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", b"content")
        mount.umount()
        NODE["COFFER_PIN"] = "1111"
        self.refused(store, WRONG_KEY, "wrong PIN")

    def test_the_pin_comes_from_a_file(self) -> None:
        pin = self.place("pin")
        pin.touch(mode=0o600)
        pin.write_text(PIN + "\n")
        store = self.new_store(kms=f"tpm2:pcrs=none;pin-source={pin}")
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        mount.umount()
        pin.write_text("1111\n")
        for _ in range(3):
            self.refused(store, WRONG_KEY, "wrong PIN")
        pin.write_text(PIN + "\n")
        self.refused(store, KMS_DENIED, "too many wrong PINs")
        run("tpm2_dictionarylockout", "--clear-lockout")
        self.assert_content(self.new_mount(store).path / "file", b"content")

    def test_check(self) -> None:
        store = self.new_store(kms="tpm2:")
        done = coffer("kms", "check", store.path, "--json")
        found = json.loads(done.out)
        self.assertEqual((found["facts"]["made by"], found["facts"]["PCRs"], found["facts"]["PIN"]), ("IBM", "sha256:7", "no"))
        self.assertEqual([check["ok"] for check in found["checks"]], [True] * 6)
        self.tpm.measure(7)
        refused = coffer("kms", "check", store.path, check=False)
        self.assertEqual(refused.code, KMS_DENIED, str(refused))
        self.assertIn("-> start it as before", refused.out)

    def test_another_machine(self) -> None:
        store = self.new_store(kms="tpm2:pcrs=none")
        other = SoftTpm(self.place("other"))
        self.addCleanup(other.end)
        self.refused(store, KMS_KEY_MISSING, "this is not the TPM")

    def test_no_tpm(self) -> None:
        store = self.new_store(kms="tpm2:")
        self.tpm.power_off()
        self.refused(store, KMS_UNAVAILABLE, "reaching it by")

    def test_a_pin_in_the_uri(self) -> None:
        done = coffer("init", self.place("other"), "--kms", f"tpm2:pin={PIN}", check=False)
        self.assertEqual(done.code, INVALID, str(done))
        self.assertNotIn(PIN, done.err)
        self.assertFalse(self.place("other").exists())

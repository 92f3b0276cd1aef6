"""A Vault that is found by a server of names, by a daemon behind its filter of system calls. In a mount namespace of the process's own, with
another resolv.conf."""

import socket
import struct
import threading

from files import random_bytes
from processes import coffer, need_root, own_mount_namespace, run
from guard import ROOT
from test_vault import KMS_UNAVAILABLE, VaultTest

ADDRESS = "127.0.0.77"


class NameServer:
    """Answers questions for the IPv4 address of vault.test, as long as it lives; others have no answer."""

    def __init__(self) -> None:
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                question, peer = self._socket.recvfrom(512)
            except OSError:
                return
            end = question.index(b"\0", 12) + 5
            kind, = struct.unpack("!H", question[end - 4:end - 2])
            answers = question[12:end].startswith(b"\5vault\4test\0") and kind == 1
            self.asked += 1
            reply = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(answers), 0, 0) + question[12:end]
            if answers:
                reply += struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton("127.0.0.1")
            self._socket.sendto(reply, peer)


def setUpModule() -> None:  # pylint: disable=invalid-name
    need_root()
    own_mount_namespace()
    for name, content in (("resolv.conf", f"nameserver {ADDRESS}\noptions timeout:1 attempts:1\n"), ("nsswitch.conf", "hosts: files dns\n")):
        (ROOT / name).write_text(content)
        run("mount", "--bind", ROOT / name, f"/etc/{name}")


class VaultByName(VaultTest):
    host = "vault.test"

    def test_locked_and_unlocked(self) -> None:
        names = NameServer()
        store = self.vault_store()
        mount = self.new_mount(store)
        self.assertEqual(mount.status()["system_calls"], "filtered")
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        before = names.asked
        coffer("unlock", mount.path)
        self.assertGreater(names.asked, before, "the daemon asks by itself")
        self.assert_content(mount.path / "file", content)
        coffer("lock", mount.path)
        self.vault.stop()
        self.assertEqual(coffer("unlock", mount.path, check=False).code, KMS_UNAVAILABLE)
        self.vault.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)

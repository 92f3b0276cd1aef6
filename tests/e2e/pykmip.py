"""PyKMIP's own server, served to a test, and what an admin does to its keys."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any, Iterator

from processes import need, wait_until

PKI = Path(__file__).parent.parent / "support/kmip_pki.py"


def free_port() -> int:
    """The server takes no 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class PyKmipServer:
    """pykmip-server with its certificates, on one port, which can be killed and brought back with all its keys."""

    def __init__(self, directory: Path) -> None:
        need(shutil.which("pykmip-server"), "no pykmip-server (package python3-pykmip)")
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        subprocess.run(["/usr/bin/python3", "-B", PKI, directory], check=True)
        (directory / "policies").mkdir()
        (directory / "server.conf").write_text(f"""[server]
            hostname=127.0.0.1
            port={self.port}
            certificate_path={directory}/good.pem
            key_path={directory}/good.key
            ca_path={directory}/ca.pem
            auth_suite=TLS1.2
            policy_path={directory}/policies
            database_path={directory}/kmip.db
            """)
        self.start()

    @classmethod
    def of_test(cls, test: unittest.TestCase) -> PyKmipServer:
        """In a directory of its own; both go with the test."""
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        test.addCleanup(directory.cleanup)
        served = cls(Path(directory.name))
        test.addCleanup(served.stop)
        return served

    def start(self) -> None:
        """It listens then. In a process group of its own, for it has children that a signal to it leaves; and bounded."""
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                ["timeout", "-s", "KILL", "600", "pykmip-server", "-f", self.directory / "server.conf", "-l", self.directory / "log"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"})
        wait_until(lambda: socket.create_connection(("127.0.0.1", self.port)).close() or True, "pykmip-server listens", timeout=30)

    def stop(self) -> None:
        """As a crash would be."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def admin(self) -> Iterator[Any]:
        """PyKMIP's client, as the node's user: the server lets a key's owner alone do anything to it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from kmip.core import enums  # pylint: disable=import-outside-toplevel
            from kmip.pie.client import ProxyKmipClient  # pylint: disable=import-outside-toplevel
            with ProxyKmipClient(hostname="127.0.0.1", port=self.port, cert=f"{self.directory}/node.pem", key=f"{self.directory}/node.key",
                                 ca=f"{self.directory}/ca.pem", ssl_version="PROTOCOL_TLSv1_2", config="none", config_file="/dev/null",
                                 kmip_version=enums.KMIPVersion.KMIP_1_4) as client:
                yield client

    def new_key(self) -> str:
        """A key that is active, and Sensitive; its identifier."""
        with self.admin() as client:
            from kmip.core import enums, objects  # pylint: disable=import-outside-toplevel
            from kmip.core.factories.attributes import AttributeFactory  # pylint: disable=import-outside-toplevel
            make = AttributeFactory().create_attribute
            masks = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
            attributes = [make(enums.AttributeType.CRYPTOGRAPHIC_ALGORITHM, enums.CryptographicAlgorithm.AES),
                          make(enums.AttributeType.CRYPTOGRAPHIC_LENGTH, 256),
                          make(enums.AttributeType.CRYPTOGRAPHIC_USAGE_MASK, masks),
                          make(enums.AttributeType.SENSITIVE, True)]
            made = client.proxy.create(enums.ObjectType.SYMMETRIC_KEY, objects.TemplateAttribute(attributes=attributes))
            if made.result_status.value != enums.ResultStatus.SUCCESS:
                raise AssertionError(f"no key: {made.result_message.value}")
            client.activate(made.uuid)
            return str(made.uuid)

    def revoke(self, uid: str) -> None:
        """It is Deactivated then."""
        with self.admin() as client:
            from kmip.core import enums  # pylint: disable=import-outside-toplevel
            client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, uid)

    def destroy(self, uid: str) -> None:
        with self.admin() as client:
            client.destroy(uid)

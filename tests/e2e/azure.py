"""The stand-in for Azure (tests/support/azure_kms_server.py), served to a test."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from processes import need

PROGRAM = Path(__file__).parent.parent / "support/azure_kms_server.py"
NODE_CLIENT = "aaaaaaaa-0000-0000-0000-000000000001"
SECRET = "a~Hidden+Secret~7531"
VAULT = "v-1.vault.azure.net"
HSM = "h-1.managedhsm.azure.net"


class ServedAzure:
    """One server, on its two ports, which can be killed and brought back with all that it knows. It has a key `master` in VAULT and one in
    HSM, and a client that may use them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.port = self.plain_port = 0
        self.tenant = ""
        self.process: subprocess.Popen | None = None
        self.start()
        self.do("secret", client=NODE_CLIENT, secret=SECRET)
        for host, kind in ((VAULT, "RSA"), (HSM, "oct-HSM")):
            self.make_key("master", host, kty=kind)
            if host == VAULT:
                self.make_key("master-signer", kty="EC")
            self.do("allow", principal=NODE_CLIENT, host=host)

    @classmethod
    def of_test(cls, test: unittest.TestCase) -> ServedAzure:
        """In a directory of its own; both go with the test."""
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        test.addCleanup(directory.cleanup)
        served = cls(Path(directory.name))
        test.addCleanup(served.stop)
        return served

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        """It listens then."""
        need(os.access("/usr/bin/python3", os.X_OK), "no /usr/bin/python3")
        self.process = subprocess.Popen(["/usr/bin/python3", PROGRAM, self.directory, "--port", str(self.port), "--plain-port",
                                         str(self.plain_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the stand-in for Azure did not start")
        said = json.loads(line)
        self.port, self.plain_port, self.tenant = said["port"], said["plain_port"], said["tenant"]

    def stop(self) -> None:
        """As a crash would be."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def do(self, command: str, **arguments: Any) -> Any:
        """A command of the server's."""
        self.process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "refused" in said:
            raise AssertionError(f"{command} {arguments}: {said}")
        return said["ok"]

    def make_key(self, name: str, host: str = VAULT, **body: Any) -> str:
        """A key, or one more version of it: this one's name."""
        made = self.do("api", host=host, path=f"/keys/{name}/create", body={"kty": "RSA", **body})
        return made["key"]["kid"].rpartition("/")[2]

    def set_enabled(self, version: str, enabled: bool) -> None:
        self.do("api", host=VAULT, path=f"/keys/master/{version}", method="PATCH", body={"attributes": {"enabled": enabled}})

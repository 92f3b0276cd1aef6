"""The stand-in for Vault (tests/support/transit_server.py), served to a test."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from processes import need

PROGRAM = Path(__file__).parent.parent / "support/transit_server.py"
NODE_POLICY = """
path "transit/keys/master" { capabilities = ["read"] }
path "transit/encrypt/master" { capabilities = ["update"] }
path "transit/decrypt/master" { capabilities = ["update"] }
"""
ADMIN_POLICY = """
path "transit/rewrap/master" { capabilities = ["update"] }
"""


class ServedVault:
    """One server, on one port, which can be killed and brought back with all that it knows."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.port = 0
        self.token = ""
        self.options = options
        self.process: subprocess.Popen | None = None
        self.start()

    @classmethod
    def of_test(cls, test: unittest.TestCase, *options: str) -> ServedVault:
        """In a directory of its own; both go with the test."""
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        test.addCleanup(directory.cleanup)
        served = cls(Path(directory.name), *options)
        test.addCleanup(served.stop)
        return served

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """It listens then."""
        need(os.access("/usr/bin/python3", os.X_OK), "no /usr/bin/python3")
        self.process = subprocess.Popen(["/usr/bin/python3", PROGRAM, self.directory, "--port", str(self.port), *self.options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the stand-in for Vault did not start")
        said = json.loads(line)
        self.port, self.token = said["port"], said["token"]

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

    def add_node_policy(self) -> None:
        self.do("api", path="sys/policies/acl/coffer-node", body={"policy": NODE_POLICY})

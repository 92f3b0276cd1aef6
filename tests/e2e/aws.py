"""The stand-in for AWS (tests/support/aws_kms_server.py), served to a test."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from processes import need

PROGRAM = Path(__file__).parent.parent / "support/aws_kms_server.py"
REGION = "eu-west-1"
MACHINE_ROLE = "machine-role"
POD_ROLE = "arn:aws:iam::111122223333:role/pod-role"
NODE_ACTIONS = ["DescribeKey", "Encrypt", "Decrypt"]


class ServedAws:
    """One server, on two ports, which can be killed and brought back with all that it knows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.port = 0
        self.metadata_port = 0
        self.container_token = ""
        self.process: subprocess.Popen | None = None
        self.start()

    @classmethod
    def of_test(cls, test: unittest.TestCase) -> ServedAws:
        """In a directory of its own; both go with the test."""
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        test.addCleanup(directory.cleanup)
        served = cls(Path(directory.name))
        test.addCleanup(served.stop)
        return served

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def metadata(self) -> str:
        return f"http://127.0.0.1:{self.metadata_port}"

    def start(self) -> None:
        """It listens then."""
        need(os.access("/usr/bin/python3", os.X_OK), "no /usr/bin/python3")
        self.process = subprocess.Popen(["/usr/bin/python3", PROGRAM, self.directory, "--port", str(self.port),
                                         "--metadata-port", str(self.metadata_port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the stand-in for AWS did not start")
        said = json.loads(line)
        self.port, self.metadata_port, self.container_token = said["port"], said["metadata_port"], said["container_token"]

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

    def api(self, operation: str, **body: Any) -> Any:
        """A request of KMS's API, by root."""
        return self.do("api", operation=operation, body=body)

    def allow_node(self, principal: str = MACHINE_ROLE) -> None:
        self.do("allow", principal=principal, actions=NODE_ACTIONS)

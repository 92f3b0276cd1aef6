"""The stand-in for Google Cloud (tests/support/gcp_kms_server.py), served to a test."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from processes import need

PROGRAM = Path(__file__).parent.parent / "support/gcp_kms_server.py"
NODE_ACCOUNT = "node@p.iam.gserviceaccount.com"
RING = "projects/p/locations/europe-west3/keyRings/coffer"


class ServedGcp:
    """One server, on its two ports, which can be killed and brought back with all that it knows. It has a key `master` in RING, and a
    service account that may use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.port = self.plain_port = 0
        self.process: subprocess.Popen | None = None
        self.start()
        self.do("api", path=f"{RING}/cryptoKeys", query={"cryptoKeyId": "master"}, body={"purpose": "ENCRYPT_DECRYPT"})
        self.do("allow", principal=NODE_ACCOUNT, resource=RING)

    @classmethod
    def of_test(cls, test: unittest.TestCase) -> ServedGcp:
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
            raise AssertionError("the stand-in for Google Cloud did not start")
        said = json.loads(line)
        self.port, self.plain_port = said["port"], said["plain_port"]

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

    def set_state(self, version: int, state: str) -> None:
        self.do("api", path=f"{RING}/cryptoKeys/master/cryptoKeyVersions/{version}", method="PATCH", body={"state": state})

    def rotate(self) -> None:
        made = self.do("api", path=f"{RING}/cryptoKeys/master/cryptoKeyVersions")["name"]
        self.do("api", path=f"{RING}/cryptoKeys/master:updatePrimaryVersion", body={"cryptoKeyVersionId": made.rpartition("/")[2]})

    def federation(self, subject_file: Path) -> dict:
        """Credentials of another cloud's, by which one is the node's service account."""
        return {"type": "external_account", "audience": self.do("audience"), "token_url": f"{self.url}/v1/token",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": str(subject_file)},
                "service_account_impersonation_url": f"{self.url}/v1/projects/-/serviceAccounts/{NODE_ACCOUNT}:generateAccessToken"}

"""The stand-in for Google Cloud that the tests use, asked by Google's own client (@google-cloud/kms, in tests/clients)."""

import base64
import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path
from typing import Any

from gcp import NODE_ACCOUNT, RING, ServedGcp
from processes import need

CLIENTS = os.environ.get("COFFER_TEST_CLIENTS", "")
PROGRAM = Path(__file__).parent.parent / "clients/gcp_kms.mjs"
KEY = f"{RING}/cryptoKeys/master"
PLAIN = base64.b64encode(b"k" * 64).decode()
AAD = base64.b64encode(b"context").decode()


def crc32c(data: bytes) -> int:
    """By the table of the polynomial, and not as the stand-in has it."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 * (value & 1))
        table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Refusal(Exception):
    """What the client throws."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


class Client:
    """One of Google's, in a process of its own."""

    def __init__(self, gcp: ServedGcp, *arguments: str, **environment: str) -> None:
        shutil.copy(PROGRAM, CLIENTS)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "GCE_", "CLOUDSDK_", "COFFER_"))}
        self.process = subprocess.Popen(["node", f"{CLIENTS}/{PROGRAM.name}", str(gcp.port), *arguments], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**kept, "NODE_EXTRA_CA_CERTS": str(gcp.ca), "CLOUDSDK_CONFIG": str(gcp.directory),
                                             "GOOGLE_CLOUD_PROJECT": "p", **environment})

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __call__(self, call: str, **request: Any) -> dict:
        self.process.stdin.write(json.dumps({"call": call, "request": request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the client has ended")
        said = json.loads(line)
        if "error" in said:
            raise Refusal(said["error"]["status"], said["error"]["message"])
        return said["ok"]

    def sealed(self, aad: str = AAD) -> dict:
        return self("encrypt", name=KEY, plaintext=PLAIN, additionalAuthenticatedData=aad)

    def opened(self, ciphertext: str, aad: str = AAD) -> dict:
        return self("decrypt", name=KEY, ciphertext=ciphertext, additionalAuthenticatedData=aad)


class StandIn(unittest.TestCase):
    def setUp(self) -> None:
        need(shutil.which("node") and CLIENTS and Path(CLIENTS, "node_modules/@google-cloud/kms").is_dir(),
             "no node, or COFFER_TEST_CLIENTS names no directory with @google-cloud/kms (npm ci)")
        self.gcp = ServedGcp.of_test(self)

    def write(self, name: str, content: str) -> Path:
        path = self.gcp.directory / name
        path.write_text(content)
        path.chmod(0o600)
        return path

    def by_metadata(self, account: str = NODE_ACCOUNT) -> Client:
        """A client of a machine with this account attached."""
        self.gcp.do("attach", email=account)
        return Client(self.gcp, GCE_METADATA_HOST=f"127.0.0.1:{self.gcp.plain_port}")

    def assert_refused(self, status: str, words: str, call: Any, *arguments: Any, **request: Any) -> None:
        with self.assertRaisesRegex(Refusal, words) as caught:
            call(*arguments, **request)
        self.assertEqual(caught.exception.status, status)

    def test_a_key_and_its_versions(self) -> None:
        with self.by_metadata("admin@p.iam.gserviceaccount.com") as client:
            first = client.sealed()
            self.assertEqual(first["name"], f"{KEY}/cryptoKeyVersions/1")
            self.assertEqual(int(first["ciphertextCrc32c"]["value"]), crc32c(base64.b64decode(first["ciphertext"])))
            opened = client.opened(first["ciphertext"])
            self.assertEqual((opened["plaintext"], opened["usedPrimary"]), (PLAIN, True))
            self.assertEqual(int(opened["plaintextCrc32c"]["value"]), crc32c(b"k" * 64))
            made = client("createCryptoKeyVersion", parent=KEY)
            self.assertEqual((made["name"], made["state"]), (f"{KEY}/cryptoKeyVersions/2", "ENABLED"))
            self.assertEqual(client("updateCryptoKeyPrimaryVersion", name=KEY, cryptoKeyVersionId="2")["primary"]["name"], made["name"])
            self.assertEqual(client.sealed()["name"], made["name"])
            self.assertFalse(client.opened(first["ciphertext"])["usedPrimary"])
            shown = client("getCryptoKey", name=KEY)
            self.assertEqual((shown["purpose"], shown["primary"]["state"], shown["primary"]["protectionLevel"]),
                             ("ENCRYPT_DECRYPT", "ENABLED", "SOFTWARE"))
            self.assertGreater(int(shown["createTime"]["seconds"]), 0)
            client("updateCryptoKeyVersion", cryptoKeyVersion={"name": f"{KEY}/cryptoKeyVersions/1", "state": "DISABLED"},
                   updateMask={"paths": ["state"]})
            self.assert_refused("FAILED_PRECONDITION", "is not enabled, current state is: DISABLED", client.opened, first["ciphertext"])
            self.assertEqual(client("destroyCryptoKeyVersion", name=made["name"])["state"], "DESTROY_SCHEDULED")
            self.assert_refused("FAILED_PRECONDITION", "DESTROY_SCHEDULED", client.sealed)

    def test_what_is_made(self) -> None:
        with self.by_metadata("admin@p.iam.gserviceaccount.com") as client:
            ring = client("createKeyRing", parent="projects/p/locations/global", keyRingId="r")["name"]
            made = client("createCryptoKey", parent=ring, cryptoKeyId="k", cryptoKey={"purpose": "ENCRYPT_DECRYPT"})
            self.assertEqual((made["name"], made["purpose"]), (f"{ring}/cryptoKeys/k", "ENCRYPT_DECRYPT"))
            signs = client("createCryptoKey", parent=ring, cryptoKeyId="s", cryptoKey={"purpose": "ASYMMETRIC_SIGN"})
            self.assertEqual(signs["purpose"], "ASYMMETRIC_SIGN")
            self.assertIsNone(signs["primary"])
            self.assert_refused("INVALID_ARGUMENT", "not a symmetric key", client, "encrypt", name=signs["name"], plaintext=PLAIN)
            self.assert_refused("NOT_FOUND", "not found", client, "getCryptoKey", name=f"{ring}/cryptoKeys/other")

    def test_what_is_altered(self) -> None:
        with self.by_metadata() as client:
            sealed = client.sealed()["ciphertext"]
            self.assert_refused("INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid", client.opened, sealed,
                                base64.b64encode(b"another").decode())
            raw = bytearray(base64.b64decode(sealed))
            for at, words in ((0, "the ciphertext is invalid"), (5, "verify that 'name' refers"), (-1, "the ciphertext is invalid")):
                damaged = bytearray(raw)
                damaged[at] ^= 1
                self.assert_refused("INVALID_ARGUMENT", words, client.opened, base64.b64encode(damaged).decode())

    def test_checksums(self) -> None:
        with self.by_metadata() as client:
            good = {"name": KEY, "plaintext": PLAIN, "additionalAuthenticatedData": AAD, "plaintextCrc32c": {"value": crc32c(b"k" * 64)},
                    "additionalAuthenticatedDataCrc32c": {"value": crc32c(b"context")}}
            sealed = client("encrypt", **good)
            self.assertTrue(sealed["verifiedPlaintextCrc32c"] and sealed["verifiedAdditionalAuthenticatedDataCrc32c"])
            self.assertFalse(client.sealed()["verifiedPlaintextCrc32c"])
            for name in ("plaintext", "additionalAuthenticatedData"):
                self.assert_refused("INVALID_ARGUMENT", "did not match", client, "encrypt", **good | {f"{name}Crc32c": {"value": 1}})
            self.assert_refused("INVALID_ARGUMENT", "did not match", client, "decrypt", name=KEY, ciphertext=sealed["ciphertext"],
                                additionalAuthenticatedData=AAD, ciphertextCrc32c={"value": 1})

    def test_who_may(self) -> None:
        with self.by_metadata() as client:
            sealed = client.sealed()["ciphertext"]
            self.assert_refused("PERMISSION_DENIED", "denied on resource", client, "createCryptoKeyVersion", parent=KEY)
            self.gcp.do("allow", principal=NODE_ACCOUNT, resource=RING, permissions=["cloudkms.cryptoKeyVersions.useToDecrypt"])
            self.assertEqual(client.opened(sealed)["plaintext"], PLAIN)
            self.assert_refused("PERMISSION_DENIED", "useToEncrypt' denied", client.sealed)
            self.assert_refused("PERMISSION_DENIED", "cryptoKeys.get' denied", client, "getCryptoKey", name=KEY)

    def test_a_service_account(self) -> None:
        account = self.gcp.do("service_account", email=NODE_ACCOUNT)
        path = self.write("key.json", json.dumps(account))
        with Client(self.gcp, f"{self.gcp.url}/token", GOOGLE_APPLICATION_CREDENTIALS=str(path)) as client:
            self.assertEqual(client.opened(client.sealed()["ciphertext"])["plaintext"], PLAIN)
        other = self.gcp.do("service_account", email="other@p.iam.gserviceaccount.com")
        path.write_text(json.dumps(account | {"private_key": other["private_key"]}))
        with Client(self.gcp, f"{self.gcp.url}/token", GOOGLE_APPLICATION_CREDENTIALS=str(path)) as client:
            self.assertRaisesRegex(Refusal, "Invalid JWT Signature", client.sealed)

    def test_federation(self) -> None:
        self.gcp.do("service_account", email=NODE_ACCOUNT)
        self.gcp.do("impersonator", principal="principal://s1", email=NODE_ACCOUNT)
        subject = self.write("subject", self.gcp.do("jwt", subject="s1"))
        path = self.write("federation.json", json.dumps(self.gcp.federation(subject)))
        with Client(self.gcp, GOOGLE_APPLICATION_CREDENTIALS=str(path)) as client:
            self.assertEqual(client.opened(client.sealed()["ciphertext"])["plaintext"], PLAIN)
        subject.write_text(self.gcp.do("jwt", subject="s2"))
        with Client(self.gcp, GOOGLE_APPLICATION_CREDENTIALS=str(path)) as client:
            self.assertRaisesRegex(Refusal, "getAccessToken", client.sealed)


if __name__ == "__main__":
    unittest.main()

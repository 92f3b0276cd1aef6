"""The stand-in for Azure that the tests use, asked by Azure's own client (@azure/keyvault-keys, in tests/clients)."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path
from typing import Any

from azure import HSM, NODE_CLIENT, SECRET, VAULT, ServedAzure
from processes import need

CLIENTS = os.environ.get("COFFER_TEST_CLIENTS", "")
PROGRAM = Path(__file__).parent.parent / "clients/azure_keys.mjs"
PLAIN = b"k" * 32


def as_bytes(data: bytes) -> dict:
    return {"base64": base64.b64encode(data).decode()}


def from_bytes(said: dict) -> bytes:
    return base64.b64decode(said["base64"])


class Refusal(Exception):
    """What the client throws."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code


class Client:
    """One of Azure's, in a process of its own."""

    def __init__(self, azure: ServedAzure, host: str, client: str = NODE_CLIENT, **environment: str) -> None:
        shutil.copy(PROGRAM, CLIENTS)
        self.kid = f"https://{host}/keys/master"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "COFFER_"))}
        self.process = subprocess.Popen(["node", f"{CLIENTS}/{PROGRAM.name}", str(azure.port), host, client], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**kept, "NODE_EXTRA_CA_CERTS": str(azure.ca), **environment})

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __call__(self, call: str, *request: Any, key: str = "") -> dict:
        self.process.stdin.write(json.dumps({"call": call, "key": key, "request": request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the client has ended")
        said = json.loads(line)
        if "error" in said:
            raise Refusal(said["error"]["status"], said["error"]["code"], said["error"]["message"])
        return said["ok"]

    def version(self) -> str:
        return self("getKey", "master")["properties"]["version"]


class StandIn(unittest.TestCase):
    def setUp(self) -> None:
        need(shutil.which("node") and CLIENTS and Path(CLIENTS, "node_modules/@azure/keyvault-keys").is_dir(),
             "no node, or COFFER_TEST_CLIENTS names no directory with @azure/keyvault-keys (npm ci)")
        self.azure = ServedAzure.of_test(self)
        self.azure.do("allow", principal=NODE_CLIENT, host=VAULT, permissions=["get", "wrapKey", "unwrapKey", "sign"])

    def client(self, host: str = VAULT) -> Client:
        return Client(self.azure, host, AZURE_CLIENT_SECRET=SECRET)

    def admin(self, host: str = VAULT) -> Client:
        self.azure.do("secret", client="admin", secret="s")
        self.azure.do("allow", principal="admin", host=host, permissions=["*"])
        return Client(self.azure, host, "admin", AZURE_CLIENT_SECRET="s")

    def assert_refused(self, status: int, code: str, words: str, call: Any, *request: Any, **key: str) -> None:
        with self.assertRaisesRegex(Refusal, words) as caught:
            call(*request, **key)
        self.assertEqual((caught.exception.status, caught.exception.code), (status, code))

    def test_a_key_of_a_vault(self) -> None:
        with self.client() as client:
            shown = client("getKey", "master")
            self.assertEqual((shown["keyType"], shown["properties"]["enabled"]), ("RSA", True))
            self.assertIn("wrapKey", shown["keyOperations"])
            wrapped = client("wrapKey", "RSA-OAEP-256", as_bytes(PLAIN), key=shown["id"])
            self.assertEqual(wrapped["keyID"], shown["id"])
            opened = client("unwrapKey", "RSA-OAEP-256", wrapped["result"], key=shown["id"])
            self.assertEqual((from_bytes(opened["result"]), opened["keyID"]), (PLAIN, shown["id"]))
            damaged = bytearray(from_bytes(wrapped["result"]))
            damaged[9] ^= 1
            self.assert_refused(400, "BadParameter", "incorrect", client, "unwrapKey", "RSA-OAEP-256", as_bytes(damaged), key=shown["id"])

    def test_what_a_key_signs(self) -> None:
        with self.client() as client:
            shown = client("getKey", "master-signer")
            self.assertEqual((shown["keyType"], shown["key"]["crv"]), ("EC", "P-256"))
            signed = client("signData", "ES256", as_bytes(b"statement"), key=shown["id"])
            self.assertEqual((signed["keyID"], len(from_bytes(signed["result"]))), (shown["id"], 64))
            digest = as_bytes(hashlib.sha256(b"statement").digest())
            again = client("sign", "ES256", digest, key=shown["id"])
        with self.admin() as client:
            for each in (signed, again):
                self.assertTrue(client("verify", "ES256", digest, each["result"], key=shown["id"])["result"])
            self.assertFalse(client("verifyData", "ES256", as_bytes(b"statements"), signed["result"], key=shown["id"])["result"])

    def test_a_key_of_an_hsm(self) -> None:
        with self.client(HSM) as client:
            kid = client("getKey", "master")["id"]
            sealed = client("encrypt", {"algorithm": "A256GCM", "plaintext": as_bytes(PLAIN),
                                        "additionalAuthenticatedData": as_bytes(b"context")}, key=kid)
            parts = {"algorithm": "A256GCM", "ciphertext": sealed["result"], "iv": sealed["iv"],
                     "authenticationTag": sealed["authenticationTag"], "additionalAuthenticatedData": as_bytes(b"context")}
            self.assertEqual([len(from_bytes(parts[name])) for name in ("ciphertext", "iv", "authenticationTag")], [32, 12, 16])
            self.assertEqual(from_bytes(client("decrypt", parts, key=kid)["result"]), PLAIN)
            self.assert_refused(400, "BadParameter", "incorrect", client, "decrypt",
                                parts | {"additionalAuthenticatedData": as_bytes(b"another")}, key=kid)

    def test_versions_and_their_states(self) -> None:
        with self.admin() as client:
            first = client("getKey", "master")["id"]
            wrapped = client("wrapKey", "RSA-OAEP-256", as_bytes(PLAIN), key=first)["result"]
            second = client("createRsaKey", "master", {"keySize": 3072})
            self.assertEqual(client("getKey", "master")["id"], second["id"])
            self.assertEqual(client("getKey", "master", {"version": first.rpartition("/")[2]})["id"], first)
            self.assertEqual(from_bytes(client("unwrapKey", "RSA-OAEP-256", wrapped, key=first)["result"]), PLAIN)
            client("updateKeyProperties", "master", first.rpartition("/")[2], {"enabled": False})
            self.assert_refused(403, "Forbidden", "disabled key", client, "unwrapKey", "RSA-OAEP-256", wrapped, key=first)
            self.assertEqual(client("wrapKey", "RSA-OAEP-256", as_bytes(PLAIN), key=first)["keyID"], first)
            self.assert_refused(404, "KeyNotFound", "was not found", client, "getKey", "nothing")
            self.assert_refused(404, "KeyNotFound", "was not found", client, "getKey", "master", {"version": "0" * 32})

    def test_who_may(self) -> None:
        with self.client() as client:
            kid = client("getKey", "master")["id"]
            wrapped = client("wrapKey", "RSA-OAEP-256", as_bytes(PLAIN), key=kid)["result"]
            self.azure.do("allow", principal=NODE_CLIENT, host=VAULT, permissions=["get", "unwrapKey"])
            self.assertEqual(from_bytes(client("unwrapKey", "RSA-OAEP-256", wrapped, key=kid)["result"]), PLAIN)
            self.assert_refused(403, "Forbidden", "does not have keys wrapKey permission", client, "wrapKey", "RSA-OAEP-256",
                                as_bytes(PLAIN), key=kid)
            self.assert_refused(403, "Forbidden", "create permission", client, "createRsaKey", "other")

    def test_tokens(self) -> None:
        with self.client() as client:
            version = client.version()
            self.azure.do("expire")
            self.assert_refused(401, "Unauthorized", "Bearer", client.version)
        with Client(self.azure, VAULT, AZURE_CLIENT_SECRET="other") as client:
            self.assertRaisesRegex(Refusal, "AADSTS7000215", client.version)
        self.azure.do("federate", subject="s1", client=NODE_CLIENT)
        token = self.azure.directory / "token"
        token.write_text(self.azure.do("jwt", subject="s1"))
        with Client(self.azure, VAULT, AZURE_FEDERATED_TOKEN_FILE=str(token)) as client:
            self.assertEqual(client.version(), version)
        self.azure.do("challenge", text='Bearer authorization="https://login.microsoftonline.com/t", resource="https://other.example"')
        with self.client() as client:
            self.assertRaisesRegex(Refusal, "does not match the requested domain", client.version)


if __name__ == "__main__":
    unittest.main()

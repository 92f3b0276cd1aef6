"""What azure_kms_server.py answers of Key Vault and Managed HSM: keys, their versions and who may use them, as Azure's API has it."""

from __future__ import annotations

import base64
import binascii
import functools
import os
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

API_VERSION = "7.4"
NODE = ("get", "unwrapKey", "sign", "encrypt", "decrypt")
OPERATIONS = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey", "encrypt": "encrypt", "decrypt": "decrypt", "sign": "sign", "verify": "verify"}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
DIGEST = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


class Refused(Exception):
    """With HTTP's status, and Azure's codes and words."""

    def __init__(self, status: int, code: str, words: str, inner: str = "") -> None:
        super().__init__(words)
        self.status = status
        error: dict[str, Any] = {"code": code, "message": words}
        if inner:
            error["innererror"] = {"code": inner}
        self.body = {"error": error}


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unurl(body: dict, name: str) -> bytes:
    text = body.get(name)
    if not isinstance(text, str):
        raise Refused(400, "BadParameter", f"Property '{name}' is required.\r\n")
    if not re.fullmatch("[A-Za-z0-9_-]*", text):
        raise Refused(400, "BadParameter", f"Content of '{name}' is not base64url.\r\n")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as failure:
        raise Refused(400, "BadParameter", f"Content of '{name}' is not base64url.\r\n") from failure


@functools.lru_cache(maxsize=64)
def _private(pem: bytes) -> Any:
    return serialization.load_pem_private_key(pem, None)


def _integer(number: int) -> str:
    return _url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


@dataclass
class Version:
    """Of a key."""

    kty: str
    size: int
    operations: list[str]
    attributes: dict[str, Any]
    secret: bytes = b""
    name: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        if self.kty.startswith("oct"):
            self.secret = os.urandom(self.size // 8)
            return
        key = rsa.generate_private_key(65537, self.size) if self.kty.startswith("RSA") else ec.generate_private_key(ec.SECP256R1())
        self.secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def describe(self, kid: str) -> dict:
        key = {"kid": f"{kid}/{self.name}", "kty": self.kty, "key_ops": self.operations}
        if self.kty.startswith("RSA"):
            public = _private(self.secret).public_key().public_numbers()
            key |= {"n": _integer(public.n), "e": _integer(public.e)}
        if self.kty.startswith("EC"):
            point = _private(self.secret).public_key().public_numbers()
            key |= {"crv": "P-256", "x": _url(point.x.to_bytes(32, "big")), "y": _url(point.y.to_bytes(32, "big"))}
        return {"key": key, "attributes": self.attributes}

    def work(self, operation: str, body: dict) -> dict:
        if operation in ("sign", "verify"):
            return self._signature(operation, body)
        value = _unurl(body, "value")
        algorithm = body.get("alg")
        if operation in ("wrapkey", "unwrapkey") or self.kty.startswith("RSA"):
            if algorithm != "RSA-OAEP-256" or not self.kty.startswith("RSA"):
                raise Refused(400, "BadParameter", f"Property 'alg' has invalid value '{algorithm}' for this key\r\n")
            return self._rsa(operation in ("wrapkey", "encrypt"), value)
        if algorithm != "A256GCM" or self.size != 256:
            raise Refused(400, "BadParameter", f"Property 'alg' has invalid value '{algorithm}' for this key\r\n")
        aad = _unurl(body, "aad") if "aad" in body else b""
        if operation == "encrypt":
            iv = os.urandom(12)
            sealed = AESGCM(self.secret).encrypt(iv, value, aad)
            return {"value": _url(sealed[:-16]), "iv": _url(iv), "tag": _url(sealed[-16:]), "aad": _url(aad)}
        try:
            return {"value": _url(AESGCM(self.secret).decrypt(_unurl(body, "iv"), value + _unurl(body, "tag"), aad))}
        except (InvalidTag, ValueError) as failure:
            raise Refused(400, "BadParameter", "The parameter is incorrect.\r\n") from failure

    def _signature(self, operation: str, body: dict) -> dict:
        """By ES256: r and s, 32 bytes each."""
        digest = _unurl(body, "value" if operation == "sign" else "digest")
        if body.get("alg") != "ES256" or not self.kty.startswith("EC"):
            raise Refused(400, "BadParameter", f"Property 'alg' has invalid value '{body.get('alg')}' for this key\r\n")
        if len(digest) != 32:
            raise Refused(400, "BadParameter", "Invalid length of the digest: 32 bytes are expected.\r\n")
        key = _private(self.secret)
        if operation == "sign":
            parts = utils.decode_dss_signature(key.sign(digest, DIGEST))
            return {"value": _url(b"".join(part.to_bytes(32, "big") for part in parts))}
        signature = _unurl(body, "value")
        try:
            key.public_key().verify(utils.encode_dss_signature(*(int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))),
                                    digest, DIGEST)
        except InvalidSignature:
            return {"value": False}
        return {"value": True}

    def _rsa(self, seals: bool, value: bytes) -> dict:
        key = _private(self.secret)
        try:
            return {"value": _url(key.public_key().encrypt(value, OAEP) if seals else key.decrypt(value, OAEP))}
        except ValueError as failure:
            raise Refused(400, "BadParameter", "The parameter is incorrect.\r\n") from failure


class Vaults:
    """All vaults and HSMs, by host, their keys, and who may do what: {(principal, host): permissions}."""

    def __init__(self) -> None:
        self.hosts: dict[str, dict[str, list[Version]]] = {}
        self.allowed: dict[tuple[str, str], list[str]] = {}

    def allow(self, principal: str, host: str, permissions: list[str]) -> None:
        self.allowed[principal, host] = permissions

    def serve(self, principal: str, host: str, method: str, path: str, query: dict, body: dict) -> dict:
        """A request of the API's, /keys/…"""
        if query.get("api-version") != API_VERSION:
            raise Refused(400, "BadParameter", "The specified version is not recognized. Consider using the latest supported version.")
        # A name alone, and "NAME//OPERATION", stand for the newest version.
        found = re.fullmatch(r"/keys/([0-9A-Za-z-]+)(?:/([0-9a-f]{32}|))?(?:/([a-z]+))?/?", path)
        if not found:
            raise Refused(404, "NotFound", "no such thing")
        name, version, operation = found.group(1).lower(), found.group(2) or "", found.group(3) or ""
        permission = OPERATIONS.get(operation) or ("get" if method == "GET" else "create")
        allowed = self.allowed.get((principal, host), [])
        if "*" not in allowed and permission not in allowed:
            raise Refused(403, "Forbidden", f"The user, group or application '{principal}' does not have keys {permission} permission on key "
                                            f"vault '{host}'.", "AccessDenied")
        kid = f"https://{host}/keys/{name}"
        if operation == "create":
            return self._create(host, name, body).describe(kid)
        key = self._version(host, name, version)
        if operation in OPERATIONS:
            self._check(key, operation)
            said = key.work(operation, body)
            return said if operation == "verify" else {"kid": f"{kid}/{key.name}", **said}
        if method == "PATCH":
            key.attributes |= body.get("attributes") or {}
            key.operations = body.get("key_ops") or key.operations
        elif method == "DELETE":
            del self.hosts[host][name]
        elif method != "GET":
            raise Refused(405, "MethodNotAllowed", "no such operation")
        return key.describe(kid)

    def _create(self, host: str, name: str, body: dict) -> Version:
        kty = body["kty"]
        if kty.startswith("oct") and ".managedhsm." not in host:
            raise Refused(400, "BadParameter", "Property 'kty' has invalid value\r\n")
        now = int(time.time())
        attributes = {"enabled": True, "created": now, "updated": now, "recoveryLevel": "Recoverable"} | (body.get("attributes") or {})
        sizes = {"oct": 256, "RSA": 2048, "EC": 256}
        operations = {"oct": ["encrypt", "decrypt"], "EC": ["sign", "verify"],
                      "RSA": ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]}
        kind = kty.partition("-")[0]
        made = Version(kty, body.get("key_size") or sizes[kind], body.get("key_ops") or operations[kind], attributes)
        self.hosts.setdefault(host, {}).setdefault(name, []).append(made)
        return made

    def _version(self, host: str, name: str, version: str) -> Version:
        versions = self.hosts.get(host, {}).get(name, [])
        for each in reversed(versions):
            if version in ("", each.name):
                return each
        raise Refused(404, "KeyNotFound", f"A key with (name/id) {name}/{version} was not found in this key vault. If you recently deleted "
                                          "this key you may be able to recover it using the correct recovery command.")

    @staticmethod
    def _check(key: Version, operation: str) -> None:
        opens = operation in ("unwrapkey", "decrypt", "verify")
        if operation in ("unwrapkey", "decrypt", "sign") and not key.attributes["enabled"]:
            raise Refused(403, "Forbidden", f"Operation {OPERATIONS[operation]} is not allowed on a disabled key.", "KeyDisabled")
        if not opens and time.time() >= (key.attributes.get("exp") or float("inf")):
            raise Refused(403, "Forbidden", f"Operation {OPERATIONS[operation]} is not allowed on an expired key.", "KeyExpired")
        if not opens and time.time() < (key.attributes.get("nbf") or 0):
            raise Refused(403, "Forbidden", f"Operation {OPERATIONS[operation]} is not allowed on a key that is not yet valid.",
                          "KeyNotYetValid")
        if OPERATIONS[operation] not in key.operations:
            raise Refused(403, "Forbidden", f"Operation {OPERATIONS[operation]} is not permitted on this key.", "KeyOperationForbidden")

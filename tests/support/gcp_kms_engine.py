"""What gcp_kms_server.py answers of Cloud KMS: keys, versions and who may use them, as Google's API documents them."""

from __future__ import annotations

import base64
import binascii
import datetime
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

STATES = {1: "ENABLED", 2: "DISABLED", 3: "DESTROYED", 4: "DESTROY_SCHEDULED"}
PURPOSES = {1: "ENCRYPT_DECRYPT", 5: "ASYMMETRIC_SIGN", 6: "ASYMMETRIC_DECRYPT", 9: "MAC"}
LEVELS = {1: "SOFTWARE", 2: "HSM"}
CODES = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
         "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
MAGIC = b"\x0a\x24\x00"
NODE = ("cloudkms.cryptoKeys.get", "cloudkms.cryptoKeyVersions.useToEncrypt", "cloudkms.cryptoKeyVersions.useToDecrypt")


class Refused(Exception):
    """With the name of a google.rpc.Code, and words."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def crc32c(data: bytes) -> int:
    """Castagnoli (RFC 3720)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _named(value: Any, names: dict[int, str]) -> str:
    return names.get(value, "") if isinstance(value, int) else str(value or "")


def _decoded(body: dict, name: str) -> bytes:
    """A field of bytes, checked against its checksum if there is one."""
    try:
        data = base64.b64decode(body.get(name) or "", altchars=b"-_" if re.search("[-_]", body.get(name) or "") else None, validate=True)
    except (binascii.Error, TypeError) as failure:
        raise Refused("INVALID_ARGUMENT", f"Invalid value at '{name}' (TYPE_BYTES), Base64 decoding failed") from failure
    given = body.get(name + "Crc32c")
    if given is not None and (not isinstance(given, str) or int(given) != crc32c(data)):
        raise Refused("INVALID_ARGUMENT", f"The checksum in field {name}_crc32c did not match the data in field {name}.")
    return data


@dataclass
class Version:
    """Of a key."""

    number: int
    state: str = "ENABLED"
    mark: bytes = field(default_factory=lambda: os.urandom(16))
    secret: bytes = field(default_factory=lambda: os.urandom(32))


@dataclass
class Key:
    """A CryptoKey with its versions."""

    name: str
    purpose: str = "ENCRYPT_DECRYPT"
    level: str = "SOFTWARE"
    primary: int = 1
    created: str = field(default_factory=lambda: datetime.datetime.utcnow().isoformat() + "789Z")
    versions: dict[int, Version] = field(default_factory=lambda: {1: Version(1)})

    def describe_version(self, number: int) -> dict:
        version = self.versions.get(number)
        if version is None:
            raise Refused("NOT_FOUND", f"CryptoKeyVersion {self.name}/cryptoKeyVersions/{number} not found.")
        return {"name": f"{self.name}/cryptoKeyVersions/{number}", "state": version.state, "createTime": self.created,
                "protectionLevel": self.level, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "generateTime": self.created}

    def describe(self) -> dict:
        said = {"name": self.name, "purpose": self.purpose, "createTime": self.created, "destroyScheduledDuration": "2592000s",
                "versionTemplate": {"protectionLevel": self.level, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}}
        if self.purpose == "ENCRYPT_DECRYPT" and self.primary:
            said["primary"] = self.describe_version(self.primary)
        return said

    def _usable(self, number: int) -> Version:
        version = self.versions[number]
        if version.state != "ENABLED":
            raise Refused("FAILED_PRECONDITION", f"{self.name}/cryptoKeyVersions/{number} is not enabled, current state is: {version.state}.")
        return version

    def encrypt(self, body: dict) -> dict:
        plain, aad = _decoded(body, "plaintext"), _decoded(body, "additionalAuthenticatedData")
        if len(plain) > 65536 or len(aad) > 65536:
            raise Refused("INVALID_ARGUMENT", "The plaintext or additional authenticated data is too long.")
        if not self.primary:
            raise Refused("FAILED_PRECONDITION", f"{self.name} has no primary version.")
        version = self._usable(self.primary)
        nonce = os.urandom(12)
        sealed = MAGIC + version.mark + nonce + AESGCM(version.secret).encrypt(nonce, plain, aad)
        return {"name": f"{self.name}/cryptoKeyVersions/{version.number}", "ciphertext": base64.b64encode(sealed).decode(),
                "ciphertextCrc32c": str(crc32c(sealed)), "protectionLevel": self.level,
                **{f"verified{name}Crc32c": True for name, given in (("Plaintext", "plaintextCrc32c"),
                   ("AdditionalAuthenticatedData", "additionalAuthenticatedDataCrc32c")) if body.get(given) is not None}}

    def decrypt(self, body: dict) -> dict:
        sealed, aad = _decoded(body, "ciphertext"), _decoded(body, "additionalAuthenticatedData")
        if sealed[:3] != MAGIC or len(sealed) < 47:
            raise Refused("INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
        for version in self.versions.values():
            if version.mark == sealed[3:19]:
                break
        else:
            raise Refused("INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
        self._usable(version.number)
        try:
            plain = AESGCM(version.secret).decrypt(sealed[19:31], sealed[31:], aad)
        except InvalidTag as failure:
            raise Refused("INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.") from failure
        said = {"plaintext": base64.b64encode(plain).decode(), "plaintextCrc32c": str(crc32c(plain)), "protectionLevel": self.level}
        return said | ({"usedPrimary": True} if version.number == self.primary else {})


class Kms:
    """Key rings, keys and who may do what: {principal: {resource: permissions}}, a resource standing for all under it."""

    def __init__(self) -> None:
        self.rings: set[str] = set()
        self.keys: dict[str, Key] = {}
        self.allowed: dict[str, dict[str, list[str]]] = {}

    def allow(self, principal: str, resource: str, permissions: list[str]) -> None:
        self.allowed.setdefault(principal, {})[resource] = permissions

    def _need(self, principal: str, permission: str, resource: str) -> None:
        for place, permissions in self.allowed.get(principal, {}).items():
            if (resource + "/").startswith(place + "/") and ("*" in permissions or permission in permissions):
                return
        raise Refused("PERMISSION_DENIED", f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).")

    def serve(self, principal: str, method: str, path: str, query: dict, body: dict) -> dict:
        """A request of the API's: `path` after /v1/."""
        path, _, operation = path.partition(":") if method == "POST" else (path, "", "")
        found = re.fullmatch(r"(projects/[^/]+/locations/[^/]+)(?:/keyRings(?:/([^/]+)(?:/cryptoKeys(?:/([^/]+)(/cryptoKeyVersions(?:/([0-9]+))?)?)?)?)?)?", path)
        if not found:
            raise Refused("NOT_FOUND", "The requested URL was not found on this server.")
        place, ring, key_id, versions, number = found.groups()
        if key_id is None:
            return self._make(principal, place, ring, query, body)
        name = f"{place}/keyRings/{ring}/cryptoKeys/{key_id}"
        if operation in ("encrypt", "decrypt"):
            self._need(principal, f"cloudkms.cryptoKeyVersions.useTo{operation.capitalize()}", name)
        elif method == "GET" and not versions:
            self._need(principal, "cloudkms.cryptoKeys.get", name)
        else:
            self._need(principal, "cloudkms.admin", name)
        key = self.keys.get(name)
        if key is None:
            raise Refused("NOT_FOUND", f"CryptoKey {name} not found.")
        if operation in ("encrypt", "decrypt") and key.purpose != "ENCRYPT_DECRYPT":
            raise Refused("INVALID_ARGUMENT", f"{name} is not a symmetric key.")
        if operation == "encrypt":
            return key.encrypt(body)
        if operation == "decrypt":
            return key.decrypt(body)
        return self._administer(key, method, operation, versions, int(number or 0), body)

    def _make(self, principal: str, place: str, ring: str | None, query: dict, body: dict) -> dict:
        self._need(principal, "cloudkms.admin", place)
        if ring is None:
            name = f"{place}/keyRings/{query['keyRingId']}"
            self.rings.add(name)
            return {"name": name}
        name = f"{place}/keyRings/{ring}/cryptoKeys/{query['cryptoKeyId']}"
        if name in self.keys:
            raise Refused("ALREADY_EXISTS", f"CryptoKey {name} already exists.")
        self.keys[name] = Key(name, _named(body.get("purpose"), PURPOSES),
                              _named((body.get("versionTemplate") or {}).get("protectionLevel"), LEVELS) or "SOFTWARE")
        return self.keys[name].describe()

    def _administer(self, key: Key, method: str, operation: str, versions: str | None, number: int, body: dict) -> dict:
        if operation == "updatePrimaryVersion":
            key.describe_version(int(body["cryptoKeyVersionId"]))
            key.primary = int(body["cryptoKeyVersionId"])
        elif versions and number == 0 and method == "POST":
            number = max(key.versions) + 1
            key.versions[number] = Version(number)
        elif versions and number and method == "PATCH":
            key.describe_version(number)
            key.versions[number].state = _named(body["state"], STATES)
        elif versions and operation in ("destroy", "restore"):
            key.describe_version(number)
            key.versions[number].state = "DESTROY_SCHEDULED" if operation == "destroy" else "DISABLED"
        elif method != "GET":
            raise Refused("NOT_FOUND", "Method not found.")
        return key.describe_version(number) if number else key.describe()


def rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

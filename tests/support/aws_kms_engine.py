"""What aws_kms_server.py answers: keys of KMS, principals and what they may do, and credentials, as AWS's API documents them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Callable

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transit_pki import subject_of_jwt

ACCOUNT = "111122223333"
MAGIC = b"\x01\x02\x02\x00"


class Refused(Exception):
    """With the name of AWS's error."""

    def __init__(self, name: str, words: str = "", status: int = 400) -> None:
        super().__init__(name, words)
        self.name = name
        self.words = words
        self.status = status


@dataclass
class Key:
    """With the materials that rotation has left, the newest last."""

    region: str
    account: str = ACCOUNT
    usage: str = "ENCRYPT_DECRYPT"
    spec: str = "SYMMETRIC_DEFAULT"
    manager: str = "CUSTOMER"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "Enabled"
    made_at: float = field(default_factory=lambda: round(time.time(), 3))
    deletion_at: float | None = None
    materials: list[bytes] = field(default_factory=lambda: [os.urandom(32)])

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{self.region}:{self.account}:key/{self.id}"

    def describe(self, tells_material: bool) -> dict:
        told = {"AWSAccountId": self.account, "KeyId": self.id, "Arn": self.arn, "CreationDate": self.made_at,
                "Enabled": self.state == "Enabled", "Description": "", "KeyUsage": self.usage, "KeyState": self.state,
                "Origin": "AWS_KMS", "KeyManager": self.manager, "CustomerMasterKeySpec": self.spec, "KeySpec": self.spec,
                "MultiRegion": self.id.startswith("mrk-"), "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}
        if tells_material:
            told["CurrentKeyMaterialId"] = material_id(self.materials[-1])
        if self.deletion_at is not None:
            told["DeletionDate"] = self.deletion_at
        return told


def material_id(material: bytes) -> str:
    return hashlib.sha256(b"id" + material).hexdigest()


def _decoded(body: dict, name: str) -> bytes:
    try:
        return base64.b64decode(body[name], validate=True)
    except (binascii.Error, KeyError, TypeError) as failure:
        raise Refused("SerializationException", f"{name} is no base64") from failure


def _context(body: dict, name: str = "EncryptionContext") -> bytes:
    context = body.get(name) or {}
    if not all(isinstance(value, str) for value in context.values()):
        raise Refused("SerializationException", f"{name} holds what is no string")
    return json.dumps(context, sort_keys=True).encode()


@dataclass
class Access:
    """An access key, and whose it is."""

    secret: str
    token: str
    principal: str
    expires: float | None = None


class Aws:
    """All that one region of an account knows."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, str] = {}
        self.policies: dict[str, list[dict]] = {}
        self.access: dict[str, Access] = {}
        self.trust: dict[str, str] = {}
        self.jwt_key = b""
        self.lifetime = 3600.0
        self.offset = 0.0
        self.tells_material = True

    def now(self) -> float:
        return time.time() + self.offset

    # Who may do what.

    def new_access(self, principal: str, temporary: bool = True, mark: str = "a/Hidden") -> dict:
        """`mark` is what secrets begin with, for a search of memory."""
        key_id = ("ASIA" if temporary else "AKIA") + os.urandom(8).hex().upper()
        secret = f"{mark}/Secret/" + base64.b64encode(os.urandom(18)).decode()
        token = f"{mark}/Token/" + base64.b64encode(os.urandom(150)).decode() if temporary else ""
        ends = self.now() + self.lifetime if temporary else None
        self.access[key_id] = Access(secret, token, principal, ends)
        told = {"AccessKeyId": key_id, "SecretAccessKey": secret, "Token": token}
        if ends is not None:
            told["Expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
        return told

    def principal_of(self, key_id: str, token: str) -> str:
        access = self.access.get(key_id)
        if access is None or access.token != token:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        if access.expires is not None and access.expires <= self.now():
            raise Refused("ExpiredTokenException", "The security token included in the request is expired")
        return access.principal

    def expire(self) -> None:
        for access in self.access.values():
            if access.expires is not None:
                access.expires = 0

    def _check_may(self, principal: str, action: str, arn: str) -> None:
        for statement in self.policies.get(principal, []):
            if ("*" in statement["actions"] or action in statement["actions"]) and statement.get("key", "*") in ("*", arn):
                return
        raise Refused("AccessDeniedException", f"User: arn:aws:iam::{ACCOUNT}:user/{principal} is not authorized to perform: kms:{action} "
                                               f"on resource: {arn} because no identity-based policy allows the kms:{action} action")

    # Keys.

    def _key(self, name: str) -> Key:
        parts = name.split(":")
        if len(parts) == 6 and parts[3] != self.region:
            raise Refused("NotFoundException", f"Invalid arn {parts[3]}")
        resource = parts[-1]
        found = self.keys.get(self.aliases.get(resource, resource).removeprefix("key/"))
        if found is None or (len(parts) == 6 and parts[4] != found.account):
            raise Refused("NotFoundException", f"Key '{name}' does not exist")
        return found

    def _usable(self, principal: str, action: str, name: str) -> Key:
        key = self._key(name)
        self._check_may(principal, action, key.arn)
        if key.state == "Disabled":
            raise Refused("DisabledException", f"{key.arn} is disabled.")
        if key.state != "Enabled":
            raise Refused("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        if key.usage != "ENCRYPT_DECRYPT" or key.spec != "SYMMETRIC_DEFAULT":
            raise Refused("InvalidKeyUsageException", f"{key.arn} key usage is {key.usage} which is not valid.")
        return key

    @staticmethod
    def _sealed(key: Key, plain: bytes, context: bytes) -> str:
        material = key.materials[-1]
        head = MAGIC + uuid.UUID(key.id).bytes + bytes.fromhex(material_id(material))[:8]
        nonce = os.urandom(12)
        return base64.b64encode(head + nonce + AESGCM(material).encrypt(nonce, plain, head + context)).decode()

    def _opened(self, key: Key, blob: bytes, context: bytes) -> tuple[bytes, bytes]:
        """With the material that sealed it."""
        head, nonce, sealed = blob[:28], blob[28:40], blob[40:]
        if len(blob) < 56 or head[:4] != MAGIC or str(uuid.UUID(bytes=head[4:20])) not in self.keys:
            raise Refused("InvalidCiphertextException")
        if str(uuid.UUID(bytes=head[4:20])) != key.id:
            raise Refused("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
        for material in key.materials:
            if bytes.fromhex(material_id(material))[:8] == head[20:]:
                try:
                    return AESGCM(material).decrypt(nonce, sealed, head + context), material
                except InvalidTag:
                    break
        raise Refused("InvalidCiphertextException")

    def _material(self, name: str, material: bytes) -> dict:
        return {name: material_id(material)} if self.tells_material else {}

    def do_Encrypt(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        key = self._usable(principal, "Encrypt", body["KeyId"])
        return {"KeyId": key.arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "CiphertextBlob": self._sealed(key, _decoded(body, "Plaintext"), _context(body))}

    def do_Decrypt(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        key = self._usable(principal, "Decrypt", body["KeyId"])
        plain, material = self._opened(key, _decoded(body, "CiphertextBlob"), _context(body))
        return {"KeyId": key.arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "Plaintext": base64.b64encode(plain).decode(),
                **self._material("KeyMaterialId", material)}

    def do_ReEncrypt(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        source = self._usable(principal, "ReEncryptFrom", body["SourceKeyId"])
        target = self._usable(principal, "ReEncryptTo", body["DestinationKeyId"])
        plain, material = self._opened(source, _decoded(body, "CiphertextBlob"), _context(body, "SourceEncryptionContext"))
        return {"CiphertextBlob": self._sealed(target, plain, _context(body, "DestinationEncryptionContext")), "KeyId": target.arn,
                "SourceKeyId": source.arn, "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT", **self._material("SourceKeyMaterialId", material),
                **self._material("DestinationKeyMaterialId", target.materials[-1])}

    def do_DescribeKey(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        key = self._key(body["KeyId"])
        self._check_may(principal, "DescribeKey", key.arn)
        return {"KeyMetadata": key.describe(self.tells_material)}

    def do_CreateKey(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        self._check_may(principal, "CreateKey", "*")
        key = Key(self.region, usage=body.get("KeyUsage", "ENCRYPT_DECRYPT"), spec=body.get("KeySpec", "SYMMETRIC_DEFAULT"))
        self.keys[key.id] = key
        return {"KeyMetadata": key.describe(self.tells_material)}

    def do_CreateAlias(self, principal: str, body: dict) -> None:  # pylint: disable=invalid-name
        key = self._key(body["TargetKeyId"])
        self._check_may(principal, "CreateAlias", key.arn)
        self.aliases[body["AliasName"]] = key.id

    def _administer(self, principal: str, action: str, body: dict, change: Callable[[Key], Any]) -> dict:
        key = self._key(body["KeyId"])
        self._check_may(principal, action, key.arn)
        change(key)
        return {"KeyId": key.arn}

    def do_DisableKey(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        return self._administer(principal, "DisableKey", body, lambda key: setattr(key, "state", "Disabled"))

    def do_EnableKey(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        return self._administer(principal, "EnableKey", body, lambda key: setattr(key, "state", "Enabled"))

    def do_ScheduleKeyDeletion(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        def change(key: Key) -> None:
            key.state, key.deletion_at = "PendingDeletion", self.now() + 86400 * body.get("PendingWindowInDays", 30)
        return self._administer(principal, "ScheduleKeyDeletion", body, change)

    def do_CancelKeyDeletion(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        def change(key: Key) -> None:
            key.state, key.deletion_at = "Disabled", None
        return self._administer(principal, "CancelKeyDeletion", body, change)

    def do_RotateKeyOnDemand(self, principal: str, body: dict) -> dict:  # pylint: disable=invalid-name
        return self._administer(principal, "RotateKeyOnDemand", body, lambda key: key.materials.append(os.urandom(32)))

    def ask(self, principal: str, operation: str, body: dict) -> Any:
        does = getattr(self, "do_" + operation, None)
        if does is None:
            raise Refused("UnknownOperationException")
        try:
            return does(principal, body)
        except KeyError as failure:
            raise Refused("ValidationException", f"{failure} is missing") from failure

    # STS.

    def assume_by_web_identity(self, form: dict[str, str]) -> dict:
        """The principal of a role is its ARN."""
        try:
            subject = subject_of_jwt(self.jwt_key, form["WebIdentityToken"])
        except ValueError as failure:
            raise Refused("ExpiredTokenException", "Token expired") from failure
        except (InvalidSignature, KeyError, IndexError) as failure:
            raise Refused("InvalidIdentityToken", "The ID Token provided is not a valid JWT") from failure
        role = form["RoleArn"]
        if self.trust.get(role) != subject:
            raise Refused("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        return self.new_access(role)

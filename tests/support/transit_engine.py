"""What transit_server.py answers: keys of Transit, policies, tokens and logins, as Vault's API documents them."""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509 import load_pem_x509_certificate
from cryptography.hazmat.primitives.serialization import Encoding

from transit_pki import subject_of_jwt

TYPES = {"aes256-gcm96": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}
TOO_OLD = "ciphertext or signature version is disallowed by policy (too old)"


class Refused(Exception):
    """With a status of HTTP and what stands in "errors"."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(errors)
        self.status = status
        self.errors = list(errors)


class Answered(Exception):
    """With a status of HTTP other than 200, and an answer."""

    def __init__(self, status: int, answer: dict) -> None:
        super().__init__(answer)
        self.status = status
        self.answer = answer


def _decoded(body: dict, name: str) -> bytes:
    try:
        return base64.b64decode(body.get(name) or "", validate=True)
    except binascii.Error as failure:
        raise Refused(400, f"failed to base64-decode {name}") from failure


@dataclass
class Key:
    """A named key with its versions."""

    name: str
    type: str = "aes256-gcm96"
    derived: bool = False
    convergent_encryption: bool = False
    exportable: bool = False
    allow_plaintext_backup: bool = False
    deletion_allowed: bool = False
    min_decryption_version: int = 1
    min_encryption_version: int = 0
    min_available_version: int = 0
    auto_rotate_period: int = 0
    versions: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def latest(self) -> int:
        return max(self.versions)

    def rotate(self) -> None:
        self.versions[max(self.versions, default=0) + 1] = (os.urandom(32), int(time.time()))

    def describe(self) -> dict:
        shown = {name: value for name, value in vars(self).items() if name != "versions"}
        if not self.derived:
            del shown["convergent_encryption"]
        return shown | {"latest_version": self.latest, "supports_encryption": True, "supports_decryption": True,
                        "supports_derivation": True, "supports_signing": False, "imported_key": False,
                        "keys": {str(number): made_at for number, (_, made_at) in self.versions.items()
                                 if number >= self.min_decryption_version}}

    def _aead(self, number: int, body: dict) -> Any:
        context = _decoded(body, "context")
        if self.derived and not context:
            raise Refused(400, "missing 'context' for key derivation; the key was created using a derived key, "
                               "which means additional, per-request information must be included in order to perform operations")
        secret = self.versions[number][0]
        if self.derived:
            secret = HKDF(hashes.SHA256(), 32, None, context).derive(secret)
        return TYPES[self.type](secret)

    def encrypt(self, body: dict) -> str:
        number = int(body.get("key_version") or self.latest)
        if number not in self.versions or number < self.min_encryption_version:
            raise Refused(400, "requested version for encryption is less than the minimum encryption key version")
        nonce = os.urandom(12)
        sealed = nonce + self._aead(number, body).encrypt(nonce, _decoded(body, "plaintext"), _decoded(body, "associated_data") or None)
        return f"vault:v{number}:" + base64.b64encode(sealed).decode()

    def decrypt(self, body: dict) -> str:
        text = body.get("ciphertext") or ""
        if not text.startswith("vault:v"):
            raise Refused(400, "invalid ciphertext: no prefix")
        version, colon, sealed = text.removeprefix("vault:v").partition(":")
        if not colon:
            raise Refused(400, "invalid ciphertext: wrong number of fields")
        if not re.fullmatch(r"[+-]?[0-9]+", version):
            raise Refused(400, "invalid ciphertext: version number could not be decoded")
        number = int(version) or 1  # as Vault takes it
        if number > self.latest:
            raise Refused(400, "invalid ciphertext: version is too new")
        if number < self.min_decryption_version:
            raise Refused(400, TOO_OLD)
        try:
            raw = base64.b64decode(sealed, validate=True)
        except binascii.Error as failure:
            raise Refused(400, "invalid ciphertext: could not decode base64") from failure
        if len(raw) < 28:
            raise Refused(400, "invalid ciphertext length")
        try:
            plain = self._aead(number, body).decrypt(raw[:12], raw[12:], _decoded(body, "associated_data") or None)
        except InvalidTag as failure:
            raise Refused(400, "cipher: message authentication failed") from failure
        return base64.b64encode(plain).decode()

    def do(self, what: str, body: dict) -> dict:
        """What an answer to encrypt, decrypt or rewrap holds."""
        if what == "decrypt":
            return {"plaintext": self.decrypt(body)}
        plain = body if what == "encrypt" else {**body, "plaintext": self.decrypt(body)}
        return {"ciphertext": self.encrypt(plain), "key_version": self.latest}


@dataclass
class Token:
    policies: list[str]
    namespace: str
    ttl: int
    renewable: bool
    expires: float

    def alive(self) -> bool:
        return self.ttl == 0 or time.time() < self.expires


class Vault:
    """All of it. `ask` is one request; not thread-safe."""

    jwt_key = b""

    def __init__(self, root_token: str) -> None:
        self.tokens = {root_token: Token(["root"], "", 0, False, 0)}
        self.policies: dict[str, list[tuple[str, set[str]]]] = {
            "default": [("auth/token/lookup-self", {"read"}), ("auth/token/renew-self", {"update"})]}
        self.mounts: dict[str, str] = {}       # "NAMESPACE|PATH": type
        self.keys: dict[str, Key] = {}         # "NAMESPACE|MOUNT|NAME"
        self.roles: dict[str, dict] = {}       # "NAMESPACE|MOUNT|NAME"
        self.sealed = False

    def expire_tokens(self) -> None:
        for token in self.tokens.values():
            if token.ttl:
                token.expires = 0

    def ask(self, method: str, path: str, body: dict, token: str, namespace: str, peer: bytes | None) -> Any:
        """What the answer holds, None for an empty one."""
        path = path.partition("?")[0].strip("/")
        namespace = namespace.strip("/")
        if path == "sys/health":
            return {"initialized": True, "sealed": self.sealed, "standby": False}
        if path in ("sys/seal", "sys/unseal"):
            self.sealed = path == "sys/seal"
            return None
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        if re.fullmatch(r"auth/[a-z-]+/login", path) and method in ("POST", "PUT"):
            return self._log_in(path.split("/")[1], body, namespace, peer)
        known = self.tokens.get(token)
        if known is None or not known.alive():
            raise Refused(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n" if token else "permission denied")
        if not self._may(known, method, path, namespace):
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")
        return self._serve(method, path, body, known, namespace)

    # Policies.

    def _may(self, token: Token, method: str, path: str, namespace: str) -> bool:
        if "root" in token.policies:
            return True
        if namespace != token.namespace and not namespace.startswith(token.namespace + "/" if token.namespace else ""):
            return False
        below = namespace.removeprefix(token.namespace).strip("/")
        whole = f"{below}/{path}" if below else path
        wanted = {"GET": "read", "LIST": "list", "DELETE": "delete"}.get(method, "update")
        creates = wanted == "update" and re.fullmatch(r".+/encrypt/[^/]+", path) and not self._key(path, namespace)
        for policy in token.policies:
            for pattern, capabilities in self.policies.get(policy, []):
                matches = whole.startswith(pattern[:-1]) if pattern.endswith("*") else whole == pattern
                if matches and ("create" if creates else wanted) in capabilities:
                    return True
        return False

    def _write_policy(self, name: str, text: str) -> None:
        found = re.findall(r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}', text)
        if not found:
            raise Refused(400, "failed to parse policy")
        self.policies[name] = [(pattern, set(re.findall(r'"([a-z]+)"', capabilities))) for pattern, capabilities in found]

    # Tokens.

    def _grant(self, policies: list[str], ttl: int, namespace: str, renewable: bool = True) -> dict:
        text = "hvs." + base64.urlsafe_b64encode(os.urandom(24)).decode()
        self.tokens[text] = Token(["default", *policies], namespace, ttl, renewable and ttl > 0, time.time() + ttl)
        return self._auth(text)

    def _auth(self, text: str) -> dict:
        token = self.tokens[text]
        return {"request_id": str(uuid.uuid4()), "lease_id": "", "data": None, "warnings": None,
                "auth": {"client_token": text, "accessor": "a" * 24, "policies": token.policies, "token_policies": token.policies,
                         "metadata": {}, "lease_duration": token.ttl, "renewable": token.renewable, "token_type": "service"}}

    def _token_path(self, what: str, body: dict, token: Token) -> Any:
        text = next(text for text, known in self.tokens.items() if known is token)
        if what == "create":
            return self._grant(body.get("policies") or [], _seconds(body.get("ttl")), token.namespace, body.get("renewable", True))
        if what == "lookup-self":
            return _data({"ttl": token.ttl, "renewable": token.renewable, "policies": token.policies, "id": text, "display_name": "token"})
        if what == "renew-self":
            if not token.renewable:
                raise Refused(400, "lease is not renewable")
            token.expires = time.time() + token.ttl
            return self._auth(text)
        if what == "revoke-self":
            del self.tokens[text]
            return None
        raise Refused(404)

    # Logins.

    def _log_in(self, mount: str, body: dict, namespace: str, peer: bytes | None) -> dict:
        kind = self.mounts.get(f"{namespace}|auth/{mount}")
        if kind is None:
            raise Refused(403, "permission denied")
        role = getattr(self, f"_role_by_{kind}")(f"{namespace}|{mount}|", body, peer)
        return self._grant(role.get("token_policies") or [], _seconds(role.get("token_ttl")), namespace)

    def _role_by_approle(self, prefix: str, body: dict, _: Any) -> dict:
        for name, role in self.roles.items():
            if name.startswith(prefix) and role["role_id"] == body.get("role_id"):
                uses = role["secret_ids"].get(body.get("secret_id") or "")
                if uses is None and role.get("bind_secret_id", True):
                    raise Refused(400, "invalid secret id")
                if uses == 1:
                    del role["secret_ids"][body["secret_id"]]
                elif uses:
                    role["secret_ids"][body["secret_id"]] = uses - 1
                return role
        raise Refused(400, "invalid role ID")

    def _role_by_jwt(self, prefix: str, body: dict, _: Any) -> dict:
        role = self.roles.get(prefix + (body.get("role") or ""))
        if role is None:
            raise Refused(400, f"role \"{body.get('role')}\" could not be found")
        try:
            if subject_of_jwt(self.jwt_key, body.get("jwt") or "") == role.get("bound_subject"):
                return role
        except (ValueError, InvalidSignature, IndexError) as failure:
            raise Refused(400, "error validating token: no known key successfully validated the token signature") from failure
        raise Refused(400, "error validating token: invalid subject (sub) claim")

    def _role_by_kubernetes(self, prefix: str, body: dict, _: Any) -> dict:
        role = self.roles.get(prefix + (body.get("role") or ""))
        try:
            system, kind, space, account = subject_of_jwt(self.jwt_key, body.get("jwt") or "").split(":")
        except (ValueError, InvalidSignature, IndexError):
            raise Refused(403, "permission denied") from None
        named = role is not None and (system, kind) == ("system", "serviceaccount")
        if not named or account not in role["bound_service_account_names"] or space not in role["bound_service_account_namespaces"]:
            raise Refused(403, "service account name not authorized")
        return role

    def _role_by_cert(self, prefix: str, body: dict, peer: bytes | None) -> dict:
        role = self.roles.get(prefix + (body.get("name") or ""))
        if peer is None or role is None or load_pem_x509_certificate(role["certificate"].encode()).public_bytes(Encoding.DER) != peer:
            raise Refused(400, "invalid certificate or no client certificate supplied")
        return role

    # The rest.

    def _serve(self, method: str, path: str, body: dict, token: Token, namespace: str) -> Any:
        parts = path.split("/")
        if path.startswith("auth/token/"):
            return self._token_path(parts[2], body, token)
        if parts[:2] in (["sys", "mounts"], ["sys", "auth"]):
            self.mounts[f"{namespace}|{'auth/' if parts[1] == 'auth' else ''}{'/'.join(parts[2:])}"] = body["type"]
            return None
        if parts[:3] == ["sys", "policies", "acl"] or parts[:2] == ["sys", "policy"]:
            self._write_policy(parts[-1], body["policy"])
            return None
        if parts[0] == "auth":
            return self._role(method, parts[1], parts[2:], body, namespace)
        return self._transit(method, path, body, namespace)

    def _role(self, method: str, mount: str, rest: list[str], body: dict, namespace: str) -> Any:
        if rest[0] not in ("role", "certs"):
            return None  # config
        place = f"{namespace}|{mount}|{rest[1]}"
        if len(rest) == 2:
            for name in ("token_policies", "policies", "bound_service_account_names", "bound_service_account_namespaces"):
                if isinstance(body.get(name), str):
                    body[name] = [word for word in body[name].split(",") if word]
            body.setdefault("token_policies", body.get("policies") or [])
            body.setdefault("token_ttl", body.get("ttl"))
            self.roles[place] = {"role_id": str(uuid.uuid4()), "secret_ids": {}} | self.roles.get(place, {}) | body
            return None
        role = self.roles.get(place)
        if role is None:
            raise Refused(404)
        if rest[2] == "role-id" and method == "GET":
            return _data({"role_id": role["role_id"]})
        if rest[2] == "secret-id":
            secret = str(uuid.uuid4())
            role["secret_ids"][secret] = int(role.get("secret_id_num_uses") or 0)
            return _data({"secret_id": secret, "secret_id_accessor": str(uuid.uuid4())})
        raise Refused(404)

    def _mount_of(self, path: str, namespace: str) -> str:
        for place, kind in self.mounts.items():
            space, _, mount = place.partition("|")
            if kind == "transit" and space == namespace and path.startswith(mount + "/"):
                return mount
        return ""

    def _key(self, path: str, namespace: str) -> Key | None:
        mount = self._mount_of(path, namespace)
        return self.keys.get(f"{namespace}|{mount}|{path.rpartition('/')[2]}")

    def _transit(self, method: str, path: str, body: dict, namespace: str) -> Any:
        mount = self._mount_of(path, namespace)
        if not mount:
            raise Refused(404, f"no handler for route \"{path}\". route entry not found.")
        what, _, rest = path.removeprefix(mount + "/").partition("/")
        name, _, action = rest.partition("/")
        place = f"{namespace}|{mount}|{name}"
        key = self.keys.get(place)
        if what == "keys" and method in ("POST", "PUT") and not action:
            return self._make_key(place, name, body)
        if key is None and what == "encrypt":
            item = (body.get("batch_input") or [body])[0]
            self._make_key(place, name, {"derived": bool(item.get("context"))})
            key = self.keys[place]
        if key is None:
            raise Refused(404) if method == "GET" else Refused(400, "encryption key not found")
        if what == "keys":
            return self._change_key(method, place, key, action, body)
        if what not in ("encrypt", "decrypt", "rewrap"):
            raise Refused(404, "unsupported path")
        if "batch_input" in body:
            return _batch(what, key, body)
        return _data(key.do(what, body))

    def _make_key(self, place: str, name: str, body: dict) -> Any:
        if place in self.keys:
            return _data(self.keys[place].describe())
        if body.get("convergent_encryption") and not body.get("derived"):
            raise Refused(400, "convergent encryption requires derivation to be enabled")
        if body.get("type", "aes256-gcm96") not in TYPES:
            raise Refused(400, f"unknown key type {body['type']}")
        self.keys[place] = Key(name, **{given: body[given] for given in ("type", "derived", "convergent_encryption", "exportable",
                                                                         "allow_plaintext_backup") if body.get(given) is not None})
        self.keys[place].rotate()
        return _data(self.keys[place].describe())

    def _change_key(self, method: str, place: str, key: Key, action: str, body: dict) -> Any:
        if method == "GET":
            return _data(key.describe())
        if method == "DELETE":
            if not key.deletion_allowed:
                raise Refused(400, "error deleting policy: deletion is not allowed for this key")
            del self.keys[place]
            return None
        if action == "rotate":
            key.rotate()
        elif action == "config":
            for name, value in body.items():
                if value is not None and hasattr(key, name):
                    setattr(key, name, value)
        elif action == "trim":
            least = int(body["min_available_version"])
            if least > key.min_decryption_version:
                raise Refused(400, "minimum available version cannot be higher than minimum decryption version")
            key.min_available_version = least
            key.versions = {number: version for number, version in key.versions.items() if number >= least}
        else:
            raise Refused(404)
        return _data(key.describe())


def _batch(what: str, key: Key, body: dict) -> dict:
    """Of rewrap it is 200 whatever failed, of the others what partial_failure_response_code says where some failed, and some did not."""
    if not body["batch_input"]:
        raise Refused(400, "missing batch input to process")
    results = []
    for item in body["batch_input"]:
        try:
            result = key.do(what, item)
        except Refused as refused:
            result = ({"plaintext": ""} if what == "decrypt" else {}) | {"error": refused.errors[0]}
        results.append(result | {"reference": item.get("reference") or ""})
    answer = _data({"batch_results": results})
    failed = sum("error" in result for result in results)
    if failed == 0 or what == "rewrap":
        return answer
    raise Answered(400 if failed == len(results) else int(body.get("partial_failure_response_code") or 400), answer)


def _data(data: dict) -> dict:
    return {"request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0, "data": data, "wrap_info": None,
            "warnings": None, "auth": None}


def _seconds(ttl: Any) -> int:
    """3600, "3600", "1h"."""
    found = re.fullmatch(r"([0-9]*)([smh]?)", str(ttl or 0))
    return int(found[1] or 0) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]

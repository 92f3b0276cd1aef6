"""What gcp_kms_server.py answers to those who ask for an access token: service accounts' assertions, refresh tokens, the exchange of
tokens, impersonation and the metadata server."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gcp_kms_engine import Refused, rfc3339
from transit_pki import subject_of_jwt

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
GOOGLES_OWN = "https://oauth2.googleapis.com/token"
SCOPES = {"https://www.googleapis.com/auth/cloudkms", "https://www.googleapis.com/auth/cloud-platform"}
OUT_OF_TIME = ("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
               "Check your iat and exp values in the JWT claim.")


class NoToken(Exception):
    """As RFC 6749 has it."""

    def __init__(self, error: str, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status
        self.body = {"error": error, "error_description": words}


def _unurl(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Logins:
    """Who has which token, until when."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, float]] = {}
        self.accounts: dict[str, dict[str, bytes]] = {}
        self.users: dict[str, tuple[str, str, str]] = {}
        self.impersonators: set[tuple[str, str]] = set()
        self.attached = ""
        self.attached_token = ""
        self.audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
        self.ttl = 3600
        self.ahead = 0.0
        self.jwt_key = b""

    def now(self) -> float:
        return time.time() + self.ahead

    def grant(self, principal: str) -> str:
        token = "ya29." + secrets.token_urlsafe(60)
        self.tokens[token] = (principal, time.time() + self.ttl)
        return token

    def principal_of(self, authorization: str) -> str:
        principal, expires = self.tokens.get(authorization.removeprefix("Bearer "), ("", 0))
        if not principal or expires < time.time():
            raise Refused("UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
                                             "other valid authentication credential.")
        return principal

    def make_account(self, email: str, token_uri: str, bits: int) -> dict:
        """A credentials file for it."""
        key = rsa.generate_private_key(65537, bits)
        name = secrets.token_hex(20)
        self.accounts.setdefault(email, {})[name] = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return {"type": "service_account", "project_id": "p", "private_key_id": name, "private_key": pem.decode(), "client_email": email,
                "client_id": "1", "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": token_uri,
                "universe_domain": "googleapis.com"}

    def _answer(self, principal: str, **more: Any) -> dict:
        return {"access_token": self.grant(principal), "expires_in": self.ttl, "token_type": "Bearer", **more}

    def token(self, body: bytes, own_url: str) -> dict:
        """POST /token."""
        form = dict(parse_qsl(body.decode()))
        if form.get("grant_type") == JWT_BEARER:
            return self._answer(self._asserted(form.get("assertion", ""), own_url))
        if form.get("grant_type") == "refresh_token":
            known = self.users.get(form.get("refresh_token", ""))
            if known is None or known[1:] != (form.get("client_id"), form.get("client_secret")):
                raise NoToken("invalid_grant", "Token has been expired or revoked.")
            return self._answer(known[0], scope="https://www.googleapis.com/auth/cloud-platform", id_token="eyJ.an.id-token")
        raise NoToken("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")

    @staticmethod
    def _verifies(pem: bytes, signed: str, signature: str) -> bool:
        try:
            serialization.load_pem_public_key(pem).verify(_unurl(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def _asserted(self, text: str, own_url: str) -> str:
        try:
            signed, _, signature = text.rpartition(".")
            header, claims = (json.loads(_unurl(part)) for part in signed.split("."))
        except ValueError as failure:
            raise NoToken("invalid_grant", "Bad Request") from failure
        account = self.accounts.get(claims.get("iss"))
        if account is None:
            raise NoToken("invalid_grant", "Invalid grant: account not found")
        # It need not say which key it was.
        keys = [account.get(header["kid"])] if "kid" in header else list(account.values())
        if not any(pem and self._verifies(pem, signed, signature) for pem in keys):
            raise NoToken("invalid_grant", "Invalid JWT Signature.")
        if header["alg"] != "RS256" or claims.get("aud") not in (own_url, GOOGLES_OWN):
            raise NoToken("invalid_grant", "Invalid JWT: Failed audience check.")
        if not set(claims.get("scope", "").split()) & SCOPES:
            raise NoToken("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        lasts = claims["exp"] - claims["iat"]
        if not 0 < lasts <= 3600 or claims["exp"] < self.now() or claims["iat"] > self.now() + 10:
            raise NoToken("invalid_grant", OUT_OF_TIME)
        return claims["iss"]

    def exchange(self, body: bytes) -> dict:
        """POST /v1/token."""
        form = dict(parse_qsl(body.decode()))
        wanted = {"grant_type": EXCHANGE, "audience": self.audience, "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
                  "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
        for name, value in wanted.items():
            if form.get(name) != value:
                raise NoToken("invalid_request", f"Invalid value for \"{name}\"")
        if not set(form.get("scope", "").split()) & SCOPES:
            raise NoToken("invalid_scope", "The scope is empty")
        try:
            subject = subject_of_jwt(self.jwt_key, form.get("subject_token", ""))
        except (ValueError, InvalidSignature, IndexError) as failure:
            raise NoToken("invalid_grant", "The signature of the ID Token is invalid, or it is expired.") from failure
        return self._answer("principal://" + subject, issued_token_type="urn:ietf:params:oauth:token-type:access_token")

    def impersonate(self, authorization: str, email: str, body: dict) -> dict:
        """POST …:generateAccessToken."""
        principal = self.principal_of(authorization)
        if (principal, email) not in self.impersonators:
            raise Refused("PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).")
        if email not in self.accounts:
            raise Refused("NOT_FOUND", f"Gaia id not found for email {email}")
        if not set(body.get("scope") or []) & SCOPES:
            raise Refused("INVALID_ARGUMENT", "Request contains an invalid argument.")
        return {"accessToken": self.grant(email), "expireTime": rfc3339(self.now() + int(body.get("lifetime", "3600s").rstrip("s")))}

    def metadata(self, path: str, flavour: str) -> tuple[int, Any]:
        """GET /computeMetadata/v1/…: a status, and what it says."""
        if flavour != "Google":
            return 403, b"Forbidden"
        path = path.rstrip("/")
        if path == "instance":
            return 200, b"attributes/\n"
        if not self.attached or not path.startswith("instance/service-accounts"):
            return 404, b"Not Found"
        what = path.rpartition("/")[2]
        if what == "email":
            return 200, self.attached.encode()
        if what != "token":
            return 200, {"default": {"email": self.attached, "scopes": sorted(SCOPES)}}
        # The same one until little of its time is left.
        left = self.tokens.get(self.attached_token, ("", 0.0))[1] - time.time()
        if left < min(300, self.ttl / 2):
            self.attached_token = self.grant(self.attached)
            left = self.ttl
        return 200, {"access_token": self.attached_token, "expires_in": int(left), "token_type": "Bearer"}

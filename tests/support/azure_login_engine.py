"""What azure_kms_server.py answers to those who ask for an access token: Entra ID for secrets and federated assertions, and the two
endpoints of managed identities (App Service's, and a machine's)."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature

from transit_pki import subject_of_jwt

TENANT = "11111111-2222-3333-4444-555555555555"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class NoToken(Exception):
    """As RFC 6749 has it."""

    def __init__(self, error: str, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status
        self.body = {"error": error, "error_description": words, "error_codes": [7000215], "correlation_id": "c"}


class Logins:
    """Who has which token, for what, until when. Principals are client ids."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, str, float]] = {}
        self.secrets: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        self.attached: list[str] = []
        self.identity_header = ""
        self.ttl = 3600
        self.ahead = 0.0
        self.jwt_key = b""

    def grant(self, principal: str, resource: str) -> str:
        token = "eyJ0." + secrets.token_urlsafe(80)
        self.tokens[token] = (principal, resource, time.time() + self.ttl)
        return token

    def principal_of(self, authorization: str, resource: str) -> str:
        """Empty for a token that is none, or for another resource."""
        principal, meant, expires = self.tokens.get(authorization.removeprefix("Bearer "), ("", "", 0.0))
        return principal if meant == resource and expires > time.time() else ""

    def token(self, tenant: str, body: bytes) -> dict:
        """POST /TENANT/oauth2/v2.0/token."""
        form = dict(parse_qsl(body.decode()))
        client = form.get("client_id", "")
        if tenant != TENANT:
            raise NoToken("invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            raise NoToken("unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        scope = form.get("scope", "")
        if not scope.startswith("https://") or not scope.endswith("/.default"):
            raise NoToken("invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' isn't valid.")
        if "client_secret" in form:
            if not client or self.secrets.get(client) != form["client_secret"]:
                raise NoToken("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
        elif form.get("client_assertion_type") == JWT_BEARER:
            self._check_assertion(client, form.get("client_assertion", ""))
        else:
            raise NoToken("invalid_client", "AADSTS7000216: 'client_assertion', 'client_secret' or 'request' is required.", 401)
        return {"token_type": "Bearer", "expires_in": self.ttl, "ext_expires_in": self.ttl,
                "access_token": self.grant(client, scope.removesuffix("/.default"))}

    def _check_assertion(self, client: str, assertion: str) -> None:
        try:
            subject = subject_of_jwt(self.jwt_key, assertion)
        except (ValueError, InvalidSignature, IndexError) as failure:
            raise NoToken("invalid_client", "AADSTS700024: Client assertion is not within its valid time range.", 401) from failure
        if self.subjects.get(subject) != client:
            raise NoToken("unauthorized_client", "AADSTS700213: No matching federated identity record found for presented assertion.", 401)

    def _managed(self, query: dict) -> tuple[str, str, int]:
        wanted = query.get("client_id") or (self.attached[0] if self.attached else "")
        if wanted not in self.attached:
            raise NoToken("invalid_request", "Identity not found")
        return wanted, self.grant(wanted, query.get("resource", "")), int(time.time() + self.ttl + self.ahead)

    def by_metadata(self, query: dict, metadata: str) -> dict:
        """GET /metadata/identity/oauth2/token."""
        if metadata != "true" or query.get("api-version") != "2018-02-01":
            raise NoToken("invalid_request", "Required metadata header not specified")
        client, token, expires_on = self._managed(query)
        return {"access_token": token, "client_id": client, "expires_in": str(self.ttl), "expires_on": str(expires_on),
                "ext_expires_in": str(self.ttl), "not_before": "1", "resource": query["resource"], "token_type": "Bearer"}

    def by_identity_endpoint(self, query: dict, header: str) -> dict:
        """GET /msi/token."""
        if not self.identity_header or header != self.identity_header:
            raise NoToken("unauthorized", "no such header", 401)
        if query.get("api-version") != "2019-08-01":
            raise NoToken("invalid_request", "unknown api-version")
        client, token, expires_on = self._managed(query)
        said: dict[str, Any] = {"access_token": token, "expires_on": str(expires_on), "resource": query["resource"]}
        return said | {"token_type": "Bearer", "client_id": client}

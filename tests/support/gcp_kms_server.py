#!/usr/bin/python3
"""A stand-in for Google Cloud: the KMS, and those who give the tokens for it (OAuth, the exchange of tokens, IAM's impersonation, the
metadata server).

    gcp_kms_server.py DIRECTORY [--port N] [--plain-port N] [--certificate good|other-host|other-ca|expired]

All of it listens twice, by TLS and in plain text, as a metadata server does. Keys wrap by AES-256-GCM; what is refused is refused in
Google's words. What it knows, and the certificates, are kept in DIRECTORY, so that one that is started again goes on. On standard output
it says {"port": N, …} once it listens. Then each line of standard input is a command in JSON, answered by a line (`Commands`); it ends
with its standard input.
"""

from __future__ import annotations

import argparse
import json
import pickle
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import http_stand_in
from gcp_kms_engine import CODES, NODE, Kms, Refused
from gcp_login_engine import Logins, NoToken
from http_stand_in import Troubles
from transit_pki import make_pki, sign_jwt

ADMIN = "admin@p.iam.gserviceaccount.com"
SUBJECT_SECRET = "bearer subject-source-secret"


class Cloud:
    """All that is known, kept on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "cloud.pickle"
        self.kms, self.logins = pickle.loads(self.state.read_bytes()) if self.state.exists() else (Kms(), Logins())
        self.logins.jwt_key = (directory / "jwt.pub").read_bytes()
        self.kms.allow(ADMIN, "projects", ["*"])
        self.lock = threading.Lock()
        self.troubles = Troubles()
        self.seen: list[dict] = []
        self.subject = ""

    def save(self) -> None:
        http_stand_in.keep(self.state, (self.kms, self.logins))


class Handler(http_stand_in.Handler):
    """Answers as Google does, or as `Troubles` says."""

    server: Server
    content_type = "application/json; charset=UTF-8"
    always = {"Metadata-Flavor": "Google"}

    def serve(self) -> None:
        cloud = self.server.cloud
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        cloud.seen.append({"method": self.command, "path": self.path, "quota_project": self.headers.get("x-goog-user-project"),
                           "body": body.decode("latin-1") if "/cryptoKeys/" in self.path else ""})
        if trouble := cloud.troubles.of(self.path):
            self.misbehave_as_google(trouble, body)
            return
        try:
            with cloud.lock:
                status, said, headers = self.said(cloud, body)
                cloud.save()
            self.answer(status, said, headers=headers)
        except Refused as refused:
            self.refuse(refused.status, refused.words)
        except NoToken as none:
            self.answer(none.status, none.body)

    def refuse(self, status: str, words: str) -> None:
        code = CODES[status]
        self.answer(code, {"error": {"code": code, "message": words, "status": status}})

    def said(self, cloud: Cloud, body: bytes) -> tuple[int, Any, dict[str, str]]:
        path, _, query = self.path.partition("?")
        authorization = self.headers.get("Authorization") or ""
        if path.startswith("/computeMetadata/v1/"):
            status, said = cloud.logins.metadata(path.removeprefix("/computeMetadata/v1/"), self.headers.get("Metadata-Flavor") or "")
            return status, said, {"Metadata-Flavor": "Google"}
        if path == "/token":
            scheme = "https" if isinstance(self.request, ssl.SSLSocket) else "http"
            return 200, cloud.logins.token(body, f"{scheme}://{self.headers['Host']}{path}"), {}
        if path == "/v1/token":
            return 200, cloud.logins.exchange(body), {}
        if path == "/subject-token":
            if authorization != SUBJECT_SECRET or self.headers.get("X-Extra") != "yes":
                return 401, {}, {}
            return 200, {"value": cloud.subject, "count": 1}, {}
        given = json.loads(body) if body else {}
        if path.startswith("/v1/projects/-/serviceAccounts/"):
            email = unquote(path.removeprefix("/v1/projects/-/serviceAccounts/").removesuffix(":generateAccessToken"))
            return 200, cloud.logins.impersonate(authorization, email, given), {}
        principal = cloud.logins.principal_of(authorization)
        return 200, cloud.kms.serve(principal, self.command, unquote(path.removeprefix("/v1/")), dict(parse_qsl(query)), given), {}

    def misbehave_as_google(self, kind: str, body: bytes) -> None:
        name, _, rest = kind.partition(":")
        if name == "refuse":
            status, _, words = rest.partition(":")
            self.refuse(status, words)
        elif name == "status":
            status, _, words = rest.partition(":")
            self.answer(int(status), words.encode())
        elif name == "echo":  # of secrets, in an error
            said = f"what is this: {self.headers.get('Authorization')} {body.decode().rpartition('assertion=')[2]}"
            self.answer(CODES[rest], {"error": {"code": CODES[rest], "message": said, "status": rest}, "error_description": said})
        else:
            self.misbehave(kind, self.server.cloud.troubles.over)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # pylint: disable=invalid-name


class Server(http_stand_in.Server):
    """One of the two that serve a cloud; in plain text without a context."""

    def __init__(self, cloud: Cloud, port: int, context: ssl.SSLContext | None) -> None:
        self.cloud = cloud
        super().__init__(port, Handler, context)


class Commands(http_stand_in.Commands):
    """What standard input may ask for: {"do": NAME, …}."""

    def __init__(self, cloud: Cloud, url: str) -> None:
        super().__init__(cloud.troubles)
        self.cloud = cloud
        self.url = url

    def api(self, path: str, method: str = "POST", body: dict | None = None, query: dict | None = None) -> dict:
        """A request of the API's, by an admin."""
        return self.cloud.kms.serve(ADMIN, method, path, query or {}, body or {})

    def set_key(self, name: str, **values: Any) -> None:
        """What no request can change."""
        vars(self.cloud.kms.keys[name]).update(values)

    def allow(self, principal: str, resource: str, permissions: list[str] | None = None) -> None:
        """Those of a node unless others are given."""
        self.cloud.kms.allow(principal, resource, list(NODE) if permissions is None else permissions)

    def service_account(self, email: str, bits: int = 2048) -> dict:
        return self.cloud.logins.make_account(email, self.url + "/token", bits)

    def service_account_file(self, email: str, name: str) -> None:
        """Into a file, so that whoever asks does not see it."""
        path = self.cloud.directory / name
        path.touch(0o600)
        path.write_text(json.dumps(self.service_account(email), indent=2))

    def user(self, name: str, refresh_token: str, client_id: str, client_secret: str) -> None:
        self.cloud.logins.users[refresh_token] = (name, client_id, client_secret)

    def attach(self, email: str) -> None:
        """Who the metadata server speaks for; nobody if empty."""
        self.cloud.logins.attached = email
        self.cloud.logins.attached_token = ""

    def impersonator(self, principal: str, email: str) -> None:
        self.cloud.logins.impersonators.add((principal, email))

    def subject(self, token: str) -> None:
        """What /subject-token gives."""
        self.cloud.subject = token

    def lifetime(self, seconds: int) -> None:
        """Of tokens from here on."""
        self.cloud.logins.ttl = seconds

    def clock(self, ahead: float) -> None:
        """This much before everybody else's."""
        self.cloud.logins.ahead = ahead

    def token(self, principal: str) -> str:
        return self.cloud.logins.grant(principal)

    def expire(self) -> None:
        """All tokens run out now."""
        self.cloud.logins.tokens.clear()
        self.cloud.logins.attached_token = ""

    def jwt(self, subject: str, ttl: int = 600) -> str:
        return sign_jwt((self.cloud.directory / "jwt.key").read_bytes(), subject, ttl)

    def audience(self) -> str:
        return self.cloud.logins.audience

    def seen(self) -> list[dict]:
        """The requests so far; they are forgotten."""
        seen, self.cloud.seen = self.cloud.seen, []
        return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--plain-port", type=int, default=0)
    parser.add_argument("--certificate", default="good")
    options = parser.parse_args()
    pin = make_pki(options.directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.directory / f"{options.certificate}.pem", options.directory / f"{options.certificate}.key")
    cloud = Cloud(options.directory)
    secure, plain = Server(cloud, options.port, context), Server(cloud, options.plain_port, None)
    print(json.dumps({"port": secure.port, "plain_port": plain.port, "pin": pin}), flush=True)
    http_stand_in.obey(Commands(cloud, f"https://127.0.0.1:{secure.port}"), Refused,
                       lambda refused: {"refused": refused.words, "status": refused.status}, cloud)


if __name__ == "__main__":
    main()

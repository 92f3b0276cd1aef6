#!/usr/bin/python3
"""A stand-in for Azure: Key Vault and Managed HSM, and those who give the tokens for them (Entra ID, App Service's endpoint for managed
identities and a machine's metadata service).

    azure_kms_server.py DIRECTORY [--port N] [--plain-port N] [--certificate good|other-host|other-ca|expired]

All of it listens twice, by TLS and in plain text; the Host of a request says which vault it is for. RSA keys of vaults wrap by
RSA-OAEP-256 and EC keys sign by ES256, those of HSMs encrypt by AES-256-GCM; what is refused is refused in Azure's words. What it knows,
and the certificates, are kept in DIRECTORY, so that one that is started again goes on. On standard output it says {"port": N, …} once it
listens. Then each line of standard input is a command in JSON, answered by a line (`Commands`); it ends with its standard input.
"""

from __future__ import annotations

import argparse
import json
import pickle
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import http_stand_in
from azure_kms_engine import API_VERSION, NODE, Refused, Vaults, Version
from azure_login_engine import TENANT, Logins, NoToken
from http_stand_in import Troubles
from transit_pki import make_pki, sign_jwt

ADMIN = "admin"


class Cloud:
    """All that is known, kept on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "cloud.pickle"
        self.vaults, self.logins = pickle.loads(self.state.read_bytes()) if self.state.exists() else (Vaults(), Logins())
        self.logins.jwt_key = (directory / "jwt.pub").read_bytes()
        self.lock = threading.Lock()
        self.troubles = Troubles()
        self.seen: list[dict] = []
        self.challenge = ""
        self.hidden: dict[str, dict] = {}
        self.others: dict[str, dict] = {}

    def save(self) -> None:
        http_stand_in.keep(self.state, (self.vaults, self.logins))


class Handler(http_stand_in.Handler):
    """Answers as Azure does, or as `Troubles` says."""

    server: Server
    content_type = "application/json; charset=utf-8"

    def serve(self) -> None:
        cloud = self.server.cloud
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        cloud.seen.append({"method": self.command, "path": self.path, "host": self.headers.get("Host"),
                           "body": body.decode("latin-1") if path.startswith("/keys/") else ""})
        if trouble := cloud.troubles.of(self.path):
            if not trouble.startswith("late:"):
                self.misbehave_as_azure(trouble, body)
                return
            cloud.troubles.over.wait(float(trouble.partition(":")[2]))
        try:
            with cloud.lock:
                status, said, headers = self.said(cloud, path, dict(parse_qsl(query)), body)
                cloud.save()
            self.answer(status, said, headers=headers)
        except (Refused, NoToken) as refused:
            self.answer(refused.status, refused.body)

    def said(self, cloud: Cloud, path: str, query: dict, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if path.endswith("/oauth2/v2.0/token"):
            return 200, cloud.logins.token(path.split("/")[1], body), {}
        if path == "/metadata/identity/oauth2/token":
            return 200, cloud.logins.by_metadata(query, self.headers.get("Metadata") or ""), {}
        if path == "/msi/token":
            return 200, cloud.logins.by_identity_endpoint(query, self.headers.get("X-IDENTITY-HEADER") or ""), {}
        host = (self.headers.get("Host") or "").partition(":")[0]
        resource = "https://" + host.partition(".")[2]
        principal = cloud.logins.principal_of(self.headers.get("Authorization") or "", resource)
        if not principal:
            challenge = cloud.challenge or f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{resource}"'
            said = {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}}
            return 401, said, {"WWW-Authenticate": challenge}
        return 200, cloud.vaults.serve(principal, host, self.command, path, query, json.loads(body) if body else {}), {}

    def misbehave_as_azure(self, kind: str, body: bytes) -> None:
        name, _, rest = kind.partition(":")
        if name == "refuse":  # STATUS:CODE:INNER:WORDS
            status, code, inner, words = rest.split(":", 3)
            self.answer(int(status), {"error": {"code": code, "message": words, "innererror": {"code": inner}}})
        elif name == "status":
            status, _, words = rest.partition(":")
            self.answer(int(status), words.encode())
        elif name == "echo":  # of secrets, in an error
            said = f"what is this: {self.headers.get('Authorization')} {self.headers.get('X-IDENTITY-HEADER')} {body.decode()}"
            self.answer(int(rest), {"error": {"code": "Forbidden", "message": said}, "error_description": said})
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

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud.troubles)
        self.cloud = cloud

    def api(self, host: str, path: str, method: str = "POST", body: dict | None = None) -> dict:
        """A request of the API's, by an admin."""
        self.cloud.vaults.allow(ADMIN, host, ["*"])
        return self.cloud.vaults.serve(ADMIN, host, method, path, {"api-version": API_VERSION}, body or {})

    def allow(self, principal: str, host: str, permissions: list[str] | None = None) -> None:
        """Those of a node unless others are given."""
        self.cloud.vaults.allow(principal, host, list(NODE) if permissions is None else permissions)

    def hide(self, host: str) -> None:
        """No key is there."""
        self.cloud.hidden[host] = self.cloud.vaults.hosts.pop(host)

    def show(self, host: str) -> None:
        """What was hidden is there again."""
        self.cloud.vaults.hosts[host] = self.cloud.hidden.pop(host)

    def exchange(self, host: str) -> None:
        """Keys that were made anew under their names are there, or those of before again."""
        now = self.cloud.vaults.hosts[host]
        others = self.cloud.others.get(host) or {name: [Version(each.kty, each.size, each.operations, dict(each.attributes))
                                                        for each in versions] for name, versions in now.items()}
        self.cloud.others[host], self.cloud.vaults.hosts[host] = now, others

    def secret(self, client: str, secret: str) -> None:
        self.cloud.logins.secrets[client] = secret

    def federate(self, subject: str, client: str) -> None:
        self.cloud.logins.subjects[subject] = client

    def attach(self, clients: list[str]) -> None:
        """Whose tokens the managed identities' endpoints give; the first unless another is asked for."""
        self.cloud.logins.attached = clients

    def identity_header(self, header: str) -> None:
        self.cloud.logins.identity_header = header

    def lifetime(self, seconds: int) -> None:
        """Of tokens from here on."""
        self.cloud.logins.ttl = seconds

    def clock(self, ahead: float) -> None:
        """This much before everybody else's, in what managed identities are told."""
        self.cloud.logins.ahead = ahead

    def challenge(self, text: str) -> None:
        """What is asked for without a token; Azure's own if empty."""
        self.cloud.challenge = text

    def expire(self) -> None:
        """All tokens run out now."""
        self.cloud.logins.tokens.clear()

    def jwt(self, subject: str, ttl: int = 600) -> str:
        return sign_jwt((self.cloud.directory / "jwt.key").read_bytes(), subject, ttl)

    def jwt_file(self, subject: str, name: str) -> None:
        """Into a file, so that whoever asks does not see it."""
        path = self.cloud.directory / name
        path.touch(0o600)
        path.write_text(self.jwt(subject))

    def unwrapped_file(self, host: str, path: str, value: str, name: str) -> None:
        """What a key unwraps, into a file likewise."""
        said = self.api(host, path, body={"alg": "RSA-OAEP-256", "value": value})
        file = self.cloud.directory / name
        file.touch(0o600)
        file.write_text(said["value"])

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
    print(json.dumps({"port": secure.port, "plain_port": plain.port, "pin": pin, "tenant": TENANT}), flush=True)
    http_stand_in.obey(Commands(cloud), Refused, lambda refused: {"refused": refused.body}, cloud)


if __name__ == "__main__":
    main()

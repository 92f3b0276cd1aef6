#!/usr/bin/python3
"""A stand-in for HashiCorp Vault: the Transit engine, policies, tokens with leases, and the ways to log in that coffer knows.

    transit_server.py DIRECTORY [--port N] [--plain] [--certificate good|other-host|other-ca|expired] [--newest-tls 1.1]
                      [--client-certificate]

Keys wrap by AES-256-GCM or ChaCha20-Poly1305 under keys derived by HKDF for each context; what is refused is refused in Vault's words.
What it knows, and the certificates, are kept in DIRECTORY, so that one that is started again goes on. On standard output it says
{"port": N, …} once it listens. Then each line of standard input is a command in JSON, answered by a line (`Commands`); it ends with its
standard input.
"""

from __future__ import annotations

import argparse
import json
import pickle
import ssl
import threading
import warnings
from pathlib import Path
from typing import Any

import http_stand_in
from http_stand_in import Troubles
from transit_engine import Answered, Key, Refused, Vault
from transit_pki import make_pki, sign_jwt

ROOT_TOKEN = "hvs.root-token-of-the-test"


class Handler(http_stand_in.Handler):
    """Answers as Vault does, or as `Troubles` says."""

    server: Server

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.seen.append({"method": self.command, "path": self.path, "token": self.headers.get("X-Vault-Token"),
                                 "namespace": self.headers.get("X-Vault-Namespace")})
        if trouble := self.server.troubles.of(self.path):
            self.misbehave_as_vault(trouble, body)
            return
        try:
            peer = self.request.getpeercert(binary_form=True) if isinstance(self.request, ssl.SSLSocket) else None
            if self.headers.get("X-Vault-Request") != "true":
                raise Refused(400, "missing X-Vault-Request")
            with self.server.lock:
                said = self.server.vault.ask(self.command, self.path.removeprefix("/v1/"), json.loads(body) if body else {},
                                             self.headers.get("X-Vault-Token") or "", self.headers.get("X-Vault-Namespace") or "", peer)
                self.server.save()
            self.answer(204 if said is None else 200, said)
        except Answered as answered:
            self.answer(answered.status, answered.answer)
        except Refused as refused:
            self.answer(refused.status, {"errors": refused.errors})

    def misbehave_as_vault(self, kind: str, body: bytes) -> None:
        name, _, rest = kind.partition(":")
        if name == "status":
            status, _, words = rest.partition(":")
            self.answer(int(status), None if status == "204" else {"errors": [words] if words else []})
        elif name == "echo":  # of secrets, in an error
            said = f"what is this: {self.headers.get('X-Vault-Token')} {body.decode()}"
            self.answer(int(rest), {"errors": [said, *said.split('"')]})
        else:
            self.misbehave(kind, self.server.troubles.over)

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = serve  # pylint: disable=invalid-name


class Server(http_stand_in.Server):
    """With what it knows, kept on disk."""

    def __init__(self, directory: Path, port: int, context: ssl.SSLContext | None) -> None:
        self.state = directory / "vault.pickle"
        self.vault = pickle.loads(self.state.read_bytes()) if self.state.exists() else Vault(ROOT_TOKEN)
        self.vault.jwt_key = (directory / "jwt.pub").read_bytes()
        self.lock = threading.Lock()
        self.troubles = Troubles()
        self.seen: list[dict] = []
        super().__init__(port, Handler, context)

    def save(self) -> None:
        http_stand_in.keep(self.state, self.vault)


class Commands(http_stand_in.Commands):
    """What standard input may ask for: {"do": NAME, …}."""

    def __init__(self, server: Server, directory: Path) -> None:
        super().__init__(server.troubles)
        self.taken: dict[str, Key] = {}
        self.server = server
        self.directory = directory

    def api(self, path: str, method: str = "POST", body: dict | None = None, namespace: str = "", token: str = ROOT_TOKEN) -> Any:
        """A request of the API's, by root."""
        with self.server.lock:
            said = self.server.vault.ask(method, path, body or {}, token, namespace, None)
            self.server.save()
        return said

    def take_key(self, name: str) -> None:
        """Of the engine `transit`: it is gone until `put_key`."""
        with self.server.lock:
            self.taken[name] = self.server.vault.keys.pop(f"|transit|{name}")

    def date_key(self, name: str, ago: int) -> None:
        """Its versions were made so many seconds before."""
        with self.server.lock:
            versions = self.server.vault.keys[f"|transit|{name}"].versions
            versions.update({number: (secret, made_at - ago) for number, (secret, made_at) in versions.items()})

    def put_key(self, name: str) -> None:
        """As it was, whatever is there now."""
        with self.server.lock:
            self.server.vault.keys[f"|transit|{name}"] = self.taken.pop(name)

    def expire(self) -> None:
        """All tokens but root's run out now."""
        with self.server.lock:
            self.server.vault.expire_tokens()

    def seen(self) -> list[dict]:
        """The requests so far; they are forgotten."""
        seen, self.server.seen = self.server.seen, []
        return seen

    def jwt(self, subject: str, ttl: int = 600) -> str:
        return sign_jwt((self.directory / "jwt.key").read_bytes(), subject, ttl)


def tls_context(directory: Path, certificate: str, newest: str, client_certificate: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{certificate}.pem", directory / f"{certificate}.key")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED if client_certificate else ssl.CERT_OPTIONAL
    if newest == "1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--certificate", default="good")
    parser.add_argument("--newest-tls", default="")
    parser.add_argument("--client-certificate", action="store_true")
    options = parser.parse_args()
    pin = make_pki(options.directory)
    context = None if options.plain else tls_context(options.directory, options.certificate, options.newest_tls, options.client_certificate)
    server = Server(options.directory, options.port, context)
    print(json.dumps({"port": server.port, "pin": pin, "token": ROOT_TOKEN}), flush=True)
    http_stand_in.obey(Commands(server, options.directory), Refused,
                       lambda refused: {"refused": refused.errors, "status": refused.status})


if __name__ == "__main__":
    main()

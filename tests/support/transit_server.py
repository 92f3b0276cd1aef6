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
import socket
import ssl
import struct
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from transit_engine import Refused, Vault
from transit_pki import make_pki, sign_jwt

ROOT_TOKEN = "hvs.root-token-of-the-test"


class Troubles:
    """What goes wrong next, for requests whose path holds a text: [path, kind, times left]."""

    def __init__(self) -> None:
        self.waiting: list[list] = []
        self.over = threading.Event()
        self._lock = threading.Lock()

    def add(self, path: str, kind: str, times: int) -> None:
        with self._lock:
            self.waiting.append([path, kind, times])

    def clear(self) -> None:
        with self._lock:
            self.waiting.clear()
        self.over.set()
        self.over = threading.Event()

    def of(self, path: str) -> str:
        with self._lock:
            for trouble in self.waiting:
                if trouble[0] in path and trouble[2] > 0:
                    trouble[2] -= 1
                    return trouble[1]
        return ""


class Handler(BaseHTTPRequestHandler):
    """Answers as Vault does, or as `Troubles` says."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.seen.append({"method": self.command, "path": self.path, "token": self.headers.get("X-Vault-Token"),
                                 "namespace": self.headers.get("X-Vault-Namespace")})
        if trouble := self.server.troubles.of(self.path):
            self.misbehave(trouble, body)
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
        except Refused as refused:
            self.answer(refused.status, {"errors": refused.errors})

    def misbehave(self, kind: str, body: bytes) -> None:
        self.close_connection = True
        name, _, rest = kind.partition(":")
        if name == "status":
            status, _, words = rest.partition(":")
            self.answer(int(status), None if status == "204" else {"errors": [words] if words else []})
        elif name == "echo":  # of secrets, in an error
            said = f"what is this: {self.headers.get('X-Vault-Token')} {body.decode()}"
            self.answer(int(rest), {"errors": [said, *said.split('"')]})
        elif name == "body":
            self.answer(200, rest.encode())
        elif name == "redirect":
            self.answer(307, None, {"Location": rest or f"http{'' if self.server.plain else 's'}://{self.headers['Host']}{self.path}"})
        elif name == "long":
            self.answer(200, b'{"data":"' + b"x" * (2 << 20) + b'"}')
        elif name == "half":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"data\":{\"plain")
        elif name == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\x00\x01\x02\r\n\r\n")
        elif name == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif name == "slow":
            over = self.server.troubles.over
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(100):
                if over.wait(0.2):
                    break
                self.wfile.write(b" ")
        elif name == "hang":
            self.server.troubles.over.wait(25)
        else:
            assert name == "close", kind

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = serve  # pylint: disable=invalid-name


class Server(ThreadingHTTPServer):
    """With what it knows, kept on disk."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, directory: Path, port: int, plain: bool, context: ssl.SSLContext | None) -> None:
        self.state = directory / "vault.pickle"
        self.vault = pickle.loads(self.state.read_bytes()) if self.state.exists() else Vault(ROOT_TOKEN)
        self.vault.jwt_key = (directory / "jwt.pub").read_bytes()
        self.lock = threading.Lock()
        self.troubles = Troubles()
        self.seen: list[dict] = []
        self.plain = plain
        self.context = context
        super().__init__(("127.0.0.1", port), Handler)

    def save(self) -> None:
        self.state.write_bytes(pickle.dumps(self.vault))

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, *_: Any) -> None:
        pass  # clients that go away, and handshakes that fail, are what is tried


class Commands:
    """What standard input may ask for: {"do": NAME, …}."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.directory = directory

    def api(self, path: str, method: str = "POST", body: dict | None = None, namespace: str = "", token: str = ROOT_TOKEN) -> Any:
        """A request of the API's, by root."""
        with self.server.lock:
            said = self.server.vault.ask(method, path, body or {}, token, namespace, None)
            self.server.save()
        return said

    def trouble(self, kind: str, path: str = "", times: int = 1) -> None:
        self.server.troubles.add(path, kind, times)

    def calm(self) -> None:
        self.server.troubles.clear()

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
    server = Server(options.directory, options.port, options.plain, context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1], "pin": pin, "token": ROOT_TOKEN}), flush=True)
    commands = Commands(server, options.directory)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = {"ok": getattr(commands, asked.pop("do"))(**asked)}
        except Refused as refused:
            said = {"refused": refused.errors, "status": refused.status}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()

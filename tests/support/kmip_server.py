#!/usr/bin/python3
"""PyKMIP's server (its engine and sessions, as pykmip-server runs them) behind a listener that can be told to misbehave.

    kmip_server.py DIRECTORY [--port N] [--certificate good|other-host|other-ca|expired] [--tls 1.1|1.2|1.3]

Keys and certificates are kept in DIRECTORY, so that one that is started again goes on. On standard output it says {"port": N, …} once
it listens. Then each line of standard input is a command in JSON, answered by a line (`Commands`); it ends with its standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import socket
import ssl
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

from kmip.core import enums, exceptions, policy
from kmip.core.messages import contents
from kmip.core.messages.payloads import DecryptRequestPayload, EncryptRequestPayload
from kmip.pie import objects
from kmip.services.server import engine as kmip_engine, session as kmip_session

import http_stand_in
from http_stand_in import Troubles, break_connection
from kmip_pki import Authority, make_pki

OPERATIONS = {0x0B: "Get Attributes", 0x1E: "Discover Versions", 0x1F: "Encrypt", 0x20: "Decrypt"}
OPERATION_ITEM = bytes.fromhex("42005c0500000004")


def item(tag: int, kind: int, value: bytes) -> bytes:
    """One of TTLV's (OASIS KMIP 1.4, 9.1)."""
    return struct.pack(">I", tag << 8 | kind) + struct.pack(">I", len(value)) + value + bytes(-len(value) % 8)


def number(tag: int, kind: int, value: int) -> bytes:
    return item(tag, kind, struct.pack(">I", value))


def failure(operation: int, reason: int, words: str) -> bytes:
    """A whole answer."""
    version = item(0x420069, 1, number(0x42006A, 2, 1) + number(0x42006B, 2, 4))
    header = item(0x42007A, 1, version + item(0x420092, 9, bytes(8)) + number(0x42000D, 2, 1))
    said = item(0x42007D, 7, words.encode()) if words else b""
    result = number(0x42005C, 5, operation) + number(0x42007F, 5, 1) + number(0x42007E, 5, reason) + said
    return item(0x42007B, 1, header + item(0x42000F, 1, result))


class Session(kmip_session.KmipSession):
    """PyKMIP's, whose answers pass through `Server.troubles`."""

    server: Server

    def run(self) -> None:
        try:
            super().run()
        except OSError:
            pass  # it says goodbye to clients that are gone
        finally:
            self.server.sessions.discard(self)

    def _receive_request(self) -> Any:
        request = super()._receive_request()
        raw = bytes(request.buffer)
        found = [int.from_bytes(raw[at + 8:at + 12], "big") for at in range(0, len(raw), 8) if raw.startswith(OPERATION_ITEM, at)]
        self.operation = found[0] if found else 0
        self.server.seen.append({"operation": OPERATIONS.get(self.operation, ""), "items": len(found), "request": raw.hex(),
                                 "session": self.name})
        return request

    def _send_response(self, data: bytes) -> None:
        name = OPERATIONS.get(self.operation, "")
        trouble = self.server.troubles.of(name)
        kind, _, rest = trouble.partition(":")
        previous, self.server.answers[name] = self.server.answers.get(name, b""), bytes(data)
        if kind == "fail":
            reason, _, words = rest.partition(":")
            data = failure(self.operation, int(reason, 0), words)
        elif kind == "echo":  # of what was asked, the key included
            data = failure(self.operation, 0x100, bytes.fromhex(self.server.seen[-1]["request"]).decode("latin1"))
        elif kind == "patch":
            old, _, new = rest.partition(":")
            assert bytes.fromhex(old) in data, trouble
            data = bytes(data).replace(bytes.fromhex(old), bytes.fromhex(new))
        elif kind == "bytes":
            data = bytes.fromhex(rest)
        elif kind == "swap":  # the answer to the last request of this kind
            data = previous
        elif kind == "long":
            data = item(0x42007B, 1, bytes(2 << 20))
        elif kind:
            self.misbehave(kind, bytes(data))
            raise exceptions.ConnectionClosed()
        super()._send_response(data)

    def misbehave(self, kind: str, data: bytes) -> None:
        if kind == "half":
            self._connection.sendall(data[:len(data) // 2])
        elif kind == "head":
            self._connection.sendall(data[:5])
        else:
            break_connection(self._connection, kind, self.server.troubles.over, data)


class Server:
    """A listener of its own, with what it knows on disk."""

    def __init__(self, directory: Path, port: int, context: ssl.SSLContext) -> None:
        policies = dict(policy.policies)
        self.engine = kmip_engine.KmipEngine(policies=policies, database_path=str(directory / "kmip.db"))
        self.troubles = Troubles()
        self.seen: list[dict] = []
        self.answers: dict[str, bytes] = {}
        self.sessions: set[Session] = set()
        self.count = 0
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", port))

    def serve(self) -> None:
        while True:
            connection, address = self.listener.accept()
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrapped = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self.count += 1
            session = Session(self.engine, wrapped, address, name=str(self.count))
            session.server, session.daemon = self, True
            self.sessions.add(session)
            session.start()


class Commands(http_stand_in.Commands):
    """What standard input may ask for: {"do": NAME, …}."""

    def __init__(self, server: Server, directory: Path) -> None:
        super().__init__(server.troubles)
        self.server = server
        self.directory = directory
        self.make_session = server.engine._data_store_session_factory  # pylint: disable=protected-access

    def key(self, state: str = "ACTIVE", masks: int = 12, sensitive: bool = True, owner: str = "node", length: int = 256,
            algorithm: str = "AES") -> str:
        """A new one; its identifier."""
        bits = [mask for mask in enums.CryptographicUsageMask if mask.value & masks]
        made = objects.SymmetricKey(enums.CryptographicAlgorithm[algorithm], length, os.urandom(length // 8), masks=bits, name="key")
        made.state, made.sensitive, made.initial_date = enums.State[state], sensitive, 1_700_000_000
        made._owner = owner  # pylint: disable=protected-access
        return self._add(made)

    def secret(self) -> str:
        """An object that is no key."""
        made = objects.SecretData(b"secret", enums.SecretDataType.PASSWORD)
        made._owner = "node"  # pylint: disable=protected-access
        return self._add(made)

    def _add(self, made: Any) -> str:
        with self.make_session() as session:
            session.add(made)
            session.commit()
            return str(made.unique_identifier)

    def change(self, uid: str, state: str = "", masks: int = 0, value: str = "") -> None:
        """`value`: of another key under the same identifier."""
        with self.make_session() as session:
            found = session.get(objects.SymmetricKey, int(uid))
            if state:
                found.state = enums.State[state]
            if masks:
                found.cryptographic_usage_masks = [mask for mask in enums.CryptographicUsageMask if mask.value & masks]
            if value:
                found.value = bytes.fromhex(value)
            session.commit()

    def destroy(self, uid: str) -> None:
        with self.make_session() as session:
            session.delete(session.get(objects.SymmetricKey, int(uid)))
            session.commit()

    def seen(self) -> list[dict]:
        """The requests so far; they are forgotten."""
        seen, self.server.seen = self.server.seen, []
        return seen

    def disconnect(self) -> int:
        """All connections end; how many there were."""
        sessions = [session for session in list(self.server.sessions) if session.is_alive()]
        for session in sessions:
            with contextlib.suppress(OSError):
                session._connection.shutdown(socket.SHUT_RDWR)  # pylint: disable=protected-access
        for session in sessions:
            session.join(10)
        return len(sessions)

    def versions(self, known: list[list[int]]) -> None:
        """What the server speaks from here on."""
        self.server.engine._protocol_versions = [contents.ProtocolVersion(*each) for each in known]  # pylint: disable=protected-access

    def forget_additional_data(self) -> None:
        """As a server of before KMIP 1.4 that does not mind what it does not know."""
        for payload in (EncryptRequestPayload, DecryptRequestPayload):
            payload.auth_additional_data = property(lambda self: b"", lambda self, value: None)

    def issue(self, file: str, subject: str, days_ago: int = 0) -> None:
        Authority(self.directory, "ca").issue_client(file, subject, days_ago)

    def refuse(self, times: int) -> None:
        """The next requests are refused for want of a user."""
        self.trouble("fail:3:Authentication failed", times=times)


def tls_context(directory: Path, certificate: str, version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{certificate}.pem", directory / f"{certificate}.key")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    if version == "1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
    warnings.simplefilter("ignore", DeprecationWarning)
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, "TLSv" + version.replace(".", "_"))
    return context


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", default="good")
    parser.add_argument("--tls", default="1.2")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    pin = make_pki(options.directory)
    server = Server(options.directory, options.port, tls_context(options.directory, options.certificate, options.tls))
    threading.Thread(target=server.serve, daemon=True).start()
    print(json.dumps({"port": server.listener.getsockname()[1], "pin": pin}), flush=True)
    http_stand_in.obey(Commands(server, options.directory), Exception, lambda trouble: {"refused": repr(trouble)})


if __name__ == "__main__":
    main()

"""What stand-ins for others' servers share: requests that go wrong as they are told to, and the line of commands."""

from __future__ import annotations

import contextlib
import json
import pickle
import socket
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable


class Troubles:
    """What goes wrong next, for requests whose name holds a text: [text, kind, times left]."""

    def __init__(self) -> None:
        self.waiting: list[list] = []
        self.over = threading.Event()
        self._lock = threading.Lock()

    def add(self, where: str, kind: str, times: int) -> None:
        with self._lock:
            self.waiting.append([where, kind, times])

    def clear(self) -> None:
        with self._lock:
            self.waiting.clear()
        self.over.set()
        self.over = threading.Event()

    def of(self, name: str) -> str:
        with self._lock:
            for trouble in self.waiting:
                if trouble[0] in name and trouble[2] > 0:
                    trouble[2] -= 1
                    return trouble[1]
        return ""


def keep(path: Path, state: Any) -> None:
    """So that one who is killed meanwhile has the former state."""
    beside = path.with_suffix(".new")
    beside.write_bytes(pickle.dumps(state))
    beside.replace(path)


def break_connection(connection: socket.socket, kind: str, over: threading.Event, answer: bytes) -> None:
    """As a network does, or a server that dies: reset, slow (byte by byte), hang or close."""
    if kind == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    elif kind == "slow":
        for byte in answer:
            if over.wait(0.2):
                break
            connection.sendall(bytes([byte]))
    elif kind == "hang":
        over.wait(25)
    else:
        assert kind == "close", kind


class Handler(BaseHTTPRequestHandler):
    """Answers as its server does, or as `Troubles` says."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Server
    content_type = "application/json"
    always: dict[str, str] = {}  # headers of all answers that are made up

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self, status: int, body: Any, kind: str = "", headers: dict[str, str] | None = None) -> None:
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind or self.content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def misbehave(self, kind: str, over: threading.Event) -> None:
        """`kind`: a name, and after a colon what it is about."""
        self.close_connection = True
        name, _, rest = kind.partition(":")
        if name == "body":
            self.answer(200, rest.encode(), headers=self.always)
        elif name == "redirect":
            scheme = "https" if isinstance(self.request, ssl.SSLSocket) else "http"
            self.answer(307, None, headers={"Location": rest or f"{scheme}://{self.headers['Host']}{self.path}"})
        elif name == "long":
            self.answer(200, b'{"data":"' + b"x" * (2 << 20) + b'"}')
        elif name == "half":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"plain')
        elif name == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\x00\x01\x02\r\n\r\n")
        else:
            break_connection(self.connection, name, over, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000)


class Server(ThreadingHTTPServer):
    """By TLS if there is a context."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, handler: type[Handler], context: ssl.SSLContext | None) -> None:
        self.context = context
        super().__init__(("127.0.0.1", port), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, *_: Any) -> None:
        pass  # clients that go away, and handshakes that fail, are what is tried


class Commands:
    """What standard input may ask of any stand-in: {"do": NAME, …}."""

    def __init__(self, troubles: Troubles) -> None:
        self.troubles = troubles

    def trouble(self, kind: str, where: str = "", times: int = 1) -> None:
        """The next requests whose name (a path, an operation) holds `where` end so."""
        self.troubles.add(where, kind, times)

    def calm(self) -> None:
        self.troubles.clear()


def obey(commands: Commands, refused: type[Exception], words_of: Callable[[Any], dict], kept: Any = None) -> None:
    """Each line of standard input is a command, and is answered by a line; `kept` is what is saved after each."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            with kept.lock if kept else contextlib.nullcontext():
                said = {"ok": getattr(commands, asked.pop("do"))(**asked)}
                if kept:
                    kept.save()
        except refused as failure:
            said = words_of(failure)
        print(json.dumps(said), flush=True)

#!/usr/bin/python3
"""A stand-in for AWS: KMS and STS over TLS, and on a second port, in plain text, what containers and EC2 machines get credentials from.

    aws_kms_server.py DIRECTORY [--port N] [--metadata-port N] [--certificate good|other-ca|…]

Keys wrap by AES-256-GCM; requests have to be signed (aws_signature.py); what is refused is refused by AWS's names. What it knows, and the
certificates, are kept in DIRECTORY, so that one that is started again goes on. On standard output it says {"port": N, …} once it listens.
Then each line of standard input is a command in JSON, answered by a line (`Commands`); it ends with its standard input.
"""

from __future__ import annotations

import argparse
import json
import pickle
import ssl
import threading
import time
import urllib.parse
from email.utils import formatdate
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import aws_signature
import http_stand_in
from aws_kms_engine import ACCOUNT, Aws, Key, Refused
from http_stand_in import Troubles
from transit_pki import make_pki, sign_jwt

REGION = "eu-west-1"
ROOT = "root"
ROLE = "machine-role"
CONTAINER_TOKEN = "container-token-of-the-test"
ROLES = "/latest/meta-data/iam/security-credentials/"


class World:
    """What both servers share, kept on disk."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "aws.pickle"
        self.aws = pickle.loads(self.state.read_bytes()) if self.state.exists() else Aws(REGION)
        self.aws.jwt_key = (directory / "jwt.pub").read_bytes()
        self.aws.policies[ROOT] = [{"actions": ["*"]}]
        self.lock = threading.Lock()
        self.troubles = Troubles()
        self.seen: list[dict] = []
        self.metadata_tokens: set[str] = set()

    def save(self) -> None:
        http_stand_in.keep(self.state, self.aws)


class Handler(http_stand_in.Handler):
    """Answers as AWS does, or as `Troubles` says."""

    server: Server
    content_type = "application/x-amz-json-1.1"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.server.world.aws.now() if timestamp is None else timestamp, usegmt=True)

    def refuse(self, refused: Refused) -> None:
        words = "Message" if refused.name.startswith("AccessDenied") else "message"
        self.answer(refused.status, {"__type": refused.name, words: refused.words})

    def name_of(self, body: bytes) -> str:
        """"Decrypt", "AssumeRoleWithWebIdentity", or the path of a metadata service."""
        target = self.headers.get("X-Amz-Target") or ""
        if target.startswith("TrentService."):
            return target.removeprefix("TrentService.")
        if body.startswith(b"Action=") or b"&Action=" in body:
            return urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]
        return self.path

    def serve(self) -> None:
        world = self.server.world
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self.name_of(body)
        world.seen.append({"method": self.command, "name": name, "access_key": self.access_key_id(),
                           "body": body.decode("utf-8", "replace") if "x-amz-target" in self.headers else ""})
        if trouble := world.troubles.of(name):
            self.misbehave_as_aws(trouble, body)
            return
        with world.lock:
            try:
                if self.server.is_metadata:
                    self.serve_metadata()
                elif "X-Amz-Target" in self.headers:
                    self.serve_kms(name, body)
                else:
                    self.serve_sts(name, body)
            except aws_signature.BadSignature as bad:
                self.refuse(Refused(bad.name, bad.words))
            except Refused as refused:
                self.refuse(refused)

    def access_key_id(self) -> str:
        return (self.headers.get("Authorization") or "").partition("Credential=")[2].partition("/")[0]

    def principal(self, body: bytes, service: str) -> str:
        aws = self.server.world.aws
        claim = aws_signature.Claim.parse(self.headers.get("Authorization") or "")
        principal = aws.principal_of(claim.access_key_id, self.headers.get("X-Amz-Security-Token") or "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        aws_signature.check(claim, aws.access[claim.access_key_id].secret, headers, body, aws.region, service, aws.now())
        return principal

    def serve_kms(self, operation: str, body: bytes) -> None:
        if self.headers.get("Content-Type") != "application/x-amz-json-1.1" or self.path != "/":
            raise Refused("UnknownOperationException")
        principal = self.principal(body, "kms")
        try:
            asked = json.loads(body)
        except ValueError as failure:
            raise Refused("SerializationException") from failure
        said = self.server.world.aws.ask(principal, operation, asked)
        self.server.world.save()
        self.answer(200, {} if said is None else said)

    def serve_sts(self, action: str, body: bytes) -> None:
        aws = self.server.world.aws
        form = {name: values[0] for name, values in urllib.parse.parse_qs(body.decode()).items()}
        try:
            if form.get("Version") != "2011-06-15":
                raise Refused("InvalidAction", "no such version")
            if action == "AssumeRoleWithWebIdentity":
                given = aws.assume_by_web_identity(form)
                inner = "".join(f"<{name}>{escape(given[key])}</{name}>" for name, key in (
                    ("AccessKeyId", "AccessKeyId"), ("SecretAccessKey", "SecretAccessKey"), ("SessionToken", "Token"),
                    ("Expiration", "Expiration")))
                user = f"<Arn>{form['RoleArn']}/{form['RoleSessionName']}</Arn><AssumedRoleId>x:y</AssumedRoleId>"
                result = f"<Credentials>{inner}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"
                self.server.world.save()
            elif action == "GetCallerIdentity":
                principal = self.principal(body, "sts")
                result = f"<Arn>{principal}</Arn><UserId>x</UserId><Account>{ACCOUNT}</Account>"
            else:
                raise Refused("InvalidAction", f"Could not find operation {action}")
        except Refused as refused:
            words = f"<Code>{refused.name}</Code><Message>{escape(refused.words)}</Message>"
            text = f"<ErrorResponse><Error><Type>Sender</Type>{words}</Error><RequestId>r</RequestId></ErrorResponse>"
            self.answer(refused.status, text.encode(), "text/xml")
            return
        text = (f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}</{action}Result>'
                f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>")
        self.answer(200, text.encode(), "text/xml")

    def serve_metadata(self) -> None:
        world = self.server.world
        if self.path == "/latest/api/token" and self.command == "PUT":
            token = f"imds-{time.monotonic_ns()}-token-of-the-test"
            world.metadata_tokens.add(token)
            self.answer(200 if "X-aws-ec2-metadata-token-ttl-seconds" in self.headers else 400, token.encode(), "text/plain")
        elif self.path.startswith(ROLES):
            if self.headers.get("X-aws-ec2-metadata-token") not in world.metadata_tokens:
                self.answer(401, b"", "text/plain")
            elif self.path == ROLES:
                self.answer(200, ROLE.encode(), "text/plain")
            elif self.path == ROLES + ROLE:
                given = {"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", **world.aws.new_access(ROLE)}
                self.answer(200, given, "text/plain")
            else:
                self.answer(404, b"", "text/plain")
        elif self.path in ("/credentials", "/v2/credentials"):
            if self.headers.get("Authorization") != CONTAINER_TOKEN:
                self.answer(401, {"code": "AccessDenied", "message": "no"})
            else:
                self.answer(200, {"RoleArn": ROLE, **world.aws.new_access(ROLE)})
        else:
            self.answer(404, b"", "text/plain")
        world.save()

    def misbehave_as_aws(self, kind: str, body: bytes) -> None:
        name, _, rest = kind.partition(":")
        if name == "status":  # status:400:NotFoundException:words
            status, _, named = rest.partition(":")
            error, _, words = named.partition(":")
            self.answer(int(status), {"__type": error, "message": words} if error else None if status == "204" else b"<html>trouble</html>")
        elif name == "header":  # the error's name in a header alone
            self.answer(400, b"{}", headers={"x-amzn-ErrorType": rest})
        elif name == "echo":  # of secrets, in an error
            said = f"what is this: {self.headers.get('X-Amz-Security-Token')} {self.headers.get('Authorization')} {body.decode()}"
            status, _, error = rest.partition(":")
            self.answer(int(status), {"__type": error or "AccessDeniedException", "message": said})
        else:
            self.misbehave(kind, self.server.world.troubles.over)

    do_GET = do_POST = do_PUT = serve  # pylint: disable=invalid-name


class Server(http_stand_in.Server):
    def __init__(self, world: World, port: int, context: ssl.SSLContext | None) -> None:
        self.world = world
        self.is_metadata = context is None
        super().__init__(port, Handler, context)


class Commands(http_stand_in.Commands):
    """What standard input may ask for: {"do": NAME, …}."""

    def __init__(self, world: World, directory: Path) -> None:
        super().__init__(world.troubles)
        self.world = world
        self.directory = directory

    def api(self, operation: str, body: dict) -> Any:
        """A request of KMS's, by root."""
        return self.world.aws.ask(ROOT, operation, body)

    def make_key(self, **more: Any) -> str:
        """With fields that CreateKey would not take."""
        key = Key(self.world.aws.region, **more)
        self.world.aws.keys[key.id] = key
        return key.arn

    def alter_key(self, key: str, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self.world.aws.keys[key.rpartition("/")[2]], name, value)

    def access(self, principal: str, temporary: bool = False) -> dict:
        """An access key of a principal's."""
        return self.world.aws.new_access(principal, temporary, "an/Open")

    def allow(self, principal: str, actions: list[str], key: str = "*") -> None:
        """That, and nothing else."""
        self.world.aws.policies[principal] = [{"actions": actions, "key": key}]

    def trust(self, role: str, subject: str) -> None:
        self.world.aws.trust[role] = subject

    def set(self, **fields: Any) -> None:
        """lifetime of credentials (s), offset of the clock (s), tells_material."""
        for name, value in fields.items():
            setattr(self.world.aws, name, value)

    def expire(self) -> None:
        """Temporary credentials, all of them, now."""
        self.world.aws.expire()

    def seen(self) -> list[dict]:
        """The requests so far; they are forgotten."""
        seen, self.world.seen = self.world.seen, []
        return seen

    def jwt(self, subject: str, ttl: int = 600) -> str:
        return sign_jwt((self.directory / "jwt.key").read_bytes(), subject, ttl)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--metadata-port", type=int, default=0)
    parser.add_argument("--certificate", default="good")
    options = parser.parse_args()
    make_pki(options.directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.directory / f"{options.certificate}.pem", options.directory / f"{options.certificate}.key")
    world = World(options.directory)
    secure, metadata = Server(world, options.port, context), Server(world, options.metadata_port, None)
    print(json.dumps({"port": secure.port, "metadata_port": metadata.port, "account": ACCOUNT, "container_token": CONTAINER_TOKEN}), flush=True)
    http_stand_in.obey(Commands(world, options.directory), Refused, lambda refused: {"refused": refused.name, "words": refused.words}, world)


if __name__ == "__main__":
    main()

"""AWS Signature Version 4 as a server checks it (AWS General Reference, "Create a signed AWS API request")."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S = 300


class BadSignature(Exception):
    """With the name of AWS's error."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name
        self.words = words


@dataclass
class Claim:
    """What the header Authorization says."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed: list[str]
    signature: str

    @classmethod
    def parse(cls, header: str) -> Claim:
        found = re.fullmatch(rf"{ALGORITHM} Credential=(\w+)/(\d{{8}})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
                             r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})", header)
        if not found:
            raise BadSignature("IncompleteSignatureException", "Authorization header requires 'Credential' parameter.")
        return cls(*found.group(1, 2, 3, 4), found[5].split(";"), found[6])


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _check_time(stamp: str, now: float) -> None:
    try:
        at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    except ValueError as failure:
        raise BadSignature("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from failure
    shown = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if at < now - SKEW_S:
        raise BadSignature("InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {shown} (- 5 min.)")
    if at > now + SKEW_S:
        raise BadSignature("InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {shown} (+ 5 min.)")


def check(claim: Claim, secret: str, headers: Mapping[str, str], body: bytes, region: str, service: str, now: float) -> None:
    """Of a POST to "/" without a query. `headers` have names in lower case."""
    if claim.region != region:
        raise BadSignature("InvalidSignatureException", f"Credential should be scoped to a valid region, not '{claim.region}'.")
    if claim.service != service:
        raise BadSignature("InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'.")
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, now)
    if not stamp.startswith(claim.date):
        raise BadSignature("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date.")
    needed = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    if not needed <= set(claim.signed) or claim.signed != sorted(claim.signed):
        raise BadSignature("InvalidSignatureException", "headers that have to be signed are not")
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in claim.signed)
    request = f"POST\n/\n\n{lines}\n{';'.join(claim.signed)}\n{hashlib.sha256(body).hexdigest()}"
    place = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    to_sign = f"{ALGORITHM}\n{stamp}\n{place}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + secret).encode()
    for part in place.split("/"):
        key = _mac(key, part)
    if not hmac.compare_digest(_mac(key, to_sign).hex(), claim.signature):
        raise BadSignature("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")

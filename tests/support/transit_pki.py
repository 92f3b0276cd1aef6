"""Certificates and signed tokens for transit_server.py."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _public(key: ec.EllipticCurvePrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)


class _Authority:
    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, [(x509.BasicConstraints(ca=True, path_length=0), True)], 0)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list, days_ago: int) -> x509.Certificate:
        now = datetime.datetime.utcnow() - datetime.timedelta(days=days_ago)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=2)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, directory: Path, file: str, names: list[x509.GeneralName], days_ago: int = 0) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file)])
        extensions = [(x509.SubjectAlternativeName(names), False)] if names else []
        _write(directory / f"{file}.key", _private_pem(key))
        _write(directory / f"{file}.pem", self._sign(subject, key, extensions, days_ago).public_bytes(PEM))
        return key


def make_pki(directory: Path) -> str:
    """Certificates in `directory` unless they are there: ca, other-ca (the servers' and another), good, other-host, other-ca, expired
    (servers), client. Gives SHA-256 of good's public key."""
    pin = directory / "pin"
    if pin.exists():
        return pin.read_text()
    here = [x509.DNSName("localhost"), x509.DNSName("vault.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    ours, other = _Authority("ca of the test"), _Authority("another ca")
    _write(directory / "ca.pem", ours.certificate.public_bytes(PEM))
    _write(directory / "another-ca.pem", other.certificate.public_bytes(PEM))
    good = ours.issue(directory, "good", here)
    ours.issue(directory, "other-host", [x509.DNSName("vault.example.com")])
    ours.issue(directory, "expired", here, days_ago=30)
    ours.issue(directory, "client", [])
    other.issue(directory, "other-ca", here)
    signer = ec.generate_private_key(ec.SECP256R1())
    _write(directory / "jwt.key", _private_pem(signer))
    _write(directory / "jwt.pub", _public(signer, PEM))
    digest = base64.b64encode(hashlib.sha256(_public(good, serialization.Encoding.DER)).digest()).decode()
    pin.write_text(digest)
    return digest


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unurl(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign_jwt(key_pem: bytes, subject: str, ttl: int) -> str:
    """ES256 (RFC 7518)."""
    signed = _url(json.dumps({"alg": "ES256"}).encode()) + "." + _url(json.dumps({"sub": subject, "exp": time.time() + ttl}).encode())
    key = serialization.load_pem_private_key(key_pem, None)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + _url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def subject_of_jwt(public_pem: bytes, token: str) -> str:
    """Whose it is; ValueError or InvalidSignature if it is nobody's."""
    signed, _, signature = token.rpartition(".")
    raw = _unurl(signature)
    encoded = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    serialization.load_pem_public_key(public_pem).verify(encoded, signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(_unurl(signed.split(".")[1]))
    if claims["exp"] < time.time():
        raise ValueError("expired")
    return claims["sub"]

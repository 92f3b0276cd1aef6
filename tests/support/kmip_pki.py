"""Certificates for kmip_server.py and, as a program (kmip_pki.py DIRECTORY), for pykmip-server in the end-to-end tests."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM


def _write(path: Path, content: bytes) -> None:
    """All at once: others may be reading it."""
    new = path.with_suffix(path.suffix + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
    new.rename(path)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _save_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(path, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Authority:
    """One that signs, kept in DIRECTORY/NAME.pem and .key."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = _name(name)
        path = directory / f"{name}.key"
        if path.exists():
            self.key = serialization.load_pem_private_key(path.read_bytes(), None)
            return
        self.key = ec.generate_private_key(ec.SECP256R1())
        _save_key(path, self.key)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        _write(directory / f"{name}.pem", self._sign(self.name, self.key.public_key(), [(constraints, True)], 0).public_bytes(PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extensions: list, days_ago: int) -> x509.Certificate:
        now = datetime.datetime.utcnow() - datetime.timedelta(days=days_ago)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=2)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, file: str, subject: str, extension: x509.ExtensionType | None, days_ago: int = 0) -> str:
        """FILE.pem and FILE.key; SHA-256 of the public key."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = [] if extension is None else [(extension, False)]
        _save_key(self.directory / f"{file}.key", key)
        _write(self.directory / f"{file}.pem", self._sign(_name(subject), key.public_key(), extensions, days_ago).public_bytes(PEM))
        der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def issue_client(self, file: str, subject: str, days_ago: int = 0) -> None:
        """Of a user: servers take the name from the subject, and ask for the usage."""
        self.issue(file, subject, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), days_ago)


def make_pki(directory: Path) -> str:
    """Certificates in `directory` unless they are there: ca, another-ca; good, other-host, other-ca, expired (servers); node, other,
    no-usage, node-expired, node-foreign (clients). Gives SHA-256 of good's public key."""
    pin = directory / "pin"
    if pin.exists():
        return pin.read_text()
    here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ours, other = Authority(directory, "ca"), Authority(directory, "another-ca")
    digest = ours.issue("good", "good", here)
    ours.issue("other-host", "other-host", x509.SubjectAlternativeName([x509.DNSName("kmip.example.com")]))
    ours.issue("expired", "expired", here, days_ago=30)
    other.issue("other-ca", "other-ca", here)
    ours.issue_client("node", "node")
    ours.issue_client("other", "other")
    ours.issue("no-usage", "node", None)
    ours.issue_client("node-expired", "node", days_ago=30)
    other.issue_client("node-foreign", "node")
    pin.write_text(digest)
    return digest


if __name__ == "__main__":
    make_pki(Path(sys.argv[1]))

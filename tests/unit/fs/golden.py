#!/usr/bin/python3
"""Prints the golden values of the tests of fs/content and fs/names, worked out from fs/FORMAT.md with the Python library
`cryptography` and none of Coffer's own code. Not run by the build: the values stand in the tests, so that version 1 can't change
unseen."""

import base64
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DEK = bytes(range(32))
STORE = bytes(range(0x20, 0x30))
FILE = bytes(range(0x30, 0x40))
DEK_VERSION = 7
SCOPE = 9
SECRET = bytes(range(0x80, 0xA0))
DIR = bytes(range(0xC0, 0xD0))
OTHER = bytes(range(0xD0, 0xE0))
BLOCK = 4096


def hkdf(key, salt, info, length=32):
    return HKDF(hashes.SHA256(), length, salt, info.encode()).derive(key)


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def sha(data):
    return hashlib.sha256(data).digest()


def show(name, value):
    print(f"{name} = {value.hex() if isinstance(value, bytes) else value}")


# --- content ---
salt = FILE + struct.pack("<I", DEK_VERSION)
commitment = hkdf(DEK, salt, "coffer/1/commitment")
header_key = hkdf(DEK, salt, "coffer/1/header")
SUITES = {1: ("aes-256-gcm", AESGCM), 2: ("chacha20-poly1305", ChaCha20Poly1305)}


def chunk(suite, index, nonce, plain):
    name, cipher = SUITES[suite]
    key = hkdf(DEK, salt, "coffer/1/content/" + name)
    sealed = cipher(key).encrypt(nonce, plain, FILE + struct.pack("<IQ", DEK_VERSION, index))
    return sealed[:-16], nonce + sealed[-16:] + struct.pack("<I", 1)


def header(suite, chunk_log2, size, generation, root, bindings):
    slot = b"COFFER-F" + struct.pack("<HHBBH", 1, suite, chunk_log2, 0, len(bindings))
    slot += STORE + FILE + struct.pack("<IIQQ", DEK_VERSION, SCOPE, size, generation) + root + commitment
    slot += bytes(120) + b"".join(bindings) + bytes(16 * (238 - len(bindings)))
    assert len(slot) == 4064
    return slot + mac(header_key, slot)


show("header key", header_key)
show("commitment", commitment)
BINDING = bytes([0xB0 + i for i in range(16)])
NONCE = bytes(range(0xF0, 0xFC))
for suite in SUITES:
    show(f"suite {suite}: content key", hkdf(DEK, salt, "coffer/1/content/" + SUITES[suite][0]))
    cipher, entry = chunk(suite, 0, NONCE, b"hello, world")
    leaf = entry + bytes(BLOCK - 32)
    show(f"suite {suite}: cipher", cipher)
    show(f"suite {suite}: entry", entry)
    show(f"suite {suite}: root", sha(leaf))
    show(f"suite {suite}: header mac", header(suite, 12, 12, 1, sha(leaf), [BINDING])[-32:])

# Two chunks of a file of 129 leaves (chunks of 4 KiB): the first, and the last one, of 3 bytes. Depth 2.
last = 128 * 128
first_cipher, first_entry = chunk(1, 0, NONCE, bytes([0x61]) * 4096)
last_cipher, last_entry = chunk(1, last, bytes(12), b"end")
leaf_0 = sha(first_entry + bytes(BLOCK - 32))
leaf_128 = sha(last_entry + bytes(BLOCK - 32))
inner_0 = sha(leaf_0 + bytes(BLOCK - 32))
inner_1 = sha(leaf_128 + bytes(BLOCK - 32))
top = sha(inner_0 + inner_1 + bytes(BLOCK - 64))
show("deep: first cipher sha256", sha(first_cipher))
show("deep: first entry", first_entry)
show("deep: last cipher", last_cipher)
show("deep: last entry", last_entry)
for name, value in (("leaf 0", leaf_0), ("leaf 128", leaf_128), ("inner 0", inner_0), ("inner 1", inner_1), ("top", top)):
    show("deep: hash of " + name, value)
show("deep: header mac", header(1, 12, last * 4096 + 3, 2, top, [BINDING])[-32:])

# --- names ---
salt = STORE + struct.pack("<I", SCOPE)
names = AESSIV(hkdf(SECRET, salt, "coffer/1/names", 64))
targets = AESSIV(hkdf(SECRET, salt, "coffer/1/symlinks", 64))
directories = hkdf(SECRET, salt, "coffer/1/directories")
bindings = hkdf(SECRET, salt, "coffer/1/bindings")


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


for name in (b"model.safetensors", bytes([0xFF]), b"n" * 175):
    show(f"name {name[:20]}", b64(names.encrypt(name, [DIR])))
sealed = names.encrypt(b"n" * 176, [DIR])
show("long name: hash", b64(sha(sealed)))


def binding(kind, obj, directory, name):
    return mac(bindings, kind + obj + directory + name)[:16]


show("binding of a file", binding(b"F", FILE, DIR, b"model.safetensors"))
show("binding of a directory", binding(b"D", OTHER, DIR, b"models"))
show("binding of the root directory", binding(b"D", OTHER, bytes(16), b""))
link = binding(b"L", bytes(16), DIR, b"latest")
show("binding of a symlink", link)
show("target", b64(targets.encrypt(link + bytes(16) + b"../v2/model", [STORE])))
sealed = targets.encrypt(link + bytes(16) + b"t" * 3024, [STORE])
show("long target: hash", b64(sha(sealed)))
record = b"COFFER-D" + struct.pack("<HHI", 1, 1, SCOPE) + STORE + DIR + struct.pack("<Q", 4) + bytes(8)
record += binding(b"D", DIR, bytes(16), b"") + bytes(16 * 7) + bytes(288)
assert len(record) == 480
show("directory record mac", mac(directories, record))

"""The golden stores: where they are, how one is unpacked, and what it is compared with."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

VERSION_1 = Path(__file__).resolve().parent / "v1"
STORES = ("encrypted", "plain", "deep")


def manifest(name: str) -> dict[str, Any]:
    """What the store of this name holds. Paths are text with surrogates for what is not UTF-8."""
    return json.loads((VERSION_1 / f"{name}.json").read_text(encoding="ascii"))


def unpack(name: str, home: Path) -> Path:
    """Puts the archive's `store` and `older` below `home`, with the master key beside them, and gives the store's path.

    The key file's URI is local:/proc/self/cwd/…: whoever opens the store does so with `home` as its working directory.
    """
    home.mkdir(exist_ok=True)
    archive = lzma.decompress((VERSION_1 / f"{name}.tar.xz").read_bytes())
    subprocess.run(["tar", "-x", "-p", "--numeric-owner", "--warning=no-timestamp", "-C", str(home)], input=archive, check=True, timeout=60)
    facts = manifest(name)
    if facts["master"] == "passphrase":
        target = home / "passphrase"
    else:
        target = home / "coffer/keys" / f"{facts['store']}.key"
        target.parent.mkdir(parents=True)
    target.write_bytes((VERSION_1 / f"{name}.{facts['master']}").read_bytes())
    os.chmod(target, 0o600)
    return home / "store"


def secret(home: Path) -> tuple[str, ...]:
    """The options with which coffer opens the store below `home`."""
    given = home / "passphrase"
    return ("--passphrase-file", str(given)) if given.exists() else ()


def describe(path: str) -> dict[str, Any]:
    """What the manifest says of an entry of the plain tree, of one that is there."""
    status = os.lstat(path)
    found: dict[str, Any] = {"mode": stat.S_IMODE(status.st_mode), "mtime": int(status.st_mtime)}
    if stat.S_ISDIR(status.st_mode):
        found["kind"] = "directory"
        return found
    found["nlink"] = status.st_nlink
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            found |= {"kind": "file", "size": status.st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    elif stat.S_ISLNK(status.st_mode):
        found |= {"kind": "symlink", "size": status.st_size, "target": os.readlink(path)}
    elif stat.S_ISFIFO(status.st_mode):
        found["kind"] = "fifo"
    return found


def tree(top: str | Path) -> dict[str, dict[str, Any]]:
    """`describe` of the directory and of everything below it, by the path in the store."""
    found = {"/": describe(str(top))}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            found["/" + os.path.relpath(path, top)] = describe(path)
    return found

#!/usr/bin/python3
"""Checks that every #include follows the arrows of the design: a module includes itself and what stands below it.

usage: check_includes.py SOURCE_DIRECTORY
Third-party headers that belong to one module only (OpenSSL, SQLite, libfuse, …) are checked too.
"""

import pathlib
import re
import sys

# module: the modules it may include directly; what those may include is allowed with them, but see FS_FROM_KEYSTORE.
ARROWS = {
    "keystore/base": [],
    "keystore/crypto": ["keystore/base"],
    "keystore/db": ["keystore/base"],
    "keystore/kms": ["keystore/crypto"],
    "keystore/keyring": ["keystore/kms", "keystore/db", "keystore/crypto"],
    "keystore/access": ["keystore/base"],
    "keystore/audit": ["keystore/crypto"],
    "keystore/broker": ["keystore/access", "keystore/audit", "keystore/keyring"],
    "keystore/cli": ["keystore/broker"],
    "fs/format": ["keystore/base"],
    "fs/backing": ["keystore/base"],
    "fs/content": ["fs/format", "fs/backing", "keystore/crypto"],
    "fs/names": ["fs/format", "fs/backing", "keystore/crypto"],
    "fs/identity": ["keystore/access", "keystore/crypto"],
    "fs/vfs": ["fs/content", "fs/names", "fs/identity", "keystore/broker"],
    "fs/fuse": ["fs/vfs"],
    "mount-tools": ["fs/fuse", "keystore/cli"],
}

# All that fs may name of the keystore.
FS_FROM_KEYSTORE = {"keystore/base", "keystore/crypto", "keystore/access", "keystore/broker"}

# prefix of a third-party header: the modules that may include it.
WRAPPED = {
    "openssl/": {"keystore/crypto"},
    "intel-ipsec-mb": {"keystore/crypto"},
    "sqlite3": {"keystore/db"},
    "fuse": {"fs/fuse"},
    "curl/": {"keystore/kms"},
    "p11-kit/": {"keystore/kms"},
    "tss2/": {"keystore/kms"},
    "sys/capability": {"mount-tools"},
    "seccomp": {"mount-tools"},
    "linux/fuse": {"fs/fuse"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def reachable(module, seen=None):
    seen = seen if seen is not None else set()
    if module not in seen:
        seen.add(module)
        for below in ARROWS[module]:
            reachable(below, seen)
    return seen


def module_of(path):
    """The module that a path relative to the source directory belongs to, or None."""
    for module in ARROWS:
        if path.startswith(module + "/"):
            return module
    return None


def check_file(root, path):
    relative = path.relative_to(root).as_posix()
    module = module_of(relative)
    if module is None:
        yield f"{relative}: lies in no module of the design"
        return
    allowed = reachable(module)
    if module.startswith("fs/"):
        allowed = {m for m in allowed if not m.startswith("keystore/") or m in FS_FROM_KEYSTORE}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        where = f"{relative}:{number}: {target}"
        if quote == '"':
            owner = module_of(target)
            if owner is None:
                yield f"{where}: not written from the top of the tree, or in no module"
            elif owner not in allowed:
                yield f"{where}: {module} may not include {owner}"
            continue
        for prefix, owners in WRAPPED.items():
            if target.startswith(prefix) and module not in owners:
                yield f"{where}: only {', '.join(sorted(owners))} may include it"


def main():
    root = pathlib.Path(sys.argv[1])
    problems = []
    files = 0
    for top in ("fs", "keystore", "mount-tools"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc"):
                files += 1
                problems.extend(check_file(root, path))
    for problem in problems:
        print(problem)
    print(f"{files} files checked, {len(problems)} arrows point the wrong way")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

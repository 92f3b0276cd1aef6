"""Who may use what: grants, denials, revocation, expiry, scopes, and the log of it.

All modes in these tests are open (0777, 0666), so that default_permissions, the kernel's check, refuses nobody: what is refused
here, the daemon refused. The kernel answers some things from its caches without asking: a name or status that someone looked up
within the last second, pages that someone read. open, opendir, create, unlink, rename and the like always reach the daemon. Where a
test is about names or attributes, it drops the caches first.
"""

import errno
import json
import os
import re
import stat
import time
import unittest
from pathlib import Path
from typing import Callable

from files import random_bytes
from mounted import MountedTest
from processes import ALICE, BOB, SELF, User, as_user, coffer, drop_caches, in_processes, run, wait_until

DEADLINE = 3.0  # within a second, says the design; a busy machine is given more


def put(path: str | Path, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)


def errno_of(function: Callable, *arguments) -> int:
    """0 if it works."""
    try:
        function(*arguments)
    except OSError as failure:
        return failure.errno or -1
    return 0


def read(path: str | Path) -> bytes:
    """Through a new open, which the daemon decides."""
    with open(path, "rb") as stream:
        return stream.read()


class AccessTest(MountedTest):
    """With a few files."""

    def setUp(self) -> None:
        super().setUp()
        (self.top / "dir").mkdir(0o777)
        for name in ("file", "dir/file"):
            put(self.top / name, b"content of " + name.encode())

    def become(self, code: int, user: User, function: Callable, *arguments) -> None:
        """Within the deadline, `function` as `user` ends with this errno (0: well)."""
        wait_until(lambda: as_user(user, errno_of, function, *arguments) == code,
                   f"{errno.errorcode.get(code, 'success')} for uid {user.uid}", DEADLINE)

    def refusals(self, user: User) -> list[dict]:
        return [line for line in self.store.audit() if line["event"] == "refuse" and line["identity"]["uid"] == user.uid]


class Refused(AccessTest):
    def attempts(self) -> dict[str, tuple]:
        """What a process may try: name → (path in the store, right, function, arguments)."""
        file, directory, new = self.top / "file", self.top / "dir", self.top / "new"
        return {
            "read": ("/file", "read", os.open, file, os.O_RDONLY),
            "write": ("/file", "write", os.open, file, os.O_WRONLY),
            "truncate": ("/file", "write", os.truncate, file, 0),
            "listdir": ("/dir", "list", os.listdir, directory),
            "list root": ("/", "list", os.listdir, self.top),
            "create": ("/new", "", os.open, new, os.O_CREAT | os.O_WRONLY),
            "mkdir": ("/new", "", os.mkdir, new),
            "symlink": ("/new", "", os.symlink, "target", new),
            "mknod": ("/new", "", os.mkfifo, new),
            "unlink": ("/file", "", os.unlink, file),
            "rmdir": ("/dir", "", os.rmdir, directory),
            "rename": ("/file", "", os.rename, file, new),
            "rename over": ("/dir/file", "", os.rename, directory / "file", file),
            "link": ("/new", "", os.link, file, new),
            "chmod": ("/file", "", os.chmod, file, 0o600),
            "utime": ("/file", "", os.utime, file),
            "setxattr": ("/file", "", os.setxattr, file, "user.x", b"x"),
            "stat": ("/file", "list", os.stat, file),
            "stat missing": ("/missing", "list", os.stat, self.top / "missing"),
            "exec": ("/file", "", os.execv, file, ["file"]),
        }

    def test_without_a_grant_nothing_works(self) -> None:
        """EACCES for everything, by the daemon: the caches are dropped before each attempt. A missing file is not told from one
        that is there, and nothing is changed."""
        # chmod and utime are refused by the kernel to those who don't own the file; these two are tried by the owner.
        os.chown(self.top / "file", BOB.uid, BOB.gid)
        for what, (path, right, function, *arguments) in self.attempts().items():
            drop_caches()
            seen = len(self.store.audit_log.read_bytes())
            code = as_user(BOB, errno_of, function, *arguments)
            self.assertEqual(errno.errorcode.get(code), "EACCES", what)
            lines = [json.loads(line) for line in self.store.audit_log.read_bytes()[seen:].splitlines()]
            mine = [line for line in lines if line["identity"]["uid"] == BOB.uid]
            self.assertTrue(mine, what)
            self.assertTrue(all(line["event"] == "refuse" and line["decision"] == "deny" for line in mine), (what, mine))
        self.assertEqual(sorted(os.listdir(self.top)), ["dir", "file"])
        self.assertEqual(read(self.top / "file"), b"content of file")
        self.assertEqual(stat.S_IMODE(os.stat(self.top / "file").st_mode), 0o666)

    def test_open_of_a_name_that_the_kernel_knows(self) -> None:
        """Here the name is in the kernel's cache (root has just looked it up, and for a second the kernel asks nobody), so that the
        attempt reaches the daemon as the operation itself. Its line in the log says who, what and which right."""
        for what, (path, right, function, *arguments) in self.attempts().items():
            if right not in ("read", "write") and what not in ("listdir", "list root"):
                continue
            os.stat(self.top / "file"), os.stat(self.top / "dir")
            before = len(self.refusals(BOB))
            self.assertEqual(errno.errorcode.get(as_user(BOB, errno_of, function, *arguments)), "EACCES", what)
            line = self.refusals(BOB)[before:][-1]
            self.assertEqual((line["path"], line["right"], line["identity"]["uid"], line["identity"]["gid"], line["scope"]),
                             (path, right, BOB.uid, BOB.gid, "/"), what)
            self.assertIn(f"unix:uid:{BOB.uid}", line["identity"]["selectors"])
            self.assertEqual(line["reason"], "no grant")
            self.assertGreater(line["identity"]["pid"], 1)

    def test_pages_that_root_has_read(self) -> None:
        """The page cache holds the file; the refusal at open stands before it."""
        self.assertEqual(read(self.top / "file"), b"content of file")
        self.assertEqual(as_user(BOB, errno_of, read, self.top / "file"), errno.EACCES)

    def test_a_descriptor_handed_on(self) -> None:
        """The grant belongs to the open: a descriptor passed to another process works there, as everywhere in Unix."""
        with open(self.top / "file", "rb") as stream:
            self.assertEqual(as_user(BOB, stream.read), b"content of file")

    def test_root_without_a_grant(self) -> None:
        """Root mounts a store whose maker granted it to himself alone; being root opens nothing."""
        theirs = self.new_store("theirs", user=ALICE)
        os.chown(theirs.key, 0, 0)  # the daemon runs as root and takes keys of root's or its own user
        theirs.user = SELF
        mount = self.new_mount(theirs, at="theirs-mnt")
        self.assert_errno(errno.EACCES, os.listdir, mount.path)
        self.assert_errno(errno.EACCES, put, mount.path / "new", b"x")
        self.assert_errno(errno.EACCES, os.mkdir, mount.path / "new")
        as_user(ALICE, put, mount.path / "hers", b"hers")
        self.assertEqual(as_user(ALICE, read, mount.path / "hers"), b"hers")
        self.assert_errno(errno.EACCES, read, mount.path / "hers")
        drop_caches()
        self.assert_errno(errno.EACCES, os.stat, mount.path / "hers")
        mount.umount()
        for words in (("export", theirs.path, self.place("out")), ("import", "/etc/hostname", theirs.path)):
            failed = coffer(*words, check=False)
            self.assertEqual(failed.code, 12, str(failed))
            self.assertIn("coffer grant add", failed.err)


class Granted(AccessTest):
    def test_add_and_revoke(self) -> None:
        target = self.top / "file"
        self.assertEqual(as_user(BOB, errno_of, read, target), errno.EACCES)
        grant = self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, read, target)
        self.assertEqual(as_user(BOB, read, target), b"content of file")
        as_user(BOB, put, self.top / "dir/bobs", b"bobs")
        self.assertEqual(sorted(as_user(BOB, os.listdir, self.top / "dir")), ["bobs", "file"])
        self.assertEqual(as_user(ALICE, errno_of, read, target), errno.EACCES)
        self.store.revoke(grant)
        self.become(errno.EKEYREVOKED, BOB, read, target)
        self.become(errno.EKEYREVOKED, BOB, put, self.top / "another", b"x")
        self.assertEqual(read(self.top / "dir/bobs"), b"bobs")
        line = self.refusals(BOB)[-1]
        self.assertEqual((line["reason"], line["grant"]), ("grant was revoked", grant))
        # Granted again, it works again: the old grant does not stand in the way.
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, read, target)

    def test_rights_apart(self) -> None:
        """list, read and write are three things."""
        selector = f"unix:uid:{BOB.uid}"
        file, directory = self.top / "file", self.top / "dir"
        listing = self.store.grant("/", "--selector", selector, rights=["list"])
        self.become(0, BOB, os.listdir, directory)
        drop_caches()
        self.assertEqual(as_user(BOB, os.stat, file).st_size, len(b"content of file"))
        self.assertEqual(as_user(BOB, errno_of, read, file), errno.EACCES)
        self.assertEqual(as_user(BOB, errno_of, os.mkdir, self.top / "new"), errno.EACCES)
        self.store.grant("/", "--selector", selector, rights=["read"])
        self.become(0, BOB, read, file)
        for attempt in ((os.open, file, os.O_WRONLY), (os.open, file, os.O_RDWR), (os.open, file, os.O_RDONLY | os.O_TRUNC),
                        (put, self.top / "new", b"x"), (os.unlink, file), (os.rename, file, self.top / "new"),
                        (os.truncate, file, 0), (os.link, file, self.top / "new"), (os.symlink, "x", self.top / "new")):
            self.assertEqual(as_user(BOB, errno_of, *attempt), errno.EACCES, attempt)
        self.store.grant("/", "--selector", selector, rights=["write"])
        self.become(0, BOB, os.mkdir, self.top / "new")
        as_user(BOB, put, file, b"overwritten")
        self.assertEqual(read(file), b"overwritten")
        self.store.revoke(listing)
        time.sleep(1.2)
        self.assertEqual(as_user(BOB, errno_of, os.listdir, directory), 0, "the other rights include listing")

    def test_ttl(self) -> None:
        grant = int(self.store.coffer("grant", "add", self.store.path, "/", "--selector", f"unix:uid:{BOB.uid}", "--right", "list",
                                      "--right", "read", "--ttl", "3s").out)
        granted = time.monotonic()
        self.become(0, BOB, read, self.top / "file")
        self.assertLess(time.monotonic() - granted, 3)
        wait_until(lambda: as_user(BOB, errno_of, read, self.top / "file") == errno.EKEYEXPIRED, "the grant expires", 6)
        self.assertGreater(time.monotonic() - granted, 1.9)
        listed = self.store.coffer("grant", "list", self.store.path, "--json").json
        self.assertEqual([row["state"] for row in listed if row["id"] == grant], ["expired"])

    def test_not_before(self) -> None:
        self.store.coffer("grant", "add", self.store.path, "/", "--selector", f"unix:uid:{BOB.uid}", "--right", "list", "--right",
                          "read", "--not-before", "2999-01-01")
        time.sleep(1.2)
        self.assertEqual(as_user(BOB, errno_of, read, self.top / "file"), errno.EACCES)

    def test_everyone_and_deny(self) -> None:
        self.store.grant("/", "--everyone", rights=["list", "read"])
        for user in (ALICE, BOB):
            self.become(0, user, read, self.top / "file")
        deny = self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}", "--deny", rights=["read"])
        self.become(errno.EACCES, BOB, read, self.top / "file")
        self.assertEqual(as_user(BOB, errno_of, os.listdir, self.top), 0, "only reading was denied")
        self.assertEqual(as_user(ALICE, read, self.top / "file"), b"content of file")
        line = self.refusals(BOB)[-1]
        self.assertEqual((line["reason"], line["grant"]), ("denied by a grant", deny))
        # A deny outweighs a grant made later, too; root is denied like everybody else.
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        self.store.grant("/", "--selector", "unix:uid:0", "--deny", rights=["read"])
        self.become(errno.EACCES, SELF, read, self.top / "file")
        self.assertEqual(as_user(BOB, errno_of, read, self.top / "file"), errno.EACCES)

    def test_group_selectors(self) -> None:
        team = 4242
        self.store.grant("/", "--selector", f"unix:supplementary_gid:{team}", rights=["list", "read"])
        self.store.grant("/", "--selector", f"unix:gid:{BOB.gid}", "--selector", f"unix:supplementary_gid:{team + 1}",
                         rights=["write"])
        member = User(ALICE.uid, ALICE.gid, (1, team))
        self.become(0, member, read, self.top / "file")
        self.assertEqual(as_user(ALICE, errno_of, read, self.top / "file"), errno.EACCES, "not a member")
        self.assertEqual(as_user(User(ALICE.uid, team), errno_of, read, self.top / "file"), errno.EACCES,
                         "the primary group is another selector")
        self.assertEqual(as_user(member, errno_of, put, self.top / "new", b""), errno.EACCES)
        self.assertEqual(as_user(User(BOB.uid, BOB.gid, (team,)), errno_of, put, self.top / "new", b""), errno.EACCES,
                         "all selectors of a grant have to hold")
        as_user(User(BOB.uid, BOB.gid, (team, team + 1)), put, self.top / "new", b"")

    def test_what_the_command_refuses(self) -> None:
        cases = {
            ("/dir", "--everyone", "--right", "read"): (19, "coffer scope create"),
            ("/missing", "--everyone", "--right", "read"): (19, "coffer scope create"),
            ("/", "--right", "read"): (2, "--selector S"),
            ("/", "--everyone", "--selector", "unix:uid:1", "--right", "read"): (2, "--everyone"),
            ("/", "--selector", "unix:shell:bash", "--right", "read"): (2, "unix:user, "),
            ("/", "--selector", "uid:1", "--right", "read"): (2, "unix:uid, "),
            ("/", "--everyone", "--right", "delete"): (2, "list, read, write"),
            ("/", "--everyone", "--right", "read", "--ttl", "soon"): (2, "8h"),
            ("/", "--everyone", "--right", "read", "--ttl", "0"): (2, "before it begins"),
            ("/", "--everyone"): (2, "--right"),
        }
        before = self.store.coffer("grant", "list", self.store.path, "--json").json
        for words, (code, hint) in cases.items():
            failed = coffer("grant", "add", self.store.path, *words, check=False)
            self.assertEqual(failed.code, code, str(failed))
            self.assertIn(hint, failed.err, words)
        failed = coffer("grant", "revoke", self.store.path, "999", check=False)
        self.assertEqual(failed.code, 19, str(failed))
        self.assertEqual(self.store.coffer("grant", "list", self.store.path, "--json").json, before)


class Scopes(AccessTest):
    def setUp(self) -> None:
        super().setUp()
        self.store.coffer("scope", "create", self.store.path, "/dir/models")
        self.store.grant("/dir/models", "--selector", "unix:uid:0")
        self.models = self.top / "dir/models"
        wait_until(lambda: errno_of(os.listdir, self.models) == 0, "the scope can be used", DEADLINE)

    def key(self, path: str) -> dict:
        """The key of a file; the keystore has it on record a moment after the file was closed."""
        return self.store.coffer("key", "show", self.store.path, path, "--json").json

    def test_created_on_a_live_mount(self) -> None:
        put(self.models / "weights", b"weights")
        self.assertEqual(read(self.models / "weights"), b"weights")
        paths = {row["path"] for row in self.store.coffer("scope", "list", self.store.path, "--json").json}
        self.assertEqual(paths, {"/", "/dir/models"})
        # What is granted in the root scope is not granted here, even to root of the mount's user.
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, read, self.top / "file")
        self.assertEqual(as_user(BOB, errno_of, os.listdir, self.models), errno.EACCES)
        self.assertEqual(as_user(BOB, errno_of, read, self.models / "weights"), errno.EACCES)
        failed = coffer("scope", "create", self.store.path, "/dir/models", check=False)
        self.assertEqual(failed.code, 20, str(failed))
        failed = coffer("scope", "create", self.store.path, "/nowhere/models", check=False)
        self.assertEqual(failed.code, 19, str(failed))

    def test_created_offline_and_kept_over_a_remount(self) -> None:
        put(self.models / "weights", b"weights")
        self.mount.umount()
        self.store.coffer("scope", "create", self.store.path, "/dir/models/inner", "--suite", "chacha20-poly1305", "--chunk-size",
                          "64k", "--sensitivity", "restricted")
        self.store.grant("/dir/models/inner", "--selector", "unix:uid:0")
        mount = self.new_mount(self.store, at="again")
        inner = mount.path / "dir/models/inner"
        data = random_bytes(700_000)
        put(inner / "file", data)
        self.assertEqual(read(mount.path / "dir/models/weights"), b"weights")
        mount.umount()
        mount = self.new_mount(self.store, at="again")
        self.assertEqual(read(inner / "file"), data)
        shown = self.store.coffer("scope", "show", self.store.path, "/dir/models/inner", "--json").json
        self.assertEqual((shown["suite"], shown["chunk_size"], shown["sensitivity"]), ("chacha20-poly1305", 65536, "restricted"))
        mount.umount()
        self.store.verify()

    def test_keys_do_not_cross(self) -> None:
        """EXDEV between scopes; mv then copies, which makes a new key, and removes the old file."""
        data = random_bytes(300_000)
        put(self.top / "moving", data)
        os.utime(self.top / "moving", ns=(10**18, 10**18 + 5))
        self.assert_errno(errno.EXDEV, os.rename, self.top / "moving", self.models / "moving")
        self.assert_errno(errno.EXDEV, os.link, self.top / "moving", self.models / "moving")
        self.assert_errno(errno.EXDEV, os.rename, self.top / "dir/file", self.models / "file")
        before = self.key("/moving")
        run("mv", self.top / "moving", self.models / "moved")
        self.assertFalse((self.top / "moving").exists())
        self.assertEqual(read(self.models / "moved"), data)
        self.assertEqual(os.stat(self.models / "moved").st_mtime_ns, 10**18 + 5)
        after = self.key("/dir/models/moved")
        self.assertEqual((before["scope"], after["scope"]), ("/", "/dir/models"))
        self.assertNotEqual(before["file"], after["file"])
        (self.top / "tree/sub").mkdir(parents=True)
        put(self.top / "tree/sub/file", data)
        run("mv", self.top / "tree", self.models / "tree")
        self.assertEqual(read(self.models / "tree/sub/file"), data)
        self.mount.umount()
        self.store.verify()

    def test_root_of_a_scope_stays(self) -> None:
        for attempt in ((os.rmdir, self.models), (os.rename, self.models, self.top / "dir/renamed"),
                        (os.rename, self.top / "dir", self.top / "renamed")):
            self.assert_errno(errno.EBUSY, *attempt)

    def test_on_the_way_to_a_granted_scope(self) -> None:
        """Who is granted a scope deep inside may walk there, and see and list nothing else on the way."""
        put(self.models / "weights", b"weights")
        (self.top / "dir/other").mkdir()
        self.store.grant("/dir/models", "--selector", f"unix:uid:{BOB.uid}", rights=["list", "read"])
        self.become(0, BOB, read, self.models / "weights")
        drop_caches()
        self.assertEqual(as_user(BOB, os.listdir, self.models), ["weights"])
        os.chdir("/")
        for attempt in ((os.listdir, self.top), (os.listdir, self.top / "dir"), (os.stat, self.top / "file"),
                        (os.stat, self.top / "dir/file"), (os.stat, self.top / "dir/other"), (os.stat, self.top / "dir/missing"),
                        (read, self.top / "file"), (os.mkdir, self.top / "dir/new"), (put, self.models / "new", b"")):
            drop_caches()
            self.assertEqual(errno.errorcode.get(as_user(BOB, errno_of, *attempt)), "EACCES", attempt)

    def test_exports_what_is_granted(self) -> None:
        """Without a mount, too, grants decide: a part that is not granted is left out, and said so."""
        put(self.models / "weights", b"weights")
        self.store.grant("/dir/models", "--selector", "unix:uid:0", "--deny", rights=["read"])
        self.mount.umount()
        out = self.place("out")
        failed = self.store.coffer("export", self.store.path, out, check=False)
        self.assertEqual(failed.code, 12, str(failed))
        self.assertIn("/dir/models/weights", failed.err)
        self.assertEqual(read(out / "file"), b"content of file")
        self.assertFalse((out / "dir/models/weights").exists())


class Audit(AccessTest):
    def test_valid_lines_from_many_processes(self) -> None:
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        self.become(0, BOB, read, self.top / "file")
        name = b"not \xff UTF-8 \" \\ \n\x01"

        def use(number: int) -> None:
            user = (ALICE, BOB)[number % 2]
            for round_ in range(30):
                as_user(user, errno_of, read, self.top / "file")
                as_user(user, errno_of, put, os.fsencode(self.top) + b"/" + name + b"%d" % round_, b"x")

        in_processes([lambda number=number: use(number) for number in range(4)] +
                     [lambda: self.store.revoke(self.store.grant("/", "--selector", "unix:uid:77777"))])
        lines = self.store.audit()
        self.assertGreaterEqual(len(self.refusals(ALICE)), 120)
        releases = [line for line in lines if line["event"] == "release" and line["identity"].get("uid") == BOB.uid]
        self.assertGreaterEqual(len(releases), 120)
        for line in lines:
            self.assertEqual(line["store"], self.store.id)
            self.assertRegex(line["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")
        self.assertEqual([line["time"] for line in lines], sorted(line["time"] for line in lines))
        for line in releases:
            if line.get("right") == "read":
                self.assertTrue(re.fullmatch("[0-9a-f]{32}", line["file"]) and line["key_version"] == 1 and line["grant"] > 0)
        admin = [line["detail"] for line in lines if line["event"] == "admin"]
        self.assertTrue(any(detail.startswith("grant add ") and detail.endswith("unix:uid:77777") for detail in admin))
        self.assertTrue(any(detail.startswith("grant revoke ") for detail in admin))
        self.assertEqual(stat.S_IMODE(os.stat(self.store.audit_log).st_mode), 0o600)
        self.assertEqual(coffer("status", self.top, "--json").json["audit_log"], str(self.store.audit_log))

    def test_log_lists_what_was_read(self) -> None:
        """Each open is a line, also of a file whose pages are all in the kernel's cache."""
        read(self.top / "file")
        before = len(self.store.audit())
        for _ in range(3):
            read(self.top / "file")
        lines = [line for line in self.store.audit()[before:] if line.get("path") == "/file" and line["event"] == "release"]
        self.assertEqual([(line["right"], line["decision"], line["identity"]["uid"]) for line in lines], [("read", "allow", 0)] * 3)


if __name__ == "__main__":
    unittest.main()

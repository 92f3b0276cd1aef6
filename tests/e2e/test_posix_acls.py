"""POSIX access control lists, set and read by setfacl and getfacl, decided by the kernel for other users."""

import errno
import os
import shutil
import unittest
from pathlib import Path

from files import mode_of, write_file
from harness import MountedTest
from processes import ALICE, BOB, User, as_user, need, need_root, run

GROUP = 4242
MEMBER = User(BOB.uid, BOB.gid, (GROUP,))


def getfacl(path: Path) -> list[str]:
    """The entries, without comments; an effective right that a mask cuts is a comment, too."""
    lines = run("getfacl", "-cpnE", path).out.splitlines()
    return [line for line in lines if line]


class Acls(MountedTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()
        need(shutil.which("setfacl"), "setfacl is not installed (package acl)")

    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.dir, 0o755)
        self.file = self.dir / "file"
        write_file(self.file, b"content")
        os.chmod(self.file, 0o600)

    def readable(self, user: User) -> bool:
        try:
            return as_user(user, self.file.read_bytes) == b"content"
        except PermissionError:
            return False

    def test_named_users_and_groups(self) -> None:
        self.assertFalse(self.readable(BOB))
        run("setfacl", "-m", f"u:{BOB.uid}:r", self.file)
        self.assertEqual(getfacl(self.file), ["user::rw-", f"user:{BOB.uid}:r--", "group::---", "mask::r--", "other::---"])
        self.assertTrue(self.readable(BOB))
        self.assertFalse(self.readable(ALICE))
        self.assert_errno(errno.EACCES, as_user, BOB, os.open, self.file, os.O_WRONLY)
        self.remount()
        self.assertTrue(self.readable(BOB))
        self.assertFalse(self.readable(ALICE))
        run("setfacl", "-x", f"u:{BOB.uid}", "-m", f"g:{GROUP}:r", self.file)
        self.assertFalse(self.readable(BOB))
        self.assertTrue(self.readable(MEMBER))
        run("setfacl", "-b", self.file)
        self.assertFalse(self.readable(MEMBER))
        self.assertEqual(getfacl(self.file), ["user::rw-", "group::---", "other::---"])

    def test_a_user_can_be_denied(self) -> None:
        os.chmod(self.file, 0o644)
        run("setfacl", "-m", f"u:{BOB.uid}:-", self.file)
        self.assertFalse(self.readable(BOB))
        self.assertTrue(self.readable(ALICE))

    def test_chmod_changes_the_mask_and_a_mask_the_mode(self) -> None:
        run("setfacl", "-m", f"u:{BOB.uid}:rw,g::r", self.file)
        self.assertEqual(mode_of(self.file), 0o660)
        os.chmod(self.file, 0o600)
        self.assertEqual(getfacl(self.file), ["user::rw-", f"user:{BOB.uid}:rw-", "group::r--", "mask::---", "other::---"])
        self.assertFalse(self.readable(BOB))
        run("setfacl", "-m", "m:r", self.file)
        self.assertEqual(mode_of(self.file), 0o640)
        self.assertTrue(self.readable(BOB))
        self.assert_errno(errno.EACCES, as_user, BOB, os.open, self.file, os.O_WRONLY)

    def test_only_the_owner_sets_one(self) -> None:
        os.chown(self.file, ALICE.uid, ALICE.gid)
        denied = run("setfacl", "-m", f"u:{BOB.uid}:r", self.file, user=BOB, check=False)
        self.assertIn("Operation not permitted", denied.err)
        run("setfacl", "-m", f"u:{BOB.uid}:r", self.file, user=ALICE)
        self.assertTrue(self.readable(BOB))

    def test_setgid_is_for_members_to_keep(self) -> None:
        os.chown(self.file, ALICE.uid, GROUP)
        os.chmod(self.file, 0o2750)
        run("setfacl", "-m", f"u:{BOB.uid}:r", self.file, user=ALICE)
        self.assertEqual(mode_of(self.file), 0o750)
        os.chmod(self.file, 0o2750)
        run("setfacl", "-m", f"u:{BOB.uid}:rx", self.file, user=User(ALICE.uid, ALICE.gid, (GROUP,)))
        self.assertEqual(mode_of(self.file), 0o2750)

    def test_defaults_are_inherited(self) -> None:
        """By files, directories and what is made in those; the umask has no say then."""
        top = self.dir / "top"
        top.mkdir(mode=0o700)
        os.chown(top, ALICE.uid, ALICE.gid)
        run("setfacl", "-d", "-m", f"u:{BOB.uid}:rwx,g::rx,o::-", top)

        def make() -> None:
            os.umask(0o077)
            os.mkdir(top / "sub")
            write_file(top / "sub/file", b"content")
            os.mkfifo(top / "fifo")

        as_user(ALICE, make)
        expected = [f"user:{BOB.uid}:rwx", "group::r-x"]
        for again in range(2):
            self.assertEqual(getfacl(top / "sub"), ["user::rwx", *expected, "mask::rwx", "other::---", "default:user::rwx",
                                                    *(f"default:{entry}" for entry in expected), "default:mask::rwx",
                                                    "default:other::---"])
            self.assertEqual(getfacl(top / "sub/file"), ["user::rw-", *expected, "mask::r--", "other::---"])
            self.assertEqual(mode_of(top / "sub/file"), 0o640)
            self.assertEqual(mode_of(top / "fifo"), 0o640)
            self.file = top / "sub/file"
            self.assertFalse(self.readable(BOB), "top itself lets nobody else in")
            if again == 0:
                os.chmod(top, 0o755)
                self.assertTrue(self.readable(BOB))
                os.chmod(top, 0o700)
                self.remount()
        run("setfacl", "-k", top)
        as_user(ALICE, make_masked, top / "plain")
        self.assertEqual(mode_of(top / "plain"), 0o600)

    def test_copied_by_programs(self) -> None:
        run("setfacl", "-m", f"u:{BOB.uid}:r", self.file)
        run("cp", "-p", self.file, self.dir / "copy")
        self.assertEqual(getfacl(self.dir / "copy"), getfacl(self.file))
        run("mv", self.dir / "copy", self.dir / "moved")
        self.assertEqual(getfacl(self.dir / "moved"), getfacl(self.file))
        self.assertIn("+", run("ls", "-l", self.file).out.split()[0])


def make_masked(path: Path) -> None:
    os.umask(0o077)
    write_file(path)


if __name__ == "__main__":
    unittest.main()

"""stress-ng's filesystem stressors with --verify, and fio writing and verifying checksums, on a mount.

COFFER_STRESS_SECONDS: of each stressor, and a quarter of the megabytes of each of fio's files (default 1). Not run, since a mount has not what they need: chattr, inode-flags, fiemap,
file-ioctl and verity (ioctls of ext4), handle (name_to_handle_at), lease, bind-mount, binderfs, dnotify, fanotify and inotify
(which watch, and store nothing), eventfd, procfs, touch's O_TMPFILE (not there)."""

import json
import os
import shutil

from harness import MountedTest
from processes import need, run

SECONDS = int(os.environ.get("COFFER_STRESS_SECONDS") or 1)

STRESSORS = ("access", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep", "dirmany", "dup", "fallocate", "fcntl",
             "filename", "flock", "fpunch", "fsize", "fstat", "getdent", "hdd", "io", "iomix", "link", "locka", "lockf", "lockofd", "mknod", "mmap", "open",
             "rename", "seek", "sendfile", "splice", "symlink", "sync-file", "utime", "xattr")


class StressNg(MountedTest):
    """Several stressors one after the other, two workers each."""

    limit = 120.0 + 6 * SECONDS * len(STRESSORS)

    def stress(self, name: str, *options: str) -> None:
        done = run("stress-ng", f"--{name}", "2", "--timeout", f"{SECONDS}s", "--verify", "--temp-path", self.dir, "--log-brief",
                   *options, timeout=60 + 10 * SECONDS, check=False)
        with self.subTest(name):
            self.assertEqual(done.code, 0, str(done))
            self.assertNotIn("fail", done.out + done.err)

    def test_stressors(self) -> None:
        need(shutil.which("stress-ng"), "stress-ng is not installed")
        for name in STRESSORS:
            self.stress(name)


class Fio(MountedTest):
    """What fio wrote, with a checksum in each block, it finds again: at once, and after a remount."""

    limit = 200.0

    def fio(self, *options: str) -> None:
        """One job after the other, each in a file of its own."""
        jobs = []
        for kind, engine in (("buffered", "psync"), ("direct", "psync"), ("mmap", "mmap")):
            for block in ("4k", "16k", "64k", "1m"):
                for order in ("write", "randwrite"):
                    jobs += [f"--name={kind}-{block}-{order}", "--stonewall", f"--ioengine={engine}",
                             f"--direct={int(kind == 'direct')}", f"--bs={block}", f"--rw={order}"]
        done = run("fio", f"--directory={self.dir}", "--verify=crc32c", "--verify_fatal=1", f"--size={SECONDS * 4}m",
                   "--fallocate=none", "--output-format=json", *options, *jobs, timeout=self.limit, check=False)
        self.assertEqual(done.code, 0, str(done)[-4000:])
        report = json.loads(done.out[done.out.index("{"):])
        self.assertEqual({job["jobname"]: job["error"] for job in report["jobs"] if job["error"] != 0}, {})
        self.assertEqual(len(report["jobs"]), 24)

    def test_write_and_verify(self) -> None:
        need(shutil.which("fio"), "fio is not installed")
        self.fio()
        self.remount()
        self.dir = self.mount.path / self._testMethodName
        self.fio("--verify_only=1")

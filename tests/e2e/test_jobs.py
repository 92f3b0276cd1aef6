"""What is open ends with the control group by which it was opened: a unit, a job, a container.

The processes here open a file while they are in a group, are moved out of it, and go on: it was decided who they were when they
opened it. When the group is gone, though, nobody is left to whom that was granted, wherever the descriptor is.
"""

import errno
import mmap
import os
import signal
import time
import unittest
from pathlib import Path
from typing import Callable

from control_groups import Group
from processes import BOB, SELF, need_root
from test_access import errno_of
from test_withdrawal import PAGE, Use, WithdrawalTest, reading

UNIQUE = f"coffer-e2e-{os.getpid()}"
CONTAINER = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
POD = "2c48913c-b29f-11e7-9350-020968147796"
POD_SCOPE = f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope"


def opened_later(path: Path, mapping: bool = False) -> Callable[[], Callable[[], None]]:
    """Waits until it may open the file."""
    def prepare() -> Callable[[], None]:
        while errno_of(os.open, path, os.O_RDONLY) != 0:
            time.sleep(0.01)
        file = os.open(path, os.O_RDONLY)
        if not mapping:
            return lambda: os.pread(file, PAGE, 0) and None
        memory = mmap.mmap(file, PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
        return lambda: memory[0] and None or None
    return prepare


class Jobs(WithdrawalTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()

    def group(self, path: str, controller: str = "") -> Group:
        group = Group(path, controller)
        self.addCleanup(group.close)
        return group

    def grant_selector(self, selector: str) -> int:
        return self.store.grant("/", "--selector", selector, rights=("list", "read"))

    def use_in(self, group: Group, mapping: bool = False) -> Use:
        """Opened in the group, and moved out of it."""
        use = Use(BOB, opened_later(self.file, mapping))
        self.addCleanup(use.end)
        group.take(use.pid)
        use.goes_on()
        group.leave(use.pid)
        return use

    def test_each_kind(self) -> None:
        """Of version 2, and a job's and a container's of version 1 as well; a pod with its cgroup driver systemd and without."""
        self.become(errno.EACCES, BOB, os.open, self.file, os.O_RDONLY)
        kinds = {"cgroup:path:/" + UNIQUE: ("/" + UNIQUE, ""),
                 f"systemd:id:{UNIQUE}.service": (f"/{UNIQUE}.slice/{UNIQUE}.service", ""),
                 "slurm:job_id:4711": ("/system.slice/slurmstepd.scope/job_4711/step_0", ""),
                 "slurm:job_id:4712": ("/slurm/uid_12346/job_4712/step_batch/task_0", "memory"),
                 f"docker:id:{CONTAINER}": (f"/docker/{CONTAINER}", ""),
                 f"k8s:pod-uid:{POD}": (f"/kubepods/burstable/pod{POD}/{CONTAINER}", ""),
                 f"k8s:container-id:{CONTAINER}": (POD_SCOPE, "")}
        for selector, (path, controller) in kinds.items():
            with self.subTest(selector):
                group = self.group(path, controller)
                grant = self.grant_selector(selector)
                use = self.use_in(group)
                time.sleep(1)
                use.goes_on()
                group.remove(len(group.made))
                self.assert_in_time(use.ends_with(errno.EKEYREVOKED, time.monotonic()))
                line = self.withdrawals(BOB)[-1]
                self.assertEqual((line["reason"], line["grant"], line["path"]),
                                 ("the control group that the grant names is gone", grant, "/large"))

    def test_mapped_pages(self) -> None:
        """They fault; another's, of the same file, do not."""
        group = self.group("/" + UNIQUE)
        self.grant_selector("cgroup:path:/" + UNIQUE)
        use = self.use_in(group, mapping=True)
        # What others read just then of the very same pages would be there for all.
        other = self.use(SELF, reading(self.file, 2048 * PAGE))
        group.remove()
        self.assert_in_time(use.ends_with(-signal.SIGBUS, time.monotonic()))
        other.goes_on()

    def test_another_group_of_the_name(self) -> None:
        """Made at once in its place, as a restarted service has it."""
        group = self.group("/" + UNIQUE)
        self.grant_selector("cgroup:path:/" + UNIQUE)
        use = self.use_in(group)
        group.remove()
        since = time.monotonic()
        again = self.group("/" + UNIQUE)
        self.assert_in_time(use.ends_with(errno.EKEYREVOKED, since))
        self.use_in(again).goes_on()

    def test_a_group_within_the_unit(self) -> None:
        """The unit is there as long as its own group is."""
        group = self.group(f"/{UNIQUE}.service/part")
        self.grant_selector(f"systemd:id:{UNIQUE}.service")
        use = self.use_in(group)
        group.remove()
        time.sleep(2)
        use.goes_on()
        self.assertEqual(self.withdrawals(BOB), [])
        group.remove()
        self.assert_in_time(use.ends_with(errno.EKEYREVOKED, time.monotonic()))

    def test_another_grant_is_as_good(self) -> None:
        group = self.group("/" + UNIQUE)
        self.grant_selector("cgroup:path:/" + UNIQUE)
        use = self.use_in(group)
        self.store.grant("/", "--selector", f"unix:uid:{BOB.uid}")
        time.sleep(1.5)
        group.remove()
        time.sleep(2.5)
        use.goes_on()
        self.assertEqual(self.withdrawals(BOB), [])


if __name__ == "__main__":
    unittest.main()

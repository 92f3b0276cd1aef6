"""What would happen, and what should: coffer grant show, explain and learn, held to what a mount does."""

import errno
import os
import shlex
import signal
import subprocess
import time
import unittest
from pathlib import Path

from mounted import MountedTest
from processes import ALICE, BINARY, BOB, SELF, Outcome, User, as_user, coffer, drop_caches, start, wait_until

TEAM = 4242
MEMBER = User(ALICE.uid, ALICE.gid, (TEAM,))
PEER = User(BOB.uid, BOB.gid, (TEAM,))
DEADLINE = 3.0


def attempt(path: Path, right: str) -> int:
    """Uses a path as the right is meant; errno, 0 if it works."""
    try:
        if right == "list":
            os.listdir(path)
        else:
            os.close(os.open(path, os.O_RDONLY if right == "read" else os.O_WRONLY))
    except OSError as failure:
        return failure.errno or -1
    return 0


class GrantsTest(MountedTest):
    """With a scope inside."""

    def setUp(self) -> None:
        super().setUp()
        (self.top / "dir").mkdir(0o777)
        self.store.coffer("scope", "create", self.store.path, "/dir/llama")
        self.store.grant("/dir/llama", "--selector", "unix:uid:0")
        wait_until(lambda: attempt(self.top / "dir/llama", "list") == 0, "the scope can be used", DEADLINE)
        for name in ("file", "dir/llama/weights"):
            (self.top / name).write_bytes(b"content")

    def grants(self) -> list[dict]:
        return self.store.coffer("grant", "list", self.store.path, "--json").json

    def process_of(self, user: User) -> int:
        sleeper = start("sleep", "600", user=user)
        self.addCleanup(sleeper.wait)
        self.addCleanup(sleeper.kill)
        # Until it has its own ids it is still this process.
        wait_until(lambda: f"Uid:\t{user.uid}\t{user.uid}\t{user.uid}\t{user.uid}\n" in
                   Path(f"/proc/{sleeper.pid}/status").read_text(), "the process runs", DEADLINE)
        return sleeper.pid


class Explain(GrantsTest):
    def explain(self, pid: int, path: str, right: str) -> Outcome:
        return self.store.coffer("grant", "explain", self.store.path, path, "--right", right, "--pid", str(pid), "--json", check=False)

    def test_says_what_the_mount_does(self) -> None:
        """For several users, each path and right, the answer is what an attempt comes to: its exit code stands for the errno."""
        self.store.grant("/", "--selector", f"unix:supplementary_gid:{TEAM}", rights=["list"])
        self.store.grant("/dir/llama", "--selector", f"unix:uid:{ALICE.uid}", rights=["read"])
        self.store.grant("/dir/llama", "--selector", f"unix:gid:{BOB.gid}", rights=["read", "write"])
        self.store.grant("/dir/llama", "--selector", f"unix:supplementary_gid:{TEAM}", "--selector", f"unix:uid:{BOB.uid}", "--deny",
                         rights=["write"])
        self.store.revoke(self.store.grant("/", "--selector", f"unix:uid:{ALICE.uid}", rights=["read"]))
        time.sleep(1.2)
        codes = {0: 0, errno.EACCES: 12, errno.EKEYREVOKED: 13, errno.EKEYEXPIRED: 14}
        outcomes = set()
        for user in (SELF, ALICE, BOB, MEMBER, PEER, User(7, 7)):
            pid = self.process_of(user)
            for path, right in (("", "list"), ("dir", "list"), ("dir/llama", "list"), ("file", "read"), ("file", "write"),
                                ("dir/llama/weights", "read"), ("dir/llama/weights", "write")):
                explained = self.explain(pid, f"/{path}", right)
                code = codes[as_user(user, attempt, self.top / path, right)]
                if "stop" in explained.json:
                    # Refused at a name or, where the kernel knows the name still, at the path itself: for one cause or the other.
                    self.assertTrue(code and explained.code, f"{user} {right} /{path}\n{explained}")
                else:
                    self.assertEqual(explained.code, code, f"{user} {right} /{path}\n{explained}")
                self.assertEqual(explained.json["decision"], "allow" if explained.code == 0 else "deny")
                outcomes.add(explained.code)
        self.assertEqual(outcomes, {0, 12, 13})

    def test_names_the_selector_that_failed(self) -> None:
        grant = self.store.grant("/dir/llama", "--selector", f"unix:uid:{ALICE.uid}", "--selector", f"unix:supplementary_gid:{TEAM}",
                                 rights=["read"])
        refused = self.explain(self.process_of(ALICE), "/dir/llama/weights", "read")
        self.assertEqual(refused.code, 12, str(refused))
        mine = [row for row in refused.json["rights"][0]["grants"] if row["id"] == grant]
        self.assertEqual((mine[0]["failed"], mine[0]["part"]), ([f"unix:supplementary_gid:{TEAM}"], "none"))
        allowed = self.explain(self.process_of(MEMBER), "/dir/llama/weights", "read")
        self.assertEqual((allowed.code, allowed.json["rights"][0]["grant"]), (0, grant), str(allowed))
        self.assertIn(f"unix:supplementary_gid:{TEAM}", allowed.json["selectors"])

    def test_leaves_no_trace_and_needs_no_mount(self) -> None:
        pid = self.process_of(ALICE)
        before = self.store.audit_log.read_bytes()
        with_mount = self.explain(pid, "/dir/llama/weights", "read").json
        self.assertEqual(self.store.audit_log.read_bytes(), before, "no key was asked for")
        self.mount.umount()
        self.assertEqual(self.explain(pid, "/dir/llama/weights", "read").json, with_mount)
        gone = start("true")
        gone.wait()
        failed = self.explain(gone.pid, "/", "read")
        self.assertEqual(failed.code, 19, str(failed))
        self.assertIn(str(gone.pid), failed.err)


class Learn(GrantsTest):
    def start_learning(self, *options: str) -> subprocess.Popen:
        learner = start(BINARY, "grant", "learn", self.store.path, "/dir/llama", *options, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True)
        self.addCleanup(learner.wait)
        self.addCleanup(learner.kill)
        self.assertIn("Watching", learner.stderr.readline())
        return learner

    def end(self, learner: subprocess.Popen) -> list[str]:
        """The commands that it proposes, once it was interrupted."""
        learner.send_signal(signal.SIGINT)
        out, err = learner.communicate(timeout=20)
        self.assertEqual(learner.returncode, 0, err)
        return out.splitlines()

    def apply(self, commands: list[str]) -> None:
        for command in commands:
            words = shlex.split(command)
            self.assertEqual(words[:3], ["coffer", "grant", "add"], command)
            coffer(*words[1:])

    def test_what_was_refused_works_once_it_is_applied(self) -> None:
        weights = self.top / "dir/llama/weights"
        self.store.grant("/", "--everyone", rights=["list"])
        self.store.grant("/dir/llama", "--everyone", rights=["list"])
        wait_until(lambda: as_user(ALICE, attempt, weights.parent, "list") == 0, "listing is granted", DEADLINE)
        before = self.grants()
        learner = self.start_learning("--for", "10m", *(word for kind in ("unix:path", "cgroup", "container", "systemd")
                                                        for word in ("--without", kind)))
        for user in (MEMBER, PEER):
            self.assertEqual(as_user(user, attempt, weights, "read"), errno.EACCES)
        self.assertEqual(as_user(SELF, attempt, weights, "read"), 0)
        commands = self.end(learner)
        self.assertEqual(self.grants(), before, "it proposes, and applies nothing")
        self.assertEqual(len(commands), 1, commands)
        self.assertTrue(commands[0].endswith(f" /dir/llama --selector unix:supplementary_gid:{TEAM} --right read"), commands)
        self.apply(commands)
        for user in (MEMBER, PEER):
            wait_until(lambda user=user: as_user(user, attempt, weights, "read") == 0, "it was granted", DEADLINE)
            self.assertEqual(as_user(user, attempt, weights, "write"), errno.EACCES)
        self.assertEqual(as_user(BOB, attempt, weights, "read"), errno.EACCES)

    def test_never_for_whom_a_grant_denies(self) -> None:
        weights = self.top / "dir/llama/weights"
        self.store.grant("/", "--everyone", rights=["list"])
        self.store.grant("/dir/llama", "--everyone", rights=["list"])
        self.store.grant("/dir/llama", "--selector", f"unix:uid:{BOB.uid}", "--deny", rights=["read"])
        time.sleep(1.2)
        learner = self.start_learning("--for", "10m")
        for user in (MEMBER, PEER):
            self.assertEqual(as_user(user, attempt, weights, "read"), errno.EACCES)
        commands = self.end(learner)
        self.assertEqual(len(commands), 1, commands)
        self.assertIn(f"unix:uid:{ALICE.uid}", commands[0])
        self.apply(commands)
        wait_until(lambda: as_user(MEMBER, attempt, weights, "read") == 0, "it was granted", DEADLINE)
        self.assertEqual(as_user(PEER, attempt, weights, "read"), errno.EACCES)

    def test_step_by_step_from_above(self) -> None:
        """Who may look up nothing is refused at the first name and asks no further: listing first, then reading."""
        weights = self.top / "dir/llama/weights"
        for expected in (["list"], ["read"]):
            learner = self.start_learning("--for", "10m", "--on-the-way")
            drop_caches()  # else the kernel walks there by names that root has looked up
            self.assertEqual(as_user(ALICE, attempt, weights, "read"), errno.EACCES)
            commands = self.end(learner)
            self.assertEqual(len(commands), 1, commands)
            self.assertEqual(commands[0].split()[-2:], ["--right", *expected], commands)
            self.apply(commands)
            goal, right = (weights.parent, "list") if expected == ["list"] else (weights, "read")
            wait_until(lambda goal=goal, right=right: as_user(ALICE, attempt, goal, right) == 0, "it was granted", DEADLINE)

    def test_narrows_what_was_granted_broadly(self) -> None:
        """A scope opened to everyone for a while; then the fewest grants in its place."""
        weights = self.top / "dir/llama/weights"
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        broad = self.store.grant("/dir/llama", "--everyone")
        wait_until(lambda: as_user(ALICE, attempt, weights, "read") == 0, "it was granted", DEADLINE)
        self.assertEqual(as_user(BOB, attempt, weights, "write"), 0)
        learnt = self.store.coffer("grant", "learn", self.store.path, "/dir/llama", "--since", began, "--all", "--json").json
        self.assertTrue(learnt["smallest"])
        self.assertEqual(learnt["allowed_already"], learnt["identities"])
        rights = {uid: grant["rights"] for grant in learnt["proposed"] for uid in (0, ALICE.uid, BOB.uid)
                  if f"unix:uid:{uid}" in grant["selectors"]}
        self.assertEqual((rights[ALICE.uid], rights[BOB.uid]), ("read", "write"))
        self.store.revoke(broad)
        self.apply([grant["command"] for grant in learnt["proposed"]])
        time.sleep(1.2)
        self.assertEqual(as_user(ALICE, attempt, weights, "read"), 0)
        self.assertEqual(as_user(BOB, attempt, weights, "write"), 0)
        self.assertNotEqual(as_user(ALICE, attempt, weights, "write"), 0)
        self.assertNotEqual(as_user(BOB, attempt, weights, "read"), 0)

    def test_ends_by_itself(self) -> None:
        began = time.monotonic()
        learner = self.start_learning("--for", "2s")
        out, err = learner.communicate(timeout=20)
        self.assertEqual((learner.returncode, out), (0, ""), err)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertIn("Nothing to propose", err)


if __name__ == "__main__":
    unittest.main()

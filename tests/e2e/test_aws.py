"""Stores whose master key is in AWS KMS, or in what stands for it (test_aws_stand_in.py)."""

import os
import subprocess
from pathlib import Path

from aws import MACHINE_ROLE, POD_ROLE, ServedAws
from files import random_bytes
from harness import CofferTest
from processes import NODE, Outcome, SELF, coffer
from stores import Store

INVALID, WRONG_KEY, KEY_UNAVAILABLE, KMS_DENIED, KMS_KEY_MISSING, KMS_KEY_DISABLED, KMS_UNAVAILABLE = 2, 4, 11, 23, 24, 25, 26
NOWHERE = "aws-kms://arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000"


class Aws(CofferTest):
    """A region with one key, and a machine with a role; its settings are in the file that COFFER_AWS_CONFIG names."""

    aws: ServedAws
    key: str

    def setUp(self) -> None:
        super().setUp()
        self.aws = ServedAws.of_test(self)
        self.aws.allow_node()
        self.key = self.aws.do("make_key")
        self.settings(f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.aws.metadata}")
        NODE["COFFER_AWS_CONFIG"] = str(self.place("aws.conf"))
        self.addCleanup(NODE.pop, "COFFER_AWS_CONFIG")

    def settings(self, *lines: str) -> None:
        here = (f"AWS_ENDPOINT_URL={self.aws.url}", f"AWS_CA_BUNDLE={self.aws.ca}")
        self.write_private("aws.conf", "\n".join((*here, *lines)) + "\n")

    def write_private(self, name: str, content: str) -> Path:
        path = self.place(name)
        path.write_text(content)
        os.chmod(path, 0o600)
        return path

    @property
    def uri(self) -> str:
        return f"aws-kms://{self.key}"

    def aws_store(self) -> Store:
        return self.new_store(kms=self.uri)

    def refused(self, store: Store, code: int, words: str) -> Outcome:
        done = self.mount_refused(store, code, words)
        self.assertNotIn("a/Hidden", done.err)
        return done

    def test_a_store_and_its_mount(self) -> None:
        store = self.aws_store()
        store.coffer("scope", "create", store.path, "/own")
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        for scope in ("/own", "/direct"):
            store.grant(scope, "--everyone")
        mount = self.new_mount(store)
        status = mount.status()
        self.assertEqual((status["master_key"], status["system_calls"]), (self.uri, "filtered"))
        content = random_bytes(100_000)
        for name in ("file", "own/file", "direct/file"):
            (mount.path / name).write_bytes(content)
        mount.umount()
        self.aws.api("RotateKeyOnDemand", KeyId=self.key)
        again = self.new_mount(store)
        for name in ("file", "own/file", "direct/file"):
            self.assert_content(again.path / name, content)
        (again.path / "own/new").write_bytes(content)
        again.umount()
        self.assertEqual(mount.logged_errors() + again.logged_errors(), [])
        store.verify()
        said = store.coffer("kms", "check", store.path).out
        self.assertIn(f"role {MACHINE_ROLE} of this machine", said)
        self.assertNotIn("FAILED", said)

    def test_an_alias_at_init(self) -> None:
        self.aws.api("CreateAlias", AliasName="alias/models", TargetKeyId=self.key)
        alias = f"{self.uri.rpartition(':')[0]}:alias/models"
        store = self.new_store(kms=alias)
        self.assertEqual(self.new_mount(store).status()["master_key"], self.uri)

    def test_no_secret_is_in_the_store(self) -> None:
        store = self.aws_store()
        self.new_mount(store).umount()
        for secret in ("a/Hidden", "ASIA"):
            found = subprocess.run(["grep", "-rl", secret, store.path, SELF.home / "state"], capture_output=True, check=False)
            self.assertEqual(found.stdout, b"")

    def test_the_server_is_killed_and_brought_back(self) -> None:
        """Under a daemon that may open no sockets but these: what is open goes on, and what takes the key waits for it."""
        store = self.aws_store()
        mount = self.new_mount(store)
        content = random_bytes(10_000)
        (mount.path / "file").write_bytes(content)
        coffer("lock", mount.path)
        self.aws.stop()
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_UNAVAILABLE, str(refused))
        self.aws.start()
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", content)
        self.aws.stop()
        self.assert_content(mount.path / "file", content)
        (mount.path / "file").write_bytes(b"changed")
        mount.umount()
        self.refused(store, KMS_UNAVAILABLE, "127.0.0.1")
        self.aws.start()
        self.assert_content(self.new_mount(store).path / "file", b"changed")

    def test_credentials_run_out_in_mid_run(self) -> None:
        store = self.aws_store()
        store.coffer("scope", "create", store.path, "/direct", "--wrap", "direct")
        store.grant("/direct", "--everyone")
        mount = self.new_mount(store)
        for number in range(3):
            self.aws.do("expire")
            coffer("lock", mount.path)
            coffer("unlock", mount.path)
            (mount.path / f"direct/{number}").write_bytes(b"content")
        mount.umount()
        self.assertEqual(mount.logged_errors(), [])
        store.verify()

    def test_the_node_is_shut_out_and_the_key_disabled(self) -> None:
        store = self.aws_store()
        mount = self.new_mount(store)
        (mount.path / "file").write_bytes(b"content")
        coffer("lock", mount.path)
        self.aws.do("allow", principal=MACHINE_ROLE, actions=["DescribeKey"])
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_DENIED, str(refused))
        checked = store.coffer("kms", "check", store.path, check=False)
        self.assertEqual(checked.code, KMS_DENIED, str(checked))
        self.aws.allow_node()
        self.aws.api("DisableKey", KeyId=self.key)
        refused = coffer("unlock", mount.path, check=False)
        self.assertEqual(refused.code, KMS_KEY_DISABLED, str(refused))
        self.refused_elsewhere(store, KMS_KEY_DISABLED)
        self.aws.api("EnableKey", KeyId=self.key)
        coffer("unlock", mount.path)
        self.assert_content(mount.path / "file", b"content")

    def refused_elsewhere(self, store: Store, code: int) -> None:
        done = store.coffer("verify", store.path, check=False)
        self.assertEqual(done.code, code, str(done))

    def test_a_pod(self) -> None:
        store = self.aws_store()
        self.aws.allow_node(POD_ROLE)
        self.aws.do("trust", role=POD_ROLE, subject="pod")
        for subject in ("another", "pod"):
            self.place("jwt").write_text(self.aws.do("jwt", subject=subject))
            self.settings(f"AWS_ROLE_ARN={POD_ROLE}", f"AWS_WEB_IDENTITY_TOKEN_FILE={self.place('jwt')}")
            if subject == "another":
                self.refused(store, KMS_DENIED, "STS refuses the role")
        self.new_mount(store).umount()
        self.assertIn(f"web identity, {POD_ROLE}", store.coffer("kms", "check", store.path).out)

    def test_an_answer_that_hangs(self) -> None:
        store = self.aws_store()
        self.aws.do("trouble", kind="hang", where="Decrypt", times=10)
        self.refused(store, KMS_UNAVAILABLE, "no answer in time")
        self.aws.do("calm")
        self.assertEqual(store.verify()["findings"], [])

    def test_another_key_in_the_keystore(self) -> None:
        store = self.aws_store()
        other = self.aws.do("make_key")
        theirs = self.aws.do("make_key", account="999999999999")
        self.settings(f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.aws.metadata}", "COFFER_AWS_KEYS=arn:aws:kms:eu-west-1:111122223333")
        for uri, code, words in ((f"aws-kms://{other}", WRONG_KEY, "another key"),
                                 (f"aws-kms://{theirs}", KEY_UNAVAILABLE, "COFFER_AWS_KEYS"),
                                 (self.uri.replace("arn:aws:kms:eu-west-1", "arn:aws-cn:kms:cn-north-1"), KEY_UNAVAILABLE, "partition")):
            if words == "partition":  # where AWS itself would be asked
                self.write_private("aws.conf", f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.aws.metadata}\n")
            subprocess.run(["sqlite3", store.path / ".coffer/keystore.db", f"update masters set uri = '{uri}'"], check=True)
            self.refused(store, code, words)

    def test_uris_that_are_none(self) -> None:
        for uri, code in ((f"{self.uri}?token=7531-secret", INVALID), (f"aws-kms://user:7531-secret@{self.key}", INVALID),
                          (NOWHERE, KMS_KEY_MISSING)):
            done = coffer("init", self.place("other"), "--kms", uri, check=False)
            self.assertEqual(done.code, code, str(done))
            self.assertNotIn("7531-secret", done.err)
            self.assertFalse(self.place("other").exists())

    def test_no_credentials(self) -> None:
        store = self.aws_store()
        self.settings("AWS_EC2_METADATA_DISABLED=true")
        self.refused(store, KEY_UNAVAILABLE, "this node has no AWS credentials")

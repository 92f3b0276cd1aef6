"""The stand-in for AWS that the tests use, asked by clients that others wrote (boto3 and the aws program)."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from aws import MACHINE_ROLE, NODE_ACTIONS, POD_ROLE, REGION, ServedAws
from processes import need

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    boto3 = None

PLAIN = b"k" * 32
CONTEXT = {"coffer-purpose": "kek", "coffer-scope": "2"}


class StandIn(unittest.TestCase):
    def setUp(self) -> None:
        need(boto3, "python3-boto3 is not installed")
        self.aws = ServedAws.of_test(self)
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        # Nothing of whoever runs the tests.
        own = {"AWS_CONFIG_FILE": str(self.home / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "credentials"),
               "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": REGION, "AWS_CA_BUNDLE": str(self.aws.ca)}
        self.enterContext(mock.patch.dict(os.environ, clean | own, clear=True))
        self.root = self.client(**self.keys("root"))

    def keys(self, principal: str, temporary: bool = False) -> dict:
        given = self.aws.do("access", principal=principal, temporary=temporary)
        return {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["Token"] or None}

    def client(self, service: str = "kms", **options: object) -> "boto3.client":
        session = boto3.session.Session(**{name: value for name, value in options.items() if name.startswith("aws_")})
        rest = {name: value for name, value in options.items() if not name.startswith("aws_")}
        client = session.client(service, endpoint_url=self.aws.url, region_name=rest.pop("region_name", REGION),
                                config=Config(retries={"total_max_attempts": 1}), **rest)
        self.addCleanup(client.close)
        return client

    def refused(self, name: str) -> "unittest._AssertRaisesContext":  # with self.refused("NotFoundException"): …
        return self.assertRaisesRegex(ClientError, f"\\({name}\\)")

    def sealed(self, client: "boto3.client", key: str) -> bytes:
        return client.encrypt(KeyId=key, Plaintext=PLAIN, EncryptionContext=CONTEXT)["CiphertextBlob"]

    def opened(self, blob: bytes, key: str, context: dict | None = None) -> bytes:
        return self.root.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=context or CONTEXT)["Plaintext"]

    def test_a_key_and_its_rotation(self) -> None:
        told = self.root.create_key()["KeyMetadata"]
        self.assertEqual((told["KeyState"], told["KeySpec"], told["KeyUsage"]), ("Enabled", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
        key = told["Arn"]
        first = self.sealed(self.root, key)
        self.assertEqual(self.opened(first, key), PLAIN)
        self.root.create_alias(AliasName="alias/models", TargetKeyId=key)
        self.assertEqual(self.root.describe_key(KeyId="alias/models")["KeyMetadata"]["Arn"], key)
        self.aws.api("RotateKeyOnDemand", KeyId=key)
        self.assertEqual(self.opened(first, key), PLAIN)
        again = self.root.re_encrypt(CiphertextBlob=first, SourceKeyId=key, SourceEncryptionContext=CONTEXT, DestinationKeyId=key,
                                     DestinationEncryptionContext=CONTEXT)
        self.assertEqual((again["KeyId"], again["SourceKeyId"]), (key, key))
        self.assertEqual(self.opened(again["CiphertextBlob"], key), PLAIN)

    def test_what_is_altered_or_elsewhere(self) -> None:
        key, other = (self.root.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        blob = self.sealed(self.root, key)
        with self.refused("InvalidCiphertextException"):
            self.opened(blob, key, {"coffer-purpose": "dek"})
        with self.refused("InvalidCiphertextException"):
            self.opened(blob[:-1] + bytes([blob[-1] ^ 1]), key)
        with self.refused("IncorrectKeyException"):
            self.opened(blob, other)
        with self.refused("NotFoundException"):
            self.opened(blob, key.replace(REGION, "us-east-1"))

    def test_states_of_keys(self) -> None:
        key = self.root.create_key()["KeyMetadata"]["Arn"]
        blob = self.sealed(self.root, key)
        self.root.disable_key(KeyId=key)
        with self.refused("DisabledException"):
            self.opened(blob, key)
        self.root.enable_key(KeyId=key)
        self.root.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        with self.refused("KMSInvalidStateException"):
            self.opened(blob, key)
        self.assertEqual(self.root.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "PendingDeletion")
        self.root.cancel_key_deletion(KeyId=key)
        self.root.enable_key(KeyId=key)
        self.assertEqual(self.opened(blob, key), PLAIN)

    def test_who_may_and_who_is_known(self) -> None:
        key = self.root.create_key()["KeyMetadata"]["Arn"]
        self.aws.do("allow", principal="node", actions=NODE_ACTIONS, key=key)
        node = self.client(**self.keys("node", temporary=True))
        self.sealed(node, key)
        with self.refused("AccessDeniedException"):
            node.disable_key(KeyId=key)
        with self.refused("UnrecognizedClientException"):
            self.sealed(self.client(aws_access_key_id="AKIANOBODY", aws_secret_access_key="x"), key)
        with self.refused("InvalidSignatureException"):
            self.sealed(self.client(**self.keys("node") | {"aws_secret_access_key": "x"}), key)
        with self.refused("InvalidSignatureException"):
            self.sealed(self.client(**self.keys("node"), region_name="us-east-1"), key)
        self.aws.do("expire")
        with self.refused("ExpiredTokenException"):
            self.sealed(node, key)

    def test_a_clock_that_is_off(self) -> None:
        key = self.root.create_key()["KeyMetadata"]["Arn"]
        self.aws.do("set", offset=-3600)
        with self.refused("InvalidSignatureException"):
            self.sealed(self.root, key)

    def test_a_role_by_web_identity(self) -> None:
        key = self.root.create_key()["KeyMetadata"]["Arn"]
        self.aws.allow_node(POD_ROLE)
        self.aws.do("trust", role=POD_ROLE, subject="pod")
        sts = self.client("sts", **self.keys("root"))
        assume = lambda subject: sts.assume_role_with_web_identity(  # pylint: disable=unnecessary-lambda-assignment
            RoleArn=POD_ROLE, RoleSessionName="test", WebIdentityToken=self.aws.do("jwt", subject=subject))["Credentials"]
        given = assume("pod")
        pod = self.client(aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"],
                          aws_session_token=given["SessionToken"])
        self.sealed(pod, key)
        with self.refused("AccessDenied"):
            assume("another")
        self.assertEqual(sts.get_caller_identity()["Arn"], "root")

    def test_roles_of_containers_and_machines(self) -> None:
        key = self.root.create_key()["KeyMetadata"]["Arn"]
        self.aws.allow_node()
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.aws.metadata}/credentials",
                     "AWS_CONTAINER_AUTHORIZATION_TOKEN": self.aws.container_token}
        machine = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.aws.metadata}
        for settings in (container, machine):
            with mock.patch.dict(os.environ, settings):
                self.sealed(self.client(), key)
        names = [request["name"] for request in self.aws.do("seen")]
        self.assertIn("/credentials", names)
        self.assertIn(f"/latest/meta-data/iam/security-credentials/{MACHINE_ROLE}", names)

    def test_the_aws_program(self) -> None:
        need(os.access("/usr/bin/aws", os.X_OK), "awscli is not installed")
        keys = {name.upper(): value for name, value in self.keys("root").items() if value}

        def aws(*words: str) -> dict:
            done = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.aws.url, "--output", "json", "kms", *words], check=True,
                                  capture_output=True, env=os.environ | keys, timeout=60)
            return json.loads(done.stdout or b"{}")

        key = aws("create-key")["KeyMetadata"]["Arn"]
        (self.home / "plain").write_bytes(PLAIN)
        sealed = aws("encrypt", "--key-id", key, "--plaintext", f"fileb://{self.home}/plain", "--encryption-context", "a=b")
        self.assertEqual(sealed["KeyId"], key)
        told = aws("describe-key", "--key-id", key)["KeyMetadata"]
        self.assertEqual(told["KeyState"], "Enabled")


if __name__ == "__main__":
    unittest.main()

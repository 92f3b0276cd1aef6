"""The stand-in for Vault that the tests use, asked by a client that others wrote (python3-hvac)."""

import base64
import unittest

from processes import need
from transit import ServedVault

try:
    import hvac
    from hvac import exceptions
except ImportError:
    hvac = None

PLAIN = base64.b64encode(b"k" * 32).decode()
CONTEXT = base64.b64encode(b"context").decode()


class StandIn(unittest.TestCase):
    def setUp(self) -> None:
        need(hvac, "python3-hvac is not installed")
        self.vault = ServedVault.of_test(self)
        self.root = self.client(self.vault.token)
        self.root.sys.enable_secrets_engine("transit")
        self.root.secrets.transit.create_key("master", derived=True, key_type="aes256-gcm96")

    def client(self, token: str | None = None, **options: object) -> "hvac.Client":
        return hvac.Client(url=self.vault.url, token=token, verify=str(self.vault.ca), timeout=20, **options)

    def sealed(self, client: "hvac.Client | None" = None) -> str:
        return (client or self.root).secrets.transit.encrypt_data("master", PLAIN, context=CONTEXT)["data"]["ciphertext"]

    def opened(self, ciphertext: str, context: str = CONTEXT) -> str:
        return self.root.secrets.transit.decrypt_data("master", ciphertext, context=context)["data"]["plaintext"]

    def test_a_key_and_its_rotation(self) -> None:
        transit = self.root.secrets.transit
        first = self.sealed()
        self.assertRegex(first, r"^vault:v1:[A-Za-z0-9+/]{80}$")
        self.assertEqual(self.opened(first), PLAIN)
        transit.rotate_key("master")
        second = self.sealed()
        self.assertTrue(second.startswith("vault:v2:"))
        self.assertEqual(self.opened(first), self.opened(second))
        self.assertTrue(transit.rewrap_data("master", first, context=CONTEXT)["data"]["ciphertext"].startswith("vault:v2:"))
        shown = transit.read_key("master")["data"]
        self.assertEqual((shown["latest_version"], shown["derived"], sorted(shown["keys"])), (2, True, ["1", "2"]))
        transit.update_key_configuration("master", min_decryption_version=2, deletion_allowed=True)
        with self.assertRaisesRegex(exceptions.InvalidRequest, "too old"):
            self.opened(first)
        transit.trim_key("master", 2)
        self.assertEqual(sorted(transit.read_key("master")["data"]["keys"]), ["2"])
        transit.delete_key("master")
        with self.assertRaises(exceptions.InvalidPath):
            transit.read_key("master")
        with self.assertRaisesRegex(exceptions.InvalidRequest, "encryption key not found"):
            self.opened(second)

    def test_many_at_once(self) -> None:
        transit = self.root.secrets.transit
        other = base64.b64encode(b"another").decode()

        def items(answer: dict) -> list[dict]:
            return answer["data"]["batch_results"]

        def answered(body: dict) -> tuple[int, dict]:
            """An answer other than 200 as it is: hvac would raise, and forget what was opened."""
            answer = self.root.adapter.request("post", "/v1/transit/decrypt/master", raise_exception=False, json=body)
            return answer.status_code, answer.json()

        sealed = items(transit.encrypt_data("master", PLAIN, context=CONTEXT, batch_input=[
            {"plaintext": PLAIN, "context": CONTEXT, "reference": "a"}, {"plaintext": PLAIN, "context": other}]))
        self.assertEqual([item["reference"] for item in sealed], ["a", ""])
        both = [{"ciphertext": sealed[0]["ciphertext"], "context": CONTEXT, "reference": "a"},
                {"ciphertext": sealed[1]["ciphertext"], "context": other, "reference": "b"}]
        opened = items(transit.decrypt_data("master", "", batch_input=both))
        self.assertEqual([(item["plaintext"], item["reference"]) for item in opened], [(PLAIN, "a"), (PLAIN, "b")])
        transit.rotate_key("master")
        again = items(transit.rewrap_data("master", "", batch_input=both))
        self.assertTrue(all(item["ciphertext"].startswith("vault:v2:") for item in again))

        both[1]["context"] = CONTEXT
        failed = {"plaintext": "", "error": "cipher: message authentication failed", "reference": "b"}
        with self.assertRaises(exceptions.InvalidRequest):
            transit.decrypt_data("master", "", batch_input=both)
        opened = {"plaintext": PLAIN, "reference": "a"}
        for asked, status in ((None, 400), (202, 202)):
            said, answer = answered({"batch_input": both, "partial_failure_response_code": asked})
            self.assertEqual((said, items(answer)), (status, [opened, failed]))
        both[0]["context"] = other
        self.assertEqual(answered({"batch_input": both, "partial_failure_response_code": 202})[0], 400)
        self.assertEqual(len([item for item in items(transit.rewrap_data("master", "", batch_input=both)) if "error" in item]), 2)
        with self.assertRaisesRegex(exceptions.InvalidRequest, "missing batch input"):
            transit.decrypt_data("master", "", batch_input=[])

    def test_what_is_altered(self) -> None:
        sealed = self.sealed()
        with self.assertRaisesRegex(exceptions.InvalidRequest, "message authentication failed"):
            self.opened(sealed, base64.b64encode(b"another").decode())
        with self.assertRaisesRegex(exceptions.InvalidRequest, "version is too new"):
            self.opened(sealed.replace(":v1:", ":v9:"))
        with self.assertRaisesRegex(exceptions.InvalidRequest, "missing 'context'"):
            self.root.secrets.transit.encrypt_data("master", PLAIN)

    def test_policies_and_logins(self) -> None:
        self.vault.add_node_policy()
        self.root.sys.enable_auth_method("approle")
        self.root.auth.approle.create_or_update_approle("node", token_policies=["coffer-node"], token_ttl="1h")
        role_id = self.root.auth.approle.read_role_id("node")["data"]["role_id"]
        secret_id = self.root.auth.approle.generate_secret_id("node")["data"]["secret_id"]
        node = self.client()
        said = node.auth.approle.login(role_id, secret_id)
        self.assertEqual((said["auth"]["lease_duration"], said["auth"]["renewable"]), (3600, True))
        self.assertTrue(node.is_authenticated())
        self.assertEqual(self.opened(self.sealed(node)), PLAIN)
        with self.assertRaises(exceptions.Forbidden):
            node.secrets.transit.create_key("other")
        with self.assertRaises(exceptions.Forbidden):
            node.secrets.transit.encrypt_data("other", PLAIN, context=CONTEXT)
        node.auth.token.renew_self() if hasattr(node.auth.token, "renew_self") else node.renew_self_token()
        self.vault.do("expire")
        with self.assertRaises(exceptions.Forbidden):
            self.sealed(node)
        with self.assertRaises(exceptions.InvalidRequest):
            node.auth.approle.login(role_id, "another")

    def test_logins_by_jwt(self) -> None:
        self.vault.add_node_policy()
        for mount in ("jwt", "kubernetes"):
            self.root.sys.enable_auth_method(mount)
        self.root.auth.jwt.create_role("node", role_type="jwt", allowed_redirect_uris=[], user_claim="sub", bound_subject="n1",
                                       token_policies=["coffer-node"])
        node = self.client()
        node.token = node.auth.jwt.jwt_login("node", self.vault.do("jwt", subject="n1"))["auth"]["client_token"]
        self.sealed(node)
        with self.assertRaises(exceptions.InvalidRequest):
            node.auth.jwt.jwt_login("node", self.vault.do("jwt", subject="n2"))
        self.root.auth.kubernetes.create_role("pod", ["coffer"], ["models"], policies=["coffer-node"])
        node.auth.kubernetes.login("pod", self.vault.do("jwt", subject="system:serviceaccount:models:coffer"))
        self.sealed(node)

    def test_a_login_by_certificate(self) -> None:
        self.vault.add_node_policy()
        self.root.sys.enable_auth_method("cert")
        files = (self.vault.directory / "client.pem", self.vault.directory / "client.key")
        self.root.auth.cert.create_ca_certificate_role("node", certificate=str(files[0]), token_policies=["coffer-node"])
        node = self.client(cert=tuple(map(str, files)))
        node.auth.cert.login("node", cert_pem=str(files[0]), key_pem=str(files[1]))
        self.sealed(node)

    def test_sealed(self) -> None:
        self.root.sys.seal()
        with self.assertRaises(exceptions.VaultDown):
            self.sealed()


if __name__ == "__main__":
    unittest.main()

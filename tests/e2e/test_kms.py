"""`coffer kms`, with master keys that need no KMS; tokens are test_hsm's."""

import json

from harness import CofferTest
from processes import coffer

KEY_UNAVAILABLE, WRONG_KEY = 11, 4


class Check(CofferTest):
    """`coffer kms check`."""

    def test_all_is_well(self) -> None:
        store = self.new_store()
        said = coffer("kms", "check", store.path).out
        self.assertIn("master key", said)
        self.assertEqual(said.count("\nok "), 6, said)
        self.assertNotIn("FAILED", said)
        found = json.loads(coffer("kms", "check", store.path, "--json").out)
        self.assertTrue(found["master_key"].startswith("local:"))
        self.assertEqual([check["ok"] for check in found["checks"]], [True] * 6)
        self.assertTrue(all(check["ms"] >= 0 for check in found["checks"]))
        reader = json.loads(coffer("kms", "check", store.path, "--json", "--read-only").out)
        self.assertEqual(len(reader["checks"]), 3)

    def test_a_key_file_that_is_gone(self) -> None:
        store = self.new_store()
        assert store.key is not None
        store.key.rename(self.place("aside"))
        done = coffer("kms", "check", store.path, check=False)
        self.assertEqual(done.code, KEY_UNAVAILABLE, str(done))
        self.assertIn("FAILED  reach the master key", done.out)
        self.assertIn("No such file", done.out)
        self.assertIn("-> see whether the master key can be had", done.out)
        found = json.loads(coffer("kms", "check", store.path, "--json", check=False).out)
        self.assertEqual([(check["ok"], check["code"]) for check in found["checks"]], [(False, "key-unavailable")])

    def test_a_wrong_passphrase(self) -> None:
        store = self.new_store(passphrase="right")
        wrong = self.place("wrong")
        wrong.write_text("wrong\n")
        done = coffer("kms", "check", store.path, "--passphrase-file", wrong, check=False)
        self.assertEqual(done.code, WRONG_KEY, str(done))
        self.assertEqual(coffer("kms", "check", store.path, *store.secret).code, 0)

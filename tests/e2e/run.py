"""Runs test modules for ctest: run.py MODULE…; exits 77 if all there was had to be skipped.

With COFFER_REQUIRE_ALL_TESTS set (and not empty) whatever is skipped is a failure."""

import os
import sys
import time
import unittest

SKIPPED = 77


class TimedResult(unittest.TextTestResult):
    """Says of a slow test how long it took."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._began = time.monotonic()

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if (seconds := time.monotonic() - self._began) > 1:
            self.stream.writeln(f"    {seconds:.1f} s: {test.id()}")


def main() -> int:
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=TimedResult).run(suite)
    if not result.wasSuccessful():
        return 1
    if result.skipped and os.environ.get("COFFER_REQUIRE_ALL_TESTS"):
        print(f"{len(result.skipped)} skipped, and COFFER_REQUIRE_ALL_TESTS is set")
        return 1
    skipped_tests = sum(isinstance(test, unittest.TestCase) for test, _ in result.skipped)
    return SKIPPED if result.skipped and result.testsRun == skipped_tests else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Checks that each test that fs/SEMANTICS.md and fs/IDENTITY.md name exists, and that each line of their tables of tests names one.

usage: check_semantics.py SOURCE_DIRECTORY
"""

import pathlib
import re
import sys

NAMED = re.compile(r"`([\w.]+\.(?:py|cc)): (\w+)`")


def main():
    root = pathlib.Path(sys.argv[1])
    texts = {path.name: path.read_text() for folder in ("tests/e2e", "tests/unit/fs")
             for path in (root / folder).rglob("*") if path.suffix in (".py", ".cc")}
    problems = []
    named = 0
    for document in ("fs/SEMANTICS.md", "fs/IDENTITY.md"):
        of_tests = False
        for number, line in enumerate((root / document).read_text().splitlines(), 1):
            if not line.startswith("|"):
                of_tests = False
            elif re.search(r"\| tests \|$", line):
                of_tests = True
            elif of_tests and not line.startswith("|---") and not NAMED.search(line):
                problems.append(f"{document}:{number}: names no test")
            for file, test in NAMED.findall(line):
                named += 1
                defined = rf"def {test}\(" if file.endswith(".py") else rf"^TEST(_\w)?\(\w+, {test}\)"
                if not re.search(defined, texts.get(file, ""), re.M):
                    problems.append(f"{document}:{number}: {file} has no test {test}")
    for problem in problems:
        print(problem)
    print(f"{named} tests named, {len(problems)} problems")
    return 1 if problems or named == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Checks that each test that fs/SEMANTICS.md names exists, and that each of its lines names one.

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
    for number, line in enumerate((root / "fs/SEMANTICS.md").read_text().splitlines(), 1):
        if not line.startswith("|") or line.startswith(("|---", "| what |")):
            continue
        tests = NAMED.findall(line)
        if not tests:
            problems.append(f"fs/SEMANTICS.md:{number}: names no test")
        for file, test in tests:
            named += 1
            defined = rf"def {test}\(" if file.endswith(".py") else rf"^TEST(_\w)?\(\w+, {test}\)"
            if not re.search(defined, texts.get(file, ""), re.M):
                problems.append(f"fs/SEMANTICS.md:{number}: {file} has no test {test}")
    for problem in problems:
        print(problem)
    print(f"{named} tests named, {len(problems)} problems")
    return 1 if problems or named == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

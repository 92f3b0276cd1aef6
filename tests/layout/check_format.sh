#!/bin/sh
# Fails if clang-format would change a source file: check_format.sh DIRECTORY
set -eu
cd "$1"
if ! command -v clang-format >/dev/null; then
  echo "clang-format is not installed" >&2
  [ -n "${COFFER_REQUIRE_ALL_TESTS:-}" ] && exit 1
  exit 77
fi
find fs keystore mount-tools tests \( -name '*.h' -o -name '*.cc' \) -print0 | xargs -0 clang-format --dry-run --Werror

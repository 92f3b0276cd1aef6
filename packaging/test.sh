#!/usr/bin/env bash
# Builds coffer and passes its tests: as root on a fresh Debian 12, packages included.
#
#   packaging/test.sh            everything: two sanitizer builds, then the plain build with the end-to-end tests
#   packaging/test.sh --quick    the plain build's tests alone
#
# COFFER_REQUIRE_ALL_TESTS=1   a test that can't run for want of something (/dev/fuse, root, a package) fails
# COFFER_VECTORS=DIR           where the directories "wycheproof" and "aws-sigv4" with their test vectors are; without it those tests are skipped
set -euo pipefail
source "$(dirname "$0")/common.sh"

test_packages=(
  clang-format python3 python3-cryptography python3-cryptography-vectors python3-numpy python3-h5py python3-torch
  sqlite3 rsync git tar util-linux psmisc e2fsprogs stress-ng fio acl libcap2-bin libbenchmark-dev
  softhsm2 opensc p11-kit swtpm tpm2-tools python3-hvac awscli python3-boto3 python3-pykmip
)
build_root=${COFFER_BUILD_ROOT:-$root_dir/build}

install_packages "${build_packages[@]}" "${test_packages[@]}"

# Where a machine has node and npm from elsewhere, those do.
node_packages=()
command -v node >/dev/null || node_packages+=(nodejs)
command -v npm >/dev/null || node_packages+=(npm)
install_packages "${node_packages[@]}"

# Clients that others wrote, from npm's registry; without it those tests are skipped.
export COFFER_TEST_CLIENTS=${COFFER_TEST_CLIENTS:-$build_root/clients}
fetch_clients() {
  mkdir -p "$COFFER_TEST_CLIENTS"
  cp "$root_dir"/tests/clients/package*.json "$COFFER_TEST_CLIENTS"
  (cd "$COFFER_TEST_CLIENTS" && npm ci --ignore-scripts --no-audit --no-fund)
}
say "Clients for the tests"
if ! fetch_clients && [ -n "${COFFER_REQUIRE_ALL_TESTS:-}" ]; then
  echo "npm ci failed, and COFFER_REQUIRE_ALL_TESTS is set" >&2
  exit 1
fi

# run_tests DIRECTORY [CTEST ARGUMENT…]
run_tests() {
  local directory=$1
  shift
  ctest --test-dir "$directory" --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

if [ "${1:-}" != --quick ]; then
  for sanitizer in address thread; do
    say "Unit and model tests under the $sanitizer sanitizer"
    # Several files at once: half the time. The plain build shows whether each stands on its own.
    build "$build_root/$sanitizer" unit_tests -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCOFFER_SANITIZE="$sanitizer" -DCMAKE_UNITY_BUILD=ON
    run_tests "$build_root/$sanitizer" --label-regex unit
  done
fi

say "All tests"
build "$build_root/release" all -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g1 -DNDEBUG"
run_tests "$build_root/release"

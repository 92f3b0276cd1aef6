#!/usr/bin/env bash
# Builds coffer and passes its tests: as root on a fresh Debian 12, packages included.
#
#   packaging/test.sh            everything: two sanitizer builds, then the plain build with the end-to-end tests
#   packaging/test.sh --quick    the plain build's tests alone
#
# COFFER_REQUIRE_ALL_TESTS=1   a test that can't run for want of something (/dev/fuse, root, a package) fails
# COFFER_VECTORS=DIR           where the directory "wycheproof" with its test vectors is; without it those tests are skipped
set -euo pipefail
source "$(dirname "$0")/common.sh"

test_packages=(
  clang-format python3 python3-cryptography python3-cryptography-vectors python3-numpy python3-h5py python3-torch
  sqlite3 rsync git tar util-linux psmisc e2fsprogs stress-ng fio acl libcap2-bin libbenchmark-dev
  softhsm2 opensc p11-kit swtpm tpm2-tools python3-hvac
)
build_root=${COFFER_BUILD_ROOT:-$root_dir/build}

install_packages "${build_packages[@]}" "${test_packages[@]}"

# run_tests DIRECTORY [CTEST ARGUMENT…]
run_tests() {
  local directory=$1
  shift
  ctest --test-dir "$directory" --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

if [ "${1:-}" != --quick ]; then
  for sanitizer in address thread; do
    say "Unit and model tests under the $sanitizer sanitizer"
    build "$build_root/$sanitizer" unit_tests -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCOFFER_SANITIZE="$sanitizer"
    run_tests "$build_root/$sanitizer" --label-regex unit
  done
fi

say "All tests"
build "$build_root/release" all -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g1 -DNDEBUG"
run_tests "$build_root/release"

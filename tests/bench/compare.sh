#!/usr/bin/env bash
# Compares coffer's speed with that of the bare directory, libfuse's passthrough_ll and other encrypted filesystems: as root
# on Debian 12, packages included. All of them are mounted on the same backing and take turns, round by round.
#
#   tests/bench/compare.sh [--backing DIR] [--rounds N] [--only REGEX] [--json FILE] …     --help lists all
#
# What is printed are medians, their ratios, the daemon's CPU seconds for a GB (or 1,000 files), and the most memory it had
# resident. COFFER_BINARY: measure this program, not one that is built here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../packaging/common.sh"

build_root=${COFFER_BUILD_ROOT:-$root_dir/build}
examples=/usr/share/doc/libfuse3-dev/examples

{
  install_packages "${build_packages[@]}" python3 python3-torch gocryptfs git tar
  build "$build_root/release" io_load -DCMAKE_BUILD_TYPE=RelWithDebInfo
  if [ -z "${COFFER_BINARY:-}" ]; then
    build "$build_root/release" coffer
    COFFER_BINARY=$build_root/release/mount-tools/coffer
  fi
  PASSTHROUGH_LL=$build_root/release/passthrough_ll
  # shellcheck disable=SC2046
  cc -O2 -o "$PASSTHROUGH_LL" "$examples/passthrough_ll.c" -I"$examples" $(pkg-config --cflags --libs fuse3)
} >&2

export COFFER_BINARY PASSTHROUGH_LL COFFER_IO_LOAD=$build_root/release/tests/bench/io_load
exec python3 "$here/compare.py" "$@"

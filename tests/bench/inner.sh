#!/usr/bin/env bash
# Measures the inner parts of coffer one by one, without a mount: as root on Debian 12, packages included.
#
#   tests/bench/inner.sh [--benchmark_filter=REGEX] [--benchmark_out=FILE] …     --help lists all
set -euo pipefail
source "$(dirname "$0")/../../packaging/common.sh"

build_root=${COFFER_BUILD_ROOT:-$root_dir/build}

{
  install_packages "${build_packages[@]}" libbenchmark-dev
  build "$build_root/release" inner_bench -DCMAKE_BUILD_TYPE=RelWithDebInfo
} >&2

exec "$build_root/release/tests/bench/inner_bench" "$@"

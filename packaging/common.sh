# Shared by demo.sh and test.sh: what a fresh Debian 12 needs, and the build. To be sourced.

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(
  g++ cmake ninja-build pkg-config
  libfuse3-dev fuse3 libssl-dev libsqlite3-dev libspdlog-dev libipsec-mb-dev
  libcap-dev libseccomp-dev libp11-kit-dev libtss2-dev libcurl4-openssl-dev
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libgtest-dev libgmock-dev
)

say() { printf '\n== %s\n' "$*"; }

# install_packages NAME…: those that are missing, if any.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  ((${#missing[@]} == 0)) && return 0
  if [ "$(id -u)" != 0 ]; then
    echo "These packages are missing; install them as root: ${missing[*]}" >&2
    return 1
  fi
  say "Installing ${#missing[@]} packages"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# build DIRECTORY TARGET [CMAKE ARGUMENT…]
build() {
  local directory=$1 target=$2
  shift 2
  cmake -S "$root_dir" -B "$directory" -G Ninja "$@"
  cmake --build "$directory" --target "$target"
}

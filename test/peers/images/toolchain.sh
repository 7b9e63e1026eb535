#!/usr/bin/env bash
# The six layers of a Debian with a C toolchain, Python, kernel and Boost headers, for the benchmarks: DIRECTORY.
set -euo pipefail
cd "$1"

mkdir root
mmdebstrap --quiet --mode=root --variant=apt --include=build-essential,python3,linux-headers-amd64,libboost-dev \
  --aptopt='APT::Install-Recommends "false"' bookworm root.tar
tar -C root -xpf root.tar --numeric-owner --xattrs --xattrs-include='*'
rm root.tar

pack() {
  local layer=$1
  shift
  tar -C root -cf "$layer.tar" --numeric-owner --sort=name --xattrs --xattrs-include='*' "$@"
}

upper=(usr/bin usr/sbin usr/lib usr/share usr/include usr/src)
pack 1 "${upper[@]/#/--exclude=./}" .
pack 2 usr/bin usr/sbin
pack 3 usr/lib
pack 4 usr/share
pack 5 usr/include
pack 6 usr/src
rm -rf root

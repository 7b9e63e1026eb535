#!/usr/bin/env bash
# Removals: whiteouts, opaque directories, removed things that come back, attributes alone.
set -euo pipefail

rm -rf gone keep/gone
rm data/a
rm -rf opq
mkdir opq
echo new >opq/new
rm lib
ln -s usr/other lib
rm etc/motd
echo new >etc/motd
setfattr -x user.dir empty
chmod 0711 data

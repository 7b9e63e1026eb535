#!/usr/bin/env bash
# An OCI layout whose layers umoci wrote: DIRECTORY.
set -euo pipefail
cd "$1"

mkdir -p one/dir/sub one/other two
for file in dir/a dir/sub/b other/c top; do echo 1 >"one/$file"; done
echo 2 >two/new
umoci init --layout layout
umoci new --image layout:it
umoci insert --image layout:it one /
umoci insert --image layout:it --opaque two /dir
umoci insert --image layout:it --whiteout /other/c
umoci insert --image layout:it --whiteout /top
umoci insert --image layout:it two /added/by/insert

#!/usr/bin/env bash
# An index of two images that buildah builds and pushes: DIRECTORY HOST:PORT/NAME:TAG. Each has a file `arch`.
set -euo pipefail
directory=$1 target=$2
policy=(--signature-policy "$directory/policy.json")
printf '{"default":[{"type":"insecureAcceptAnything"}]}' >"$directory/policy.json"

build() {
  local command=$1
  shift
  buildah --root "$directory/storage" --runroot "$directory/run" --storage-driver vfs "$command" "$@"
}

build manifest create list
for arch in amd64 arm64; do
  echo "$arch" >"$directory/arch"
  container=$(build from scratch)
  build copy -q "$container" "$directory/arch" /arch
  build config --arch "$arch" "$container"
  build commit -q --rm "${policy[@]}" "$container" "image-$arch"
  build manifest add --arch "$arch" list "containers-storage:localhost/image-$arch"
done
build manifest push -q --all --tls-verify=false "${policy[@]}" list "docker://$target"

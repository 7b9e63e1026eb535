#!/usr/bin/env bash
# Archives by GNU tar in each of its formats, each on a directory of its own so that no layer hides another: DIRECTORY.
set -euo pipefail
cd "$1"

fill() {
  echo file >file
  ln file hard
  ln -s file link
  mkfifo fifo
  # A hole at either end, more extents than one sparse header holds, and nothing but a hole.
  truncate -s 5M holes
  printf middle | dd of=holes bs=1 seek=1000000 conv=notrunc status=none
  for i in $(seq 1 40); do
    printf x | dd of=many-holes bs=1 seek=$((i * 20000)) conv=notrunc status=none
  done
  truncate -s 1M all-hole
  # Over 100 bytes, as long as ustar's prefix can still hold it.
  local n
  n=$(printf 'm%.0s' $(seq 60))
  mkdir "$n"
  echo long >"$n/$n"
}

# Over 255 bytes, for a name and for both kinds of link.
fill_longer() {
  local n
  n=$(printf 'm%.0s' $(seq 200))
  mkdir "$n"
  echo longer >"$n/$n"
  ln -s "/$n/$n" long-link
  ln "$n/$n" hard-to-long
}

formats=(gnu oldgnu pax-0.0 pax-0.1 pax-1.0 ustar)
for name in "${formats[@]}"; do
  mkdir -p "stage/$name"
  (
    cd "stage/$name"
    fill
    [ "$name" = ustar ] || fill_longer
    [ "$name" != pax-1.0 ] || setfattr -n user.note -v text file
    touch -d '2004-05-06 07:08:09.987654321 UTC' file .
  )
  flags=(--format="${name%-*}")
  case $name in
  pax-*) flags+=(--sparse --sparse-version="${name#pax-}" --xattrs) ;;
  *gnu) flags+=(--sparse) ;;
  esac
  tar -C stage -cf "$name.tar" "${flags[@]}" "$name"
done

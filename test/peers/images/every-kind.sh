#!/usr/bin/env bash
# A file of every kind, with every kind of attribute. The working directory is the root filesystem.
set -euo pipefail

mkdir -p bin etc usr/lib usr/bin data/deep/er empty
printf '#!/bin/sh\n' >usr/bin/tool
echo hello >etc/motd
: >data/zero

# Symlinks: absolute, out of the root, to a name that is no UTF-8, longer than a header holds.
ln -s usr/lib lib
ln -s /usr/bin abs
ln -s ../../../../outside data/escape
ln -s "$(printf 'caf\351')" data/latin1-target
n=$(printf 'n%.0s' $(seq 150))
ln -s "/$n/$n/$n" data/long-link

# Names: long ones, and one with every awkward character.
mkdir -p "data/$n/$n"
echo long >"data/$n/$n/$n"
echo odd >"$(printf 'data/name-\351-\n-\\-end')"

# Modes: set-id, sticky, and directories that their owner may not write or enter.
cp /bin/true usr/bin/setuid
chown 1:2 usr/bin/setuid
chmod 6755 usr/bin/setuid
mkdir -m 1777 tmp
mkdir -m 2755 setgid
mkdir -m 0555 readonly
echo in >readonly/file
mkdir closed
echo in >closed/file
chmod 0000 closed

# Extended attributes; a file capability is one, and a change of owner would drop it.
cp /bin/true usr/bin/capable
chown 5:6 usr/bin/capable
setcap cap_net_raw,cap_net_bind_service+ep usr/bin/capable
setfattr -n user.note -v 'two words' etc/motd
setfattr -n trusted.own -v 0x0001ff etc/motd
setfattr -n user.dir -v yes empty

# Devices, with numbers that need more than 8 bits; FIFOs; owners that need more than 16 and 31 bits.
mknod -m 660 null c 1 3
mknod -m 600 disk b 259 70000
mkfifo -m 640 fifo
echo big >data/big-owner
chown 3000000000:4000000000 data/big-owner

# Hard links, in more than one directory.
echo a >data/a
ln data/a data/b
ln data/a data/deep/er/c

truncate -s 3M data/sparse
echo tail >>data/sparse

# What the next layers remove, replace or link to.
mkdir -p gone/below keep/gone opq/old links dir-to-file dir-to-link link-target
for file in gone/below/x keep/gone/x keep/stay opq/old/x opq/file dir-to-file/x dir-to-link/x link-target/x; do
  echo x >"$file"
done
echo one >links/one
ln links/one links/two
ln links/one links/three
echo f >file-to-dir
ln -s link-target link-to-dir
ln -s link-target link-to-file
mkfifo fifo-to-file

# Times below the second, before 1970, of a symlink, of directories that are full.
touch -d '2001-02-03 04:05:06.789012345 UTC' data/a
touch -d '1965-01-01 00:00:00.25 UTC' data/before-1970
touch -h -d '2002-03-04 05:06:07.5 UTC' abs
touch -d '2003-04-05 06:07:08.125 UTC' data/deep readonly closed

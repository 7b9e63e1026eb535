#!/usr/bin/env bash
# The layers of a Debian image: LAYER [BASE.tar]. The working directory is the root filesystem.
set -euo pipefail
case $1 in
1)
  tar -xpf "$2" --numeric-owner --xattrs --xattrs-include='*'
  ;;
2)
  rm -rf usr/share/doc usr/share/man var/cache/debconf
  mkdir -p usr/share/doc
  echo none >usr/share/doc/README
  ;;
3)
  chmod 0700 usr/share/locale
  chown -R 1000:1000 var/log
  mkdir -p opt
  ln -s ../usr/bin/env opt/env
  cp -a usr/bin opt/bin
  ;;
4)
  rm -rf opt/bin/perl*
  ln usr/bin/dpkg opt/dpkg
  mv usr/sbin usr/sbin.old
  mkdir usr/sbin
  cp usr/sbin.old/chroot usr/sbin
  ;;
esac

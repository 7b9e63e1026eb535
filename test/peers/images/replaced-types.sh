#!/usr/bin/env bash
# Names that change their type.
set -euo pipefail

rm -rf dir-to-file dir-to-link
echo f >dir-to-file
ln -s link-target dir-to-link
rm file-to-dir link-to-dir null
for directory in file-to-dir link-to-dir null; do
  mkdir "$directory"
  echo in >"$directory/in"
done
rm link-to-file fifo-to-file
echo f >link-to-file
echo f >fifo-to-file

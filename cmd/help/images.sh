# shellcheck shell=sh
# The names of the images in the store, for completions. Those that are unpacked may be in rootfs alone.
store=${MD_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/md}
{
  grep -o '"io.containerd.image.name":"[^"]*"' "$store/oci/index.json" | cut -d '"' -f 4
  CDPATH='' cd "$store/rootfs" && find . -path './sha*-*' -prune -o -name '.?*' -prune -o -type l -print | cut -c 3-
} 2>/dev/null | sort -u

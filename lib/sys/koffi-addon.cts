/**
 * Stands for koffi in the installed commands: its native addon alone, without the loader around it, which reads ELF
 * headers to tell glibc from musl and costs 4 ms of every start. Here the dynamic linker tells: the addon for glibc does
 * not load where musl is the C library.
 */
function addon(): unknown {
  if (process.arch === 'arm64') {
    try {
      return require('@koromix/koffi-linux-arm64/linux_arm64/koffi.node');
    } catch {
      return require('@koromix/koffi-linux-arm64/musl_arm64/koffi.node');
    }
  }
  try {
    return require('@koromix/koffi-linux-x64/linux_x64/koffi.node');
  } catch {
    return require('@koromix/koffi-linux-x64/musl_x64/koffi.node');
  }
}

module.exports = addon();

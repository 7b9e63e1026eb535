/**
 * Replaces koffi in the installed commands by its native addon alone. koffi's own loader reads ELF headers to tell
 * glibc from musl, which takes 4 ms of every start. Here one look for musl's loader tells it on most machines.
 */
import fs = require('node:fs');
import path = require('node:path');

const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const addons = {
  glibc: `@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`,
  musl: `@koromix/koffi-linux-${arch}/musl_${arch}/koffi.node`,
};
const muslLoader = `/lib/ld-musl-${arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`;

/** Where `make install` and npm put the addon. Node's own search would take longer than loading it. */
const near = ['node_modules', '../../node_modules'];

function addon(): unknown {
  const [first, second] = usesMusl() ? [addons.musl, addons.glibc] : [addons.glibc, addons.musl];
  const found = near.map((directory) => path.join(__dirname, directory, first)).find((file) => fs.existsSync(file));
  try {
    return found === undefined ? require(first) : load(found);
  } catch (error) {
    return otherwise(second, error);
  }
}

/**
 * Whether this Node runs on musl. To try the addon for glibc first would not do: gcompat, which many images on top of
 * Alpine have, lets it be loaded, and it crashes then. musl's loader can be installed beside glibc; then what is mapped
 * decides, and without /proc what can be loaded.
 */
function usesMusl(): boolean {
  if (!fs.existsSync(muslLoader)) return false;
  try {
    const loader = fs.realpathSync(muslLoader);
    return fs.readFileSync('/proc/self/maps', 'latin1').includes(` ${loader}\n`);
  } catch {
    return false;
  }
}

/** The other addon, or the reason why the first one, which is the right one on most machines, could not be loaded. */
function otherwise(name: string, reason: unknown): unknown {
  try {
    return require(name);
  } catch (error) {
    throw reason instanceof Error ? new Error(`koffi: ${reason.message}`, { cause: error }) : reason;
  }
}

function load(file: string): unknown {
  const loaded = { exports: {} };
  process.dlopen(loaded, file);
  return loaded.exports;
}

module.exports = addon();

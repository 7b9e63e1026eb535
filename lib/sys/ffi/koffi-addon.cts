/**
 * Replaces koffi in the installed commands by its native addon alone. koffi's own loader reads ELF headers to tell
 * glibc from musl, which takes 4 ms of every start. Here it is simply tried: the addon for glibc cannot be loaded where
 * musl is the C library.
 */
import fs = require('node:fs');
import path = require('node:path');

const addons = {
  arm64: ['@koromix/koffi-linux-arm64/linux_arm64/koffi.node', '@koromix/koffi-linux-arm64/musl_arm64/koffi.node'],
  x64: ['@koromix/koffi-linux-x64/linux_x64/koffi.node', '@koromix/koffi-linux-x64/musl_x64/koffi.node'],
};

/** Where `make install` and npm put the addon. Node's own search would take longer than loading it. */
const near = ['node_modules', '../../node_modules'];

function addon(): unknown {
  const [glibc = '', musl = ''] = addons[process.arch === 'arm64' ? 'arm64' : 'x64'];
  const found = near.map((directory) => path.join(__dirname, directory, glibc)).find((file) => fs.existsSync(file));
  try {
    return found === undefined ? require(glibc) : load(found);
  } catch (error) {
    return otherwise(musl, error);
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

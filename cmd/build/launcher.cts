/**
 * Starts the bundle beside it: NAME.cjs runs NAME.js. With NAME.ARCH.cache, which the build makes, V8 need not parse
 * and compile it again, which saves 8 to 12 ms. V8 refuses a cache that another version of V8 has made, or that is for
 * a source of another length; then the command starts as without one. One for another source of the same length it would
 * run in the place of that, so `make install` removes the old ones first. It takes one that was made on another
 * architecture, and crashes. Therefore the name says for which one it is.
 *
 * In what is installed, launcher-head comes before this: lines that are both sh and JavaScript. They say when there is
 * no Node, which under sudo is so for one below /home, and start it with `--`. Without that, Node would look for
 * `--env-file` and similar flags in the whole command line, the words for a container's command included, and obey
 * NODE_OPTIONS in such a file. `#!/usr/bin/env -S node --` does not work with busybox's env.
 * Where a SIGUSR1 comes, Node opens its debugger on 127.0.0.1, and every user of the machine could run code in this
 * process, as could a container with the host's network; some send it to see the progress, or to rotate logs. With
 * `--inspect-port` of an address that no machine has (RFC 5737) that fails. `--disable-sigusr1` is new in Node 22.14.
 * They also tell md-isolate the soft limit of open files, which Node raises before the first line of JavaScript.
 */

function cannotStart(why: string): never {
  const name = __filename.slice(__dirname.length + 1, -'.cjs'.length);
  process.stderr.write(`${name}: it cannot start: ${why}\n`);
  process.exit(name === 'md-isolate' ? 125 : 70);
}

// Stable distributions have older ones, which would fail later and call it a fault of the program. This comes first,
// since some of them do not know `node:fs`.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
// 21 and the first releases of 22 lack process.getBuiltinModule, which came to 20 as well.
if (major < 20 || (major === 20 && minor < 18) || major === 21 || (major === 22 && minor < 3)) {
  cannotStart(`Node.js ${process.versions.node} is too old; 20.18 or later of 20, or 22.3 or later is needed`);
}

import fs = require('node:fs');
import vm = require('node:vm');

/** A bundle is one function expression: bundle.mts wraps it so. */
type Bundle = (
  exports: unknown,
  require: NodeJS.Require,
  module: NodeJS.Module,
  file: string,
  directory: string,
) => void;

/**
 * Both files are read into the same memory, since the first touch of a page takes the kernel longer than filling it.
 * The size is more than twice that of the largest file; pages that are never touched cost nothing.
 */
const memory = Buffer.allocUnsafeSlow(4 << 20);

function read(name: string): Buffer {
  const file = fs.openSync(name, 'r');
  const bytes = fs.readSync(file, memory);
  fs.closeSync(file);
  return memory.subarray(0, bytes);
}

function codeCache(name: string): Buffer | undefined {
  try {
    return read(name);
  } catch {
    // Without it the start is slower, and nothing else.
    return undefined;
  }
}

function start(): void {
  const base = __filename.slice(0, -'.cjs'.length);
  const filename = `${base}.js`;
  const source = read(filename).toString('latin1');
  const cachedData = codeCache(`${base}.${process.arch}.cache`);
  const script = new vm.Script(source, cachedData ? { filename, cachedData } : { filename });
  (script.runInThisContext() as Bundle)(exports, require, module, filename, __dirname);
}

try {
  start();
} catch (error) {
  // Once it is loaded, a command reports its failures itself. Before that Node would print the bundle's long lines.
  if (process.env.MD_DEBUG === '1' || !(error instanceof Error)) throw error;
  cannotStart(`${error.message.split('\n', 1)[0]}; MD_DEBUG=1 shows where`);
}

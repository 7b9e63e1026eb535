/**
 * Starts the command that lies beside it as a bundle: NAME.cjs runs NAME.js. With NAME.cache, which the build makes, V8
 * need not parse and compile what it knows already: 8 to 12 ms of a start. V8 itself refuses a cache that another
 * version of it made, or for another source; then all is as if there were none.
 *
 * launcher-head comes before it in what is installed, two lines that sh and JavaScript both understand. By itself Node takes
 * `--env-file` and its like out of the whole command line, the words for a container's command included, and does what
 * NODE_OPTIONS in such a file says; behind `--` it leaves all words alone. `#!/usr/bin/env -S node --` is beyond busybox's env.
 */
import fs = require('node:fs');
import vm = require('node:vm');

/** The bundle is one function expression: the Makefile has esbuild wrap it. */
type Bundle = (exports: unknown, require: NodeJS.Require, module: NodeJS.Module, file: string, directory: string) => void;

/**
 * What is read into, one file after the other: the first touch of a page takes the kernel longer than filling it does.
 * There are no more pages than are touched, and no bundle or cache has half as many.
 */
const memory = Buffer.allocUnsafeSlow(4 << 20);

function read(path: string): Buffer {
  const file = fs.openSync(path, 'r');
  const bytes = fs.readSync(file, memory);
  fs.closeSync(file);
  return memory.subarray(0, bytes);
}

function codeCache(path: string): Buffer | undefined {
  try {
    return read(path);
  } catch {
    // Without it the start is slower, and nothing else.
    return undefined;
  }
}

const base = __filename.slice(0, -'.cjs'.length);
const filename = `${base}.js`;
const source = read(filename).toString('latin1');
const cachedData = codeCache(`${base}.cache`);
const script = new vm.Script(source, cachedData ? { filename, cachedData } : { filename });
(script.runInThisContext() as Bundle)(exports, require, module, filename, __dirname);

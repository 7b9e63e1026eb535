/**
 * A step of the build: for each bundle given (NAME.js) writes V8's code cache (NAME.ARCH.cache) for the Node that runs
 * this. Functions are compiled eagerly, so that the cache holds them all and not only what a first run would reach.
 */
import fs = require('node:fs');
import v8 = require('node:v8');
import vm = require('node:vm');

for (const filename of process.argv.slice(2)) {
  v8.setFlagsFromString('--no-lazy');
  const script = new vm.Script(fs.readFileSync(filename, 'latin1'), { filename });
  // V8 compares its flags with those of the cache: they are put back before it is made.
  v8.setFlagsFromString('--lazy');
  fs.writeFileSync(filename.replace(/\.js$/, `.${process.arch}.cache`), script.createCachedData());
}

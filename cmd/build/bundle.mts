/**
 * A step of the build: bundles each entry point given (NAME=FILE) into dist/bundle/NAME.js, one function expression
 * that the launcher calls, and writes dist/bundles.json, which says what went in.
 *
 * Everything in a bundle is read and deserialized at every start, used or not: 100 KB take a millisecond or two. So
 * code that no command reaches is left out, and stand-ins replace modules that would load too much.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** Modules, and the files that replace them. */
const standIns: Record<string, string> = {
  koffi: 'lib/sys/ffi/koffi-addon.cts',
  'node:http': 'lib/registry/undici/no-http.cts',
  'node:assert': 'lib/registry/undici/no-assert.cts',
};

/** Files of undici, by the way they are imported there, and the files that replace them. */
const undiciStandIns: Record<string, string> = {
  './client-h2.js': 'lib/registry/undici/left-out.cts',
  './socks5-proxy-agent': 'lib/registry/undici/left-out.cts',
  '../web/fetch/body.js': 'lib/registry/undici/left-out.cts',
  // undici has its parser twice: this one uses instructions that some processors lack, and the other one suffices.
  '../llhttp/llhttp_simd-wasm.js': 'node_modules/undici/lib/llhttp/llhttp-wasm.js',
};

const takeStandIns: Plugin = {
  name: 'take stand-ins',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ path, importer }) => {
      const standIn = importer.includes('/node_modules/undici/') ? undiciStandIns[path] : undefined;
      return standIn === undefined ? undefined : { path: resolve(standIn) };
    });
  },
};

/** Of package.json only the version is used. */
const takeVersion: Plugin = {
  name: 'take the version alone',
  setup({ onLoad }) {
    onLoad({ filter: /\/package\.json$/ }, ({ path }) => {
      const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
      return { contents: JSON.stringify({ version }), loader: 'json' };
    });
  },
};

const { metafile } = await build({
  entryPoints: Object.fromEntries(process.argv.slice(2).map((entry) => entry.split('=', 2))),
  outdir: 'dist/bundle',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
  footer: { js: '})' },
  // Names are kept, so that a stack trace is of use.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  external: ['@koromix/*'],
  alias: Object.fromEntries(Object.entries(standIns).map(([name, file]) => [name, `./${file}`])),
  plugins: [takeStandIns, takeVersion],
  metafile: true,
  logLevel: 'warning',
});
writeFileSync('dist/bundles.json', JSON.stringify(metafile));

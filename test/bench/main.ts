/**
 * `make bench`: the commands side by side with the peers that are installed, in one run, as medians and ratios. Asserts
 * nothing. Arguments choose parts: `node dist/test/bench/main.js isolate small`.
 */
import { needs, needsRoot } from '../support/run.js';
import { needsImages } from './images.js';
import { benchIsolate } from './isolate.js';
import { benchLink } from './link.js';
import { benchLossy } from './lossy.js';
import { benchFetch, benchPull, benchSmall, benchUnpack } from './pull.js';

interface Part {
  what: string;
  run: () => Promise<void>;
  skip: string | false;
}

const parts: Record<string, Part> = {
  isolate: { what: 'start to exit of /bin/true', run: benchIsolate, skip: needsRoot },
  small: { what: 'the whole pipe for one layer of 2 MB', run: benchSmall, skip: needsImages },
  fetch: { what: 'registry to verified blobs', run: benchFetch, skip: needsImages },
  unpack: { what: 'blobs to a tree', run: benchUnpack, skip: needsImages },
  pull: { what: 'registry to a tree', run: benchPull, skip: needsImages },
  link: { what: 'the same over a slow link', run: benchLink, skip: needsImages },
  lossy: { what: 'the same over one that loses packets', run: benchLossy, skip: needsImages || needs('ip', 'nsenter') },
};

// What is begun is undone at exit, also after Ctrl-C.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in parts));
if (unknown.length > 0) {
  console.error(`bench: no such part: ${unknown.join(', ')}; there are:`);
  for (const [name, { what }] of Object.entries(parts)) console.error(`  ${name.padEnd(8)} ${what}`);
  process.exit(64);
}
for (const [name, { run, skip }] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  if (skip) console.log(`\n${name}: left out: ${skip}`);
  else await run();
}

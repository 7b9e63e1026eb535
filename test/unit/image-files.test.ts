import assert from 'node:assert/strict';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DirectoryFiles } from '../../lib/image/local/files.js';
import { Store } from '../../lib/image/store/store.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import { needsRoot, scratch } from '../support/run.js';

const nobody = 65534;

/** Is told, as a user who may not look into it, that this is not permitted. */
function denied(look: () => unknown): void {
  process.seteuid!(nobody);
  try {
    assert.throws(look, failure(77));
  } finally {
    process.seteuid!(0);
  }
}

test('a layout of somebody who keeps it to himself is not permitted', { skip: needsRoot }, (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, 'blobs'));
  denied(() => new DirectoryFiles(directory).open('blobs/sha256/x'));
});

test('nor is such a store', { skip: needsRoot }, (t) => {
  const store = new Store(join(scratch(t), 'home'));
  denied(() => store.has({ mediaType: 'x', digest: digestOf('x'), size: 1 }));
});

test('a file that is cut while it is read is told as that, and does not keep its reader for ever', async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'index.json'), 'x'.repeat(100));
  const file = new DirectoryFiles(directory).open('index.json')!;
  truncateSync(join(directory, 'index.json'), 50);
  await assert.rejects(file.whole(100), failure(65, /index\.json: it is shorter than it was$/));
  file.close();
});

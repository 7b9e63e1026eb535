/** Files that are read whole: whoever puts one in the place of a document must not make that take all memory. */
import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mostBytes, readRegular } from '../../lib/base/regular-file.js';
import { failure } from '../support/failure.js';
import { scratch } from '../support/run.js';

test('a document that is too large to be one is refused, and not read', (t) => {
  const path = join(scratch(t), 'document');
  writeFileSync(path, '');
  truncateSync(path, mostBytes + 1);
  assert.throws(() => readRegular(path), failure(65, /more than/));
});

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { remove } from './run.js';

/** A directory for all tests of a file, removed after the last of them. */
export function fileScratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'md-test-'));
  after(() => remove(path));
  return path;
}

/**
 * A tree around the target that must be the same before and after: nothing outside the target is read, written or
 * removed.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describeTree, type Tree } from './tree.js';

/** What stands in every file of the canary, and so in nothing that was unpacked. */
const secret = 'CANARY-7d1f';

export class Canary {
  private readonly before: Tree;
  readonly path: string;

  /** Makes the tree `canary` in a directory. */
  constructor(directory: string) {
    this.path = join(directory, 'canary');
    mkdirSync(join(this.path, 'dir/sub'), { recursive: true });
    for (const name of ['file', 'dir/file', 'dir/sub/file', 'etc']) writeFileSync(join(this.path, name), secret);
    chmodSync(join(this.path, 'file'), 0o600);
    symlinkSync('dir', join(this.path, 'link'));
    lutimesSync(join(this.path, 'link'), 1000, 1000);
    for (const name of ['file', 'dir/sub', 'dir', '.']) utimesSync(join(this.path, name), 1000, 1000);
    this.before = describeTree(this.path);
  }

  /** Throws unless the canary is as it was, and no file below `rootfs` holds what is in it. */
  check(rootfs: string): void {
    assert.deepEqual(describeTree(this.path), this.before);
    for (const path of filesBelow(rootfs)) assert.ok(!readFileSync(path).includes(secret), `${path} holds the canary`);
  }
}

function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true });
  return entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/** index.json of the store. Everybody may read it at any time, and one process at a time changes it. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../base/check.js';
import { errnoName, failingAs, failureOf } from '../../base/failure.js';
import type { IndexEntry } from '../../base/oci.js';
import { openRegular, readRegular } from '../../base/regular-file.js';
import { storing } from './file-operations.js';
import { layoutIn, partialsIn } from './home.js';
import { indexJson, parseIndex } from './index-json.js';
import { writeWhole } from './own-files.js';

export class IndexFile {
  private readonly path: string;

  constructor(private readonly home: string) {
    this.path = join(layoutIn(home), 'index.json');
  }

  /** Its entries, checked. Throws `Failure` 65 when it is no image index. */
  entries(): IndexEntry[] {
    return this.read().entries;
  }

  async update(change: (entries: IndexEntry[]) => IndexEntry[]): Promise<void> {
    const unlock = await this.lock();
    try {
      const { index, entries } = this.read();
      const text = indexJson(change(entries), index);
      storing(this.path, () => writeWhole(partialsIn(this.home), this.path, text));
    } finally {
      unlock();
    }
  }

  private read(): { index: JsonObject; entries: IndexEntry[] } {
    const bytes = failingAs(this.path, () => readRegular(this.path));
    return parseIndex(bytes, this.path, 'remove it: the next pull makes a new one, and blobs stay');
  }

  /** By flock(2): the kernel releases the lock however its process dies. */
  private async lock(): Promise<() => void> {
    const [{ flock }, { LOCK }] = await Promise.all([
      import('../../sys/syscalls/calls.js'),
      import('../../sys/syscalls/constants.js'),
    ]);
    const path = join(this.home, 'lock');
    const { O_WRONLY, O_CREAT, O_NOFOLLOW } = fs.constants;
    const fd = failingAs(path, () => openRegular(path, O_WRONLY | O_CREAT | O_NOFOLLOW));
    for (;;) {
      try {
        flock(fd, LOCK.EX | LOCK.NB);
        return () => fs.closeSync(fd);
      } catch (error) {
        if (errnoName(error) !== 'EAGAIN') {
          fs.closeSync(fd);
          throw failureOf(error, path);
        }
        await sleep(20);
      }
    }
  }
}

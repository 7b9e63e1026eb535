/** Compressed files that have to be read here and there: their content as a file without a name in the store. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { failureOf } from '../pipe/failure.js';
import { storeHome } from './home.js';
import { makeDirectory, ownPath } from './own-files.js';

const write = promisify(fs.write);

/**
 * Decompresses a file, and returns a descriptor of its content, which takes up disk as long as it is open. `check` sees the
 * first piece of it, and throws when it is not what it should be. Throws `Failure` 65 for damaged data, 74 or 77 when the
 * disk does not let it.
 */
export async function decompressed(path: string, check: (content: Buffer) => void): Promise<number> {
  const { LayerBytes } = await import('../compress/decompress.js');
  const directory = join(storeHome(), 'partial');
  try {
    const content = await LayerBytes.open(path);
    try {
      let chunk = await content.next();
      if (chunk) check(chunk);
      const fd = unnamedFile(directory);
      for (; chunk; chunk = await content.next()) await writeAll(fd, chunk);
      return fd;
    } finally {
      await content.close();
    }
  } catch (error) {
    throw failureOf(error, `decompressing ${path} into ${directory}`);
  }
}

/** What a process leaves that is killed before the name is gone, the next pull sweeps. */
function unnamedFile(directory: string): number {
  makeDirectory(directory, 0o700);
  const name = ownPath(directory, 'decompressed');
  const fd = fs.openSync(name, 'wx+', 0o600);
  fs.unlinkSync(name);
  return fd;
}

async function writeAll(fd: number, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await write(fd, chunk, done, chunk.length - done, null);
    done += bytesWritten;
  }
}

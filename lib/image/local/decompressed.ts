/** The content of a compressed file that is to be read at random: decompressed into an unnamed file in the store. */
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { makeDirectory, storingLater } from '../store/file-operations.js';
import { partialsIn, storeHome } from '../store/home.js';
import { ownPath } from '../store/own-files.js';

const write = promisify(fs.write);

/**
 * Decompresses a file and returns a descriptor of the content, which takes up disk space as long as it is open. `check`
 * gets the first piece, and throws when that is not what it should be. Throws `Failure` 65 for damaged data, 74 or 77
 * for the disk.
 */
export async function decompressed(path: string, check: (content: Buffer) => void): Promise<number> {
  const { openLayer } = await import('../../compress/decompress.js');
  const directory = partialsIn(storeHome());
  return storingLater(`decompressing ${path} into ${directory}`, async () => {
    const content = await openLayer(path);
    try {
      let chunk = await content.next();
      if (chunk) check(chunk);
      const fd = unnamedFile(directory);
      for (; chunk; chunk = await content.next()) await writeAll(fd, chunk);
      return fd;
    } finally {
      await content.close();
    }
  });
}

/** A file whose name is removed at once. If the process is killed before that, the next pull removes it. */
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

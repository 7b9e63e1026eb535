/** DIR: the directory with the root filesystem. */
import { existsSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { errnoName, failingAs, failureOf } from '../../base/failure.js';
import { keptOutHint } from '../../sys/refusals/confinement.js';
import { refused, usage } from './failures.js';

/** What DIR is: a hint for somebody who has named something else. */
export const whatRootIs =
  'DIR is a directory with a root filesystem, as md-unpack makes it; md-run takes the name of an image';

/**
 * The tree itself. In the store the name of an image is a link, which the next pull may lead elsewhere: document, tree
 * and lock have to be of the same one.
 * An empty name comes from a variable that is not set. It must not mean the current directory, which may be / of the
 * host.
 */
export function rootOf(directory: string): string {
  if (directory === '') throw usage('DIR', 'it is empty', 'write . for the current directory');
  const path = failingAs('the current directory', () => resolve(directory), {
    hint: 'it was removed: cd to one that is there',
  });
  try {
    return treeAt(realpathSync.native(path));
  } catch (error) {
    const keptOut = errnoName(error) === 'EACCES' ? keptOutHint() : undefined;
    throw failureOf(error, path, { hint: keptOut ?? whatRootIs });
  }
}

/** A bundle has the tree in it. Mount points would be made beside that, and no command be found. */
function treeAt(path: string): string {
  const isBundle = existsSync(join(path, 'config.json')) && existsSync(join(path, 'rootfs'));
  if (!isBundle || existsSync(`${path}.json`)) return path;
  throw refused(path, 'it is an OCI bundle', `the tree is ${join(path, 'rootfs')}; config.json is not read`);
}

/** Where the store is, and what is where in it. */
import { lstatSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { failingAs, ignoring } from '../../base/failure.js';
import { userHome, xdgDirectory } from '../../base/user-home.js';
import { exactValue } from '../../pipe/utf8.js';

/** $MD_HOME, by default ${XDG_DATA_HOME:-~/.local/share}/md. Throws `Failure` 64 when that is not UTF-8. */
export function storeHome(env: NodeJS.ProcessEnv = process.env): string {
  const home = env.MD_HOME;
  if (home) return resolve(exactValue('MD_HOME', home));
  const data = xdgDirectory(env, 'XDG_DATA_HOME');
  if (data !== undefined) return join(exactValue('XDG_DATA_HOME', data), 'md');
  return join(exactValue('HOME', userHome(env)), '.local/share/md');
}

/** The image layout. */
export function layoutIn(home: string): string {
  return join(home, 'oci');
}

export function blobsIn(home: string): string {
  return join(layoutIn(home), 'blobs');
}

/** Blobs that are not whole, and other files in progress. */
export function partialsIn(home: string): string {
  return join(home, 'partial');
}

/** Root filesystems, and the names of images that lead to them. */
export function treesIn(home: string): string {
  return join(home, 'rootfs');
}

/** What `storeHome` is, for `--help`. */
export const storeMeaning = '$MD_HOME is $XDG_DATA_HOME/md or ~/.local/share/md unless it is set.';

/** A hint for somebody who may not write there. */
export const storeHint = 'MD_HOME names another place for the store';

/** Whether there is a store. Throws `Failure` where nobody can tell: the way to it may be closed. */
export function isThere(home: string): boolean {
  const stat = failingAs(home, () => ignoring(['ENOENT'], () => lstatSync(home)), { hint: storeHint });
  return stat !== undefined;
}

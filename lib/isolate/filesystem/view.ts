/**
 * The root as the container will see it, looked at from outside, before it is mounted: a directory, and with `--layer`
 * the upper layer over it.
 * Source: kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
 */
import { lstatSync, type Stats } from 'node:fs';
import { lgetxattr } from '../../sys/syscalls/calls.js';

export interface View {
  readonly lower: string;
  /** Undefined where there is none, or nothing in it yet. */
  readonly upper?: string | undefined;
}

/**
 * In which of the two directories the container would find `path`, which has no links in it. Undefined when the upper
 * one hides it. Whether it is in the lower one is not looked at. Throws EACCES where this process may not look.
 */
export function sideOf({ lower, upper }: View, path: string): string | undefined {
  if (upper === undefined) return lower;
  const parts = path.split('/');
  let isHidden = false;
  for (let depth = 1; depth <= parts.length; depth++) {
    const above = `${upper}/${parts.slice(0, depth).join('/')}`;
    const stat = lstatSync(above, { throwIfNoEntry: false });
    if (stat === undefined) return isHidden ? undefined : lower;
    if (isWhiteout(stat)) return undefined;
    if (!stat.isDirectory()) return depth === parts.length ? upper : undefined;
    isHidden ||= isOpaque(above);
  }
  return upper;
}

function isWhiteout(stat: Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0;
}

/** In a user namespace an overlay notes it in another attribute than elsewhere. A layer has the one or the other. */
function isOpaque(directory: string): boolean {
  const value = Buffer.alloc(1);
  return ['trusted', 'user'].some(
    (family) => lgetxattr.try(directory, `${family}.overlay.opaque`, value, 1) === 1 && value.toString() === 'y',
  );
}

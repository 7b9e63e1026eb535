/**
 * `layer.json` in the directory of a layer: which tree the layer was begun over. Over any other, an upper layer makes no
 * sense.
 */
import { constants, existsSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asDigest, asJson, asObject, asString, optional } from '../../base/check.js';
import { type Failure, ignoring } from '../../base/failure.js';
import { readRegular } from '../../base/regular-file.js';
import { refused } from '../settings/failures.js';

export const notesFile = 'layer.json';

/** What a layer was begun over. */
export interface Notes {
  /** The image of the tree, and its digest. Undefined when the tree had no document. */
  image: string | undefined;
  digest: string | undefined;
  /** Whether it was in a user namespace: there overlayfs uses other attributes to note what was removed. */
  userNamespace: boolean;
}

/** Undefined where there are none. */
export function notesOf(path: string, inside: string): Notes | undefined {
  if (!readdirSync(inside).includes(notesFile)) return undefined;
  const name = join(path, notesFile);
  const it = asObject(asJson(readRegular(join(inside, notesFile), constants.O_NOFOLLOW, name), name), name);
  return {
    image: optional(it.image, `${name}: image`, asString),
    digest: optional(it.digest, `${name}: digest`, asDigest),
    userNamespace: it.userNamespace === true,
  };
}

/** `inside` is the directory of a layer that has not begun. */
export function writeNotes(inside: string, notes: Notes): void {
  const file = join(inside, notesFile);
  // What an interrupted beginning left, or a link that was put there: it must not be written through.
  ignoring(['ENOENT'], () => unlinkSync(file));
  writeFileSync(file, `${JSON.stringify(notes)}\n`, { flag: 'wx' });
}

/**
 * Throws `Failure` for another tree than the layer was begun over. So it does for the other kind of overlay, which
 * cannot read what was removed.
 */
export function checkSame(path: string, tree: string, begun: Notes, now: Notes): void {
  if (begun.digest !== now.digest)
    throw refusedLayer(path, `it was begun over ${nameOf(begun)}, and ${tree} is ${nameOf(now)} now`, another);
  if (begun.userNamespace === now.userNamespace) return;
  const [which, flag] = begun.userNamespace ? ['with', 'self or range'] : ['without', 'host'];
  throw refusedLayer(path, `it was begun ${which} a user namespace, and can only be read so`, `add --userns ${flag}`);
}

function nameOf({ digest }: Notes): string {
  return digest ?? 'a tree without an image';
}

const another = 'begin another one for this image';

/** What to do to go on with a layer when the name of its image has come to mean another one. */
export function wayBack(path: string, below: string, begun: Notes | undefined): string {
  if (existsSync(below)) return `${another}, or go on with md-isolate --layer ${path} ${below}`;
  return begun?.image && begun.digest
    ? `${another}, or get that one back: md-pull ${begun.image}@${begun.digest}`
    : another;
}

export function refusedLayer(path: string, why: string, hint?: string): Failure {
  return refused(`--layer ${path}`, why, hint);
}

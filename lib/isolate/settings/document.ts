/** `DIR.json`: what md-unpack knew of the image, kept beside the tree. */
import { constants, lstatSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { asJson } from '../../base/check.js';
import { Failure, failingAs, failureOf, hasErrno, ignoring } from '../../base/failure.js';
import { readRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';
import { asRootfsDocument, type RootfsDocument } from '../../pipe/document.js';
import { interimDocument, isBelievable } from '../../pipe/interim.js';
import { whatRootIs } from './root.js';

/** ENAMETOOLONG: the name of the tree is so long that no file can have it with an ending. */
const absent = ['ENOENT', 'ENAMETOOLONG'];

/**
 * The document beside a root filesystem, which is named by its real path: beside a link to it there is none. Undefined
 * when there is no document. Throws `Failure` when it is not such a document.
 */
export function readRootfsDocument(tree: string): RootfsDocument | undefined {
  let path = failingAs(tree, () => interimDocument(tree), { hint: whatRootIs });
  let text: string | undefined;
  try {
    const directory = statSync(dirname(tree));
    text = readInterim(path, directory.uid);
    if (text === '') return undefined;
    if (text === undefined) {
      path = `${tree}.json`;
      refuseStrangers(path, directory, tree);
      text = readRegular(path).toString();
    }
  } catch (error) {
    if (hasErrno(error, ...absent)) return undefined;
    throw failureOf(error, path);
  }
  return asRootfsDocument(asJson(text, path, 'md-unpack writes it'), path);
}

/**
 * The document when md-unpack has put the tree in place but not yet named it `DIR.json`, or was killed before:
 * interim.ts.
 */
function readInterim(path: string, directoryOwner: number): string | undefined {
  // There may be none, or it is renamed to DIR.json just now.
  return ignoring(absent, () => {
    const stat = lstatSync(path);
    if (!stat.isFile() || !isBelievable(stat.uid, directoryOwner)) return undefined;
    return readRegular(path, constants.O_NOFOLLOW).toString();
  });
}

/**
 * In /tmp everybody can put such a file beside a tree that has none, and would choose the command of a container that
 * has the caller's volumes. So its owner must be somebody who may write there, or the tree's own. The sticky bit keeps
 * others from replacing what was looked at (inode(7)).
 */
function refuseStrangers(path: string, directory: Stats, tree: string): void {
  const isShared = (directory.mode & 0o1000) !== 0 && (directory.mode & 0o022) !== 0;
  const { uid } = lstatSync(path);
  if (!isShared || isBelievable(uid, directory.uid) || uid === statSync(tree).uid) return;
  throw new Failure(Status.notPermitted, path, `it belongs to user ${uid}, and the tree does not`, {
    hint: `${dirname(path)} lets everybody make files: remove it, or move the tree elsewhere`,
  });
}

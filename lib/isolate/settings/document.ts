/** `DIR.json`: what md-unpack knew of the image, kept beside the tree. */
import { constants, lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { asJson } from '../../base/check.js';
import { failureOf, hasErrno } from '../../base/failure.js';
import { readRegular } from '../../base/regular-file.js';
import { asRootfsDocument, type RootfsDocument } from '../../pipe/document.js';
import { interimDocument, isBelievable } from '../../pipe/interim.js';

/** What DIR is: a hint for somebody who has named something else. */
export const whatRootIs =
  'DIR is a directory with a root filesystem, as md-unpack makes it; md-run takes the name of an image';

/**
 * The document beside a root filesystem, which is named by its real path: beside a link to it there is none. Undefined
 * when there is no document. Throws `Failure` when it is not such a document.
 */
export function readRootfsDocument(tree: string): RootfsDocument | undefined {
  let path = interimDocument(tree);
  let text: string | undefined;
  try {
    text = readInterim(path, statSync(dirname(tree)).uid);
    if (text === '') return undefined;
    if (text === undefined) {
      path = `${tree}.json`;
      text = readRegular(path).toString();
    }
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw failureOf(error, path);
  }
  return asRootfsDocument(asJson(text, path, 'md-unpack writes it'), path);
}

/**
 * The document when md-unpack has put the tree in place but not yet named it `DIR.json`, or was killed before:
 * interim.ts.
 */
function readInterim(path: string, directoryOwner: number): string | undefined {
  try {
    const stat = lstatSync(path);
    if (!stat.isFile() || !isBelievable(stat.uid, directoryOwner)) return undefined;
    return readRegular(path, constants.O_NOFOLLOW).toString();
  } catch (error) {
    // There is none, or it was renamed to DIR.json just now.
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** ENAMETOOLONG: the name of the tree is so long that no file can have it with an ending. */
function isAbsent(error: unknown): boolean {
  return hasErrno(error, 'ENOENT', 'ENAMETOOLONG');
}

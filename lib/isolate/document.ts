/** `DIR.json`: what md-unpack knew of the image, kept beside the tree. */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { asJson } from '../pipe/check.js';
import { asRootfsDocument, type RootfsDocument } from '../pipe/document.js';
import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { interimDocument, isBelievable } from '../pipe/interim.js';
import { Status } from '../pipe/status.js';

/** What DIR is: a hint for somebody who has named something else. */
export const whatRootIs =
  'DIR is a directory with a root filesystem, as md-unpack makes it; md-run takes the name of an image';

/**
 * The document beside a root filesystem, which is named by its real path: beside a link to it there is none. Undefined
 * when there is no document. Throws `Failure` when it is no such document.
 */
export function readRootfsDocument(tree: string): RootfsDocument | undefined {
  let path = interimDocument(tree);
  let text: string | undefined;
  try {
    text = readInterim(path, statSync(dirname(tree)).uid);
    if (text === '') return undefined;
    if (text === undefined) {
      path = `${tree}.json`;
      text = readRegular(path, 0);
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
    return readRegular(path, constants.O_NOFOLLOW);
  } catch (error) {
    // There is none, or it was renamed to DIR.json just now.
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** ENAMETOOLONG: the name of the tree is so long that no file can have it with an ending. */
function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENAMETOOLONG'].includes(errnoName(error) ?? '');
}

/** Reads a regular file, which messages call `name`. Anything else is refused: opening a FIFO, for example, would wait for ever. */
export function readRegular(path: string, flags: number, name = path): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    if (!fstatSync(fd).isFile()) throw new Failure(Status.data, name, 'it is no regular file');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** The text of a file that a flag names. Throws `Failure`. */
export function readText(path: string, flag: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw failureOf(error, `${flag} ${path}`);
  }
  // Decoding would silently replace bytes that are not UTF-8.
  if (isUtf8(bytes)) return bytes.toString();
  throw new Failure(Status.data, `${flag} ${path}`, 'it is not UTF-8');
}

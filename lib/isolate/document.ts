/** `DIR.json`: what md-unpack knew of the image, kept beside the tree. */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { asRootfsDocument, type RootfsDocument } from '../pipe/document.js';
import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { interimDocument, isBelievable } from '../pipe/interim.js';
import { Status } from '../pipe/status.js';

/** What DIR is, for who has named something else. */
export const whatRootIs =
  'DIR is a directory with a root filesystem, as md-unpack makes it; md-run takes the name of an image';

/**
 * The document beside a root filesystem, or undefined when there is none. Throws `Failure` when it is no such document, or
 * there is no `root`.
 */
export function readRootfsDocument(root: string): RootfsDocument | undefined {
  let path = root;
  let text: string | undefined;
  try {
    // In the store the name of an image is a symbolic link to its tree, and the document is beside the tree.
    const tree = realpathSync(root);
    path = interimDocument(tree);
    text = readInterim(path, statSync(dirname(tree)).uid);
    if (text === '') return undefined;
    if (text === undefined) {
      path = `${tree}.json`;
      text = readRegular(path, 0);
    }
  } catch (error) {
    if (path === root) throw failureOf(error, path, { hint: whatRootIs });
    if (isAbsent(error)) return undefined;
    throw failureOf(error, path);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure(Status.data, path, 'it is not JSON', { cause: error, hint: 'md-unpack writes it' });
  }
  return asRootfsDocument(value, path);
}

/** What an md-unpack that is just putting the tree in place, or was killed as it did, has not yet called `DIR.json`. */
function readInterim(path: string, directoryOwner: number): string | undefined {
  try {
    const stat = lstatSync(path);
    if (!stat.isFile() || !isBelievable(stat.uid, directoryOwner)) return undefined;
    return readRegular(path, constants.O_NOFOLLOW);
  } catch (error) {
    // There is none, or it has just become DIR.json.
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Beside a tree whose name is nearly as long as a name may be, nothing can have that name and more. */
function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENAMETOOLONG'].includes(errnoName(error) ?? '');
}

/** Opening a FIFO would wait for a writer for ever. */
function readRegular(path: string, flags: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    if (!fstatSync(fd).isFile()) throw new Failure(Status.data, path, 'it is no regular file');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** A file that a flag names. Throws `Failure`. */
export function readText(path: string, flag: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw failureOf(error, `${flag} ${path}`);
  }
  // Decoding would replace the bytes that are no text without a word.
  if (isUtf8(bytes)) return bytes.toString();
  throw new Failure(Status.data, `${flag} ${path}`, 'it is not UTF-8');
}

/** `DIR.json`: what md-unpack knew of the image, kept beside the tree. */
import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { asRootfsDocument, type RootfsDocument } from '../pipe/document.js';
import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/** The document beside a root filesystem, or undefined when there is none. Throws `Failure` when it is no such document. */
export function readRootfsDocument(root: string): RootfsDocument | undefined {
  let path = root;
  let text: string;
  try {
    // In the store the name of an image is a symbolic link to its tree, and the document is beside the tree.
    path = `${realpathSync(root)}.json`;
    text = readRegular(path);
  } catch (error) {
    if (errnoName(error) === 'ENOENT') return undefined;
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

/** Opening a FIFO would wait for a writer for ever. */
function readRegular(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new Failure(Status.data, path, 'it is no regular file');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** A file that a flag names. Throws `Failure`. */
export function readText(path: string, flag: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw failureOf(error, `${flag} ${path}`);
  }
}

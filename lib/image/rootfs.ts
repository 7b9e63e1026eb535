/**
 * Root filesystems in the store: a tree for each manifest, and symbolic links to them with the names of images.
 *
 *     $MD_HOME/rootfs/sha256-HEX, sha256-HEX.json
 *     $MD_HOME/rootfs/docker.io/library/alpine:latest -> ../../sha256-HEX
 */
import * as fs from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { wrong } from '../pipe/check.js';
import { asRootfsDocument, type RootfsDocument } from '../pipe/document.js';
import { errnoName, failureOf } from '../pipe/failure.js';
import { storeHint, storeHome } from './home.js';
import { makeDirectory, ownPath, sweepAbandoned } from './own-files.js';

const nameLimit = 255;
const temporaryName = '.link';

/** Where the tree of a manifest is, or would be; the directory around it is made. Throws `Failure` 74 or 77. */
export function rootfsPath(digest: string, home: string = storeHome()): string {
  const directory = join(home, 'rootfs');
  try {
    makeDirectory(directory);
  } catch (error) {
    throw failureOf(error, directory, { hint: storeHint });
  }
  return join(directory, digest.replace(':', '-'));
}

/** The document of a tree that is there and complete: it is written last. */
export function findRootfs(path: string): RootfsDocument | undefined {
  try {
    const document = asRootfsDocument(JSON.parse(fs.readFileSync(`${path}.json`, 'utf8')));
    return fs.lstatSync(path).isDirectory() ? { ...document, rootfs: path } : undefined;
  } catch (error) {
    if (errnoName(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw failureOf(error, `${path}.json`);
  }
}

/** Points the name of an image at a tree, in place of the one that it had. Throws `Failure` 65 for a name that is none. */
export function nameRootfs(image: string, path: string): void {
  const directory = dirname(path);
  const parts = image.split('/');
  // The name came down a pipe, and must not lead into a tree. Only the last part has a tag or a digest, so that no link is
  // a directory above another one; the first part is a host, with a port perhaps, and no tree.
  const [host = '', ...names] = parts;
  const isSafe =
    parts.every((part) => !['', '.', '..'].includes(part) && Buffer.byteLength(part) <= nameLimit) &&
    !/^sha(?:256|512)-/.test(host) &&
    names.every((part, i) => /[:@]/.test(part) === (i === names.length - 1));
  if (!isSafe || names.length === 0) throw wrong('image', 'a full image name', image);
  const link = join(directory, image);
  try {
    makeDirectory(dirname(link));
    sweepAbandoned(dirname(link), (name) => name.startsWith(`${temporaryName}.`));
    const temporary = ownPath(dirname(link), temporaryName);
    fs.rmSync(temporary, { force: true });
    fs.symlinkSync(relative(dirname(link), path), temporary);
    fs.renameSync(temporary, link);
  } catch (error) {
    throw failureOf(error, link);
  }
}

/** The names of images, and the tree that each leads to, as its name below the directory of all trees. */
export function rootfsNames(home: string): Map<string, string> {
  const directory = join(home, 'rootfs');
  const names = new Map<string, string>();
  const walk = (below: string) => {
    for (const entry of entriesOf(join(directory, below))) {
      const name = join(below, entry.name);
      if (entry.isSymbolicLink()) names.set(name, relative(directory, linkOf(join(directory, name))));
      else if (entry.isDirectory() && !(below === '' && isTree(entry.name))) walk(name);
    }
  };
  walk('');
  return names;
}

/** All trees, those that are not whole and those without a name as well, by their names below the directory of all trees. */
export function rootfsTrees(home: string): string[] {
  // Of a tree that a killed process was at work on, only files beside it may be left.
  const names = entriesOf(join(home, 'rootfs')).map(
    ({ name }) => /^\.?(sha(?:256|512)-[0-9a-f]+)(?:\.|$)/.exec(name)?.[1],
  );
  return [...new Set(names)].filter((name) => name !== undefined);
}

/** Takes away the name of an image, and the directories that were there for it alone. */
export function unnameRootfs(image: string, home: string): void {
  const directory = join(home, 'rootfs');
  try {
    fs.rmSync(join(directory, image), { force: true });
    for (let above = dirname(image); above !== '.'; above = dirname(above)) fs.rmdirSync(join(directory, above));
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoName(error) ?? ''))
      throw failureOf(error, join(directory, image));
  }
}

function isTree(name: string): boolean {
  return /^\.?sha(?:256|512)-/.test(name);
}

function linkOf(path: string): string {
  return resolve(dirname(path), fs.readlinkSync(path));
}

function entriesOf(directory: string): fs.Dirent[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (errnoName(error) === 'ENOENT') return [];
    throw failureOf(error, directory);
  }
}

/**
 * Root filesystems in the store: a tree for each manifest, and symbolic links to them with the names of images.
 *
 *     $MD_HOME/rootfs/sha256-HEX, sha256-HEX.json
 *     $MD_HOME/rootfs/docker.io/library/alpine:latest -> ../../sha256-HEX
 */
import * as fs from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { wrong } from '../../base/check.js';
import { errnoName, Failure, failingAs, failureOf, hasErrno, ignoring } from '../../base/failure.js';
import { readRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';
import { asRootfsDocument, type RootfsDocument } from '../../pipe/document.js';
import { inDirectory, makeDirectory } from './file-operations.js';
import { storeHint, storeHome, treesIn } from './home.js';
import { isAbandoned, ownPath, sweepAbandoned, withTemporary } from './own-files.js';

const nameLimit = 255;
/** Where a link is made before it takes its place. No name of an image has a part that begins so. */
const temporaryName = '.link';

/**
 * The path of the tree of a manifest, which need not exist. The directory around it is made, for this user alone: on
 * the host, the set-user-ID programs of an image would make this user of whoever can reach them. Throws `Failure` 74 or
 * 77.
 */
export function rootfsPath(digest: string, home: string = storeHome()): string {
  const directory = treesIn(home);
  failingAs(directory, () => makeDirectory(directory, 0o700), { hint: storeHint });
  return join(directory, digest.replace(':', '-'));
}

/**
 * The document of a tree, if that is complete: the document is written last. Its paths are those of now, since somebody
 * may have moved the store.
 */
export function findRootfs(path: string): RootfsDocument | undefined {
  try {
    const document = asRootfsDocument(JSON.parse(readRegular(`${path}.json`).toString()), `${path}.json`);
    const unset = 'unset' in document ? { unset: `${path}.unset.jsonl` } : {};
    return fs.lstatSync(path).isDirectory() ? { ...document, rootfs: path, ...unset } : undefined;
  } catch (error) {
    if (errnoName(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw failureOf(error, `${path}.json`);
  }
}

/** Throws `Failure` 65 unless the name of an image can be that of a link beside the trees. */
export function checkRootfsName(image: string): void {
  const parts = image.split('/');
  const long = parts.find((part) => Buffer.byteLength(part) > nameLimit);
  if (long !== undefined) {
    const why = `a part of its name is longer than ${nameLimit} bytes, which no file name may be`;
    throw new Failure(Status.data, `image ${image}`, why, {
      hint: 'name DIR to unpack it elsewhere than in the store',
    });
  }
  // The name came from a pipe, and must not lead into a tree. The first part is a host, possibly with a port, and not a
  // tree. Only the last part has a tag or a digest, so that no link is at the place of a directory.
  const [host = '', ...names] = parts;
  const isSafe =
    parts.every((part) => !['', '.', '..'].includes(part)) &&
    !/^sha(?:256|512)-/.test(host) &&
    names.every((part, i) => /[:@]/.test(part) === (i === names.length - 1));
  if (!isSafe || names.length === 0) throw wrong('image', 'a full image name', image);
}

/**
 * Makes the name of an image a symbolic link to a tree, replacing an earlier link. Throws `Failure` 65 for an
 * impossible name.
 */
export function nameRootfs(image: string, path: string): void {
  checkRootfsName(image);
  const directory = dirname(path);
  const link = join(directory, image);
  const target = relative(dirname(link), path);
  try {
    // The store may be read-only, or another user's.
    if (ignoring(['ENOENT', 'EINVAL'], () => readLink(link)) === target) return;
    makeDirectory(dirname(link));
    sweepAbandoned(dirname(link), isTemporary);
    const temporary = ownPath(dirname(link), temporaryName);
    withTemporary(temporary, () => {
      fs.symlinkSync(target, temporary);
      fs.renameSync(temporary, link);
    });
  } catch (error) {
    throw failureOf(error, link);
  }
}

/** readlink(2), with a hint where the filesystem hides it. */
function readLink(link: string): string {
  try {
    return fs.readlinkSync(link);
  } catch (error) {
    const hint = hasErrno(error, 'EPERM')
      ? 'sshfs shows such links if it is mounted with -o no_contain_symlinks'
      : undefined;
    throw hint ? failureOf(error, link, { hint }) : error;
  }
}

/**
 * The names of images, each with the name of its tree in the directory of all trees. A link to anything else is none of
 * ours: where a link is in the place of that directory, all links behind it would be, in /etc for example.
 */
export function rootfsNames(home: string): Map<string, string> {
  const directory = treesIn(home);
  const names = new Map<string, string>();
  for (const link of linksBelow(directory)) {
    const target = isTemporary(basename(link)) ? undefined : targetOf(link);
    const tree = target === undefined ? '' : relative(directory, target);
    if (/^sha(?:256|512)-[0-9a-f]+$/.test(tree)) names.set(relative(directory, link), tree);
  }
  return names;
}

/** Links that killed processes have not brought to their places: absolute paths. */
export function abandonedLinks(home: string): string[] {
  const isLeft = (link: string) => isTemporary(basename(link)) && isAbandoned(dirname(link), basename(link));
  return linksBelow(treesIn(home)).filter(isLeft);
}

/** The symbolic links beside the trees, as absolute paths. */
function linksBelow(directory: string): string[] {
  const links: string[] = [];
  const walk = (below: string, mayBeTree: boolean) => {
    for (const entry of entriesOf(below)) {
      const path = join(below, entry.name);
      if (entry.isSymbolicLink()) links.push(path);
      else if (entry.isDirectory() && !(mayBeTree && isTree(entry.name))) walk(path, false);
    }
  };
  walk(directory, true);
  return links;
}

/** The names of all trees in their directory, including incomplete ones and those that no image name leads to. */
export function rootfsTrees(home: string): string[] {
  // A killed process may have left only files beside a tree: these count as the tree.
  const names = entriesOf(treesIn(home)).map(({ name }) => /^\.?(sha(?:256|512)-[0-9a-f]+)(?:\.|$)/.exec(name)?.[1]);
  return [...new Set(names)].filter((name) => name !== undefined);
}

/**
 * Removes the link for the name of an image, and the directories that are empty then. They are no links themselves:
 * where the store is another user's, one could lead elsewhere by now.
 */
export function unnameRootfs(image: string, home: string): void {
  const directory = treesIn(home);
  failingAs(join(directory, image), () =>
    ignoring(['ENOTEMPTY', 'EEXIST', 'ENOENT'], () => unnameIn(directory, image.split('/'))),
  );
}

function unnameIn(directory: string, [first = '', ...below]: string[]): void {
  const path = join(directory, first);
  if (below.length === 0) {
    fs.unlinkSync(path);
    return;
  }
  inDirectory(path, (inside) => unnameIn(inside, below));
  fs.rmdirSync(path);
}

function isTree(name: string): boolean {
  return /^\.?sha(?:256|512)-/.test(name);
}

function isTemporary(name: string): boolean {
  return name.startsWith(`${temporaryName}.`);
}

/** Where a link leads, unless another process has removed it by now. */
function targetOf(link: string): string | undefined {
  const target = failingAs(link, () => ignoring(['ENOENT'], () => readLink(link)));
  return target === undefined ? undefined : resolve(dirname(link), target);
}

function entriesOf(directory: string): fs.Dirent[] {
  const read = () => ignoring(['ENOENT'], () => fs.readdirSync(directory, { withFileTypes: true })) ?? [];
  return failingAs(directory, read, { hint: storeHint });
}

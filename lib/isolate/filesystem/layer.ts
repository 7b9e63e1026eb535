/**
 * `--layer LAYER`: what a container writes lands in a directory of the host, and is there again the next time.
 *
 * LAYER has the three parts of an overlay: `upper`, what was written; `work`, room of the kernel's; and `lower`, a
 * symbolic link to the tree below. `layer.json` tells what the tree was when the layer was begun (layer-notes.ts), and
 * `process` who wrote to it last.
 * Source: kernel, Documentation/filesystems/overlayfs.rst.
 */
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { failingAs, failureOf, hasErrno, ignoring } from '../../base/failure.js';
import { pause } from '../../base/pause.js';
import { descriptorPath } from '../../sys/files/descriptor-path.js';
import { isStillAt, tryLock } from '../../sys/files/lock.js';
import { lifeOf, markOf } from '../../sys/procfs/process-mark.js';
import { keptOutHint } from '../../sys/refusals/confinement.js';
import { close, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, O } from '../../sys/syscalls/constants.js';
import { ENOENT } from '../../sys/syscalls/errno.js';
import { readRootfsDocument } from '../settings/document.js';
import { checkedIdentity, type DirectoryIdentity, prepareDirectory } from './layer-directory.js';
import { checkSame, notesFile, notesOf, refusedLayer, wayBack, writeNotes } from './layer-notes.js';
import type { View } from './view.js';

const parts = ['upper', 'work'] as const;
const processLink = 'process';
const changed = 'something else than md-isolate changed it';

export class Layer {
  /** The layer over the tree. */
  readonly view: View;
  /** Parts that are not there yet: the child makes them, since they may belong to an id of the container's. */
  readonly missing: readonly (typeof parts)[number][];
  /** Of the first process of the container. */
  private mark: string | undefined;

  constructor(
    readonly path: string,
    /** The same directory, by its descriptor. */
    readonly inside: string,
    /** The real path of the tree. */
    private readonly root: string,
    readonly identity: DirectoryIdentity,
    /** It was made for this container, and nothing is in it yet. */
    private readonly isNew: boolean,
  ) {
    this.missing = missingParts(path, inside);
    const upper = this.missing.includes('upper') ? undefined : join(inside, 'upper');
    this.view = { lower: root, upper };
  }

  /** Begins the layer, or checks that the one that is there goes with this tree. Throws `Failure`. */
  begin(userNamespace: boolean): void {
    const { path, inside, root } = this;
    failingAs(`--layer ${path}`, () => {
      const document = readRootfsDocument(root);
      const now = { image: document?.image, digest: document?.digest, userNamespace };
      if (!isUnbegun(inside)) return checkSame(path, root, notesOf(path, inside) ?? now, now);
      writeNotes(inside, now);
      // The link comes last: without it the layer has not begun.
      symlinkSync(root, join(inside, 'lower'));
    });
  }

  /** Removes a directory that was made for a container that could not be made, unless something is in it already. */
  giveUp(): void {
    if (!this.isNew || (this.mark !== undefined && lifeOf(this.mark) !== 'gone')) return;
    // By descriptor: what other processes may have put in the place of a part is not followed.
    const work = openat.try(AT.FDCWD, join(this.inside, 'work'), O.PATH | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0);
    if (work >= 0) {
      unlinkat.try(work, 'work', AT.REMOVEDIR);
      close(work);
    }
    for (const part of parts.toReversed()) {
      const result = unlinkat.try(AT.FDCWD, join(this.inside, part), AT.REMOVEDIR);
      if (result < 0 && result !== -ENOENT) return;
    }
    for (const name of ['lower', notesFile, processLink]) unlinkat.try(AT.FDCWD, join(this.inside, name), 0);
    removeEmpty(this.path);
  }

  /** Leaves word of the first process of the container, as a link to its mark. */
  leaveMark(pid: number): void {
    failingAs(`--layer ${this.path}`, () => {
      const link = join(this.inside, processLink);
      ignoring(['ENOENT'], () => unlinkSync(link));
      this.mark = markOf(pid);
      symlinkSync(this.mark, link);
    });
  }
}

/** For `--dry-run`: nothing is made or locked, and `path` need not be there. */
export function layerAt(path: string, root: string): Layer {
  const identity = { inode: new Uint8Array(8), device: new Uint8Array(8) };
  return namingLayer(path, () => new Layer(path, path, root, identity, false));
}

/**
 * Makes a directory for the layer, or takes the one that is there. It is locked as long as this process lives. Throws
 * `Failure` for a directory that is no layer, is in use, or lies over another tree.
 */
export function holdLayer(path: string, root: string): Layer {
  return namingLayer(path, () => {
    if (`${whereabouts(path)}/`.startsWith(`${root}/`))
      throw refusedLayer(path, `it lies in ${root}`, 'name a directory beside that');
    for (let tries = 3; ; tries--) {
      // Another container, which could not be made, may remove the directory that it had made, at any moment.
      const layer = ignoring(tries > 0 ? ['ENOENT'] : [], () => tryLayer(path, root));
      if (layer) return layer;
    }
  });
}

function namingLayer(path: string, act: () => Layer): Layer {
  try {
    return act();
  } catch (error) {
    throw failureOf(error, `--layer ${path}`, { hint: hasErrno(error, 'EACCES') ? keptOutHint() : undefined });
  }
}

/** Undefined when the directory has gone by the time that it is locked. */
function tryLayer(path: string, root: string): Layer | undefined {
  const isNew = isMadeNow(path);
  try {
    const fd = openSync(path, O.RDONLY | O.DIRECTORY);
    const identity = checkedIdentity(path, fd, isNew);
    if (tryLock(fd, 'exclusive')) {
      if (isStillAt(path, fd)) return new Layer(path, checkedInside(path, fd, root), root, identity, isNew);
      close(fd);
      return undefined;
    }
  } catch (error) {
    if (isNew) removeEmpty(path);
    throw error;
  }
  // A new one stays, too: the other container may be about to write.
  throw refusedLayer(path, 'another container writes to it');
}

/** Makes the directory, unless it is there already: then this is false. */
function isMadeNow(path: string): boolean {
  const made = ignoring(['EEXIST'], () => {
    mkdirSync(path, 0o700);
    return true;
  });
  return made ?? false;
}

/** An error here does not matter: why there is no container is reported. */
function removeEmpty(path: string): void {
  unlinkat.try(AT.FDCWD, path, AT.REMOVEDIR);
}

/** Checks what is in the directory, which is locked. Returns its path by the descriptor. */
function checkedInside(path: string, fd: number, root: string): string {
  // Where others may exchange the directory, its own path may lead to another one by now.
  const inside = descriptorPath(fd);
  accessSync(inside, constants.W_OK);
  if (isUnbegun(inside)) {
    prepareDirectory(path, fd);
  } else checkTree(path, inside, root);
  awaitEnd(path, inside);
  return inside;
}

/** The real path, also when only the directory around it is there. */
function whereabouts(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path));
}

/**
 * A container may have its own LAYER in a volume, and put a link in the place of a part. It must not lead to other
 * places of the host the next time.
 */
function missingParts(path: string, inside: string): Layer['missing'] {
  return parts.filter((part) => {
    const stat = lstatSync(join(inside, part), { throwIfNoEntry: false });
    if (stat && !stat.isDirectory()) throw refusedLayer(path, `its ${part} is not a directory`, changed);
    return stat === undefined;
  });
}

function checkTree(path: string, inside: string, tree: string): void {
  const entries = readdirSync(inside);
  if (!entries.includes('lower'))
    throw refusedLayer(path, 'it is not empty, and no layer', 'name a directory of its own');
  const below = linkIn(path, inside, 'lower');
  if (below !== tree)
    throw refusedLayer(
      path,
      `this layer lies over ${below}, and not over ${tree}`,
      wayBack(path, below, notesOf(path, inside)),
    );
}

function linkIn(path: string, inside: string, name: string): string {
  return failingAs(join(path, name), () => readlinkSync(join(inside, name)), { hint: changed });
}

function isUnbegun(inside: string): boolean {
  return readdirSync(inside).every((name) => name === notesFile);
}

/**
 * Waits up to a second for the end of the last container, since two overlays must not write to the same layer. The lock
 * does not tell: when md-isolate is killed it is gone, and a command that has changed its user may live on.
 */
function awaitEnd(path: string, inside: string): void {
  if (!readdirSync(inside).includes(processLink)) return;
  const mark = linkIn(path, inside, processLink);
  for (let tries = 50; ['running', 'stopped'].includes(lifeOf(mark)); tries--) {
    const pid = mark.split('.')[1];
    if (tries === 0)
      throw refusedLayer(path, `process ${pid} writes to it, whose md-isolate was killed`, `kill -9 ${pid}`);
    pause(20);
  }
}

#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { storeHome } from '../lib/image/home.js';
import { findRootfs, nameRootfs, rootfsPath } from '../lib/image/rootfs.js';
import { main } from '../lib/pipe/command.js';
import {
  asLayer,
  asManifestDocument,
  type Layer,
  type ManifestDocument,
  type RootfsDocument,
} from '../lib/pipe/document.js';
import { Failure } from '../lib/pipe/failure.js';
import { firstLine, stdinLines } from '../lib/pipe/input.js';
import { writeDocument, writeLine } from '../lib/pipe/output.js';
import { makeProgress, progressMode } from '../lib/pipe/progress.js';
import { Status } from '../lib/pipe/status.js';
import { warnLine } from '../lib/pipe/trace.js';
import { defaultLimits, rootfsDocument, type UnpackOptions, unpackImage } from '../lib/unpack/unpack.js';

main(
  {
    name: 'md-unpack',
    summary: 'Unpack the layers announced on stdin into a root filesystem at DIR, and write its document to DIR.json',
    operands: '[DIR]',
    arity: { min: 0, max: 1 },
    flags: {
      force: {
        kind: 'boolean',
        alias: 'f',
        help: 'replace DIR when it is not empty; the old tree stays until the new one is whole',
      },
      'max-entries': {
        kind: 'count',
        value: 'N',
        help: `files, directories and links, at most (${defaultLimits.entries})`,
      },
      'max-bytes': { kind: 'count', value: 'N', help: 'bytes of file content, at most (no limit)' },
      'max-depth': {
        kind: 'count',
        value: 'N',
        help: `directories inside each other, at most (${defaultLimits.depth})`,
      },
      path: { kind: 'boolean', help: 'write the path of the root filesystem in place of its document' },
      progress: { kind: 'string', value: 'MODE', help: 'bar, json or none (a bar when stderr is a terminal)' },
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer | md-unpack rootfs', 'pull an image into ./rootfs'],
      ['... | md-unpack --path', 'into the store, where md-run looks for it'],
      ['... | md-unpack --force rootfs | jq -r .config.config.Cmd[0]', 'replace it, and see what it would run'],
    ],
    statuses: [0, 64, 65, 74, 77],
    notes: [
      'Without DIR the tree goes into the store, $MD_HOME/rootfs/sha256-HEX by the digest of its manifest, where it is used',
      'again when it is there; $MD_HOME/rootfs/NAME, such as docker.io/library/alpine:latest, then links to it.',
    ].join('\n'),
  },
  async ({ flags, operands }) => {
    const progress = makeProgress(progressMode(flags.progress), 'unpack', true);
    const limits = {
      entries: flags['max-entries'] ?? defaultLimits.entries,
      bytes: flags['max-bytes'] ?? defaultLimits.bytes,
      depth: flags['max-depth'] ?? defaultLimits.depth,
    };
    const warn = (line: string) => warnLine(`md-unpack: ${line}`);
    const onBadLayer = ({ digest, path }: Layer) => discardFromStore(digest, path);
    const lines = stdinLines();
    const document = asManifestDocument(await firstLine(lines));
    const options = { force: flags.force, limits, progress, warn, onBadLayer };
    const [dir] = operands;
    try {
      const unpack = dir === undefined ? unpackIntoStore : unpackImage;
      const rootfs = await unpack(document, layersOf(lines), dir ?? rootfsPath(document.digest), options);
      if (dir === undefined) nameRootfs(document.image, rootfs.rootfs);
      if (flags.path) writeLine(rootfs.rootfs);
      else writeDocument(rootfs);
    } finally {
      progress.end();
    }
    return undefined;
  },
);

/** A tree that is there is used again. One without its document is what a process left behind that was killed. */
async function unpackIntoStore(
  document: ManifestDocument,
  layers: AsyncGenerator<Layer>,
  path: string,
  options: UnpackOptions,
): Promise<RootfsDocument> {
  if (!options.force && findRootfs(path)) return reuse(document, layers, path);
  try {
    return await unpackImage(document, layers, path, { ...options, force: options.force || existsSync(path) });
  } catch (error) {
    // Another process may have unpacked the same image in the meantime.
    const isTaken = error instanceof Failure && error.status === Status.usage;
    if (!isTaken || !findRootfs(path)) throw error;
    return reuse(document, layers, path);
  }
}

/** The layers are read on, since the stages above would stop if nobody did. */
async function reuse(document: ManifestDocument, layers: AsyncIterable<Layer>, path: string): Promise<RootfsDocument> {
  for await (const _ of layers);
  return { ...findRootfs(path), ...rootfsDocument(document, path) };
}

async function* layersOf(lines: AsyncIterable<unknown>): AsyncGenerator<Layer> {
  for await (const line of lines) yield asLayer(line);
}

/** A layer of the store that is not what it should be must be fetched again next time. */
async function discardFromStore(digest: string, path: string): Promise<void> {
  // A layer from elsewhere is not ours to remove, and no reason to make a store.
  if (!path.startsWith(`${storeHome()}/`)) return;
  const { Store } = await import('../lib/image/store.js');
  const store = new Store();
  if (store.path(digest) === path) await store.discard(digest);
}

#!/usr/bin/env node
import { main } from '../lib/pipe/command.js';
import { asLayer, asManifestDocument, type Layer } from '../lib/pipe/document.js';
import { firstLine, stdinLines } from '../lib/pipe/input.js';
import { writeDocument } from '../lib/pipe/output.js';
import { makeProgress, progressMode } from '../lib/pipe/progress.js';
import { defaultLimits, unpackImage } from '../lib/unpack/unpack.js';

main(
  {
    name: 'md-unpack',
    summary: 'Unpack the layers announced on stdin into a root filesystem at DIR, and write its document to DIR.json',
    operands: 'DIR',
    arity: { min: 1, max: 1 },
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
      progress: { kind: 'string', value: 'MODE', help: 'bar, json or none (a bar when stderr is a terminal)' },
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer | md-unpack rootfs', 'pull an image into ./rootfs'],
      ['... | md-unpack --force rootfs | jq -r .config.config.Cmd[0]', 'replace it, and see what it would run'],
    ],
    statuses: [0, 64, 65, 74, 77],
  },
  async ({ flags, operands }) => {
    const progress = makeProgress(progressMode(flags.progress), 'unpack', true);
    const limits = {
      entries: flags['max-entries'] ?? defaultLimits.entries,
      bytes: flags['max-bytes'] ?? defaultLimits.bytes,
      depth: flags['max-depth'] ?? defaultLimits.depth,
    };
    const onBadLayer = ({ digest, path }: Layer) => discardFromStore(digest, path);
    const lines = stdinLines();
    const document = asManifestDocument(await firstLine(lines));
    try {
      writeDocument(
        await unpackImage(document, layersOf(lines), operands[0]!, {
          force: flags.force,
          limits,
          progress,
          onBadLayer,
        }),
      );
    } finally {
      progress.end();
    }
    return undefined;
  },
);

async function* layersOf(lines: AsyncIterable<unknown>): AsyncGenerator<Layer> {
  for await (const line of lines) yield asLayer(line);
}

/** A layer of the store that is not what it should be must be fetched again next time. */
async function discardFromStore(digest: string, path: string): Promise<void> {
  const { Store, storeHome } = await import('../lib/image/store.js');
  // A layer from elsewhere is not ours to remove, and no reason to make a store.
  if (!path.startsWith(`${storeHome()}/`)) return;
  const store = new Store();
  if (store.path(digest) === path) await store.discard(digest);
}

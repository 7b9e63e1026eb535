import { dirname, join } from 'node:path';
import { Failure } from '../lib/base/failure.js';
import { Status } from '../lib/base/status.js';
import { ThreadDecompressor } from '../lib/compress/thread-decompressor.js';
import { beginPulling } from '../lib/image/store/busy.js';
import { discardFromStore } from '../lib/image/store/discard.js';
import { storeMeaning } from '../lib/image/store/home.js';
import { rootfsPath } from '../lib/image/store/rootfs.js';
import { main } from '../lib/pipe/command.js';
import { asManifestDocument } from '../lib/pipe/document.js';
import { StdinLines } from '../lib/pipe/input.js';
import { jsonLine, writeDocument, writeLine } from '../lib/pipe/output.js';
import { makeProgress, progressFlag } from '../lib/pipe/progress.js';
import { type StoreOptions, unpackIntoStore } from '../lib/pull/unpack-into-store.js';
import { endProcess } from '../lib/sys/process/exit.js';
import { unpackingInstead } from '../lib/unpack/instead.js';
import { announcedLayers, isByHand, layersOf } from '../lib/unpack/layers/announced.js';
import { listLayers } from '../lib/unpack/list.js';
import { defaultLimits } from '../lib/unpack/tree/limits.js';
import { unpackFiles, unpackImage, verifyTree } from '../lib/unpack/unpack.js';

main(
  {
    name: 'md-unpack',
    summary: 'Unpack the layers announced on stdin into a root filesystem at DIR, with its document in DIR.json',
    operands: '[DIR]',
    end: endProcess,
    hintFor: unpackingInstead,
    flags: {
      force: {
        kind: 'boolean',
        alias: 'f',
        help: 'replace DIR when it is not empty; the old tree stays until the new one is whole',
      },
      map: {
        kind: 'boolean',
        help: "without root: give files the image's owners, by the ids of /etc/subuid and subgid",
      },
      list: { kind: 'boolean', help: 'write a JSON line for each entry of each layer, and unpack nothing' },
      verify: { kind: 'boolean', help: 'compare DIR with its image; a JSON line for each difference' },
      only: {
        kind: 'list',
        value: 'PATH',
        help: 'only this part of the image, with what its hard links name; may be given several times',
      },
      'max-entries': {
        kind: 'count',
        value: 'N',
        help: `at most N files, directories and links (default ${defaultLimits.entries})`,
      },
      'max-bytes': {
        kind: 'count',
        value: 'N',
        help: 'at most N bytes of content and xattrs (default: no limit)',
      },
      'max-depth': {
        kind: 'count',
        value: 'N',
        help: `at most N directories inside each other (default ${defaultLimits.depth})`,
      },
      path: { kind: 'boolean', help: 'write only the path of the root filesystem, not its document' },
      progress: progressFlag,
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer | md-unpack rootfs', 'pull an image into ./rootfs'],
      ['... | md-unpack --path', 'into the store, for md-run'],
      ['... | md-unpack --list | jq -r .path', 'what is in it'],
      ['... | md-unpack --only usr/lib/os-release part', 'one file of it'],
      ['... | md-unpack --verify rootfs', 'what has changed since'],
      ['... | md-unpack --map rootfs', 'with its owners'],
      [`echo '{"layer":{"path":"a.tar.gz"}}' | md-unpack tree`, 'layers without an image'],
      ['... | md-unpack --force rootfs | jq -r .config.config.Cmd[0]', 'see what it would run'],
    ],
    statuses: [0, 64, 65, 74, 75, 77],
    notes: [
      'Without DIR the tree goes into the store, as $MD_HOME/rootfs/sha256-HEX with the digest of its',
      'manifest. A tree that is there already is used again, without --force. $MD_HOME/rootfs/NAME, such as',
      'docker.io/library/alpine:latest, is a link to it.',
      'A document with other layers or another config than that manifest has no place there (65).',
      storeMeaning,
      '',
      'What the kernel did not permit is in DIR.unset.jsonl: owners without root and --map, devices,',
      'extended attributes.',
      '',
      '--only takes names as the layers have them, and --list shows them. What a layer brings or hides by',
      'a name through a symlink is found by that name, and not by the name where the symlink leads. The',
      'limits then count what is unpacked; what is unpacked for hard links alone, and removed again, has a',
      'count of its own.',
      '',
      '--list writes what each entry has of path, type (file, directory, hardlink, symlink, char, block,',
      'fifo, whiteout, opaque), mode, uid, gid, size, digest, target, device, mtime, xattrs, and layer. It',
      'shows the holes of a sparse file as zeros, and does not count them for --max-bytes. If an image has',
      'more than 256 MiB of holes in all, the files that exceed that are listed without a digest. Only what',
      'has an entry is listed, and counts for --max-entries.',
      '',
      '--verify unpacks the image beside DIR, or in $TMPDIR (/var/tmp) if nothing can be made there, and',
      'compares the two; the status is 65 if they differ. It writes path, difference (missing, extra, type,',
      'mode, owner, size, mtime, device, link, target, content, xattrs, unreadable), and where both sides',
      'have one their values, tree and image. Owners, devices and extended attributes that cannot be set',
      'there may be missing in DIR, or as the image has them.',
      '',
      'Both have a path that is not UTF-8 in pathBase64 as well.',
      '',
      '--map runs md-unpack in a user namespace with the ids of md-isolate --userns range: 0 is the caller,',
      'and 1 and up are the ranges of /etc/subuid and /etc/subgid, one after the other (if root calls,',
      'those of root). --map --force replaces a tree with or without such owners.',
      'rm cannot empty directories of other owners. To remove a tree that has some, or a directory of',
      'md-isolate --layer, replace it by nothing:',
      '  : > empty; echo \'{"layer":{"path":"empty"}}\' | md-unpack --map --force DIR && rmdir DIR',
      '',
      'A layer line made by hand needs a path. Its digest and size (of the file) and diffID (of the',
      'content) are checked when it has them.',
      '',
      'The line on stdout comes when the tree is in its place. If stdout cannot be written then, the tree',
      'stays, and the status is 74, or 141 when its reader has gone. --force does not replace a tree that a',
      'container runs in (75).',
    ].join('\n'),
  },
  async ({ flags, operands }) => {
    if (flags.list) checkList(flags.verify, operands[0]);
    if (flags.map) {
      const { runMapped } = await import('../lib/unpack/mapped.js');
      const status = await runMapped();
      if (status !== undefined) return status;
    }
    const progress = makeProgress(flags.progress, 'unpack', { held: true });
    const limits = {
      entries: flags['max-entries'] ?? defaultLimits.entries,
      bytes: flags['max-bytes'] ?? defaultLimits.bytes,
      depth: flags['max-depth'] ?? defaultLimits.depth,
    };
    const decompressor = new ThreadDecompressor(join(dirname(__filename), 'layer-thread.cjs'));
    const [dir] = operands;
    // This also keeps md-prune away from the layers: md-fetch-layer may end before they have been read here.
    let pulled = await beginPulling();
    try {
      const stdin = new StdinLines();
      const first = await stdin.first();
      // Once more, since before the first pull there was no store.
      pulled = await beginPulling();
      const lines = stdin.rest();
      // A file that somebody has named by hand is never removed, even if its digest is wrong.
      const onBadLayer: StoreOptions['onBadLayer'] = isByHand(first)
        ? undefined
        : (layer, isStillThere) => discardFromStore(layer, isStillThere, asManifestDocument(first).digest);
      const { force, map, only } = flags;
      const options = { force, map, only, limits, progress, decompressor, onBadLayer };
      if (flags.list) await listLayers(announcedLayers(first, lines), options, writeDocument);
      else if (flags.verify) {
        const tree = dir ?? placeInStore(first);
        const differences = await verifyTree(announcedLayers(first, lines), tree, options, writeDocument);
        return differences > 0 ? Status.data : Status.ok;
      } else tell(await unpack(first, lines, dir, options), flags.path);
    } finally {
      progress.end();
      pulled();
    }
    return undefined;
  },
);

/** A DIR may be taken for what is listed, as with tar or ls. */
function checkList(verify: boolean, dir: string | undefined): void {
  const wrong = (why: string, hint: string) => new Failure(Status.usage, '--list', why, { hint });
  if (verify) throw wrong('it does not go with --verify', 'run the pipe once for each');
  if (dir === undefined) return;
  throw wrong(`it takes no DIR, and ${JSON.stringify(dir)} is one`, 'it lists the layers that stdin announces');
}

async function unpack(
  first: unknown,
  lines: AsyncGenerator<unknown>,
  dir: string | undefined,
  options: StoreOptions,
): Promise<{ rootfs: string }> {
  if (isByHand(first)) return unpackFiles(announcedLayers(first, lines), dir ?? placeInStore(first), options);
  const document = asManifestDocument(first);
  if (dir !== undefined) return unpackImage(document, layersOf(lines), dir, options);
  if (options.only?.length) throw missing('a part of an image has no place in the store');
  return unpackIntoStore(document, layersOf(lines), options);
}

/**
 * Writes the result, when the tree is in place. If stdout cannot be written the tree stays, since others may already
 * use it.
 */
function tell(result: { rootfs: string }, pathOnly: boolean): void {
  const tree = result.rootfs;
  try {
    writeLine(pathOnly ? tree : jsonLine(result));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const hint = `the tree is complete, and stays at ${tree}`;
    throw new Failure(error.status, error.what, error.why, { cause: error, hint });
  }
}

function placeInStore(first: unknown): string {
  if (isByHand(first)) throw missing('layers without an image have no place in the store');
  return rootfsPath(asManifestDocument(first).digest);
}

function missing(why: string): Failure {
  return new Failure(Status.usage, 'command line', 'DIR is missing', { hint: why });
}

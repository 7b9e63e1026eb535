import { Failure } from '../lib/base/failure.js';
import { Status } from '../lib/base/status.js';
import { warn } from '../lib/base/trace.js';
import { isPlace } from '../lib/image/local/local-source.js';
import { beginPruning } from '../lib/image/store/busy.js';
import { isThere, storeHome, storeMeaning } from '../lib/image/store/home.js';
import { imageNames, namesHint, notThere, type Prunable, prunable, prune } from '../lib/image/store/prune.js';
import { Store } from '../lib/image/store/store.js';
import { main } from '../lib/pipe/command.js';
import { hintsFor } from '../lib/pipe/flags.js';
import { writeDocument } from '../lib/pipe/output.js';
import { formatReference, parseReference, tryReference } from '../lib/registry/names/reference.js';
import { endProcess } from '../lib/sys/process/exit.js';
import { runMapped } from '../lib/unpack/mapped.js';
import { clearBeside, removeStored } from '../lib/unpack/place/remove-stored.js';

/** For who has docker's and podman's in the fingers. */
const hintFor = hintsFor([
  ['f force', 'leave it out: md-prune never asks'],
  ['n', 'it is called --dry-run'],
  ['volumes', 'leave it out: there is no store of volumes'],
]);

main(
  {
    name: 'md-prune',
    summary: 'Remove from the store what no image needs, and the images that are named',
    operands: '[IMAGE...]',
    end: endProcess,
    hintFor,
    flags: {
      all: { kind: 'boolean', alias: 'a', help: 'every image' },
      'dry-run': { kind: 'boolean', help: 'write what would go, and remove nothing' },
      map: { kind: 'boolean', help: 'without root: trees as well that md-unpack --map has made' },
    },
    examples: [
      ['md-prune', 'what no name leads to any more'],
      ['md-prune alpine', 'alpine:latest, and all that is its own'],
      ['md-prune --all --dry-run | jq -r .image//empty', 'the names of all images'],
    ],
    statuses: [0, 64, 65, 66, 74, 75, 77],
    notes: [
      `The store is $MD_HOME. ${storeMeaning}`,
      '',
      'Writes a JSON line for each thing that goes: {"image"}, {"blob","path","size"} in bytes,',
      '{"partial"}, {"tree"}. A tree that a container runs in stays until the next time. While an image is',
      'pulled into the store nothing is removed (75).',
    ].join('\n'),
  },
  async ({ flags, operands }) => {
    if (flags.all && operands.length > 0)
      throw new Failure(Status.usage, '--all', 'it means every image, so none can be named');
    if (flags.map) {
      const status = await runMapped();
      if (status !== undefined) return status;
    }
    const home = storeHome();
    // Looking for what is not needed must not create a store.
    if (!isThere(home)) {
      if (operands[0] !== undefined) throw notThere(nameOf(operands[0], new Set()));
      return undefined;
    }
    const store = new Store(home);
    const known = imageNames(store);
    const images = operands.map((image) => nameOf(image, known));
    const done = flags['dry-run'] ? () => {} : beginPruning(home);
    try {
      const found = prunable(store, { images, all: flags.all });
      if (!flags['dry-run']) await prune(store, found, flags.all);
      tell(found);
      removeTrees(found, flags['dry-run']);
    } finally {
      done();
    }
    return undefined;
  },
);

/**
 * The full name of an image, as md-token writes it; or what another program has called it, where only that is known.
 */
function nameOf(image: string, known: Set<string>): string {
  const reference = tryReference(image);
  const isAsGiven = known.has(image) && !(reference && known.has(formatReference(reference)));
  if (isAsGiven) return image;
  if (isPlace(image)) {
    throw new Failure(Status.usage, JSON.stringify(image), 'it is no name', { hint: namesHint });
  }
  return formatReference(parseReference(image));
}

function tell({ images, blobs, partials }: Prunable): void {
  for (const image of images) writeDocument({ image });
  for (const { digest, path, size } of blobs) writeDocument({ blob: digest, path, size });
  for (const partial of partials) writeDocument({ partial });
}

/**
 * Removes all trees that can be removed, and what was left beside those that stay. Then throws the first failure, if any.
 */
function removeTrees({ trees, staying }: Prunable, dryRun: boolean): void {
  const failures: Failure[] = [];
  const attempt = (tree: string, act: () => void) => {
    try {
      act();
    } catch (error) {
      if (!(error instanceof Failure) || error.what !== tree) throw error;
      failures.push(error);
    }
  };
  for (const tree of trees)
    attempt(tree, () => {
      if (removeStored(tree, dryRun)) writeDocument({ tree });
      else warn(`${tree}: it is in use, and stays`);
    });
  for (const tree of staying)
    attempt(tree, () => {
      for (const partial of clearBeside(tree, dryRun)) writeDocument({ partial });
    });
  if (failures[0]) throw failures[0];
}

/**
 * Random stacks of layers, unpacked and compared with what a model of image-spec, layer.md makes of them: files and
 * directories over each other, whiteouts, hard links, and all of them reached through symlinks.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { find, LayerModel, type Model, type Node, Refused } from '../support/layer-model.js';
import { Random } from '../support/random.js';
import type { TarEntry } from '../support/tar.js';
import { describeTree } from '../support/tree.js';
import { unpack } from '../support/unpacking.js';

const names = ['a', 'b', 'c'];

interface Stack {
  layers: TarEntry[][];
  /** What they mean; or why the last entry of them is refused. */
  meaning: Model | Refused;
}

function randomStack(random: Random): Stack {
  const layers: TarEntry[][] = [];
  const count = 1 + random.below(4);
  let model: LayerModel | undefined;
  while (layers.length < count) {
    model = LayerModel.over(model?.view);
    const entries: TarEntry[] = [];
    layers.push(entries);
    for (let wanted = 1 + random.below(24); entries.length < wanted; ) {
      const entry = randomEntry(random, model.view, `${layers.length}.${entries.length}`);
      try {
        model = model.with(entry);
        entries.push(entry);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        // Most stacks are to go on without it.
        if (random.chance(20)) return { layers: [...layers.slice(0, -1), [...entries, entry]], meaning: error };
      }
    }
  }
  return { layers, meaning: model!.view };
}

function randomEntry(random: Random, view: Model, content: string): TarEntry {
  const path = randomPath(random, view);
  const dir = path.slice(0, Math.max(0, path.lastIndexOf('/') + 1));
  const mode = random.pick([0o755, 0o700, 0o555, 0o1777]);
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
      return { name: path, data: content, mode };
    case 3:
    case 4:
      return { name: `${path}/`, type: 'directory', mode };
    case 5:
    case 6:
    case 7:
      return { name: path, type: 'symlink', linkname: randomTarget(random, view) };
    case 8:
      return { name: path, type: 'fifo', mode };
    case 9:
      return { name: `${dir}.wh..wh..opq` };
    case 10:
    case 11:
      return { name: `${dir}.wh.${path.slice(dir.length)}` };
    default:
      // A hard link has no attributes of its own: these must go nowhere.
      return { name: path, type: 'link', linkname: randomSource(random, view), mode };
  }
}

/** A path of at most three names; or one below something that is there, be it a directory, a file or a symlink. */
function randomPath(random: Random, view: Model): string {
  const paths = [...view.keys()];
  if (paths.length === 0 || random.chance(2)) {
    return Array.from({ length: 1 + random.below(3) }, () => random.pick(names)).join('/');
  }
  const symlinks = paths.filter((path) => view.get(path)!.type === 'symlink');
  const above = symlinks.length > 0 && random.chance(2) ? symlinks : paths;
  return `${random.pick(above)}/${random.pick(names)}`;
}

/** Mostly a directory that is there. */
function randomTarget(random: Random, view: Model): string {
  const directories = [...view].filter(([, { type }]) => type === 'directory').map(([path]) => path);
  if (directories.length > 0 && random.chance(2)) return `/${random.pick(directories)}`;
  return `${random.pick(['', '/', '../', '../../'])}${random.chance(6) ? '.' : randomPath(random, view)}`;
}

/** What a hard link names: mostly what is there, by its own path, by one through a symlink, or by any other. */
function randomSource(random: Random, view: Model): string {
  const files = [...view].filter(([, { type }]) => type !== 'directory').map(([path]) => path);
  if (files.length === 0 || random.chance(4)) return randomPath(random, view);
  const path = random.pick(files);
  const slash = path.lastIndexOf('/') + 1;
  const ways = files.filter((it) => find(view, it) === path.slice(0, Math.max(0, slash - 1)));
  if (ways.length > 0 && random.chance(2)) return `${random.pick(ways)}/${path.slice(slash)}`;
  return random.chance(4) ? `/${path}` : path;
}

/**
 * Each path with its type and, where an entry has said it, mode; content or target; and its names, where it has
 * several.
 */
function expected(model: Model): [string, string][] {
  const namesOf = new Map<Node, string[]>();
  for (const [path, node] of model) namesOf.set(node, [...(namesOf.get(node) ?? []), path].sort());
  return [...model].map(([path, node]): [string, string] => [path, text(node, namesOf.get(node)!)]).sort();
}

function found(rootfs: string, model: Model): [string, string][] {
  const paths = [...describeTree(rootfs, { xattrs: false })].filter(([path]) => path !== '.');
  return paths
    .map(([path, { type, mode, target, links }]): [string, string] => {
      const value = type === 'file' ? readFileSync(join(rootfs, path), 'latin1') : (target ?? '');
      const implied = model.get(path)?.implied ?? false;
      const all = links?.replace(/^\d+: /, '').split(' ') ?? [path];
      return [path, text({ type: type as Node['type'], value, mode, implied }, all)];
    })
    .sort();
}

function text({ type, value, mode, implied }: Node, all: string[]): string {
  return `${type} ${implied ? '' : mode} ${value} ${type === 'directory' || all.length < 2 ? '' : all.join(' ')}`;
}

test('random stacks of layers mean what a model of the specification says', async (t) => {
  // Each seed is another stack; `MD_TEST_SEEDS=2000` tries more.
  const seeds = Number(process.env.MD_TEST_SEEDS ?? 100);
  for (let seed = 1; seed <= seeds; seed++) {
    const { layers, meaning } = randomStack(new Random(seed * 7919));
    const about = `seed ${seed}: ${JSON.stringify(layers)}`;
    if (meaning instanceof Refused) await assert.rejects(unpack(t, layers), meaning.why, about);
    else {
      const { rootfs } = await unpack(t, layers);
      assert.deepEqual(found(rootfs, meaning), expected(meaning), about);
    }
  }
});

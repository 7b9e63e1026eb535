/**
 * Random stacks of layers, unpacked and compared with a model of what image-spec, layer.md says they mean. The model
 * knows no files, descriptors or order of system calls: a layer is laid over what the layers below it have left.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Random } from '../support/random.js';
import type { TarEntry } from '../support/tar.js';
import { describeTree } from '../support/tree.js';
import { unpack } from '../support/unpacking.js';

interface Node {
  type: 'file' | 'directory' | 'symlink' | 'fifo';
  /** Content, target. */
  value: string;
  mode: string;
  /** Of a directory that no entry has described: not compared. */
  implied?: boolean;
}

type Model = Map<string, Node>;

const names = ['a', 'b', 'c'];
const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

function randomPath(random: Random): string {
  return Array.from({ length: 1 + random.below(3) }, () => random.pick(names)).join('/');
}

function randomLayer(random: Random, layer: number): TarEntry[] {
  const entries: TarEntry[] = [];
  const count = 1 + random.below(8);
  for (let i = 0; i < count; i++) {
    const path = randomPath(random);
    const mode = random.pick([0o755, 0o700, 0o555, 0o1777]);
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
        entries.push({ name: path, data: `${layer}.${i}`, mode });
        break;
      case 3:
      case 4:
        entries.push({ name: `${path}/`, type: 'directory', mode });
        break;
      case 5:
        // Its target never exists under a name that other entries use, so that no path leads through it.
        entries.push({ name: `${path}.link`, type: 'symlink', linkname: `to-${layer}.${i}` });
        break;
      case 6:
        entries.push({ name: path, type: 'fifo', mode });
        break;
      case 7:
        entries.push({ name: parentOf(path) === '' ? '.wh..wh..opq' : `${parentOf(path)}/.wh..wh..opq` });
        break;
      default:
        entries.push({
          name: [parentOf(path), `.wh.${path.slice(parentOf(path).length).replace('/', '')}`].filter(Boolean).join('/'),
        });
    }
  }
  return entries;
}

/** What the layers below have left is hidden by the whiteouts of this one; then its own entries come, in order. */
function apply(lower: Model, entries: TarEntry[]): Model {
  const own: Model = new Map();
  const hides: ((path: string) => boolean)[] = [];
  for (const { name, type = 'file', mode = 0o644, data = '', linkname = '' } of entries) {
    const path = String(name).replace(/\/$/, '');
    const base = path.slice(path.lastIndexOf('/') + 1);
    const dir = parentOf(path);
    if (base === '.wh..wh..opq') {
      // Under a lower file there is nothing to hide.
      hides.push((it) => dir === '' || it.startsWith(`${dir}/`));
      continue;
    }
    if (base.startsWith('.wh.')) {
      const hidden = (dir === '' ? '' : `${dir}/`) + base.slice(4);
      hides.push((it) => it === hidden || it.startsWith(`${hidden}/`));
      continue;
    }
    // By the time that something else takes the name, what is below has given way, even if the entry does not stay.
    if (type !== 'directory') hides.push((it) => it === path || it.startsWith(`${path}/`));
    put(own, path, {
      type: type as Node['type'],
      value: type === 'symlink' ? String(linkname) : String(data),
      mode: octal(type === 'symlink' ? 0o777 : mode),
    });
  }
  return overlay(lower, own, hides);
}

/** An entry replaces what its own layer had there, unless both are directories; directories above it are implied. */
function put(own: Model, path: string, node: Node): void {
  for (let above = parentOf(path); above !== ''; above = parentOf(above)) {
    const there = own.get(above);
    if (there?.type !== 'directory')
      own.set(above, { type: 'directory', value: '', mode: octal(0o755), implied: true });
  }
  if (node.type !== 'directory' || own.get(path)?.type !== 'directory') {
    for (const other of [...own.keys()]) if (other.startsWith(`${path}/`)) own.delete(other);
  }
  own.set(path, node);
}

function overlay(lower: Model, own: Model, hides: ((path: string) => boolean)[]): Model {
  const result: Model = new Map();
  for (const [path, node] of lower) {
    if (!hides.some((hide) => hide(path)) && !isCovered(path, own)) result.set(path, node);
  }
  for (const [path, node] of own) {
    const below = result.get(path);
    // A directory that this layer only fills keeps the attributes that it has below. Is it hidden, they are open.
    result.set(path, node.implied && below?.type === 'directory' ? below : node);
  }
  return result;
}

/** Whether something above the path, or at it, is no directory any more. */
function isCovered(path: string, own: Model): boolean {
  for (let at = parentOf(path); at !== ''; at = parentOf(at)) {
    const above = own.get(at);
    if (above && above.type !== 'directory') return true;
  }
  return false;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function expected(model: Model): [string, string][] {
  return [...model].map(([path, node]): [string, string] => [path, text(node)]).sort();
}

function text({ type, value, mode, implied }: Node): string {
  return `${type} ${implied ? '' : mode} ${value}`;
}

test('random stacks of layers mean what a model of the specification says', async (t) => {
  const seeds = Number(process.env.MD_SEEDS ?? 100);
  for (let seed = 1; seed <= seeds; seed++) {
    const random = new Random(seed * 7919);
    const layers = Array.from({ length: 1 + random.below(4) }, (_, i) => randomLayer(random, i));
    const model = layers.reduce(apply, new Map() as Model);
    const { rootfs } = await unpack(t, layers);
    const found: [string, string][] = [];
    for (const [path, { type, mode, target }] of describeTree(rootfs)) {
      if (path === '.') continue;
      const value = type === 'file' ? readFileSync(join(rootfs, path), 'latin1') : (target ?? '');
      found.push([path, text({ type: type as Node['type'], value, mode, implied: model.get(path)?.implied ?? false })]);
    }
    assert.deepEqual(found.sort(), expected(model), `seed ${seed}: ${JSON.stringify(layers)}`);
  }
});

import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdirSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { DockerArchive } from '../../lib/image/local/docker-archive.js';
import { DirectoryFiles, FilePart } from '../../lib/image/local/files.js';
import { Store } from '../../lib/image/store/store.js';
import { setresuid } from '../../lib/sys/syscalls/calls.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import { needsRoot, scratch } from '../support/run.js';

const nobody = 65534;
/** Of the three ids, those that stay. */
const unchanged = -1;

/**
 * Is told, as a user who may not look into it, that this is not permitted. By the system call for this thread alone,
 * since `process.seteuid` refuses where Node may use io_uring, as that of Debian 13 does.
 */
function denied(look: () => unknown): void {
  setresuid(unchanged, nobody, unchanged);
  try {
    assert.throws(look, failure(77));
  } finally {
    setresuid(unchanged, 0, unchanged);
  }
}

test('a layout of somebody who keeps it to himself is not permitted', { skip: needsRoot }, (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, 'blobs'));
  denied(() => new DirectoryFiles(directory).open('blobs/sha256/x'));
});

test('nor is such a store', { skip: needsRoot }, (t) => {
  const store = new Store(join(scratch(t), 'home'));
  denied(() => store.has({ mediaType: 'x', digest: digestOf('x'), size: 1 }));
});

test('a file that is cut while it is read is told as that, and does not keep its reader for ever', async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'index.json'), 'x'.repeat(100));
  const file = new DirectoryFiles(directory).open('index.json')!;
  truncateSync(join(directory, 'index.json'), 50);
  await assert.rejects(file.whole(100), failure(65, /index\.json: it is shorter than it was$/));
  file.close();
});

test('a layer of an archive is read once for its digest, and a config once, however many names and images they have', async (t) => {
  const directory = scratch(t);
  const layer = gzipSync('content');
  const items = [
    { Config: 'config', RepoTags: ['a:1'], Layers: ['layer', './layer'] },
    { Config: './config', RepoTags: ['a:2'], Layers: ['layer', 'layer'] },
  ];
  const contents: [name: string, content: Buffer | string][] = [
    ['manifest.json', JSON.stringify(items)],
    ['config', JSON.stringify({ rootfs: { type: 'layers', diff_ids: [digestOf('content'), digestOf('content')] } })],
    ['layer', layer],
  ];
  for (const [name, content] of contents) writeFileSync(join(directory, name), content);
  const reads = { config: 0, layer: 0 };
  class Counted extends FilePart {
    override chunks(offset?: number): AsyncGenerator<Buffer> {
      reads[this.name.endsWith('layer') ? 'layer' : 'config'] += 1;
      return super.chunks(offset);
    }
  }
  const files = new DirectoryFiles(directory);
  const archive = await DockerArchive.open({
    place: directory,
    open: (path) => {
      if (path === 'manifest.json') return files.open(path);
      const fd = openSync(join(directory, path), 'r');
      t.after(() => closeSync(fd));
      return new Counted(path, fstatSync(fd).size, fd, 0, false);
    },
  });
  const { reference } = await archive!.find('a:2', (name) => name === 'a:2');
  const { bytes } = await archive!.manifest(reference);
  const { layers } = JSON.parse(bytes.toString());
  assert.deepEqual([layers[0].digest, layers[1].digest], [digestOf(layer), digestOf(layer)]);
  assert.deepEqual(reads, { config: 1, layer: 1 });
});

/** Memory stays flat: what is held of a layer does not depend on its size. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { filler } from '../support/content.js';
import { jsonBlob, mediaTypes } from '../support/image.js';
import { procText } from '../support/processes.js';
import { registryFor } from '../support/registry.js';
import { makeRoot, needsContainer, until } from '../support/rootfs.js';
import { binDir, cleanEnv, killAfterwards, scratch, shell } from '../support/run.js';
import { listening } from '../support/server.js';

/** Bytes. `MD_TEST_LAYER=4000000000` shows it for what no registry would call small. */
const size = Number(process.env.MD_TEST_LAYER ?? 400_000_000);
/** Bytes. Unpacking has a thread of its own for large layers, with a heap of its own. */
const limitOf = (name: string) => (name.startsWith('md-unpack') ? 150_000_000 : 120_000_000);

/** What has each command leave its peak of memory in a directory. */
function peakHook(directory: string): string {
  const hook = join(directory, 'hook.cjs');
  writeFileSync(
    hook,
    `process.on('exit', () => require('node:fs').writeFileSync(
      ${JSON.stringify(directory)} + '/' + require('node:path').basename(process.argv[1]) + '.peak',
      String(process.resourceUsage().maxRSS * 1024)));`,
  );
  return hook;
}

function peaks(directory: string): { name: string; bytes: number }[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.peak'))
    .map((name) => ({ name, bytes: Number(readFileSync(join(directory, name), 'utf8')) }));
}

test('a manifest that comes byte by byte needs no more memory than others', async (t) => {
  const manifest = { schemaVersion: 2, manifests: [], annotations: { a: 'x'.repeat(2_000_000) } };
  const body = Buffer.from(JSON.stringify(manifest));
  const chunks = Buffer.alloc(6 * body.length, '1\r\n?\r\n');
  body.forEach((byte, i) => {
    chunks[6 * i + 3] = byte;
  });
  const server = createServer((req, res) => {
    if (req.url === '/v2/') return void res.end('{}');
    const head = `HTTP/1.1 200 OK\r\ncontent-type: ${mediaTypes.oci.index}\r\ntransfer-encoding: chunked\r\n\r\n`;
    req.socket.write(head);
    req.socket.write(chunks);
    req.socket.end('0\r\n\r\n');
  });
  const directory = scratch(t);
  const { stderr } = await shell('md-token "$1" | md-manifest', [`${await listening(t, server)}/slow`], {
    env: { MD_HOME: join(directory, 'home'), NODE_OPTIONS: `--require=${peakHook(directory)}` },
  });
  assert.match(stderr, /it has no images at all/);
  const found = peaks(directory).filter(({ name, bytes }) => bytes > limitOf(name));
  assert.deepEqual(found, []);
});

test('no stage of a pull needs more than 120 MB, nor unpacking more than 150 MB, however large a layer is', async (t) => {
  const directory = scratch(t);
  const registry = await registryFor(t);
  // Blocks of zeros are an archive without entries.
  const { digest } = await registry.addBlob(filler(size));
  const config = jsonBlob({ rootfs: { type: 'layers', diff_ids: [digest] } }, mediaTypes.oci.config);
  await registry.addBlob(config.bytes, config.descriptor.digest);
  const layers = [{ mediaType: mediaTypes.oci.none, digest, size }];
  const manifest = { schemaVersion: 2, config: config.descriptor, layers };
  registry.addManifest('huge', ['latest'], JSON.stringify(manifest), mediaTypes.oci.manifest);

  const result = await shell(
    'md-token "$1" | md-manifest | md-fetch-layer | md-unpack "$2"',
    [registry.image('huge'), join(directory, 'rootfs')],
    { env: { MD_HOME: join(directory, 'home'), NODE_OPTIONS: `--require=${peakHook(directory)}` }, timeout: 300_000 },
  );
  assert.equal(result.status, 0, result.stderr);
  const found = peaks(directory);
  assert.equal(found.length, 4);
  assert.deepEqual(
    found.filter(({ name, bytes }) => bytes > limitOf(name)),
    [],
  );
});

test("the supervisor of a container that goes on gives back the pages of Node's program, and serves it to the end", {
  skip: needsContainer,
}, async (t) => {
  const argv = [makeRoot(t), 'sh', '-c', 'echo up; read line; exit 7'];
  const child = spawn(join(binDir, 'md-isolate'), argv, { env: cleanEnv(), stdio: 'pipe' });
  killAfterwards(t, child);
  const resident = () => Number(/^RssFile:\s*(\d+)/m.exec(procText(child.pid!, 'status'))?.[1]);
  await once(child.stdout, 'data');
  const before = resident();
  await until(() => resident() < before - 10_000);
  child.stdin.end('\n');
  assert.deepEqual(await once(child, 'close'), [7, null]);
});

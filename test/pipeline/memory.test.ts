/** Memory stays flat: what is held of a layer does not depend on its size. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { filler } from '../support/content.js';
import { jsonBlob, mediaTypes } from '../support/image.js';
import { startRegistry } from '../support/registry.js';
import { scratch, shell } from '../support/run.js';

/** Bytes. `MD_TEST_LAYER=4000000000` shows it for what no registry would call small. */
const size = Number(process.env.MD_TEST_LAYER ?? 800_000_000);
/** Bytes. Unpacking has a thread of its own for large layers, with a heap of its own. */
const limitOf = (name: string) => (name.startsWith('md-unpack') ? 150_000_000 : 120_000_000);

test('no stage of a pull needs more than 120 MB, nor unpacking more than 150 MB, however large a layer is', async (t) => {
  const directory = scratch(t);
  const registry = await startRegistry();
  t.after(() => registry.close());
  // Blocks of zeros are an archive without entries.
  const { digest } = await registry.addBlob(filler(size));
  const config = jsonBlob({ rootfs: { type: 'layers', diff_ids: [digest] } }, mediaTypes.oci.config);
  await registry.addBlob(config.bytes, config.descriptor.digest);
  const layers = [{ mediaType: mediaTypes.oci.none, digest, size }];
  const manifest = { schemaVersion: 2, config: config.descriptor, layers };
  registry.addManifest('huge', ['latest'], JSON.stringify(manifest), mediaTypes.oci.manifest);

  const hook = join(directory, 'hook.cjs');
  writeFileSync(
    hook,
    `process.on('exit', () => require('node:fs').writeFileSync(
      ${JSON.stringify(directory)} + '/' + require('node:path').basename(process.argv[1]) + '.peak',
      String(process.resourceUsage().maxRSS * 1024)));`,
  );
  const result = await shell(
    'md-token "$1" | md-manifest | md-fetch-layer | md-unpack "$2"',
    [registry.image('huge'), join(directory, 'rootfs')],
    { env: { MD_HOME: join(directory, 'home'), NODE_OPTIONS: `--require=${hook}` }, timeout: 300_000 },
  );
  assert.equal(result.status, 0, result.stderr);
  const peaks = readdirSync(directory)
    .filter((name) => name.endsWith('.peak'))
    .map((name) => ({ name, bytes: Number(readFileSync(join(directory, name), 'utf8')) }));
  assert.equal(peaks.length, 4);
  assert.deepEqual(
    peaks.filter(({ name, bytes }) => bytes > limitOf(name)),
    [],
  );
});

/** A large layer from a registry that makes each connection slow, by whole commands. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { image, layer, put } from '../support/image.js';
import { registryFor } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { cleanEnv, jsonLines, killAfterwards, scratch, shell } from '../support/run.js';

test('a layer that comes in ranges is resumed after kill -9, and is what it should be', async (t) => {
  const registry = await registryFor(t, { auth: 'token', redirectBlobs: 307 });
  const large = layer([{ name: 'large', data: randomBytes(50_000_000) }], { compression: 'none' });
  await put(registry, 'demo', ['latest'], image({ layers: [large] }));
  registry.faults.add({ on: /^cdn .*blobs/, bytesPerSecond: 5_000_000 });
  const home = scratch(t);
  const env = { ...cleanEnv(), MD_HOME: home };
  const document = (await shell('md-token "$1" | md-manifest', [registry.image('demo')], { env })).stdout;
  const ranges = () =>
    registry.requests.flatMap(({ service, headers }) => (service === 'cdn' && headers.range ? [headers.range] : []));

  const killed = spawn('md-fetch-layer', [], { env, stdio: ['pipe', 'ignore', 'inherit'] });
  killAfterwards(t, killed);
  killed.stdin.end(document);
  // The first range is a trial.
  const [second] = await Promise.race([
    until(() => ranges().length > 5).then(() => ranges().slice(1, 2)),
    once(killed, 'exit').then(([code]) => assert.fail(`ended with ${code}`)),
  ]);
  const begun = Number(/^bytes=(\d+)-/.exec(second!)![1]);
  const partial = () =>
    join(home, 'partial', readdirSync(join(home, 'partial')).find((it) => it.startsWith('sha256-'))!);
  await until(() => statSync(partial()).size > begun);
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const left = readFileSync(partial());
  assert.ok(left.length < large.bytes.length && left.equals(large.bytes.subarray(0, left.length)));

  const asked = registry.requests.length;
  const { status, stdout, stderr } = await shell('md-fetch-layer', [], { stdin: document, env });
  assert.equal(status, 0, stderr);
  const first = registry.requests.slice(asked).find(({ service }) => service === 'cdn');
  assert.equal(first?.headers.range, `bytes=${left.length}-${large.bytes.length - 1}`);
  const { path } = jsonLines(stdout)[1]!.layer as { path: string };
  assert.ok(readFileSync(path).equals(large.bytes));
});

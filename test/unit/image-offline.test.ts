import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parsePlatform } from '../../lib/image/manifest/platform.js';
import { Offline } from '../../lib/image/store/offline.js';
import { Store } from '../../lib/image/store/store.js';
import { digestOf } from '../support/content.js';
import { scratch } from '../support/run.js';

/** A store with an image for these platforms, the last one pulled last; each manifest is the name of its platform. */
async function storeOf(t: TestContext, ...platforms: string[]): Promise<Store> {
  const store = new Store(join(scratch(t), 'md'));
  for (const text of platforms) {
    const digest = digestOf(text);
    store.put(digest, Buffer.from(text));
    await store.tag({ image: 'a:1', digest, mediaType: 'm', platform: parsePlatform(text) });
  }
  return store;
}

async function found(store: Store, platform: string, strict: boolean): Promise<string> {
  const choice = { wanted: parsePlatform(platform), strict };
  return (await new Offline(store, 'a:1', choice).manifest('a:1')).bytes.toString();
}

test('of an image that is there for several platforms the one that fits best is found', async (t) => {
  const [v6, v7] = ['linux/arm/v6', 'linux/arm/v7'];
  for (const platforms of [
    [v6, v7],
    [v7, v6],
  ])
    assert.equal(await found(await storeOf(t, ...platforms), v7, true), v7);
});

test('where none fits the only one is found by who names no platform, and of several none', async (t) => {
  assert.equal(await found(await storeOf(t, 'linux/amd64'), 'linux/s390x', false), 'linux/amd64');
  for (const [strict, platforms] of [
    [true, ['linux/amd64']],
    [false, ['linux/amd64', 'linux/arm64']],
  ] as const)
    await assert.rejects(
      found(await storeOf(t, ...platforms), 'linux/s390x', strict),
      /it is there for .*linux\/amd64/,
    );
});

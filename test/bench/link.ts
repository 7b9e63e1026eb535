/** Fetching over a link of 200 Mbit/s with a round trip of 40 ms. */
import { join } from 'node:path';
import { startDockerRegistry } from '../support/docker-registry.js';
import { fetchers, pullers } from './contenders.js';
import { big, cache, prepareImages, small } from './images.js';
import { keptPlaces, race, workDirectory } from './measure.js';
import { startRelay } from './relay.js';

export async function benchLink(): Promise<void> {
  await prepareImages();
  const registry = await startDockerRegistry(join(cache, 'registry'));
  const relay = await startRelay(registry.host, { delay: 20, bitsPerSecond: 200_000_000 });
  try {
    const place = keptPlaces(workDirectory());
    const link = 'over 200 Mbit/s with a round trip of 40 ms';
    await race(pullers(`${relay.host}/${small}`), { title: `Pull of one layer of 2 MB, ${link}`, rounds: 9, place });
    await race(fetchers(`${relay.host}/${big}`), { title: `Fetch and verify, ${link}`, rounds: 3, place });
  } finally {
    relay.close();
    await registry.close();
  }
}

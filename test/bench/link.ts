/**
 * Fetching over links of 200 Mbit/s with a round trip of 40 ms, one of which gives each connection a quarter of that.
 */
import { join } from 'node:path';
import { startDockerRegistry } from '../support/docker-registry.js';
import { fetchers, pullers } from './contenders.js';
import { big, cache, prepareImages, single, small } from './images.js';
import { keptPlaces, race, workDirectory } from './measure.js';
import { type Link, startRelay } from './relay.js';

const link: Link = { delay: 20, bitsPerSecond: 200_000_000 };

export async function benchLink(): Promise<void> {
  await prepareImages();
  const registry = await startDockerRegistry(join(cache, 'registry'));
  const place = keptPlaces(workDirectory());
  try {
    for (const [how, properties] of [
      ['over 200 Mbit/s with a round trip of 40 ms', link],
      ['the same link, 50 Mbit/s for each connection', { ...link, perConnection: 50_000_000 }],
    ] as const) {
      const relay = await startRelay(registry.host, properties);
      try {
        const at = (image: string) => `${relay.host}/${image}`;
        await race(pullers(at(small)), { title: `Pull of one layer of 2 MB, ${how}`, rounds: 9, place });
        await race(fetchers(at(big)), { title: `Fetch and verify six layers, ${how}`, rounds: 3, place });
        await race(fetchers(at(single)), { title: `Fetch and verify one layer of 150 MB, ${how}`, rounds: 3, place });
        await race(pullers(at(big)), { title: `Pull of six layers to a tree, ${how}`, rounds: 1, place });
      } finally {
        relay.close();
      }
    }
  } finally {
    await registry.close();
  }
}

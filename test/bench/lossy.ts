/** Fetching over a link that loses packets, as a radio link does: each loss makes TCP send at half the rate for a while. */
import { join } from 'node:path';
import { startDockerRegistry } from '../support/docker-registry.js';
import { fetchers, pullers } from './contenders.js';
import { cache, medium, prepareImages, small } from './images.js';
import { keptPlaces, race, workDirectory } from './measure.js';
import { startTunnel } from './tunnel.js';

const link = { delay: 20, bitsPerSecond: 200_000_000, loss: 0.002, queue: 500_000 };
const how = 'over 200 Mbit/s with a round trip of 40 ms, and 2 packets of 1,000 lost';

export async function benchLossy(): Promise<void> {
  await prepareImages();
  const tunnel = await startTunnel(link, 'cubic');
  const registry = await startDockerRegistry(join(cache, 'registry'), { address: tunnel.address });
  const place = keptPlaces(workDirectory());
  const flags = `--plain-http ${registry.host}`;
  const at = (image: string) => `${registry.host}/${image}`;
  const there = <T extends { script: string }>(contenders: T[]) =>
    contenders.map((it) => ({ ...it, script: tunnel.there(it.script) }));
  try {
    await race(there(pullers(at(small), flags)), { title: `Pull of one layer of 2 MB, ${how}`, rounds: 9, place });
    await race(there(fetchers(at(medium), flags)), { title: `Fetch and verify 30 MB, ${how}`, rounds: 3, place });
  } finally {
    await registry.close();
    await tunnel.close();
  }
}

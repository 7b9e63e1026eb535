/** Fetching over a link of 200 Mbit/s with a round trip of 40 ms, which two network namespaces and netem make. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDockerRegistry } from '../support/docker-registry.js';
import { needs, remove } from '../support/run.js';
import { fetchers, pullers } from './contenders.js';
import { big, cache, prepareImages } from './images.js';
import { keptPlaces, race } from './measure.js';

export const needsLink = needs('ip', 'tc') || (!canDelay() && 'the kernel has no netem');

const space = `md-bench-${process.pid}`;
const near = { device: `mdb${process.pid}`.slice(0, 15), address: '10.231.87.1' };
const far = { device: `mdc${process.pid}`.slice(0, 15), address: '10.231.87.2' };

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' });
}

function canDelay(): boolean {
  const probe = 'ip link add mdprobe type dummy && tc qdisc add dev mdprobe root netem delay 1ms';
  return spawnSync('unshare', ['--net', 'sh', '-c', probe], { stdio: 'ignore' }).status === 0;
}

/** Half the round trip on each way; queues that hold what is under way. */
function shape(device: string, ...inside: string[]): void {
  const netem = ['delay', '20ms', 'rate', '200mbit', 'limit', '100000'];
  const command = ['tc', 'qdisc', 'add', 'dev', device, 'root', 'netem', ...netem];
  const [program = '', ...args] = [...inside, ...command];
  execFileSync(program, args, { stdio: 'pipe' });
}

function makeLink(): void {
  ip('netns', 'add', space);
  ip('link', 'add', near.device, 'type', 'veth', 'peer', 'name', far.device, 'netns', space);
  ip('address', 'add', `${near.address}/30`, 'dev', near.device);
  ip('link', 'set', near.device, 'up');
  ip('-n', space, 'address', 'add', `${far.address}/30`, 'dev', far.device);
  ip('-n', space, 'link', 'set', far.device, 'up');
  ip('-n', space, 'link', 'set', 'lo', 'up');
  shape(near.device);
  shape(far.device, 'ip', 'netns', 'exec', space);
}

export async function benchLink(): Promise<void> {
  await prepareImages();
  const directory = mkdtempSync(join(tmpdir(), 'md-bench-'));
  try {
    makeLink();
    const registry = await startDockerRegistry(join(cache, 'registry'), {
      address: far.address,
      within: ['ip', 'netns', 'exec', space],
    });
    try {
      const { host } = registry;
      const access = { mdFlags: `--plain-http ${host} ` };
      const place = keptPlaces(directory);
      const link = 'over 200 Mbit/s with a round trip of 40 ms';
      await race(fetchers(`${host}/${big}`, access), { title: `Fetch and verify, ${link}`, rounds: 3, place });
      await race(pullers(`${host}/${big}`, access), { title: `Pull to a tree, ${link}`, rounds: 2, place });
    } finally {
      await registry.close();
    }
  } finally {
    spawnSync('ip', ['netns', 'delete', space], { stdio: 'ignore' });
    remove(directory);
  }
}

/** Start to exit of /bin/true in a container. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { demoImage } from '../support/demo-image.js';
import { cleanEnv, has } from '../support/run.js';
import { type Contender, keptPlaces, race, workDirectory } from './measure.js';

const insideName = 'MD_BENCH_INSIDE';

/**
 * Runs the race in a mount namespace without the cgroup v2 mount of a hybrid hierarchy, in which crun and podman of
 * Debian 12 fail to start.
 */
export async function benchIsolate(): Promise<void> {
  if (process.env[insideName] === undefined) {
    const main = [process.execPath, fileURLToPath(new URL('main.js', import.meta.url)), 'isolate'];
    const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"';
    const env = { ...process.env, [insideName]: '1' };
    const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', ...main], { env, stdio: 'inherit' });
    if (status !== 0) throw new Error(`the race in a mount namespace ended with status ${status}`);
    return;
  }
  const directory = workDirectory();
  const contenders = isolators(directory, await demoRoot(directory));
  await race(contenders, {
    title: 'Start to exit of /bin/true',
    rounds: 25,
    place: keptPlaces(join(directory, 'runs')),
  });
}

/** Unpacks the layers of the demo's image with GNU tar. */
async function demoRoot(directory: string): Promise<string> {
  const { index } = await demoImage(join(directory, 'stage'));
  const own = index.children.find((it) => it.kind === 'image' && it.layers.length === 2);
  const rootfs = join(directory, 'rootfs');
  mkdirSync(rootfs);
  if (own?.kind !== 'image') throw new Error('the demo image has changed its shape');
  execFileSync('tar', ['-C', rootfs, '-xzp'], { input: own.layers[0]!.bytes });
  return rootfs;
}

function isolators(directory: string, rootfs: string): Contender[] {
  const bundle = makeBundle(directory, rootfs);
  const podman = `--root ${directory}/podman/storage --runroot ${directory}/podman/run --cgroup-manager cgroupfs`;
  const limits = '--ulimit nofile=1024:1024 --ulimit nproc=1024:1024';
  return [
    { name: 'node -e 0', script: `exec '${process.execPath}' -e 0` },
    { name: 'md-isolate', script: `exec md-isolate ${rootfs} /bin/true` },
    {
      name: 'runc run',
      programs: ['runc'],
      script: `exec runc --root ${directory}/runc run --bundle ${bundle} "md-bench-$$"`,
    },
    {
      name: 'crun run',
      programs: ['crun'],
      script: `exec crun --root ${directory}/crun --cgroup-manager=disabled run --bundle ${bundle} "md-bench-$$"`,
    },
    {
      name: 'podman run --network none',
      programs: ['podman'],
      script: `exec podman ${podman} run --rm --network none --cgroups disabled ${limits} --rootfs ${rootfs} /bin/true`,
    },
    {
      name: 'bwrap',
      programs: ['bwrap'],
      script: `exec bwrap --unshare-all --bind ${rootfs} / --proc /proc --dev /dev /bin/true`,
    },
    {
      name: 'unshare and chroot of util-linux',
      programs: ['unshare'],
      script: `exec unshare --mount --uts --ipc --pid --net --fork --mount-proc=${rootfs}/proc chroot ${rootfs} /bin/true`,
    },
  ];
}

/** An OCI runtime bundle for /bin/true: what `runc spec` writes, without a terminal. */
function makeBundle(directory: string, rootfs: string): string {
  const bundle = join(directory, 'bundle');
  mkdirSync(bundle);
  const maker = ['runc', 'crun'].find(has);
  if (maker === undefined) return bundle;
  execFileSync(maker, ['spec'], { cwd: bundle, env: cleanEnv() });
  const file = join(bundle, 'config.json');
  if (!existsSync(file)) throw new Error(`${maker} spec wrote no config.json`);
  const spec = JSON.parse(readFileSync(file, 'utf8')) as { process: object; root: object };
  spec.process = { ...spec.process, terminal: false, args: ['/bin/true'] };
  spec.root = { path: rootfs, readonly: false };
  writeFileSync(file, JSON.stringify(spec));
  return bundle;
}

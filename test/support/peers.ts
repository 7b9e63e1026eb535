/** Images made, moved and unpacked by programs that nobody here wrote: buildah, skopeo, umoci, GNU tar. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type RunOptions, root, run } from './run.js';

/** Runs a peer, which must succeed; returns its stdout. */
export async function peer(argv: string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr, timedOut } = await run(argv, { timeout: 900_000, ...options });
  if (timedOut) throw new Error(`${argv.join(' ')}: not ready in time: ${stderr}`);
  if (status !== 0) throw new Error(`${argv.join(' ')}: status ${status}: ${stderr}`);
  return stdout;
}

/** Runs `test/peers/images/SCRIPT`. */
export async function runScript(script: string, args: string[], cwd = '/'): Promise<void> {
  await peer(['bash', join(root, 'test/peers/images', script), ...args], { cwd });
}

/** Builds an image a layer at a time with buildah, in a storage of its own. As root. */
export class Buildah {
  private readonly flags: string[];
  private image = 'scratch';
  private count = 0;

  constructor(private readonly directory: string) {
    const at = (name: string) => join(directory, name);
    mkdirSync(directory, { recursive: true });
    writeFileSync(at('policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    // The overlay driver is the one that writes opaque whiteouts.
    this.flags = ['--root', at('storage'), '--runroot', at('run'), '--storage-driver', 'overlay'];
  }

  private buildah(command: string, ...args: string[]): Promise<string> {
    const policy = ['from', 'commit', 'push'].includes(command)
      ? ['--signature-policy', join(this.directory, 'policy.json')]
      : [];
    return peer(['buildah', ...this.flags, command, ...policy, ...args]);
  }

  /** Adds a layer: what the script `test/peers/images/SCRIPT` changes in the root filesystem, its working directory. */
  async layer(script: string, ...args: string[]): Promise<void> {
    const pull = this.image === 'scratch' ? [] : ['--pull-never'];
    const container = (await this.buildah('from', ...pull, this.image)).trim();
    const mounted = (await this.buildah('mount', container)).trim();
    try {
      await runScript(script, args, mounted);
    } finally {
      await this.buildah('umount', container);
    }
    this.count += 1;
    const name = `localhost/step:${this.count}`;
    await this.buildah('commit', '-q', '--rm', container, name);
    this.image = name;
  }

  /** Pushes it to `HOST:PORT/NAME:TAG`. */
  async push(reference: string, format: 'oci' | 'v2s2' = 'oci'): Promise<void> {
    await this.buildah('push', '-q', '--tls-verify=false', '--format', format, this.image, `docker://${reference}`);
  }
}

/** `skopeo copy`; registries on loopback speak plain http. */
export async function skopeoCopy(from: string, to: string, ...flags: string[]): Promise<void> {
  const plain = ['--src-tls-verify=false', '--dest-tls-verify=false'];
  await peer(['skopeo', '--insecure-policy', 'copy', '-q', ...plain, ...flags, from, to]);
}

/** Adds archives as layers to an image that it makes in an OCI layout: `umoci raw add-layer`. */
export async function umociImage(layout: string, tag: string, archives: string[]): Promise<void> {
  await peer(['umoci', 'init', '--layout', layout]);
  await peer(['umoci', 'new', '--image', `${layout}:${tag}`]);
  for (const archive of archives) await peer(['umoci', 'raw', 'add-layer', '--image', `${layout}:${tag}`, archive]);
}

/** The reference tree of an image in a registry: `skopeo copy`, then `umoci unpack`. Returns its root. */
export async function umociTree(reference: string, directory: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const layout = join(directory, 'layout');
  await skopeoCopy(`docker://${reference}`, `oci:${layout}:it`);
  await peer(['umoci', 'unpack', '--image', `${layout}:it`, join(directory, 'bundle')]);
  return join(directory, 'bundle/rootfs');
}

/** Whether images can be built here: overlay mounts are what buildah needs beyond root. */
export function hasOverlay(): boolean {
  return readFileSync('/proc/filesystems', 'utf8').includes('\toverlay\n');
}

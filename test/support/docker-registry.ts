/** Debian's docker-registry, with its storage in a directory of the caller's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { holdPort } from './ports.js';
import { until } from './rootfs.js';
import { cleanEnv } from './run.js';

export interface DockerRegistry {
  /** `ADDRESS:PORT`. */
  host: string;
  /** Ends it; its files are the caller's. */
  close(): Promise<void>;
}

interface DockerRegistryOptions {
  /** Where it listens; loopback unless given. */
  address?: string;
  /** Sections of its configuration over the normal ones, for example `{ auth: { htpasswd: {...} } }`. */
  config?: Record<string, unknown>;
}

/** Starts it on files in `directory`; it answers when the promise is fulfilled. */
export async function startDockerRegistry(
  directory: string,
  options: DockerRegistryOptions = {},
): Promise<DockerRegistry> {
  const { port, release } = await holdPort();
  const host = `${options.address ?? '127.0.0.1'}:${port}`;
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(directory, 'storage') } },
    http: { addr: host, secret: 'of the tests' },
    ...options.config,
  };
  mkdirSync(directory, { recursive: true });
  // YAML is a superset of JSON.
  const file = join(directory, 'config.yml');
  writeFileSync(file, JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', file], { env: cleanEnv(), stdio: 'ignore' });
  const kill = () => void child.kill();
  process.once('exit', kill);
  try {
    await answering(child, `http${'tls' in config.http ? 's' : ''}://${host}/v2/`);
  } finally {
    release();
  }
  return {
    host,
    close: async () => {
      process.off('exit', kill);
      if (child.exitCode !== null) return;
      child.kill();
      await once(child, 'exit');
    },
  };
}

async function answering(child: ChildProcess, url: string): Promise<void> {
  await until(() => {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with status ${child.exitCode}`);
    return fetch(url).then(
      () => true,
      () => false,
    );
  });
}

/** Debian's docker-registry on a loopback port, with its storage in a temporary directory. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cleanEnv } from './run.js';

export interface DockerRegistry {
  /** `127.0.0.1:PORT`. */
  host: string;
  /** Ends it; its files are the caller's. */
  close(): Promise<void>;
}

export interface DockerRegistryOptions {
  /** Sections of its configuration over the normal ones, for example `{ auth: { htpasswd: {...} } }`. */
  config?: Record<string, unknown>;
}

/** Starts it on files in `directory`; it answers when the promise is fulfilled. */
export async function startDockerRegistry(
  directory: string,
  options: DockerRegistryOptions = {},
): Promise<DockerRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
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
  await answering(child, `http${'tls' in config.http ? 's' : ''}://${host}/v2/`);
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
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with status ${child.exitCode}`);
    try {
      await fetch(url);
      return;
    } catch {
      await sleep(25);
    }
  }
  child.kill();
  throw new Error('docker-registry does not answer');
}

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * A world in which docker.io and every other registry that the README names is the embedded registry: a network
 * namespace whose only address is loopback, with names that lead there and a certificate that says so.
 *
 *     unshare --mount --net node dist/test/support/readme-world.js SCRIPT.json
 *
 * SCRIPT.json: `{ "lines": [...], "hosts": [...] }`. Runs the lines in order in one directory, and writes a line of
 * JSON for each: `{ "line", "status", "stdout", "stderr" }`. The namespaces end with it, and with them all that it
 * mounted.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { demoImage } from './demo-image.js';
import { put } from './image.js';
import { startRegistry } from './registry.js';
import { cleanEnv, remove, shell } from './run.js';
import { makeCa } from './tls.js';

interface Script {
  lines: string[];
  hosts: string[];
}

async function main({ lines, hosts }: Script): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'md-readme-'));
  const at = (name: string) => join(directory, name);
  const names = ['docker.io', 'registry-1.docker.io', 'localhost', ...hosts];
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  writeFileSync(at('hosts'), names.map((name) => `127.0.0.1 ${name}\n`).join(''));
  execFileSync('mount', ['--bind', at('hosts'), '/etc/hosts']);
  const ca = makeCa(directory);
  const registry = await startRegistry({
    auth: 'token',
    tls: ca.issue([...names, '127.0.0.1']),
    hostname: 'registry-1.docker.io',
    port: 443,
    // The one that the README pulls with a login.
    users: { you: 'secret' },
    private: ['team/app'],
  });
  try {
    const { index } = await demoImage(at('stage'));
    const { digest, size, mediaType } = await put(registry, 'any', [], index);
    registry.anyTag = { digest, size, mediaType };
    writeSudo(at('bin'));
    mkdirSync(at('work'));
    const PATH = `${at('bin')}${delimiter}${cleanEnv().PATH}`;
    const env = { PATH, HOME: directory, NODE_EXTRA_CA_CERTS: ca.caFile };
    for (const line of lines) {
      const { status, stdout, stderr } = await shell(line, [], { cwd: at('work'), env });
      console.log(JSON.stringify({ line, status, stdout, stderr }));
    }
  } finally {
    await registry.close();
    execFileSync('umount', ['/etc/hosts']);
    remove(directory);
  }
}

/** Who runs this is root already, and `sudo` may not be installed. */
function writeSudo(directory: string): void {
  mkdirSync(directory);
  writeFileSync(join(directory, 'sudo'), '#!/bin/sh\nexec "$@"\n');
  chmodSync(join(directory, 'sudo'), 0o755);
}

await main(JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Script);

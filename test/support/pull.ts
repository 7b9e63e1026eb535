/** A pull as processes, against the embedded registry. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { attestation, type BuiltImage, image, index, layer, put } from './image.js';
import { type Registry, type RegistryOptions, registryFor } from './registry.js';
import { jsonLines, type Result, scratch, shell } from './run.js';

export const repository = 'library/demo';
export const pull = 'md-token "$1" | md-manifest | md-fetch-layer';

export interface World {
  registry: Registry;
  built: BuiltImage;
  home: string;
  image: string;
  run(script?: string, env?: Record<string, string>): Promise<Result>;
}

export async function world(t: TestContext, options: RegistryOptions = {}): Promise<World> {
  const registry = await registryFor(t, options);
  const layers = ['a', 'b', 'c'].map((name) => layer([{ name, data: name.repeat(100_000) }]));
  const built = image({ layers, run: { Cmd: ['/bin/sh'], Env: ['A=1'] } });
  await put(
    registry,
    repository,
    ['latest'],
    index([image({ layers, architecture: 's390x' }), built, attestation(built)]),
  );
  const home = scratch(t);
  const name = `${registry.host}/${repository}`;
  const run = (script = pull, env = {}) => shell(script, [name], { env: { MD_HOME: home, ...env } });
  return { registry, built, home, image: name, run };
}

/** Writes docker's configuration, and returns the environment in which it is found. */
export function dockerConfig(home: string, config: object): { DOCKER_CONFIG: string } {
  const directory = join(home, 'docker');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  return { DOCKER_CONFIG: directory };
}

export function succeeded({ status, stdout, stderr }: Result): Record<string, unknown>[] {
  assert.equal(status, 0, stderr);
  return jsonLines(stdout);
}

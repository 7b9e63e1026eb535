import assert from 'node:assert/strict';
import { test } from 'node:test';
import { platformName } from '../../lib/base/oci.js';
import { fitness, hostPlatform, normalize, parsePlatform } from '../../lib/image/manifest/platform.js';
import { failure } from '../support/failure.js';

function fits(wanted: string, offered: string): number | undefined {
  const [os = '', architecture = '', variant] = offered.split('/');
  return fitness(parsePlatform(wanted), { os, architecture, ...(variant ? { variant } : {}) });
}

test("this machine is named as Go names it, with arm's variants", () => {
  assert.deepEqual(hostPlatform('x64'), { os: 'linux', architecture: 'amd64' });
  assert.deepEqual(hostPlatform('arm64'), { os: 'linux', architecture: 'arm64', variant: 'v8' });
  assert.deepEqual(hostPlatform('arm'), { os: 'linux', architecture: 'arm', variant: 'v7' });
});

for (const [text, name] of [
  ['linux/amd64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['Linux/x86_64', 'linux/amd64'],
  ['linux/aarch64', 'linux/arm64/v8'],
  ['linux/arm64', 'linux/arm64/v8'],
  ['linux/arm', 'linux/arm/v7'],
  ['linux/arm/6', 'linux/arm/v6'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['linux/i386', 'linux/386'],
  ['arm64', 'linux/arm64/v8'],
  ['x86_64', 'linux/amd64'],
  ['armhf', 'linux/arm/v7'],
  ['S390X', 'linux/s390x'],
  ['linux/ppc64', 'linux/ppc64'],
] as const) {
  test(`--platform ${text} means ${name}`, () => assert.equal(platformName(parsePlatform(text)), name));
}

test('what is no platform is refused as wrong usage', () => {
  for (const text of [
    '',
    'linux',
    'arm65',
    'arm64/',
    '/arm64',
    'linux/',
    '/amd64',
    'a/b/c/d',
    'linux/amd 64',
    'linux/amd64/',
  ])
    assert.throws(() => parsePlatform(text), failure(64), text);
});

test('arm64 without a variant is arm64/v8', () => {
  assert.equal(fits('linux/arm64', 'linux/arm64'), 0);
  assert.equal(fits('linux/arm64', 'linux/arm64/v8'), 0);
  assert.equal(normalize({ os: 'linux', architecture: 'arm64' }).variant, 'v8');
});

test('arm/v7 takes v7 first, then v6, then v5, and never v8', () => {
  assert.deepEqual(
    ['v7', 'v6', 'v5', 'v8'].map((variant) => fits('linux/arm/v7', `linux/arm/${variant}`)),
    [0, 1, 2, undefined],
  );
});

test('arm/v6 does not take v7, which is what arm without a variant is', () => {
  assert.equal(fits('linux/arm/v6', 'linux/arm/v7'), undefined);
  assert.equal(fits('linux/arm/v6', 'linux/arm'), undefined);
});

test('amd64/v3 falls to v2 and to v1, and plain amd64 takes no higher level', () => {
  assert.deepEqual(
    ['/v3', '/v2', '', '/v1', '/v4'].map((variant) => fits('linux/amd64/v3', `linux/amd64${variant}`)),
    [0, 1, 2, 2, undefined],
  );
  assert.equal(fits('linux/amd64', 'linux/amd64/v2'), undefined);
});

for (const [wanted, ...offered] of [
  ['arm64/v8.2', 'v8.2', 'v8.1', 'v8', 'v8.3'],
  ['arm64/v9.1', 'v9.1', 'v9', 'v8.6', 'v9.2'],
  ['ppc64le/power10', 'power10', 'power9', 'power8', 'power11'],
  ['riscv64/rva22u64', 'rva22u64', 'rva20u64', '', 'rva23u64'],
] as const) {
  test(`${wanted} takes its own level before lower ones, and no higher level`, () => {
    const [architecture] = wanted.split('/');
    const ranks = offered.map((variant) => fits(`linux/${wanted}`, `linux/${architecture}/${variant}`));
    const [own, ...lower] = ranks.slice(0, 3);
    assert.equal(own, 0);
    assert.ok(lower.every((rank) => rank! > 0) && lower[0]! <= lower[1]!, String(ranks));
    assert.equal(ranks[3], undefined);
  });
}

test('the lowest level of a processor is the processor without one', () => {
  for (const name of ['amd64/v1', 'arm64/v8.0', 'ppc64le/power8', 'riscv64/rva20u64']) {
    const [architecture] = name.split('/');
    assert.equal(fits(`linux/${architecture}`, `linux/${name}`), 0);
    assert.equal(fits(`linux/${name}`, `linux/${architecture}`), 0);
  }
});

test('a level that is not known fits itself alone', () => {
  assert.equal(fits('linux/s390x/z13', 'linux/s390x/z13'), 0);
  assert.equal(fits('linux/s390x/z13', 'linux/s390x'), undefined);
});

test('another system or processor does not fit', () => {
  assert.equal(fits('linux/amd64', 'windows/amd64'), undefined);
  assert.equal(fits('linux/amd64', 'linux/arm64'), undefined);
  assert.equal(fits('linux/amd64', 'unknown/unknown'), undefined);
});

test('an architecture is taken by its name only, whatever objects have of their own', () => {
  for (const architecture of ['constructor', 'toString', '__proto__'])
    assert.deepEqual(normalize({ os: 'linux', architecture }), {
      os: 'linux',
      architecture: architecture.toLowerCase(),
    });
});

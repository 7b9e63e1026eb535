/** Under a seccomp filter as a unit of systemd has it, the error names the call, and the settings that have to go. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { makeRoot, needsContainer } from '../support/rootfs.js';
import { run, scratch } from '../support/run.js';
import { needsSubordinate } from '../support/subordinate.js';
import { prepare, twoLayers } from '../support/unpacking.js';

const [killing, missing, forbidden] = [0x80000000, 0x00050026, 0x00050001];
const unit = { INVOCATION_ID: '1' };
const isArm64 = process.arch === 'arm64';
const numbers = {
  openat2: 437,
  faccessat2: 439,
  sethostname: isArm64 ? 161 : 170,
  setresgid: isArm64 ? 149 : 119,
};

/**
 * A command line under a filter that answers one call in its own way, or with `first` only those calls that have this
 * first argument. A child has the filter of the thread that starts it.
 */
function filtered(call: keyof typeof numbers, action: number, command: string[], first?: number): string[] {
  // seccomp(2): load the number, or the argument; is it this one?; the action; allow.
  const tests = [[0, numbers[call]], ...(first === undefined ? [] : [[16, first]])];
  const code = [
    ...tests.flatMap(([offset, value], i) => [
      [0x20, 0, 0, offset],
      [0x15, 0, 2 * (tests.length - i) - 1, value],
    ]),
    [6, 0, 0, action],
    [6, 0, 0, 0x7fff0000],
  ];
  const script = `
    const { addressOf } = await import('${new URL('../../lib/sys/ffi/ffi.js', import.meta.url)}');
    const { prctl, seccomp } = await import('${new URL('../../lib/sys/syscalls/calls.js', import.meta.url)}');
    const { spawnSync } = await import('node:child_process');
    const code = Buffer.alloc(${8 * code.length});
    ${JSON.stringify(code)}.forEach(
      ([op, yes, no, k], i) => { code.writeUInt16LE(op, 8 * i); code[8 * i + 2] = yes; code[8 * i + 3] = no; code.writeUInt32LE(k, 8 * i + 4); });
    const filter = Buffer.alloc(16);
    filter.writeUInt16LE(${code.length});
    filter.writeBigUInt64LE(BigInt(addressOf(code)), 8);
    prctl(38, 1, 0, 0, 0);
    seccomp(1, 0, filter);
    process.exitCode = spawnSync(process.argv[1], process.argv.slice(2), { stdio: 'inherit' }).status;`;
  return [process.execPath, '--input-type=module', '--eval', script, ...command];
}

test('a call for which a filter kills the child is no signal of the command, but named', {
  skip: needsContainer,
}, async (t) => {
  const command = filtered('sethostname', killing, ['md-isolate', makeRoot(t), 'true']);
  const { status, stderr } = await run(command, { env: unit });
  assert.match(
    stderr,
    /^md-isolate: sethostname\(.*\): a seccomp filter kills whoever calls it \(SIGSYS\); a unit of systemd .* SystemCallFilter.*\n$/,
  );
  assert.equal(status, 125);
});

test('a user namespace in a unit is told of the unit alone, and of no flags of docker', {
  skip: needsContainer,
}, async (t) => {
  const isolate = ['md-isolate', '--userns', 'self', '--hostname', 'box', makeRoot(t), 'true'];
  const { status, stderr } = await run(filtered('sethostname', forbidden, isolate), { env: unit });
  assert.match(
    stderr,
    /^md-isolate: sethostname\(.*\(EPERM\); a unit of systemd confines this process: .* out of it\n$/,
  );
  assert.equal(status, 125);
});

test('a host name that nobody has chosen is no reason to have no container', { skip: needsContainer }, async (t) => {
  const isolate = ['md-isolate', '--userns', 'self', makeRoot(t), 'hostname'];
  const { stdout, stderr } = await run(filtered('sethostname', forbidden, isolate));
  assert.deepEqual({ stdout, stderr }, { stdout: `${hostname()}\n`, stderr: '' });
});

test('md-run finds md-isolate where a filter refuses faccessat2, as old ones of docker do', {
  skip: needsContainer,
}, async (t) => {
  const home = scratch(t);
  const tree = join(home, 'rootfs/docker.io/library/a:latest');
  mkdirSync(dirname(tree), { recursive: true });
  renameSync(makeRoot(t), tree);
  const command = filtered('faccessat2', forbidden, ['md-run', '--pull', 'never', 'a', 'echo', 'in']);
  const { stdout, stderr } = await run(command, { env: { MD_HOME: home } });
  assert.deepEqual({ stdout, stderr }, { stdout: 'in\n', stderr: '' });
});

test('openat2 that a filter answers with EPERM is blamed on the filter', async (t) => {
  const { rootfs, stdin } = prepare(t, twoLayers);
  const { status, stderr } = await run(filtered('openat2', forbidden, ['md-unpack', rootfs]), { stdin });
  assert.match(
    stderr,
    /^md-unpack: \S+: .*\(EPERM\); this process is confined, .* --security-opt seccomp=unconfined\n$/,
  );
  assert.equal(status, 77);
});

test('openat2 that a filter refuses is not taken for that of an old kernel', { skip: needsContainer }, async (t) => {
  const { status, stderr } = await run(filtered('openat2', missing, ['md-isolate', makeRoot(t), 'true']), {
    env: unit,
  });
  assert.match(stderr, /^md-isolate: openat2\(.*\(ENOSYS\); a seccomp filter refuses openat2 .*RestrictSUIDSGID.*\n$/);
  assert.equal(status, 125);
});

test('without openat2 a tree is not begun, since nothing else may remove it', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  const { status, stderr } = await run(filtered('openat2', missing, ['md-unpack', rootfs]), { stdin, env: unit });
  assert.match(stderr, /^md-unpack: \S+: .*\(ENOSYS\); a seccomp filter refuses openat2 .*RestrictSUIDSGID.*\n$/);
  assert.equal(status, 74);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a user namespace without its capabilities, as some policies have it, is refused before a tree without owners is made', {
  skip: needsSubordinate,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  const grants = join(directory, 'grants');
  writeFileSync(grants, 'root:1600000000:65536\n');
  const script = 'for file in subuid subgid; do mount --bind "$1" /etc/$file || exit; done; rm "$1"; shift; exec "$@"';
  // Whoever is root of the namespace may always become its group 0.
  const unpack = filtered('setresgid', forbidden, ['md-unpack', '--map', rootfs], 1);
  const unshare = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', grants];
  const { status, stderr } = await run([...unshare, ...unpack], { stdin });
  assert.match(stderr, /^md-unpack: --map: .* \(EPERM\); .*\n$/);
  assert.equal(status, 77);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

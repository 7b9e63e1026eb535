import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs, {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ignoring } from '../../lib/base/failure.js';
import { cachedFilter, type FilterKey } from '../../lib/isolate/seccomp/cache.js';
import { limitsOn, structRlimit } from '../../lib/sys/process/rlimit.js';
import { prlimit64 } from '../../lib/sys/syscalls/calls.js';
import { RLIMIT } from '../../lib/sys/syscalls/constants.js';
import { spreadMocks } from '../support/mocks.js';
import { needsRoot, scratch } from '../support/run.js';

const key: FilterKey = { version: '1.0.0', built: 1, arch: 'x64', kernel: '6.1.0', capabilities: [0, 7] };
const filter = Buffer.alloc(16, 1);

/** Asks for a filter; tells whether it was compiled, and what came. */
async function ask(
  directory: string,
  change: Partial<FilterKey> = {},
): Promise<{ compiled: boolean; got: Buffer | undefined }> {
  let compiled = false;
  const compile = async () => {
    compiled = true;
    return filter;
  };
  const got = await cachedFilter({ ...key, ...change }, compile, directory);
  return { compiled, got };
}

test('a filter is compiled once, and read from then on', async (t) => {
  const directory = join(scratch(t), 'not', 'there', 'yet');
  const mask = process.umask(0);
  t.after(() => process.umask(mask));
  assert.deepEqual(await ask(directory), { compiled: true, got: filter });
  assert.deepEqual(await ask(directory), { compiled: false, got: filter });
  const [name = '', ...more] = readdirSync(directory);
  assert.deepEqual(more, []);
  const modes = [directory, join(directory, name)].map((path) => statSync(path).mode & 0o777);
  assert.deepEqual(modes, [0o755, 0o644], 'nobody else may write there, whatever the umask');
});

for (const change of [
  { version: '1.0.1' },
  { built: 2 },
  { arch: 'arm64' },
  { kernel: '4.4.0' },
  { capabilities: [0] },
  { kernel: '../../x' },
] as Partial<FilterKey>[]) {
  test(`${JSON.stringify(change)} is another filter`, async (t) => {
    const directory = scratch(t);
    await ask(directory);
    assert.equal((await ask(directory, change)).compiled, true);
    assert.equal(readdirSync(directory).length, 2);
  });
}

test('a file that another user could have written is not used', { skip: needsRoot }, async (t) => {
  const directory = scratch(t);
  await ask(directory);
  const [name = ''] = readdirSync(directory);
  const path = join(directory, name);
  chmodSync(path, 0o664);
  assert.equal((await ask(directory)).compiled, true);
  chownSync(path, 1000, 1000);
  assert.equal((await ask(directory)).compiled, true);
  // Whole, and its owner's alone.
  renameSync(path, join(directory, 'elsewhere'));
  symlinkSync('elsewhere', path);
  assert.equal((await ask(directory)).compiled, true);
});

test('in a directory that others can write to no file is used: a looser filter could have its name', async (t) => {
  const directory = join(scratch(t), 'md');
  const compile = async () => filter;
  await cachedFilter(key, compile, directory);
  const [name = ''] = readdirSync(directory);
  const other = Buffer.alloc(8, 2);
  await cachedFilter({ ...key, built: 2 }, async () => other, directory);
  const [nameOfOther = ''] = readdirSync(directory).filter((it) => it !== name);
  renameSync(join(directory, nameOfOther), join(directory, name));
  assert.deepEqual(await cachedFilter(key, compile, directory), other);
  chmodSync(directory, 0o777);
  assert.deepEqual(await cachedFilter(key, compile, directory), filter);
});

test('a file that a disk has damaged is not used, and the next one is whole', async (t) => {
  const directory = scratch(t);
  await ask(directory);
  const [name = ''] = readdirSync(directory);
  const path = join(directory, name);
  const whole = readFileSync(path);
  const bit = Buffer.from(whole);
  bit[5]! ^= 4;
  for (const damaged of [bit, Buffer.alloc(whole.length), whole.subarray(8), Buffer.concat([whole, whole])]) {
    writeFileSync(path, damaged);
    assert.deepEqual(await ask(directory), { compiled: true, got: filter });
    assert.deepEqual(await ask(directory), { compiled: false, got: filter });
  }
});

test('a file that the disk does not give back is no error, and the filter is compiled', async (t) => {
  const directory = scratch(t);
  await ask(directory);
  t.mock.method(fs, 'readFileSync', () => {
    throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
  });
  spreadMocks(t);
  assert.deepEqual(await ask(directory), { compiled: true, got: filter });
});

test('a file that is no array of instructions is not used', async (t) => {
  const directory = scratch(t);
  await ask(directory);
  const [name = ''] = readdirSync(directory);
  writeFileSync(join(directory, name), '');
  assert.equal((await ask(directory)).compiled, true);
  writeFileSync(join(directory, name), 'short');
  assert.equal((await ask(directory)).compiled, true);
  unlinkSync(join(directory, name));
  spawnSync('mkfifo', [join(directory, name)]);
  assert.equal((await ask(directory)).compiled, true);
  unlinkSync(join(directory, name));
  mkdirSync(join(directory, name));
  assert.equal((await ask(directory)).compiled, true);
});

test('what another build has left goes after some time, when a filter is added', async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'other'), '');
  for (const built of [2, 3]) await ask(directory, { built });
  const [, old = ''] = readdirSync(directory).sort();
  for (const name of ['other', old]) utimesSync(join(directory, name), 0, 0);
  await ask(directory, { built: 3 });
  assert.equal(readdirSync(directory).length, 3);
  await ask(directory);
  assert.deepEqual([readdirSync(directory).length, readdirSync(directory).includes(old)], [3, false]);
  assert.deepEqual(await ask(directory, { built: 3 }), { compiled: false, got: filter });
});

test('what could not be written whole does not stay, and does not stand in the way of the next', async (t) => {
  const directory = scratch(t);
  await ask(directory);
  const [name = ''] = readdirSync(directory);
  const { soft, hard } = limitsOn(RLIMIT.FSIZE);
  prlimit64(0, RLIMIT.FSIZE, structRlimit(8n, hard), null);
  try {
    assert.deepEqual(await ask(directory, { built: 2 }), { compiled: true, got: filter });
  } finally {
    prlimit64(0, RLIMIT.FSIZE, structRlimit(soft, hard), null);
  }
  assert.deepEqual(readdirSync(directory), [name]);
  unlinkSync(join(directory, name));
  writeFileSync(join(directory, `${name}.${process.pid}`), '');
  await ask(directory);
  await ask(directory);
  assert.deepEqual(readdirSync(directory), [name]);
});

test('a relative XDG_STATE_HOME counts as none: anybody may have put a filter below the current directory', async (t) => {
  const home = scratch(t);
  const { env, geteuid } = process;
  const before = process.cwd();
  t.after(() => {
    Object.assign(process, { env, geteuid });
    process.chdir(before);
  });
  process.geteuid = () => 1000;
  process.env = { ...env, HOME: home, XDG_STATE_HOME: 'relative' };
  process.chdir(home);
  await cachedFilter(key, async () => filter);
  assert.deepEqual(readdirSync(home), ['.local']);
  process.env.XDG_STATE_HOME = join(home, 'absolute');
  await cachedFilter(key, async () => filter);
  assert.deepEqual(readdirSync(home), ['.local', 'absolute']);
});

test('it is not kept among other caches, which are shared with containers', async (t) => {
  const home = scratch(t);
  const { env, geteuid } = process;
  t.after(() => Object.assign(process, { env, geteuid }));
  process.geteuid = () => 1000;
  process.env = { HOME: home, XDG_CACHE_HOME: join(home, 'cache') };
  await cachedFilter(key, async () => filter);
  assert.deepEqual(readdirSync(home), ['.local']);
  assert.equal(readdirSync(join(home, '.local/state/md')).length, 1);
});

test('for root it is kept where root alone can write, and not in the home that sudo has left', {
  skip: needsRoot,
}, async (t) => {
  const home = scratch(t);
  const { env } = process;
  const place = '/var/lib/md';
  // Of its own, since the place is the machine's: another run of this test may be under way.
  const version = `test${process.pid}`;
  const kept = () => ignoring(['ENOENT'], () => readdirSync(place)) ?? [];
  const mine = () => kept().filter((name) => name.startsWith(`seccomp-${version}-`));
  t.after(() => {
    Object.assign(process, { env });
    for (const name of mine()) rmSync(join(place, name));
  });
  process.env = { ...env, HOME: home, XDG_STATE_HOME: join(home, 'state') };
  await cachedFilter({ ...key, version }, async () => filter);
  assert.deepEqual([readdirSync(home), mine().length], [[], 1]);
});

test('without HOME it is kept in the home that the system knows, as the store is', async (t) => {
  const home = scratch(t);
  const { env, geteuid } = process;
  t.after(() => Object.assign(process, { env, geteuid }));
  process.geteuid = () => 1000;
  process.env = {};
  t.mock.method(process.getBuiltinModule('node:os'), 'userInfo', () => ({ homedir: home }));
  await cachedFilter(key, async () => filter);
  assert.deepEqual(readdirSync(home), ['.local']);
});

test('where nothing can be kept, each run compiles', async (t) => {
  const file = join(scratch(t), 'file');
  writeFileSync(file, '');
  assert.deepEqual(await ask(join(file, 'below')), { compiled: true, got: filter });
});

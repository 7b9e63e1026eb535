import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cgroupHost } from '../../lib/isolate/cgroup/hierarchies.js';
import { cgroupWrites } from '../../lib/isolate/cgroup/writes.js';
import { checkWritable } from '../../lib/isolate/filesystem/proc-and-sys.js';
import { type LimitFlags, parseLimits, parseSize, parseUlimit } from '../../lib/isolate/settings/limits.js';
import { failure } from '../support/failure.js';

const none: LimitFlags = { memory: undefined, cpus: undefined, 'pids-limit': undefined, 'cpuset-cpus': undefined };

function limits(flags: Partial<LimitFlags>) {
  return parseLimits({ ...none, ...flags }, () => 4);
}

const isUsage = failure(64);

test("sizes have docker's units, all of them powers of 1024", () => {
  const sizes: Record<string, number> = {
    '0': 0,
    '1024': 1024,
    '7b': 7,
    '512k': 512 * 1024,
    '64m': 64 * 1024 ** 2,
    '64M': 64 * 1024 ** 2,
    '64mb': 64 * 1024 ** 2,
    '64MiB': 64 * 1024 ** 2,
    '1.5g': 1.5 * 1024 ** 3,
    '.5g': 0.5 * 1024 ** 3,
    '1.g': 1024 ** 3,
    '2 t': 2 * 1024 ** 4,
    '1p': 1024 ** 5,
  };
  for (const [text, bytes] of Object.entries(sizes)) assert.equal(parseSize(text, '--memory'), bytes, text);
});

for (const text of [
  '',
  'm',
  '-1',
  '1x',
  '1mm',
  '0x10',
  '1e3',
  '64\u212a',
  '1..5m',
  '.m',
  ' 1m',
  '99999999p',
  'NaN',
  'Infinity',
]) {
  test(`${JSON.stringify(text)} is not a size`, () => {
    assert.throws(() => parseSize(text, '--memory'), isUsage);
  });
}

test('flags that are not given are no limits', () => {
  assert.equal(limits({}), undefined);
});

test('each flag becomes its limit', () => {
  const all = limits({ memory: '64m', cpus: '1.5', 'pids-limit': '100', 'cpuset-cpus': '0-1,3' });
  assert.deepEqual(all, { memory: 64 * 1024 ** 2, cpuQuota: 150_000, pids: 100, cpus: '0-1,3' });
});

test('a limit of -1 or 0 processes is none, and so is one of 0 bytes or processors', () => {
  assert.equal(limits({ 'pids-limit': '-1' }), undefined);
  assert.equal(limits({ 'pids-limit': '0' }), undefined);
  assert.equal(limits({ memory: '0', cpus: '0' }), undefined);
  assert.equal(limits({ memory: '0m', cpus: '0.0' }), undefined);
});

test('processors go from a hundredth to as many as there are', () => {
  assert.equal(limits({ cpus: '0.01' })!.cpuQuota, 1000);
  assert.equal(limits({ cpus: '.5' })!.cpuQuota, 50_000);
  assert.equal(limits({ cpus: '4' })!.cpuQuota, 400_000);
  for (const cpus of ['0.001', '4.01', '-1', 'all', '', '1e1']) assert.throws(() => limits({ cpus }), isUsage, cpus);
});

test('a memory limit in which nothing can start is refused', () => {
  assert.throws(() => limits({ memory: '5m' }), isUsage);
  assert.throws(() => limits({ memory: '1' }), isUsage);
});

test('a list of processors is numbers and ranges, and an empty one no limit', () => {
  for (const cpus of ['0', '0-3', '0,2,4-6']) assert.equal(limits({ 'cpuset-cpus': cpus })!.cpus, cpus);
  assert.equal(limits({ 'cpuset-cpus': '' }), undefined);
  for (const cpus of ['3-1', 'a', '0,', '0-', '0 1', '0-1-2']) {
    assert.throws(() => limits({ 'cpuset-cpus': cpus }), isUsage, cpus);
  }
});

test('in cgroup v2 the limits are its files, swap apart from memory', () => {
  const all = limits({ memory: '64m', cpus: '1.5', 'pids-limit': '100', 'cpuset-cpus': '0' });
  const writes = cgroupWrites(all!, () => 2).map(({ file, value }) => `${file}=${value}`);
  assert.deepEqual(writes, [
    'memory.max=67108864',
    'memory.swap.max=67108864',
    'cpu.max=150000 100000',
    'pids.max=100',
    'cpuset.cpus=0',
  ]);
});

test('in cgroup v1 the limits are its files, the period before the quota, swap together with memory', () => {
  const all = limits({ memory: '64m', cpus: '1.5', 'pids-limit': '100', 'cpuset-cpus': '0' });
  const writes = cgroupWrites(all!, () => 1).map(({ file, value }) => `${file}=${value}`);
  assert.deepEqual(writes, [
    'memory.limit_in_bytes=67108864',
    'memory.memsw.limit_in_bytes=134217728',
    'cpu.cfs_period_us=100000',
    'cpu.cfs_quota_us=150000',
    'pids.max=100',
    'cpuset.cpus=0',
  ]);
});

test('ulimits are struct rlimit64, -1 for no limit, the soft one for both when it is alone', () => {
  const both = parseUlimit('nofile=1024:4096');
  assert.equal(both.resource, 7);
  assert.deepEqual([both.value.readBigUInt64LE(0), both.value.readBigUInt64LE(8)], [1024n, 4096n]);
  const none = parseUlimit('core=-1');
  assert.equal(none.resource, 4);
  assert.deepEqual([none.value.readBigUInt64LE(0), none.value.readBigUInt64LE(8)], [2n ** 64n - 1n, 2n ** 64n - 1n]);
});

for (const text of [
  'as=1',
  '',
  'nofile',
  'nofile=',
  'nofile=2:1',
  'nofile=-1:5',
  'nofile=1:2:3',
  'files=1',
  'NOFILE=1',
  'nofile=-2',
  '__proto__=1',
]) {
  test(`${JSON.stringify(text)} is not a ulimit`, () => {
    assert.throws(() => parseUlimit(text), isUsage);
  });
}

const hybridMounts = `
22 1 0:5 / /proc rw shared:1 - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`;
const hybridOwn = '4:memory:/user.slice\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice/a.scope\n0::/user.slice/a.scope\n';

test('on a hybrid machine a controller of v1 is found in v1, others in v2', () => {
  const host = cgroupHost(hybridMounts, hybridOwn, () => ['pids']);
  const memory = { version: 1, mount: '/sys/fs/cgroup/memory', own: '/sys/fs/cgroup/memory/user.slice' };
  assert.deepEqual(host.find('memory'), memory);
  const cpu = { version: 1, mount: '/sys/fs/cgroup/cpu,cpuacct', own: '/sys/fs/cgroup/cpu,cpuacct' };
  assert.deepEqual(host.find('cpu'), cpu);
  const pids = { version: 2, mount: '/sys/fs/cgroup/unified', own: '/sys/fs/cgroup/unified/user.slice/a.scope' };
  assert.deepEqual(host.find('pids'), pids);
  assert.equal(host.find('cpuset'), undefined);
});

test('the own cgroup is seen through the root of the mount, as in a container', () => {
  const mounts = '40 30 0:20 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n';
  const own = (path: string) => cgroupHost(mounts, `0::${path}\n`, () => ['memory']).find('memory')?.own;
  assert.equal(own('/docker/abc'), '/sys/fs/cgroup');
  assert.equal(own('/docker/abc/inner'), '/sys/fs/cgroup/inner');
  assert.equal(own('/docker/abcdef'), undefined);
  const outside = cgroupHost('40 30 0:20 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n', '0::/../x\n', () => ['memory']);
  assert.equal(outside.find('memory')?.own, undefined);
});

test('a mount point with a space in it is read right', () => {
  const host = cgroupHost('40 30 0:20 / /mnt/my\\040cgroups rw - cgroup2 cgroup2 rw\n', '0::/\n', () => ['memory']);
  assert.equal(host.find('memory')?.mount, '/mnt/my cgroups');
});

test('cgroups of v1 are not for a container to write to, not even beside v2', () => {
  checkWritable(['']);
  for (const hierarchies of [
    ['cpu,cpuacct', 'pids'],
    ['name=systemd', ''],
  ]) {
    assert.throws(() => checkWritable(hierarchies), /--security-opt writable-cgroups=true: this machine has cgroup v1/);
  }
});

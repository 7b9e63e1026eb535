/** Who the command runs as, and with which powers. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAccountFiles } from '../../lib/isolate/user/accounts.js';
import {
  capabilityStep,
  chooseCapabilities,
  defaultCapabilities,
  missingCapabilities,
} from '../../lib/isolate/user/capabilities.js';
import { identify } from '../../lib/isolate/user/identity.js';
import { chooseMaps, ttyGroup } from '../../lib/isolate/user/userns.js';
import { type IdMap, ownMap } from '../../lib/sys/procfs/own-id-map.js';
import { policyHint } from '../../lib/sys/refusals/confinement.js';
import { switchHint } from '../../lib/sys/refusals/refusals.js';
import { capabilities } from '../../lib/sys/syscalls/constants.js';
import { type IdMaps, ownerInside } from '../../lib/sys/user-namespace/id-maps.js';
import { failure } from '../support/failure.js';
import { renameWithoutEnd } from '../support/renaming.js';
import { needsRoot, run, scratch } from '../support/run.js';

const files = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    'web:x:33:34::/srv:/bin/sh',
    '1000:x:7:8::/odd:/bin/sh',
    'broken',
    'huge:x:99999999999:1::/:',
    '# web2:x:1:1::/:',
    'nul:x:2:2::/home\0of:/bin/sh',
    '',
  ].join('\n'),
  group: ['root:x:0:', 'web:x:34:', 'log:x:50:web,other', 'tape:x:51:web', 'bad:x:-1:web', ''].join('\n'),
};

test('no user means root, with the home that the image gives it', () => {
  assert.deepEqual(identify('', files), { uid: 0, gid: 0, groups: [0], home: '/root' });
  assert.deepEqual(identify('', { passwd: '', group: '' }), { uid: 0, gid: 0, groups: [0], home: '/' });
});

test('a user has the primary group and every group that lists the name', () => {
  const expected = { uid: 33, gid: 34, groups: [34, 50, 51], home: '/srv' };
  assert.deepEqual(identify('web', files), expected);
  assert.deepEqual(identify('33', files), expected);
});

test('white space around a line counts for nothing, as in files of DOS', () => {
  const dos = { passwd: '\tweb:x:33:34::/srv\r\n', group: ' log:x:50:other,web\r\n' };
  assert.deepEqual(identify('web', dos), { uid: 33, gid: 34, groups: [34, 50], home: '/srv' });
});

test('a group that is named takes the place of all others', () => {
  assert.deepEqual(identify('web:log', files), { uid: 33, gid: 50, groups: [50], home: '/srv' });
  assert.deepEqual(identify('33:77', files), { uid: 33, gid: 77, groups: [77], home: '/srv' });
  assert.deepEqual(identify(':log', files), { uid: 0, gid: 50, groups: [50], home: '/root' });
});

test('an image that has its user in more groups than the kernel takes is told so', () => {
  const groups = (count: number) => Array.from({ length: count }, (_, i) => `g${i + 1}:x:${i + 1}:root`).join('\n');
  const refused = /^\/etc\/group of the image: it has root in 65537 groups, and the kernel knows 65536 of a process/;
  // The primary one is among them.
  assert.equal(identify('', { ...files, group: groups(65_535) }).groups.length, 65_536);
  assert.throws(() => identify('', { ...files, group: groups(65_536) }), {
    name: 'Failure',
    status: 125,
    message: refused,
  });
  assert.deepEqual(identify('root:g7', { ...files, group: groups(65_536) }).groups, [7]);
});

test('a number is an id, never a name that looks like one', () => {
  assert.deepEqual(identify('1000', files), { uid: 1000, gid: 0, groups: [0], home: '/' });
});

test('unknown names and ids beyond 2^32-2 are refused', () => {
  for (const spec of [
    'stranger',
    'web:strangers',
    '4294967295',
    '0:4294967295',
    'huge',
    '-1',
    'broken',
    'web2',
    'nul',
  ]) {
    assert.throws(() => identify(spec, files), failure(125), spec);
  }
  assert.equal(identify('4294967294', files).uid, 4294967294);
});

const all = Array.from({ length: 41 }, (_, number) => number);

test("the capabilities are docker's fourteen, with additions and drops in docker's order", () => {
  assert.equal(chooseCapabilities([], [], all).length, 14);
  assert.equal(defaultCapabilities.length, 14);
  assert.deepEqual(chooseCapabilities([], ['ALL'], all), []);
  assert.deepEqual(chooseCapabilities(['chown', 'CAP_SYS_PTRACE'], ['all'], all), [0, 19]);
  assert.deepEqual(chooseCapabilities(['ALL'], [], all), all);
  assert.deepEqual(
    chooseCapabilities(['ALL'], ['SYS_ADMIN'], all),
    all.filter((number) => number !== 21),
  );
  assert.ok(!chooseCapabilities([], ['CHOWN'], all).includes(0));
});

test('capabilities are a bit each in two words, for the effective and the permitted set', () => {
  const [, data] = capabilityStep([0, 31, 32, 40]).args as [Buffer, Buffer];
  const words = Array.from({ length: 6 }, (_, i) => data.readUInt32LE(4 * i));
  assert.deepEqual(words, [0x80000001, 0x80000001, 0, 0x101, 0x101, 0]);
});

test('a capability that is unknown, or not there to give, is refused', () => {
  assert.throws(() => chooseCapabilities(['FLY'], [], all), /not a capability/);
  assert.throws(() => chooseCapabilities(['SYS_ADMIN'], [], [0]), /does not have it itself/);
  assert.deepEqual(chooseCapabilities([], [], [0]), [0]);
});

test('of the defaults those are missed that are wanted and not there to give', () => {
  const most = all.filter((number) => number !== 0 && number !== 21);
  assert.deepEqual(missingCapabilities([], [], most), ['CAP_CHOWN']);
  for (const drop of [['chown'], ['ALL']]) assert.deepEqual(missingCapabilities([], drop, most), []);
  assert.deepEqual(missingCapabilities(['ALL'], [], most), []);
});

test('root has no user namespace unless asked for, others have one', () => {
  assert.equal(chooseMaps(undefined, { uid: 0, gid: 0 }, all), undefined);
  assert.deepEqual(chooseMaps('self', { uid: 1000, gid: 100 }, []), {
    uid: [[0, 1000, 1]],
    gid: [[0, 100, 1]],
    helped: false,
  });
  assert.throws(() => chooseMaps('host', { uid: 1000, gid: 100 }, []), /only root/);
});

test('root without CAP_SYS_ADMIN has a user namespace with all ids as they are, or with its own where that is not for it', () => {
  const root = { uid: 0, gid: 0 };
  const without = (...names: string[]) => all.filter((number) => !names.includes(capabilities[number]!));
  const maps = chooseMaps(undefined, root, without('SYS_ADMIN'))!;
  const ids = (map: IdMap) => map.reduce((sum, [, , count]) => sum + count, 0);
  for (const kind of ['uid', 'gid'] as const) {
    assert.ok(maps[kind].every(([inside, outside]) => inside === outside));
    assert.equal(ids(maps[kind]), ids(ownMap(kind)));
    // By one such line programs know the initial user namespace.
    assert.notEqual(maps[kind].join(), '0,0,4294967295');
  }
  for (const name of ['SETUID', 'SETGID'])
    assert.deepEqual(chooseMaps(undefined, root, without('SYS_ADMIN', name))?.uid, [[0, 0, 1]]);
  assert.equal(chooseMaps('host', root, []), undefined);
});

test('root without CAP_SETUID has no user namespace, in which it could not become another user either', () => {
  const most = all.filter((number) => capabilities[number] !== 'SETUID');
  assert.equal(chooseMaps(undefined, { uid: 0, gid: 0 }, most), undefined);
});

test('terminals are of group 5, unless the user namespace has fewer', () => {
  const maps = (count: number): IdMaps => ({
    uid: [[0, 1000, 1]],
    gid: [
      [0, 1000, 1],
      [1, 100_000, count],
    ],
    helped: true,
  });
  assert.equal(ttyGroup(maps(5)), 5);
  assert.equal(ttyGroup(maps(4)), undefined);
});

test('an owner is who it is inside, and root when the user namespace has no such id', () => {
  const map: [number, number, number][] = [
    [0, 1000, 1],
    [1, 100_000, 10],
  ];
  const inside = (uid: number) => ownerInside({ uid, gid: uid }, { uid: map, gid: map, helped: true });
  const owners = [1000, 100_000, 100_009, 999, 1001, 99_999, 100_010];
  assert.deepEqual(
    owners.map((id) => inside(id).uid),
    [0, 1, 10, 0, 0, 0, 0],
  );
  assert.deepEqual(ownerInside({ uid: 7, gid: 8 }, undefined), { uid: 7, gid: 8 });
});

test('what forbids user namespaces is named with its remedy', () => {
  const host = (path: string, value: string) =>
    switchHint((asked) => (asked.endsWith(path) ? `${value}\n` : undefined));
  assert.equal(
    switchHint(() => undefined),
    undefined,
  );
  assert.match(host('unprivileged_userns_clone', '0') ?? '', /sudo sysctl -w kernel\.unprivileged_userns_clone=1/);
  assert.match(host('max_user_namespaces', '0') ?? '', /user\.max_user_namespaces is 0/);
  assert.match(host('apparmor_restrict_unprivileged_userns', '1') ?? '', /apparmor_restrict_unprivileged_userns=0/);
  assert.equal(host('apparmor_restrict_unprivileged_userns', '0'), undefined);
});

/** What files of the kernel say, by the end of their names. */
const kernel = (files: Record<string, string>) => (asked: string) =>
  Object.entries(files).find(([path]) => asked.endsWith(path))?.[1];

test('the switch of AppArmor is not blamed where node has a profile, which says itself what it may', () => {
  const ubuntu = { apparmor_restrict_unprivileged_userns: '1\n', 'parameters/enabled': 'Y\n' };
  const under = (current: string) => switchHint(kernel({ ...ubuntu, 'apparmor/current': current }));
  assert.match(under('unconfined\n') ?? '', /apparmor_restrict_unprivileged_userns=0/);
  assert.equal(under('node (unconfined)\n'), undefined);
  assert.equal(under('node (enforce)\n'), undefined);
});

test('a policy that confines this process is named, and one that allows all is not', () => {
  const armor = (current: string) =>
    policyHint('user namespace', kernel({ 'parameters/enabled': 'Y\n', 'apparmor/current': current }));
  assert.match(armor('node (enforce)\n') ?? '', /profile node: write flags=\(unconfined\) and "userns," into it/);
  assert.equal(armor('node (unconfined)\n'), undefined);
  assert.equal(armor('md (enforce)\n'), undefined);
  assert.equal(armor('unconfined\n'), undefined);
  const linux = (enforce: string, context: string) =>
    policyHint('user namespace', kernel({ 'selinux/enforce': enforce, 'attr/current': `${context}\0` }));
  assert.match(
    linux('1', 'user_u:user_r:user_t:s0') ?? '',
    /^SELinux confines this process to user_u:user_r:user_t:s0: /,
  );
  assert.equal(linux('0', 'user_u:user_r:user_t:s0'), undefined);
  assert.equal(linux('1', 'unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023'), undefined);
});

test('--group-add takes names and numbers, in addition to what the user has, each once', () => {
  assert.deepEqual(identify('web', files, ['77', 'log', 'web']).groups, [34, 50, 51, 77]);
  assert.deepEqual(identify('33:77', files, ['log', '77']), { uid: 33, gid: 77, groups: [77, 50], home: '/srv' });
  assert.throws(() => identify('web', files, ['nosuch']), /--group-add: group "nosuch": the image has no such name/);
  assert.throws(
    () => identify('web', files, ['keep-groups']),
    /--group-add keep-groups: .*--userns self keeps the caller/,
  );
  assert.throws(() => identify('nosuch', files, [], 'User of the image'), /User of the image: user "nosuch": /);
  assert.throws(() => identify('web', files, ['4294967295']), /--group-add: group 4294967295: ids end at/);
});

test('an account file behind links with `..` is read also while somebody renames files without end', async (t) => {
  const root = scratch(t);
  mkdirSync(join(root, 'etc'));
  mkdirSync(join(root, 'usr/etc'), { recursive: true });
  writeFileSync(join(root, 'usr/etc/passwd'), 'app:x:1000:1000::/:\n');
  symlinkSync(`../usr/etc/${'../etc/'.repeat(20)}passwd`, join(root, 'etc/passwd'));
  await renameWithoutEnd(t, root);
  for (let i = 0; i < 5000; i++)
    assert.equal(readAccountFiles({ lower: root }, [], true).passwd, 'app:x:1000:1000::/:\n');
});

test('a newuidmap that cannot be started for want of processes is not blamed for its mode', {
  skip: needsRoot,
}, async () => {
  const lib = join(import.meta.dirname, '../../lib/sys');
  const script = `
    const { prlimit64, setresuid } = await import('${lib}/syscalls/calls.js');
    const { writeMaps } = await import('${lib}/user-namespace/write-maps.js');
    const NPROC = 6;
    prlimit64(0, NPROC, Buffer.alloc(16), null);
    setresuid(61234, 61234, 61234);
    writeMaps(process.pid, { uid: [[0, 61234, 1]], gid: [[0, 61234, 1]], helped: true }, 'do without');`;
  const { stderr } = await run([process.execPath, '--input-type=module', '-e', script]);
  assert.match(
    stderr,
    /newuidmap: resource temporarily unavailable \(EAGAIN\); no more processes may be started: see ulimit -u/,
  );
});

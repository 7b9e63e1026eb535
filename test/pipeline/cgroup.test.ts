import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs, {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Failure, ignoring } from '../../lib/base/failure.js';
import { type Cgroup, cgroupOf, createCgroup, probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { type CgroupHost, cgroupHost } from '../../lib/isolate/cgroup/hierarchies.js';
import { ownName } from '../../lib/isolate/cgroup/removal.js';
import { cgroupWrites } from '../../lib/isolate/cgroup/writes.js';
import { markOf, ownMark } from '../../lib/sys/procfs/process-mark.js';
import { lsetxattr } from '../../lib/sys/syscalls/calls.js';
import { cgroupsOf, isGoneOrUsed, needsControllers } from '../support/controllers.js';
import { spreadMocks } from '../support/mocks.js';
import { makeRoot, until } from '../support/rootfs.js';
import { afterwards, killAfterwards, needsRoot, run, scratch } from '../support/run.js';

const [namespace] = ownMark().split('.');
/** A number and a start that no process has; the start is of this test, since another checkout may be tested as well. */
const dead = `4194999.${process.pid}`;

/** What a shell prints that waits for a line on stdin and runs `script` then; in the cgroup by that time. */
async function outputIn(cgroup: Cgroup, script: string): Promise<string> {
  const child = spawn('sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'pipe', 'ignore'] });
  cgroup.add(child.pid!);
  child.stdin.end('go\n');
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  return new Promise((resolve) => child.once('close', () => resolve(stdout)));
}

/** The cgroups of this process in the hierarchy of a controller. */
function ours(controller: string): string[] {
  return cgroupsOf(process.pid, join(probeCgroups().find(controller)!.mount, 'md'));
}

/** The parent is everybody's: containers of other tests may have a cgroup in it. */
function removeThose(directories: readonly string[]): void {
  for (const directory of directories) ignoring(['ENOENT', 'EBUSY'], () => rmdirSync(directory));
}

test('a process within its memory limit lives', { skip: needsControllers('memory') }, async (t) => {
  const cgroup = createCgroup({ memory: 32 * 1024 ** 2 });
  afterwards(t, () => cgroup.remove());
  const counted = await outputIn(cgroup, 'head -c 20000000 /dev/zero | tail -c 10000000 | wc -c');
  assert.equal(counted.trim(), '10000000');
});

test('where a kernel accounts no swap, the limit on memory holds without one on swap', {
  skip: needsControllers('pids'),
}, () => {
  for (const version of [1, 2] as const) {
    const writes = cgroupWrites({ memory: 32 * 1024 ** 2 }, () => version);
    assert.deepEqual(
      writes.filter(({ optional }) => optional).map(({ file }) => file),
      [version === 1 ? 'memory.memsw.limit_in_bytes' : 'memory.swap.max'],
    );
  }
  const write = { controller: 'pids', flag: '--pids-limit', file: 'pids.none', value: '1' };
  cgroupOf([{ ...write, optional: true }], probeCgroups()).remove();
  assert.throws(() => cgroupOf([write], probeCgroups()), /--pids-limit: writing 1 to .*\(ENOENT\)/);
});

test('the cgroups are gone after the end', { skip: needsControllers('memory', 'pids') }, async () => {
  const cgroup = createCgroup({ memory: 64 * 1024 ** 2, pids: 10 });
  assert.equal(ours('memory').length, 1);
  await outputIn(cgroup, 'true');
  cgroup.remove();
  cgroup.remove();
  assert.deepEqual([...ours('memory'), ...ours('pids')], []);
});

test('what the container has made in its cgroup goes with it', { skip: needsControllers('pids') }, () => {
  const parent = join(probeCgroups().find('pids')!.mount, 'md');
  const left = join(parent, `md-${namespace}.${dead}`);
  mkdirSync(join(left, 'below'), { recursive: true });
  const cgroup = createCgroup({ pids: 10 });
  assert.equal(existsSync(left), false);
  mkdirSync(join(parent, ours('pids')[0]!, 'below/deeper'), { recursive: true });
  cgroup.remove();
  assert.deepEqual(ours('pids'), []);
});

test('what the container has made goes however deep it is, and under whatever name', {
  skip: needsControllers('pids'),
}, () => {
  const cgroup = createCgroup({ pids: 10 });
  const own = join(probeCgroups().find('pids')!.mount, 'md', ours('pids')[0]!);
  const script = `cd "$1" && mkdir "$2" && for i in $(seq 20); do mkdir "$3" a && cd -P "$3" || exit; done`;
  const name = Buffer.from('n\xe9', 'latin1');
  execFileSync('sh', ['-c', script, 'sh', own, 'aside', 'n'.repeat(250)]);
  mkdirSync(Buffer.concat([Buffer.from(`${own}/aside/`), name]));
  cgroup.remove();
  assert.deepEqual(ours('pids'), []);
});

test('what a killed supervisor has left is swept, what belongs to a living one stays', {
  skip: needsControllers('pids'),
}, (t) => {
  const parent = join(probeCgroups().find('pids')!.mount, 'md');
  const child: ChildProcess = spawn('sleep', ['100']);
  killAfterwards(t, child);
  const living = join(parent, `md-${markOf(child.pid!)}`);
  const reused = join(parent, `md-${namespace}.${child.pid}.1`);
  const left = join(parent, `md-${namespace}.${dead}`);
  const foreign = join(parent, `something-else-${process.pid}`);
  for (const directory of [living, reused, left, foreign]) mkdirSync(directory, { recursive: true });
  afterwards(t, () => removeThose([living, foreign, parent]));
  createCgroup({ pids: 10 }).remove();
  assert.deepEqual([living, reused, left, foreign].map(existsSync), [true, false, false, true]);
});

test('a cgroup whose supervisor cannot be seen, in another PID namespace, stays as long as it may be just being made', {
  skip: needsControllers('pids'),
}, (t) => {
  const parent = join(probeCgroups().find('pids')!.mount, 'md');
  const [young, old] = [join(parent, `md-1.${dead}1`), join(parent, `md-1.${dead}2`)];
  for (const directory of [young, old]) mkdirSync(directory, { recursive: true });
  afterwards(t, () => removeThose([young, parent]));
  utimesSync(old, 1, 1);
  createCgroup({ pids: 10 }).remove();
  assert.deepEqual([young, old].map(existsSync), [true, false]);
});

test('when one limit cannot be set, nothing is left', { skip: needsControllers('pids', 'cpuset') }, () => {
  assert.throws(
    () => createCgroup({ pids: 10, cpus: '4000' }),
    (error) =>
      error instanceof Failure &&
      error.what === '--cpuset-cpus' &&
      error.message.endsWith('the processors that there are'),
  );
  assert.deepEqual([...ours('pids'), ...ours('cpuset')], []);
});

test('where the hierarchy is read-only, the message says so', { skip: needsControllers('memory') }, async (t) => {
  const { mount } = probeCgroups().find('memory')!;
  const root = makeRoot(t);
  const below = (...place: string[]) => {
    const script = `mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec ${place.join(' ')} md-isolate -m 64m "$2" true`;
    return run(['unshare', '-m', 'sh', '-c', script, 'sh', mount, root]);
  };
  const { status, stderr } = await below();
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^md-isolate: --memory: making .*: read-only file system \(EROFS\); .*: mount -o remount,bind,rw /,
  );
  assert.ok(stderr.endsWith(` ${mount}\n`));
  const powerless = await below('setpriv --bounding-set=-sys_admin');
  assert.match(powerless.stderr, /\(EROFS\); .* start that one with -v \/sys\/fs\/cgroup:\/sys\/fs\/cgroup:rw\n$/);
});

test('a controller that the machine does not have is named with the flag', () => {
  const host: CgroupHost = { find: () => undefined, unmounted: () => undefined };
  assert.throws(
    () => cgroupOf([{ controller: 'memory', flag: '--memory', file: 'memory.max', value: '1' }], host),
    /--memory: this machine has no memory controller/,
  );
});

test('a controller that the kernel has and that is not mounted is told with how to mount it', () => {
  const hint = (mountinfo: string, own: string) => cgroupHost(mountinfo, own, () => []).unmounted('cpu');
  assert.equal(hint('', '4:cpu,cpuacct:/\n0::/\n'), 'cgroup -o cpu,cpuacct');
  assert.equal(hint('', '0::/\n'), 'cgroup2');
  assert.equal(hint('36 35 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n', '0::/\n'), undefined);
});

test('without its mount a limit works as soon as it is mounted as the message says', {
  skip: needsControllers('memory'),
}, async (t) => {
  const script =
    'umount -R /sys/fs/cgroup && mount -t tmpfs tmpfs /run && ! said=$(md-isolate -m 64m "$0" true 2>&1) && echo "$said" >&2 && eval "$(echo "$said" | sed "s/.*; //")" && md-isolate -m 64m "$0" echo in';
  const { stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, makeRoot(t)]);
  assert.match(stderr, /^md-isolate: --memory: no cgroups with the memory controller are mounted here; [^\n]*\n$/);
  assert.equal(stdout, 'in\n');
});

test('the limit on memory was reached only if that of this cgroup was: the kernel counts here also what it killed for others', {
  skip: needsRoot,
}, (t) => {
  const mount = scratch(t);
  const host: CgroupHost = { find: () => ({ version: 1, mount, own: undefined }), unmounted: () => undefined };
  const write = { controller: 'memory', flag: '--memory', file: 'none', value: '1', optional: true };
  const cgroup = cgroupOf([write], host);
  const [name = ''] = readdirSync(join(mount, 'md'));
  const put = (file: string, text: string) => writeFileSync(join(mount, 'md', name, file), text);
  const seen = [cgroup.ranOutOfMemory()];
  const step = (file: string, text: string) => {
    put(file, text);
    seen.push(cgroup.ranOutOfMemory());
  };
  step('memory.oom_control', 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n');
  step('memory.failcnt', '0\n');
  step('memory.memsw.failcnt', '7\n');
  step('memory.oom_control', 'oom_kill_disable 0\nunder_oom 0\noom_kill 0\n');
  assert.deepEqual(seen, [false, false, false, true, false]);
  put('memory.memsw.failcnt', '0\n');
  // The same in cgroup v2.
  step('memory.events', 'low 0\nhigh 0\nmax 5\noom 0\noom_kill 1\n');
  step('memory.events', 'low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\n');
  // That of a cgroup which the container has made, and then its own.
  step('memory.events.local', 'low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n');
  step('memory.events.local', 'low 0\nhigh 0\nmax 0\noom 1\noom_kill 0\n');
  assert.deepEqual(seen.slice(5), [false, true, false, true]);
  // What cannot be read does not tell, and the status of the command stays what it was.
  const events = join(mount, 'md', name, 'memory.events');
  rmSync(events);
  mkdirSync(events);
  assert.equal(cgroup.ranOutOfMemory(), false);
});

test('in a container, whose topmost cgroup has its processes, the message says how to move them', {
  skip: needsRoot,
}, (t) => {
  const mount = scratch(t);
  for (const [name, text] of [
    ['type', 'domain'],
    ['procs', '1'],
    ['subtree_control', ''],
  ] as const)
    writeFileSync(join(mount, `cgroup.${name}`), text);
  const host: CgroupHost = { find: () => ({ version: 2, mount, own: undefined }), unmounted: () => undefined };
  const move = `mkdir -p ${mount}/init && xargs -n1 <${mount}/cgroup.procs >${mount}/init/cgroup.procs`;
  assert.throws(
    () => cgroupOf([{ controller: 'memory', flag: '--memory', file: 'memory.max', value: '1' }], host),
    (error) => error instanceof Failure && error.message.includes('(EBUSY)') && error.message.endsWith(move),
  );
});

test('nobody else may make a cgroup in those that are made, though the caller has a mask of 0', {
  skip: needsControllers('pids'),
}, (t) => {
  const mask = process.umask(0);
  const cgroup = createCgroup({ pids: 10 });
  process.umask(mask);
  afterwards(t, () => cgroup.remove());
  const [name = 'none'] = ours('pids');
  assert.equal(statSync(join(probeCgroups().find('pids')!.mount, 'md', name)).mode & 0o777, 0o755);
});

test('a unit whose cgroup was given away, and cannot be changed, is told with the flag', { skip: needsRoot }, (t) => {
  const mount = scratch(t);
  lsetxattr(mount, 'trusted.delegate', Buffer.from('1'), 1, 0);
  for (const [name, text] of [
    ['controllers', 'memory'],
    ['procs', `${process.pid}`],
  ] as const)
    writeFileSync(join(mount, `cgroup.${name}`), text);
  // As where ProtectControlGroups of the unit makes it read-only.
  writeFileSync(join(mount, ownName('md-supervisor')), '');
  const host: CgroupHost = { find: () => ({ version: 2, mount, own: mount }), unmounted: () => undefined };
  assert.throws(() => cgroupOf([{ controller: 'memory', flag: '--memory', file: 'memory.max', value: '1' }], host), {
    name: 'Failure',
    message: `--memory: making room in ${mount}: file already exists (EEXIST)`,
  });
});

test('other runs that remove the directory of all cgroups and make it anew do not take away its controllers', {
  skip: needsRoot,
}, (t) => {
  const mount = scratch(t);
  const parent = join(mount, 'md');
  const controls = (directory: string) => join(directory, 'cgroup.subtree_control');
  writeFileSync(controls(mount), '');
  const { mkdirSync: real } = fs;
  let tries = 0;
  // As the kernel: the cgroup that is made comes with its files. Another run comes in between, twice.
  t.mock.method(fs, 'mkdirSync', (path: string) => {
    if (path !== parent && tries++ === 0) {
      rmSync(parent, { recursive: true });
      throw Object.assign(new Error('mkdir'), { code: 'ENODEV' });
    }
    real(path);
    writeFileSync(path === parent ? controls(parent) : join(path, 'pids.max'), '');
    if (path !== parent) writeFileSync(controls(parent), '');
  });
  spreadMocks(t);
  const host: CgroupHost = { find: () => ({ version: 2, mount, own: undefined }), unmounted: () => undefined };
  cgroupOf([{ controller: 'pids', flag: '--pids-limit', file: 'pids.max', value: '9' }], host);
  assert.equal(readFileSync(controls(parent), 'latin1'), '+pids');
});

test('in cgroup v2 the controller is passed on and the process moved', {
  skip: needsControllers('hugetlb'),
}, async (t) => {
  const host = probeCgroups();
  const { mount, version } = host.find('hugetlb')!;
  if (version !== 2) return t.skip('hugetlb is in cgroup v1');
  const before = readFileSync(join(mount, 'cgroup.subtree_control'), 'latin1');
  const cgroup = cgroupOf([{ controller: 'hugetlb', flag: '--x', file: 'hugetlb.2MB.max', value: '4194304' }], host);
  afterwards(t, () => {
    cgroup.remove();
    // EBUSY: another test uses it by now.
    const restore = () => writeFileSync(join(mount, 'cgroup.subtree_control'), '-hugetlb');
    if (!before.includes('hugetlb')) ignoring(['EBUSY'], restore);
  });
  const stdout = await outputIn(cgroup, 'grep ^0: /proc/self/cgroup');
  const path = stdout.trim().slice('0::'.length);
  assert.match(path, /^\/md\/md-\d+\.\d+\.\d+$/);
  assert.equal(readFileSync(join(mount, path, 'hugetlb.2MB.max'), 'latin1'), '4194304\n');
  cgroup.remove();
  assert.equal(existsSync(join(mount, path)), false);
  await until(() => isGoneOrUsed(dirname(join(mount, path))));
});

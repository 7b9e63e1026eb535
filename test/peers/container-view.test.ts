/**
 * What a container looks like from inside, against podman and docker: every difference has to be in the list below,
 * with its reason. README has the same list.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { differences, parseView, type View, viewScript } from '../support/container-view.js';
import { podmanRun } from '../support/podman.js';
import { makeRoot, needsContainer, output, until } from '../support/rootfs.js';
import { afterwards, cleanEnv, needs, remove, run, scratch } from '../support/run.js';

interface Difference {
  /** Which facts. */
  facts: RegExp;
  peers: ('docker' | 'podman')[];
  why: string;
}

const both: Difference['peers'] = ['docker', 'podman'];

const known: Difference[] = [
  {
    facts: /^mount \/$/,
    peers: both,
    why: 'The root is nodev as well: a device node in an image opens nothing.',
  },
  {
    facts: /^mount \/dev$/,
    peers: both,
    why: '/dev is nodev and noexec too. The six devices are bound from another mount, where alone device nodes work.',
  },
  {
    facts: /^mount \/dev\/(full|null|random|tty|urandom|zero)$/,
    peers: both,
    why: 'Each of the six devices is a mount of its own, so that the directory around them can be nodev.',
  },
  {
    facts: /^mount \/etc\/(hostname|hosts|resolv\.conf)$|^file (resolv\.conf|mtab)$/,
    peers: both,
    why: "The three files are on a tmpfs of the container, not on the host's disk, and no program starts from there. There is no /etc/mtab unless the image has it.",
  },
  {
    facts: /^mount \/proc\/interrupts$/,
    peers: both,
    why: 'Masked, as in newer docker: it tells what other containers do, by the timing of keys and disks.',
  },
  {
    facts: /^mount \/(proc\/(acpi|bus|fs|irq|keys|sys|timer_list)|sys\/firmware)$/,
    peers: both,
    why: 'What is masked or read-only keeps the flags nosuid, nodev and noexec of the mount that it covers.',
  },
  {
    facts: /^namespace cgroup$|^path of the own cgroup$/,
    peers: both,
    why: 'A cgroup namespace hides the path on the host. Both peers do so too, but with cgroup v2 only.',
  },
  {
    facts: /^mount \/sys\/fs\/cgroup$/,
    peers: both,
    why: 'With cgroup v1 the hierarchies are in a tmpfs: whoever can write to it has half the memory of the host to fill.',
  },
  {
    facts: /^file (run|\.dockerenv)$/,
    peers: ['docker', 'podman'],
    why: 'Files by which programs tell whose container they are in. Images keep what they have.',
  },
  {
    facts: /^(bounding set|effective capabilities|permitted capabilities)$/,
    peers: ['podman'],
    why: "The fourteen capabilities are docker's. podman leaves out AUDIT_WRITE, MKNOD and NET_RAW.",
  },
  {
    facts: /^device \/dev\/core$/,
    peers: ['podman'],
    why: 'A link to /proc/kcore, which is masked. docker makes it only where the host has that file.',
  },
  {
    facts: /^limit of (open files|processes)$/,
    peers: ['podman'],
    why: 'Limits are those of the caller, as here those of the daemon; podman was told others, since its own are too high for this machine.',
  },
  {
    facts: /^mount \/(run\/\.containerenv|sys\/dev\/block)$/,
    peers: ['podman'],
    why: "podman's own mark, and a mask of its own.",
  },
  {
    facts: /^(ip_unprivileged_port_start|ping_group_range)$/,
    peers: ['podman'],
    why: 'As docker: in a network of its own any user may listen on ports below 1024, and any group may ping. podman lets group 0 ping.',
  },
  { facts: /^variable TERM$/, peers: ['podman'], why: 'TERM is set when there is a terminal.' },
];

function explain(peer: 'docker' | 'podman', ours: View, theirs: View): void {
  // The peers hand on what the caller of this test ignores, which may be anything; ours is none, as another test has
  // it.
  const found = differences(ours, theirs).filter(({ fact }) => fact !== 'ignored signals');
  assert.ok(ours.size > 60 && theirs.size > 60, 'both views have their facts');
  const unexplained = found.filter(
    ({ fact }) => !known.some(({ facts, peers }) => peers.includes(peer) && facts.test(fact)),
  );
  assert.deepEqual(unexplained, []);
  const idle = known.filter(({ facts, peers }) => peers.includes(peer) && !found.some(({ fact }) => facts.test(fact)));
  assert.deepEqual(idle, [], 'the list has no difference that is none any more');
}

async function ourView(root: string): Promise<View> {
  return parseView(await output(root, viewScript, ['--net', 'none']));
}

/** The view script needs a few more of busybox's tools. */
function viewRoot(t: TestContext): string {
  const root = makeRoot(t);
  for (const name of ['cut', 'find', 'grep', 'sort', 'wc', 'readlink', 'env', 'ls']) {
    if (!existsSync(join(root, 'bin', name))) symlinkSync('busybox', join(root, 'bin', name));
  }
  return root;
}

function needsVersion(program: string, version: RegExp): string | false {
  const missing = needsContainer || needs(program);
  if (missing) return missing;
  const text = execFileSync(program, ['--version'], { encoding: 'utf8', env: cleanEnv() }).trim();
  return !version.test(text) && `the list is for another version: ${text}`;
}

test('podman: a container differs from ours in what the list says', {
  skip: needsVersion('podman', / 4\.3\./),
}, async (t) => {
  const root = viewRoot(t);
  const ours = await ourView(root);
  const { status, stdout, stderr } = await podmanRun(scratch(t), root, [], viewScript);
  assert.equal(status, 0, stderr);
  explain('podman', ours, parseView(stdout));
});

test('docker: a container differs from ours in what the list says', {
  skip: needsVersion('dockerd', / 20\.10\./),
}, async (t) => {
  const root = viewRoot(t);
  const ours = await ourView(root);
  const socket = await startDocker(t);
  const docker = (...args: string[]) => run(['docker', '-H', socket, ...args]);
  const made = await run(['sh', '-c', 'tar -C "$1" -c . | docker -H "$2" import - view:1', 'sh', root, socket]);
  assert.equal(made.status, 0, made.stderr);
  const { status, stdout, stderr } = await docker('run', '--rm', '--network', 'none', 'view:1', 'sh', '-c', viewScript);
  assert.equal(status, 0, stderr);
  explain('docker', ours, parseView(stdout));
});

/** A daemon of the test's own. Returns its address. */
async function startDocker(t: TestContext): Promise<string> {
  const before = dockerCgroups();
  const directory = mkdtempSync(join(tmpdir(), 'md-test-'));
  const at = (name: string) => join(directory, name);
  mkdirSync(at('data'));
  const socket = `unix://${at('sock')}`;
  const flags = ['--iptables=false', '--bridge=none', '--ip-forward=false', '--storage-driver=vfs'];
  const daemon = spawn(
    'dockerd',
    ['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid'), '-H', socket, ...flags],
    { env: cleanEnv(), stdio: 'ignore' },
  );
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  afterwards(t, async () => {
    daemon.kill('SIGTERM');
    const impatient = setTimeout(() => daemon.kill('SIGKILL'), 60_000);
    await ended;
    clearTimeout(impatient);
    remove(directory);
    for (const cgroup of dockerCgroups()) if (!before.includes(cgroup)) rmdirSync(cgroup);
  });
  await until(async () => (await run(['docker', '-H', socket, 'version'])).status === 0, 100);
  return socket;
}

/** The cgroups that docker leaves behind when it ends. */
function dockerCgroups(): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => join(line.split(' ')[4]!, 'docker'));
  return points.filter((path) => existsSync(path) && readdirSync(dirname(path)).includes('docker'));
}

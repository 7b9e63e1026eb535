/** What md-run knows by itself, since it is a shell script, has to agree with what the commands know. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { storeHome } from '../../lib/image/store/home.js';
import { insteadOf } from '../../lib/isolate/settings/docker-flags.js';
import { imageFlags } from '../../lib/pull/open-image.js';
import { formatReference, parseReference } from '../../lib/registry/names/reference.js';
import { networkFlags } from '../../lib/registry/network.js';
import { cleanEnv, md, root, run, scratch } from '../support/run.js';

const script = readFileSync(join(root, 'cmd/md-run'), 'utf8');

/** A directory with md-run beside stand-ins, which are scripts: md-isolate, and what pulls the tree /tree. */
function standIns(t: TestContext, { mdRun = script, isolate = '', fetchLayer = '', unpack = '' } = {}): string {
  const bin = scratch(t);
  const write = (name: string, text: string) => writeFileSync(join(bin, name), text, { mode: 0o755 });
  write('md-run', mdRun);
  write('md-isolate', `#!/bin/sh\n${isolate}\n`);
  write('md-fetch-layer', `#!/bin/sh\n${fetchLayer}\n`);
  write('md-unpack', `#!/bin/sh\n${unpack}\necho /tree\n`);
  return bin;
}

test('md-run knows every flag of md-isolate, and which of them have a value', async () => {
  const { stdout } = await md('md-isolate', ['--help']);
  const flags = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)( \S+)?/gm)];
  const names = (valued: boolean) =>
    flags
      .filter(([, , value]) => (value?.trim() !== undefined && value.trim() !== '') === valued)
      .map(([, name]) => name);
  assert.ok(names(true).length > 5 && names(false).length > 3);
  for (const name of names(true)) {
    assert.match(script, new RegExp(`--${name} \\||--${name}\\) md_skip`), `--${name} VALUE`);
    assert.match(script, new RegExp(`--${name}=\\*`), `--${name}=VALUE`);
  }
  for (const name of names(false)) {
    assert.match(script, new RegExp(`--${name}[ )]`), `--${name}`);
    if (['help', 'version'].includes(name!)) continue;
    assert.ok(script.includes(`--${name}=*`) || script.includes(`--${name}=[tT]rue`), `--${name}=true`);
  }
});

test('md-run qualifies names as md-token does', async (t) => {
  const bin = standIns(t, { mdRun: script.replace('md_rootfs=$md_home/rootfs/', 'printf "%s\\n" ') });
  const digest = `sha256:${'0'.repeat(64)}`;
  for (const name of [
    'alpine',
    'alpine:3.20',
    'library/alpine',
    'a/b/c:1',
    'docker.io/alpine',
    'index.docker.io/alpine',
    'registry-1.docker.io/a/b',
    'ghcr.io/a/b',
    'ghcr.io/a',
    'localhost/a',
    'localhost:5000/a/b:2',
    'host:5000/a',
    'HOST/a',
    `alpine@${digest}`,
    `ghcr.io/a/b:1@${digest}`,
  ]) {
    const { stdout, stderr } = await run([join(bin, 'md-run'), name], { env: { MD_HOME: bin } });
    assert.equal(stdout.split('\n')[0], formatReference(parseReference(name)), `${name} ${stderr}`);
  }
});

test('md-run looks for images where the commands have their store', async (t) => {
  const bin = standIns(t, { mdRun: script.replace('md_rootfs=$md_home', 'echo "$md_home"; exit; $&') });
  for (const env of [
    { MD_HOME: '/store', HOME: '/h' },
    { MD_HOME: '-store', HOME: '/h' },
    { HOME: '/h' },
    { HOME: '/h', XDG_DATA_HOME: '/data' },
    { HOME: '/h', XDG_DATA_HOME: 'relative' },
    { HOME: '' },
    { HOME: undefined },
  ]) {
    const { stdout } = await run([join(bin, 'md-run'), 'demo'], { env });
    assert.equal(stdout, `${storeHome(env)}\n`, JSON.stringify(env));
  }
});

test('md-run finds IMAGE behind letters that share a dash, with a value or before one', async (t) => {
  const bin = standIns(t, { fetchLayer: 'echo "$@" >&2' });
  for (const flags of [
    ['-it'],
    ['-ite', 'A=1'],
    ['-iteA=1'],
    ['-itew'],
    ['-u', 'me'],
    ['-ume'],
    ['--rm', '-it'],
    ['--network', 'none'],
    ['-h', 'box'],
    ['-ith', 'box'],
    ['-hbox'],
    ['--rm=true', '-it=false', '-u='],
    ['--dry-run=true', '--overlay=true', '--seccomp-report=False', '--trace=0'],
    ['-w=', '-e=A=1'],
    ['-it='],
    ['-x', '--trace=false'],
  ]) {
    const { stderr } = await run([join(bin, 'md-run'), ...flags, 'demo', 'sh'], { env: { MD_HOME: bin } });
    assert.equal(stderr, '-- demo\n', flags.join(' '));
  }
});

test('-x shows how md-run pulls, too', async (t) => {
  const bin = standIns(t, { isolate: 'echo "$1 $2"', fetchLayer: 'echo "$@" >&2', unpack: 'cat; echo "$@" >&2' });
  for (const flag of ['-x', '-itx', '--trace', '--trace=true']) {
    const { stdout, stderr } = await run([join(bin, 'md-run'), flag, 'demo'], { env: { MD_HOME: bin } });
    assert.deepEqual([stdout, stderr], [`--overlay ${flag}\n`, '-x -- demo\n-x --path\n']);
  }
});

test('md-run passes on thousands of words as fast as a few, and each as it is', async (t) => {
  const bin = standIns(t, { isolate: 'printf "%s\\n" "$@"' });
  const flags = ['-it', '-e', 'A=$(id) "x" `y`', '--env', '', '--'];
  const words = ['a b', '', '*', '"', "'", '$1', '\\', ...Array.from({ length: 20_000 }, (_, i) => `file-${i}`)];
  const { stdout } = await run([join(bin, 'md-run'), ...flags, 'demo', ...words], {
    env: { MD_HOME: bin },
  });
  assert.deepEqual(stdout.split('\n').slice(0, -1), ['--overlay', ...flags, '/tree', ...words]);
});

test("md-run leaves the caller's variables alone, which -e NAME passes on", async (t) => {
  const bin = standIns(t, { isolate: 'env' });
  const names = [...script.matchAll(/\b([a-z]\w*)=/g)]
    .map(([, name]) => name!)
    .filter((name) => !name.startsWith('md_'));
  const env = Object.fromEntries(['image', 'home', 'word', ...names].map((name) => [name, `${name} of the caller`]));
  const { stdout } = await run([join(bin, 'md-run'), '-it', '-e', 'image', 'demo'], { env: { ...env, MD_HOME: bin } });
  const seen = stdout.split('\n');
  for (const [name, value] of Object.entries(env)) assert.ok(seen.includes(`${name}=${value}`), name);
  assert.ok(seen.includes(`PATH=${cleanEnv().PATH}`), 'PATH');
});

test("md-run leaves its own directory in PATH where md-isolate would not find node in the caller's", async (t) => {
  const bin = standIns(t, { isolate: 'echo "$PATH"' });
  writeFileSync(join(bin, 'node'), '', { mode: 0o755 });
  mkdirSync(join(bin, 'rootfs/docker.io/library/there:latest'), { recursive: true });
  for (const [path, seen] of [
    [join(bin, 'none'), `${bin}/:${join(bin, 'none')}`],
    [bin, bin],
  ]) {
    const { stdout } = await run([join(bin, 'md-run'), 'there'], { env: { MD_HOME: bin, PATH: path } });
    assert.equal(stdout, `${seen}\n`);
  }
});

test('of what is about pulling, md-run says where it belongs', () => {
  for (const flag of ['platform', 'jobs', 'progress', 'map', ...Object.keys({ ...imageFlags, ...networkFlags })])
    assert.match(insteadOf(flag) ?? '', /\bmd-pull /, flag);
});

test('md-run takes no value of an unknown flag for IMAGE, and says what to do in its place', async () => {
  for (const [words, message] of [
    [['-p', '80:80'], /^md-run: -p: unknown flag; leave it out: .*network/],
    [['--trace=tomorrow'], /^md-run: --trace: it takes no value except true or false/],
    [['-itd'], /^md-run: -d: unknown flag; .*foreground/],
    [['--name', 'box'], /^md-run: --name: unknown flag; leave it out: a container has no name/],
    [['--no-healthcheck'], /^md-run: --no-healthcheck: unknown flag; leave it out: /],
    [['--restart', 'always'], /^md-run: --restart: unknown flag; .*Restart=/],
    [['--log-driver', 'none'], /^md-run: --log-driver: unknown flag; leave it out: .*stdout/],
    [['--stop-signal', 'TERM'], /^md-run: --stop-signal: unknown flag; .*kill\(1\)/],
    [['--plain-http', 'registry'], /^md-run: --plain-http: unknown flag; .*md-pull IMAGE first/],
    [['--timeout', '60'], /^md-run: --timeout: unknown flag; timeout -k 10 SECONDS .* --init/],
    [['--ipc=host'], /^md-run: --ipc: unknown flag; .* --shm-size SIZE/],
    [['--http-proxy=false'], /^md-run: --http-proxy: unknown flag; leave it out: no variable/],
    [['--no-new-privileges'], /^md-run: --no-new-privileges: unknown flag; it is called --no-new-privs/],
    [['--quiet'], /^md-run: --quiet: unknown flag; leave it out/],
    [['--domainname', 'example.com'], /^md-run: --domainname: unknown flag; --hostname NAME.DOMAIN/],
    [['--device-read-bps=/dev/sda:1mb'], /^md-run: --device-read-bps: unknown flag; the limits are/],
    [['--memroy=64m'], /^md-run: --memroy: unknown flag; did you mean --memory\?/],
    [['--nosuch=1'], /^md-run: --nosuch: unknown flag; see --help/],
  ] as const) {
    const { status, stderr } = await md('md-run', [...words, 'demo', 'true']);
    assert.equal(status, 125);
    assert.match(stderr, message);
    assert.equal(stderr.split('\n').length, 2);
  }
});

test('md-run says which flag a value is missing of', async () => {
  const { status, stderr } = await md('md-run', ['-it', '--env', 'A=1', '-e']);
  assert.deepEqual([status, stderr], [125, 'md-run: -e: a value is missing; see --help\n']);
});

test('md-run never lets a container change the pulled tree', async (t) => {
  const bin = standIns(t, {});
  for (const flag of ['--overlay=false', '--overlay=0']) {
    const { status, stdout, stderr } = await run([join(bin, 'md-run'), flag, 'demo'], { env: { MD_HOME: bin } });
    assert.deepEqual([status, stdout], [125, '']);
    assert.match(stderr, /^md-run: --overlay=\w+: the pulled tree never changes; .*\n$/);
  }
});

test('md-run takes no name that leads out of the store', async (t) => {
  const home = scratch(t);
  for (const directory of [
    'rootfs/docker.io/library',
    'rootfs/docker.io/a/evil:latest',
    'evil:latest',
    'rootfs/evil:latest',
  ]) {
    mkdirSync(join(home, directory), { recursive: true });
  }
  for (const name of ['../evil', '../../evil', '../../../evil', '/../evil', 'localhost/../evil', './evil', 'a//evil']) {
    const { status, stderr } = await md('md-run', [name, 'true'], { env: { MD_HOME: home }, cwd: home });
    assert.equal(status, 125, name);
    assert.match(stderr, /^md-fetch-layer: .*\n$/, name);
  }
});

test('--pull says when md-run pulls, and is not for md-isolate', async (t) => {
  const bin = standIns(t, { isolate: 'shift; echo "$@"' });
  const there = join(bin, 'rootfs/docker.io/library/there:1');
  mkdirSync(there, { recursive: true });
  const md = async (...words: string[]) => {
    const { stdout, stderr } = await run([join(bin, 'md-run'), ...words], { env: { MD_HOME: bin } });
    return stdout + stderr;
  };
  const flags = ['-e', 'A=1'];
  assert.equal(await md(...flags, 'there:1', 'x'), `-e A=1 ${there} x\n`);
  for (const always of [['--pull', 'always'], ['--pull=always']]) {
    assert.equal(await md(...always, ...flags, 'there:1', 'x'), '-e A=1 /tree x\n');
    assert.equal(await md(...flags, ...always, 'there:1', '--pull=x'), '-e A=1 /tree --pull=x\n');
  }
  assert.equal(await md('--pull=never', ...flags, 'there:1'), `-e A=1 ${there}\n`);
  // Behind so many words that the number of its own has two digits.
  const many = ['--init', ...Array.from({ length: 5 }, () => flags).flat()];
  assert.equal(await md(...many, '--pull', 'missing', 'there:1'), `${many.join(' ')} ${there}\n`);
  assert.equal(await md('--pull=missing', 'gone:1'), '/tree\n');
  assert.match(
    await md('--pull', 'never', 'gone:1'),
    /^md-run: gone:1: it is not there, and --pull never forbids pulling it; md-pull --offline/,
  );
  assert.match(await md('--pull', 'newer', 'gone:1'), /^md-run: --pull: newer is not always, missing or never/);
  assert.match(await md('--pull'), /^md-run: --pull: a value is missing/);
});

test('who has neither HOME nor an entry in /etc/passwd has the store where the commands have it', async (t) => {
  const bin = standIns(t, { mdRun: script.replace('md_rootfs=$md_home', 'echo "$md_home"; exit; $&') });
  writeFileSync(join(bin, 'id'), '#!/bin/sh\necho 61999\nexit 1\n', { mode: 0o755 });
  const { stdout, stderr } = await run(['env', '-u', 'HOME', '-u', 'MD_HOME', join(bin, 'md-run'), 'demo']);
  assert.equal(stdout, '/.local/share/md\n', stderr);
});

/** md-prune: the store gives back what no image needs, and nothing else. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ownMark } from '../../lib/sys/procfs/process-mark.js';
import { digestOf } from '../support/content.js';
import { type BuiltImage, image, index, layer, mediaTypes, put } from '../support/image.js';
import { callOf, injecting } from '../support/injected-call.js';
import { type Registry, registryFor } from '../support/registry.js';
import { makeRoot, needsContainer, until } from '../support/rootfs.js';
import {
  binDir,
  cleanEnv,
  jsonLines,
  killAfterwards,
  md,
  needs,
  needsRoot,
  type Result,
  run,
  scratch,
  shell,
} from '../support/run.js';
import { needsSubordinate, user as subordinate, subordinateUser } from '../support/subordinate.js';
import { prepare } from '../support/unpacking.js';

/** Of pulls while prunes run all the time; `MD_TEST_ROUNDS=50` has a better chance to find a gap between them. */
const rounds = Number(process.env.MD_TEST_ROUNDS ?? 3);
/** Of the changes of a prune that is killed: with `MD_TEST_ROUNDS` at each. */
const every = process.env.MD_TEST_ROUNDS === undefined ? 3 : 1;

const base = layer([{ name: 'base', data: 'of both\n' }]);
const imageOf = (data: string) => image({ layers: [base, layer([{ name: 'motd', data }])] });

interface Site {
  home: string;
  registry: Registry;
  put(repository: string, built: BuiltImage): Promise<string>;
  pull(name: string, flags?: string): Promise<Result>;
  prune(...args: string[]): Promise<Result>;
  /** Below the store, without the directories of `oci/blobs` and `rootfs` themselves. */
  list(): string[];
}

async function site(t: TestContext): Promise<Site> {
  const home = join(scratch(t), 'home');
  const registry = await registryFor(t);
  const env = { MD_HOME: home };
  return {
    home,
    registry,
    put: async (repository, built) => {
      await put(registry, repository, ['latest'], built);
      return `${registry.image(repository)}:latest`;
    },
    pull: async (name, flags = '') => {
      const pipe = `md-token ${flags} "$1" | md-manifest | md-fetch-layer | md-unpack --path`;
      const result = await shell(pipe, [name], { env });
      assert.equal(result.status, 0, result.stderr);
      return result;
    },
    prune: (...args) => md('md-prune', args, { env }),
    list: () =>
      ['oci/blobs', 'rootfs', 'partial']
        .flatMap((directory) =>
          readdirSync(join(home, directory), { recursive: true, encoding: 'utf8' }).map(
            (name) => `${directory}/${name}`,
          ),
        )
        .sort(),
  };
}

/** What a run wrote, as `kind`s and what they name. */
function told({ status, stdout, stderr }: Result): string[] {
  assert.equal(status, 0, stderr);
  return jsonLines(stdout).map((line) => `${Object.keys(line)[0]} ${Object.values(line)[0]}`);
}

/** The blobs of an image of two layers, the lower of which is shared. */
const blobsOf = ({ descriptor, config, layers: [, top] }: BuiltImage) =>
  [descriptor, config.descriptor, top!.descriptor].map(({ digest }) => `blob ${digest}`);

test('what an image was before it was pulled anew goes, and all that has a name stays', async (t) => {
  const it = await site(t);
  const first = imageOf('first\n');
  const name = await it.put('library/demo', first);
  const { stdout: old } = await it.pull(name);
  await it.put('library/demo', imageOf('second\n'));
  await it.pull(name);
  await it.pull(await it.put('library/other', imageOf('other\n')));
  const expected = [...blobsOf(first), `tree ${old.trim()}`].sort();
  const before = it.list();
  assert.deepEqual(told(await it.prune('--dry-run')).sort(), expected);
  assert.deepEqual(it.list(), before);
  assert.deepEqual(told(await it.prune()).sort(), expected);
  assert.deepEqual(told(await it.prune()), []);
  for (const stays of [name, it.registry.image('library/other')]) {
    const { stdout } = await it.pull(stays, '--offline');
    const verified = await shell(
      'md-token --offline "$1" | md-manifest | md-fetch-layer | md-unpack --verify "$2"',
      [stays, stdout.trim()],
      {
        env: { MD_HOME: it.home },
      },
    );
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  }
});

test('an image that is named goes with its tree and the layers that no other has', async (t) => {
  const it = await site(t);
  const other = imageOf('other\n');
  await it.pull(await it.put('library/other', other));
  const before = it.list();
  const demo = imageOf('demo\n');
  const name = await it.put('deep/er/demo', demo);
  const { stdout: tree } = await it.pull(name);
  const expected = [`image ${name}`, ...blobsOf(demo), `tree ${tree.trim()}`].sort();
  assert.deepEqual(told(await it.prune(name)).sort(), expected);
  assert.deepEqual(it.list(), before);
  const { status, stderr } = await it.prune(name);
  assert.equal(status, 66);
  const hint = 'md-prune --all --dry-run lists the names that are in the store';
  assert.equal(stderr, `md-prune: ${name}: it is not in the store; ${hint}\n`);
  const place = await it.prune('oci:layout:latest');
  assert.deepEqual([place.status, place.stderr], [64, `md-prune: "oci:layout:latest": it is no name; ${hint}\n`]);
});

test('a name whose link the filesystem does not show, as sshfs, is not a fault of the program', {
  skip: needs('strace'),
}, async (t) => {
  const { home, put, pull } = await site(t);
  const name = await put('demo', imageOf('first\n'));
  await pull(name);
  const link = join(home, 'rootfs', name);
  const strace = injecting(`${callOf('readlink')}:error=EPERM`, link);
  const { status, stderr } = await run([...strace, 'md-prune'], { env: { MD_HOME: home } });
  // strace has a word on the path as well.
  const why = 'operation not permitted (EPERM); sshfs shows such links if it is mounted with -o no_contain_symlinks';
  assert.ok(stderr.endsWith(`\nmd-prune: ${link}: ${why}\n`), stderr);
  assert.equal(status, 77);
});

test('a tree whose document cannot be removed stays whole', { skip: needs('strace') }, async (t) => {
  const { home, put, pull } = await site(t);
  const name = await put('demo', imageOf('first\n'));
  const tree = (await pull(name)).stdout.trim();
  const record = `${tree}.unset.jsonl`;
  writeFileSync(record, '{"path":"motd","uid":1,"gid":1}\n');
  const strace = injecting('unlinkat:error=EIO', `${basename(tree)}.json`);
  const { status, stderr } = await run([...strace, 'md-prune', name], { env: { MD_HOME: home } });
  assert.ok(stderr.endsWith(`md-prune: ${tree}: i/o error (EIO)\n`), stderr);
  assert.equal(status, 74);
  for (const path of [`${tree}.json`, record, join(tree, 'motd')]) assert.ok(existsSync(path), path);
});

test('nor is a tree removed that cannot be opened to see whether it is in use', {
  skip: needs('strace'),
}, async (t) => {
  const { home, put, pull } = await site(t);
  const name = await put('demo', imageOf('first\n'));
  const tree = (await pull(name)).stdout.trim();
  const strace = injecting('openat:error=EIO', basename(tree));
  const { status, stderr } = await run([...strace, 'md-prune', name], { env: { MD_HOME: home } });
  assert.deepEqual([status, stderr], [74, `md-prune: ${tree}: i/o error (EIO)\n`]);
  for (const path of [`${tree}.json`, join(tree, 'motd')]) assert.ok(existsSync(path), path);
});

test('what goes wrong with one tree keeps no other from being removed', { skip: needs('strace') }, async (t) => {
  const { home, put, pull } = await site(t);
  const pulled = async (name: string) => (await pull(await put(name, imageOf(name)))).stdout.trim();
  const [first = '', second = ''] = [await pulled('demo'), await pulled('other')].sort();
  const strace = injecting('unlinkat:error=EIO', `${basename(first)}.json`);
  const { status, stdout, stderr } = await run([...strace, 'md-prune', '--all'], { env: { MD_HOME: home } });
  assert.deepEqual([status, stderr], [74, `md-prune: ${first}: i/o error (EIO)\n`]);
  assert.deepEqual([existsSync(first), existsSync(second)], [true, false], stdout);
});

test('nothing is told of where it may not have gone', { skip: needs('strace') }, async (t) => {
  const { home, put, pull } = await site(t);
  const built = imageOf('first\n');
  await pull(await put('demo', built));
  const blob = join(home, 'oci/blobs', built.descriptor.digest.replace(':', '/'));
  const strace = injecting(`${callOf('unlink')}:error=EIO`, blob);
  const { status, stdout, stderr } = await run([...strace, 'md-prune', '--all'], { env: { MD_HOME: home } });
  assert.deepEqual([status, stderr], [74, `md-prune: ${blob}: i/o error (EIO)\n`]);
  assert.deepEqual(jsonLines(stdout).map(Object.keys), [['error']]);
});

test('a mark that cannot be removed is no failure, and the next prune removes it', {
  skip: needs('strace'),
}, async (t) => {
  const it = await site(t);
  await it.pull(await it.put('demo', imageOf('first\n')));
  const strace = injecting(`${callOf('unlink')}:error=EROFS`);
  const { status, stderr } = await run([...strace, 'md-prune'], { env: { MD_HOME: it.home } });
  assert.deepEqual([status, stderr], [0, '']);
  const [left = ''] = readdirSync(join(it.home, 'partial'));
  assert.match(left, /^pruning\./);
  assert.deepEqual(told(await it.prune()), [`partial ${join(it.home, 'partial', left)}`]);
});

test('a prune that is killed at any of its changes leaves a whole layout, and the next one ends what it began', {
  skip: needs('strace'),
}, async (t) => {
  const it = await site(t);
  await it.pull(await it.put('library/other', imageOf('other\n')));
  const expected = it.list();
  const name = await it.put('library/demo', imageOf('demo\n'));
  for (const call of new Set([callOf('rename'), callOf('rmdir'), callOf('unlink'), 'unlinkat'])) {
    for (let when = 1; ; when += every) {
      await it.pull(name);
      const killed = [...injecting(`${call}:signal=SIGKILL:when=${when}`), 'md-prune', name];
      const { signal } = await run(killed, { env: { MD_HOME: it.home } });
      const point = `${call} ${when}`;
      const { manifests } = JSON.parse(readFileSync(join(it.home, 'oci/index.json'), 'utf8'));
      for (const { digest } of manifests)
        assert.ok(existsSync(join(it.home, 'oci/blobs', digest.replace(':', '/'))), point);
      const { status, stderr } = await it.prune(name);
      assert.ok(status === 0 || status === 66, `${point}: ${stderr}`);
      told(await it.prune());
      assert.deepEqual(it.list(), expected, point);
      if (signal === null) break;
    }
  }
});

test('--all leaves an empty layout', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  const dead = `${ownMark().split('.')[0]}.999999999.1`;
  writeFileSync(join(it.home, `partial/decompressed.${dead}`), '');
  // What a killed md-unpack has left: a link that has no name yet, and something beside a tree that is not there.
  const link = join(it.home, 'rootfs', dirname(name), `.link.${dead}`);
  symlinkSync('nowhere', link);
  const left = `sha256-${'0'.repeat(64)}`;
  const trees = join(it.home, 'rootfs');
  mkdirSync(join(trees, 'left'));
  renameSync(join(trees, 'left'), join(trees, `.${left}.md-unpack-${statSync(join(trees, 'left')).ino}`));
  const gone = told(await it.prune('--all'));
  assert.deepEqual(
    gone.filter((line) => line.startsWith('image ')),
    [`image ${name}`],
  );
  for (const line of [`partial ${link}`, `tree ${join(trees, left)}`]) assert.ok(gone.includes(line), line);
  assert.deepEqual(it.list(), ['oci/blobs/sha256']);
  assert.equal((await it.prune('--all', name)).status, 64);
  await it.pull(name);
});

test('the index that an image was found in stays with it, for its digest offline', async (t) => {
  const it = await site(t);
  const built = imageOf('demo\n');
  const both = index([built]);
  await put(it.registry, 'library/demo', ['latest'], both);
  const name = it.registry.image('library/demo');
  await it.pull(name);
  assert.deepEqual(told(await it.prune()), []);
  const document = await shell('md-token --offline "$1" | md-manifest', [`${name}@${both.descriptor.digest}`], {
    env: { MD_HOME: it.home },
  });
  assert.equal(jsonLines(document.stdout)[0]?.digest, built.descriptor.digest, document.stderr);
  assert.ok(told(await it.prune('--all')).includes(`blob ${both.descriptor.digest}`));
});

test('a layer that is JSON, nested deeper than a stack, does not keep a store from being pruned', async (t) => {
  const it = await site(t);
  const depth = 1_000_000;
  const bytes = Buffer.from(`{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`);
  const built = imageOf('demo\n');
  const digest = digestOf(bytes);
  const deep = {
    ...built.layers[0]!,
    bytes,
    descriptor: { ...built.layers[0]!.descriptor, digest, size: bytes.length },
  };
  const name = await it.put('library/demo', image({ layers: [deep] }));
  const fetch = 'md-token "$1" | md-manifest | md-fetch-layer';
  assert.equal((await shell(fetch, [name], { env: { MD_HOME: it.home } })).status, 0);
  assert.deepEqual(told(await it.prune()), []);
  assert.ok(told(await it.prune(name)).includes(`blob ${digest}`));
});

test('a name in index.json that leads out of the store removes nothing there', async (t) => {
  const it = await site(t);
  await it.pull(await it.put('library/demo', imageOf('demo\n')));
  const canary = join(it.home, '../canary');
  writeFileSync(canary, '');
  const path = join(it.home, 'oci/index.json');
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll(/"[^"]*library\/demo:latest"/g, '"../../canary"'));
  assert.ok(told(await it.prune('--all')).includes('image ../../canary'));
  assert.ok(existsSync(canary));
});

test('what others have put beside the blobs keeps nothing from being pruned, and stays', async (t) => {
  const it = await site(t);
  const built = imageOf('demo\n');
  const name = await it.put('library/demo', built);
  await it.pull(name);
  const paths = ['notes', 'md5/x', 'sha256/notes'].map((path) => join(it.home, 'oci/blobs', path));
  for (const path of paths) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
  }
  const gone = told(await it.prune(name));
  for (const blob of blobsOf(built)) assert.ok(gone.includes(blob), blob);
  assert.ok(paths.every((path) => existsSync(path)));
});

test('behind a link in the place of a directory of the store nothing goes that is not of the store', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  const elsewhere = scratch(t);
  const paths = ['passwd', 'libc.so.1.2.3', 'pulling', 'sub/passwd'].map((path) => join(elsewhere, path));
  const longAgo = new Date(Date.now() - 8 * 86_400_000);
  for (const path of paths) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
    utimesSync(path, longAgo, longAgo);
  }
  utimesSync(join(elsewhere, 'sub'), longAgo, longAgo);
  const link = join(elsewhere, 'sub/localtime');
  symlinkSync('../passwd', link);
  const exchange = (directory: string) => {
    rmSync(join(it.home, directory), { recursive: true });
    symlinkSync(elsewhere, join(it.home, directory));
  };
  exchange('partial');
  assert.deepEqual(told(await it.prune()), []);
  await it.pull(name);
  exchange('rootfs');
  assert.ok(!told(await it.prune('--all')).some((line) => line.includes('localtime')));
  assert.ok([...paths, link].every((path) => existsSync(path)));
});

test('an image that another program has named goes by that name', async (t) => {
  const it = await site(t);
  const built = imageOf('demo\n');
  await it.pull(await it.put('library/demo', built));
  rmSync(join(it.home, 'rootfs'), { recursive: true });
  const path = join(it.home, 'oci/index.json');
  const { manifests, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  const annotations = { 'org.opencontainers.image.ref.name': 'Mine' };
  // Of two names that may be meant, it is the one that md-token makes of the word.
  const both = ['demo', 'docker.io/library/demo:latest'].map((known) => ({
    ...manifests[0],
    annotations: { 'org.opencontainers.image.ref.name': known },
  }));
  writeFileSync(path, JSON.stringify({ ...rest, manifests: both }));
  assert.deepEqual(told(await it.prune('--dry-run', 'demo')), ['image docker.io/library/demo:latest']);
  writeFileSync(path, JSON.stringify({ ...rest, manifests: [{ ...manifests[0], annotations }] }));
  assert.deepEqual(
    told(await it.prune('Mine')).sort(),
    [...blobsOf(built), `blob ${base.descriptor.digest}`, 'image Mine'].sort(),
  );
  assert.equal((await it.prune('Mine')).status, 64);
});

test('where somebody has removed all blobs none is left to remove', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  rmSync(join(it.home, 'oci/blobs'), { recursive: true });
  assert.deepEqual(told(await it.prune()), []);
  await it.pull(name);
});

test('an image that has no name stays with what it leads to, unless all goes', async (t) => {
  const it = await site(t);
  const built = imageOf('demo\n');
  const name = await it.put('library/demo', built);
  await it.pull(name);
  rmSync(join(it.home, 'rootfs'), { recursive: true });
  const path = join(it.home, 'oci/index.json');
  const { manifests, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  // An index of another program, which leads to the manifest.
  const bytes = JSON.stringify({ schemaVersion: 2, manifests });
  writeFileSync(join(it.home, 'oci/blobs', digestOf(bytes).replace(':', '/')), bytes);
  const descriptor = { mediaType: mediaTypes.oci.index, digest: digestOf(bytes), size: bytes.length };
  writeFileSync(path, JSON.stringify({ ...rest, manifests: [descriptor] }));
  assert.deepEqual(told(await it.prune()), []);
  const all = [...blobsOf(built), `blob ${base.descriptor.digest}`, `blob ${digestOf(bytes)}`].sort();
  assert.deepEqual(told(await it.prune('--all')).sort(), all);
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')).manifests, []);
});

test('a store of another user, who lets nobody look into it, is not permitted', { skip: needsRoot }, async (t) => {
  const it = await site(t);
  await it.pull(await it.put('library/demo', imageOf('demo\n')));
  for (const [mode, place] of [
    [0o700, it.home],
    [0o755, join(it.home, 'rootfs')],
  ] as const) {
    for (const path of [dirname(it.home), it.home]) chmodSync(path, mode);
    const { status, stderr } = await run([join(binDir, 'md-prune')], {
      env: { MD_HOME: it.home },
      uid: 65534,
      gid: 65534,
    });
    assert.equal(status, 77, stderr);
    const expected = `md-prune: ${place}: permission denied (EACCES); MD_HOME names another place for the store\n`;
    assert.equal(stderr, expected);
  }
});

test('who is used to -f is told that md-prune never asks', async () => {
  for (const flag of ['-f', '--force']) {
    const { status, stderr } = await md('md-prune', [flag]);
    assert.deepEqual([status, stderr], [64, `md-prune: ${flag}: unknown flag; leave it out: md-prune never asks\n`]);
  }
});

test('where there is no store nothing is made', async (t) => {
  const home = join(scratch(t), 'home');
  assert.deepEqual(told(await md('md-prune', [], { env: { MD_HOME: home } })), []);
  assert.equal((await md('md-prune', ['demo'], { env: { MD_HOME: home } })).status, 66);
  assert.equal(existsSync(home), false);
});

test('while an image is pulled nothing is removed, and a pull waits for the end of a prune', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  const partial = join(it.home, 'partial');
  // Of this process, which is alive, and of one that is not.
  writeFileSync(join(partial, `pulling.${ownMark()}`), '');
  const refused = await it.prune('--all');
  assert.equal(refused.status, 75);
  assert.match(refused.stderr, /being pulled into it.*; try again/);
  assert.deepEqual(readdirSync(partial), [`pulling.${ownMark()}`]);
  rmSync(join(partial, `pulling.${ownMark()}`));
  writeFileSync(join(partial, `pulling.${ownMark().split('.')[0]}.999999999.1`), '');
  assert.ok(told(await it.prune('--all')).length > 0);

  const pruning = join(partial, `pruning.${ownMark()}`);
  writeFileSync(pruning, '');
  assert.equal((await it.prune('--all')).status, 75, 'nor while another prune is at work');
  let isDone = false;
  const pulled = it.pull(name).then(() => {
    isDone = true;
  });
  await until(() => readdirSync(partial).some((file) => file.startsWith('pulling.')));
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(isDone, false);
  rmSync(pruning);
  await pulled;
  assert.deepEqual(readdirSync(partial), []);
});

test('while an image is unpacked into a directory nothing is removed either', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  const env = { ...cleanEnv(), MD_HOME: it.home };
  const fetched = await shell('md-token "$1" | md-manifest | md-fetch-layer', [name], { env });
  const [document = '', ...layers] = fetched.stdout.split(/(?<=\n)/);
  const tree = join(it.home, '../tree');
  const unpack = spawn(join(binDir, 'md-unpack'), [tree], { env, stdio: ['pipe', 'ignore', 'inherit'] });
  killAfterwards(t, unpack);
  const ended = new Promise((resolve) => unpack.on('close', resolve));
  unpack.stdin.write(document + layers[0]);
  await until(() => readdirSync(join(it.home, 'partial')).some((file) => file.startsWith('pulling.')));
  assert.equal((await it.prune('--all')).status, 75);
  unpack.stdin.end(layers.slice(1).join(''));
  assert.equal(await ended, 0);
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'demo\n');
  assert.ok(told(await it.prune('--all')).includes(`image ${name}`));
});

test('the layers of a pull stay until the next stage has begun, however late that is', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  const tree = join(it.home, '../tree');
  const script = `md-fetch-layer "$1" | {
      for _ in $(seq 999); do ls "$MD_HOME"/partial/pulling.* && break; sleep 0.05; done >&2; sleep 0.7
      md-prune --all >&2; echo "prune: $?"; md-unpack --path "$2"; }`;
  // It waits two seconds at most, of a clock that is slower here than any machine.
  const hook = join(it.home, '../hook.cjs');
  writeFileSync(hook, 'const { uptime } = process; process.uptime = () => uptime() / 1000;');
  const env = { MD_HOME: it.home, NODE_OPTIONS: `--require=${hook}` };
  const { status, stdout, stderr } = await shell(script, [name, tree], { env });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, `prune: 75\n${tree}\n`);
});

test('they stay while the next stage has read that they are there, and done nothing else', {
  skip: needs('strace', 'mkfifo'),
}, async (t) => {
  const it = await site(t);
  await it.pull(await it.put('library/other', imageOf('other\n')));
  const name = await it.put('library/demo', imageOf('demo\n'));
  const [tree, pipe] = [join(it.home, '../tree'), join(it.home, '../pipe')];
  const slowly = injecting('read:delay_enter=2000000:delay_exit=1500000:when=1', pipe).join(' ');
  const script = `mkfifo "$3"; ${slowly} md-unpack --path "$2" <"$3" & md-fetch-layer "$1" >"$3"
    md-prune --all >&2; echo "prune: $?"; wait $!`;
  const { status, stdout, stderr } = await shell(script, [name, tree, pipe], { env: { MD_HOME: it.home } });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, `prune: 75\n${tree}\n`);
});

test('while the first image is unpacked nothing is removed either', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  const tree = join(it.home, '../tree');
  const script = `md-unpack --path "$2" <"$3" & exec 3>"$3"; sleep 0.5; md-fetch-layer "$1" >"$4"; head -n1 "$4" >&3
    for _ in $(seq 999); do ls "$MD_HOME"/partial/pulling.* && break; sleep 0.05; done >&2; md-prune --all >&2; echo "prune: $?"
    tail -n +2 "$4" >&3; exec 3>&-; wait $!`;
  const [pipe, lines] = [join(it.home, '../pipe'), join(it.home, '../lines')];
  await run(['mkfifo', pipe]);
  const { status, stdout, stderr } = await shell(script, [name, tree, pipe, lines], { env: { MD_HOME: it.home } });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, `prune: 75\n${tree}\n`);
});

test('a pull that waits long for the end of a prune says so, and for which', async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  // Of a process that may be alive, where it cannot be seen.
  const pruning = join(it.home, 'partial/pruning.1.1.1');
  writeFileSync(pruning, '');
  const { PATH = '' } = cleanEnv();
  const script = 'md-token "$1" | md-manifest | md-fetch-layer';
  const child = spawn('sh', ['-c', script, 'sh', name], { env: { PATH, MD_HOME: it.home } });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  await until(() => said.includes('\n'));
  rmSync(pruning);
  assert.equal(await ended, 0);
  assert.equal(said, `md-fetch-layer: ${it.home}: waiting for md-prune, which has left ${pruning}\n`);
});

test('pulls and prunes at the same time: every pull ends with a whole tree', async (t) => {
  const it = await site(t);
  const built = imageOf('demo\n');
  const name = await it.put('library/demo', built);
  const tree = join(it.home, 'rootfs', built.descriptor.digest.replace(':', '-'));
  let isOver = false;
  const prunes = (async () => {
    while (!isOver) {
      const { status, stderr } = await it.prune('--all');
      assert.ok(status === 0 || status === 75, stderr);
    }
  })();
  try {
    for (let i = 0; i < rounds; i++) {
      const pull = 'md-token "$1" | md-manifest | md-fetch-layer';
      const { status, stderr } = await shell(pull, [name], { env: { MD_HOME: it.home } });
      assert.equal(status, 0, stderr);
      assert.equal((await it.pull(name)).stdout, `${tree}\n`);
    }
  } finally {
    isOver = true;
  }
  await prunes;
  await it.pull(name);
  assert.ok(existsSync(join(tree, 'motd')));
});

test('--dry-run, which waits for nobody, is not stopped by what a prune removes meanwhile', {
  skip: needs('strace'),
}, async (t) => {
  const it = await site(t);
  await it.pull(await it.put('library/demo', imageOf('demo\n')));
  const blobs = join(it.home, 'oci/blobs/sha256');
  const slowly = injecting('statx:delay_enter=800000:when=1', join(blobs, readdirSync(blobs).at(-1)!));
  const slow = run([...slowly, 'md-prune', '--all', '--dry-run'], { env: { MD_HOME: it.home } });
  await new Promise((done) => setTimeout(done, 400));
  assert.equal((await it.prune('--all')).status, 0);
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
});

test('what a killed md-unpack --force has left beside a tree goes, and what a living one makes stays', {
  skip: needs('strace', 'flock'),
}, async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  const tree = (await it.pull(name)).stdout.trim();
  const trees = join(it.home, 'rootfs');
  const beside = () => readdirSync(trees).filter((entry) => entry.startsWith('.'));
  const killed = `md-fetch-layer "$1" | ${injecting('renameat2:signal=SIGKILL:when=3').join(' ')} md-unpack --force`;
  await shell(killed, [name], { env: { MD_HOME: it.home } });
  const left = beside().filter((entry) => /-[0-9]+$/.test(entry));
  assert.equal(left.length, 1);
  const partial = `partial ${join(trees, left[0]!)}`;
  assert.ok(told(await it.prune('--dry-run')).includes(partial));
  assert.equal(beside().length, 3);
  assert.ok(told(await it.prune()).includes(partial));
  assert.deepEqual(beside(), []);
  assert.ok(existsSync(join(tree, 'motd')));
  // One whose lock is not there any more goes, and not one whose lock is none.
  const lost = join(trees, `.${basename(tree)}.md-unpack-2`);
  mkdirSync(lost);
  const none = join(trees, `.${basename(tree)}.md-unpack-3.lock`);
  symlinkSync('nothing', none);
  for (const flags of [['--dry-run'], []]) assert.deepEqual(told(await it.prune(...flags)), [`partial ${lost}`]);
  assert.deepEqual(beside(), [basename(none)]);
  rmSync(none);
  const lock = join(trees, `.${basename(tree)}.md-unpack-1.lock`);
  writeFileSync(lock, '');
  const living = spawn('flock', [lock, 'sh', '-c', 'echo; exec sleep 20']);
  killAfterwards(t, living);
  await once(living.stdout, 'data');
  assert.deepEqual([...told(await it.prune('--dry-run')), ...told(await it.prune())], []);
  assert.deepEqual(beside(), [basename(lock)]);
});

test('a tree that a container runs in stays until that has ended', { skip: needsContainer }, async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  const tree = (await it.pull(name)).stdout.trim();
  await run(['cp', '-a', `${makeRoot(t)}/.`, tree]);
  const said = join(tree, 'said');
  const container = spawn(join(binDir, 'md-isolate'), [tree, 'sh', '-c', 'echo > said; cat'], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: cleanEnv(),
  });
  killAfterwards(t, container);
  await until(() => existsSync(said));
  for (const flags of [['--all', '--dry-run'], ['--all']]) {
    const { status, stdout, stderr } = await it.prune(...flags);
    assert.equal(status, 0);
    assert.equal(stderr, `md-prune: ${tree}: it is in use, and stays\n`);
    assert.doesNotMatch(stdout, /"tree"/);
    assert.ok(existsSync(said));
  }
  const ended = new Promise((done) => container.once('exit', done));
  container.stdin.end();
  assert.equal(await ended, 0);
  assert.deepEqual(told(await it.prune()), [`tree ${tree}`]);
});

test('a full disk is pruned: there is no room for a mark or a new index before something has gone', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const it = await site(t);
  const name = await it.put('a', imageOf('a\n'));
  await it.pull(name);
  const script = `mount -t tmpfs -o size=1m,nr_inodes=200 none "$1" && cp -r "$MD_HOME" "$1/home"
    cat /dev/zero >"$1/zero" 2>/dev/null; touch $(seq -f "$1/%g" 200) 2>/dev/null
    MD_HOME="$1/home" && export MD_HOME && md-prune "$2" >/dev/null && cd "$1/home" && find . -type f`;
  const argv = ['unshare', '-m', 'sh', '-c', script, 'sh', scratch(t), name];
  const { status, stdout, stderr } = await run(argv, { env: { MD_HOME: it.home } });
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trim().split('\n').sort(), ['./lock', './oci/index.json', './oci/oci-layout']);
});

test('where there is no /proc a name that stays keeps what it leads to', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  const before = it.list();
  const script = `unshare -m sh -c 'umount -l /proc; exec md-prune "$1"' sh "$1"`;
  const { status, stderr } = await shell(script, [name], { env: { MD_HOME: it.home } });
  const why = 'it is not mounted, and nothing else tells where open files are; mount -t proc proc /proc';
  assert.deepEqual([status, stderr], [74, `md-prune: /proc: ${why}\n`]);
  assert.deepEqual(it.list(), before);
  assert.ok(told(await it.prune('--dry-run', name)).includes(`image ${name}`));
});

test('a disk that fails at an open directory does not pass for a missing /proc', {
  skip: needs('strace'),
}, async (t) => {
  const it = await site(t);
  const name = await it.put('library/demo', imageOf('demo\n'));
  await it.pull(name);
  const paths = Array.from({ length: 90 }, (_, at) => ['-P', `/proc/self/fd/${10 + at}`]).flat();
  const [strace = '', ...flags] = injecting('?access,faccessat:error=EIO');
  const pruned = await run([strace, ...paths, ...flags, 'md-prune', name], { env: { MD_HOME: it.home } });
  assert.ok(told(pruned).includes(`image ${name}`));
});

test('a tree in which something is mounted stays whole', { skip: needsRoot || needs('unshare') }, async (t) => {
  const it = await site(t);
  const tree = (await it.pull(await it.put('library/demo', imageOf('demo\n')))).stdout.trim();
  mkdirSync(join(tree, 'on'));
  const script = 'mount -t tmpfs none "$1/on" && md-prune --all >/dev/null; echo $?; cat "$1/base"';
  const result = await shell(`unshare -m sh -c '${script}' sh "$1"`, [tree], { env: { MD_HOME: it.home } });
  assert.equal(result.stderr, `md-prune: ${tree}: it is in use, and stays\n`);
  assert.equal(result.stdout, '0\nof both\n');
});

test('a directory of trees that its owner has made read-only stays so, and what is in it', {
  skip: needsRoot,
}, async (t) => {
  const { directory, stdin, keepIn } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(directory, 0o777);
  const user = { uid: 65534, gid: 65534, env: { MD_HOME: join(directory, 'home') } };
  keepIn(user.env.MD_HOME, user.uid);
  const tree = (await md('md-unpack', ['--path'], { stdin, ...user })).stdout.trim();
  // Its name would go first, and that fails as well.
  rmSync(join(dirname(tree), 'docker.io'), { recursive: true });
  chmodSync(dirname(tree), 0o555);
  const { status, stderr } = await md('md-prune', [], user);
  assert.deepEqual([status, stderr], [77, `md-prune: ${tree}: permission denied (EACCES)\n`]);
  assert.equal(statSync(dirname(tree)).mode & 0o777, 0o555);
  assert.ok(existsSync(`${tree}.json`) && existsSync(join(tree, 'f')));
});

test('what --map has unpacked goes with --map, and is refused whole without', { skip: needsSubordinate }, async (t) => {
  // Deep inside, since there the removal would end halfway.
  const inside = 'd/'.repeat(100);
  const { directory, stdin, keepIn } = prepare(t, [
    [
      { name: inside, type: 'directory', uid: 7, mode: 0o700 },
      { name: `${inside}x`, data: 'x', uid: 7 },
    ],
  ]);
  chmodSync(directory, 0o755);
  const { home, command } = subordinateUser(t);
  const env = { MD_HOME: join(home, 'store') };
  keepIn(env.MD_HOME, subordinate);
  const unpacked = await run(command('md-unpack', ['--map', '--path']), { stdin, env });
  assert.equal(unpacked.status, 0, unpacked.stderr);
  const tree = unpacked.stdout.trim();
  const refused = await run(command('md-prune', ['--all']), { env });
  assert.equal(refused.status, 77);
  assert.match(refused.stderr, /it holds directories of other users, which you may not empty; md-prune --map may$/m);
  assert.ok(existsSync(`${tree}.json`) && existsSync(join(tree, inside, 'x')));
  assert.deepEqual(told(await run(command('md-prune', ['--map']), { env })), [`tree ${tree}`]);
  assert.deepEqual(readdirSync(join(home, 'store/rootfs')), []);
});

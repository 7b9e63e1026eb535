/** md-unpack without DIR: root filesystems in the store, and the names that lead to them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tryLock } from '../../lib/sys/files/lock.js';
import { removeUnfinished } from '../../lib/unpack/place/remove-stored.js';
import { type BuiltImage, image, layer, put } from '../support/image.js';
import { registryFor } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { binDir, cleanEnv, jsonLines, killAfterwards, md, needs, type Result, scratch, shell } from '../support/run.js';

interface Site {
  home: string;
  name: string;
  built: BuiltImage;
  /** Where the tree of `built` belongs. */
  tree: string;
  put(built: BuiltImage, name?: string): Promise<void>;
  pull(flags?: string, name?: string): Promise<Result>;
}

const motd = (data: string) => image({ layers: [layer([{ name: 'motd', data }])], run: { Cmd: ['/bin/true'] } });

async function site(t: TestContext): Promise<Site> {
  const home = join(scratch(t), 'home');
  const registry = await registryFor(t);
  const built = motd('first\n');
  await put(registry, 'library/demo', ['latest'], built);
  const name = registry.image('library/demo');
  return {
    home,
    name: `${name}:latest`,
    built,
    tree: join(home, 'rootfs', built.descriptor.digest.replace(':', '-')),
    put: async (it, tag = 'latest') => void (await put(registry, 'library/demo', [tag], it)),
    pull: (flags = '', image = name) =>
      shell(`md-token "$1" | md-manifest | md-fetch-layer | md-unpack ${flags}`, [image], { env: { MD_HOME: home } }),
  };
}

function succeeded(result: Result): Result {
  assert.equal(result.status, 0, result.stderr);
  return result;
}

test('without DIR the tree is in the store, by its digest and by the name of the image', async (t) => {
  const { home, name, tree, pull } = await site(t);
  const [document] = jsonLines(succeeded(await pull()).stdout);
  assert.equal(document?.rootfs, tree);
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'first\n');
  const link = join(home, 'rootfs', name);
  assert.equal(realpathSync(link), realpathSync(tree));
  assert.ok(!readlinkSync(link).startsWith('/'), 'a store that is moved keeps its names');
});

test('a document that was changed on its way has no place in the store, where it would be taken for the image', {
  skip: needs('jq'),
}, async (t) => {
  const { home, name, tree } = await site(t);
  const pipe = (filter: string, rest = 'md-fetch-layer | md-unpack') =>
    shell(`md-token "$1" | md-manifest | jq -c "$2" | ${rest}`, [name, filter], { env: { MD_HOME: home } });
  for (const filter of [
    '.manifest.layers = [] | .config.rootfs.diff_ids = []',
    '.config.config.Entrypoint = ["/evil"]',
  ]) {
    const { status, stderr } = await pipe(filter);
    assert.equal(status, 65);
    assert.match(stderr, /: the document on stdin has other layers or another config; name DIR to unpack it elsewhere/);
    assert.equal(existsSync(tree), false);
    succeeded(await pipe(filter, `md-fetch-layer | md-unpack --force '${join(home, 'elsewhere')}'`));
  }
  succeeded(await pipe('to_entries | reverse | from_entries'));
  assert.equal(existsSync(tree), true);
});

test('where the tree is there already all is read all the same, so that the stages above end their work', async (t) => {
  const { home, name, pull } = await site(t);
  succeeded(await pull());
  const script = `md-fetch-layer "$1" >lines && { sed 1q lines; sleep 1; sed 1d lines; echo "sed $?" >&2; } | md-unpack`;
  const { stderr } = succeeded(await shell(script, [name], { cwd: home, env: { MD_HOME: home } }));
  assert.equal(stderr, 'sed 0\n');
});

test('a tree that nobody waits for any more is not left half made', async (t) => {
  const { home, name } = await site(t);
  // The shell keeps the pipe open, so that no end of stdin is what ends it.
  const script =
    'mkfifo in && exec 3<>in && md-fetch-layer "$1" | sed 1q >&3 && { md-unpack <in; echo "$?" >&2; } | true';
  const { stderr } = succeeded(await shell(script, [name], { cwd: dirname(home), env: { MD_HOME: home } }));
  assert.equal(stderr, '141\n');
  assert.deepEqual(readdirSync(join(home, 'rootfs')), []);
});

test("layers of another user's store become a tree in one's own, as with sudo md-unpack", async (t) => {
  const { home, name, built } = await site(t);
  const script = 'MD_HOME=$1/theirs md-fetch-layer "$2" | MD_HOME=$1/own md-unpack --path';
  const { stdout } = succeeded(await shell(script, [home, name], {}));
  assert.equal(stdout, `${join(home, 'own/rootfs', built.descriptor.digest.replace(':', '-'))}\n`);
});

test('without the manifest in the store a tree has no place there, since nobody can tell whose it is', async (t) => {
  const { home, name, tree, built, pull } = await site(t);
  succeeded(await pull());
  const blob = join(home, 'oci/blobs', built.descriptor.digest.replace(':', '/'));
  const lines = 'cat >"$MD_HOME/lines" && rm -rf "$2" "$2.json" "$3" && $4 "$3" && md-unpack <"$MD_HOME/lines"';
  // What stands in its place is neither waited for nor read whole.
  for (const inItsPlace of ['true', 'mkfifo', 'truncate -s 65M']) {
    const script = `md-fetch-layer "$1" | { ${lines}; }`;
    const { status, stderr } = await shell(script, [name, tree, blob, inItsPlace], { env: { MD_HOME: home } });
    assert.equal(status, 65, stderr);
    assert.match(
      stderr,
      /it is not in the store, or damaged, .* nobody can tell what belongs to the image; name DIR to unpack it elsewhere/,
    );
    assert.equal(existsSync(tree), false);
    rmSync(blob, { force: true });
  }
});

test('--path writes the path and nothing else', async (t) => {
  const { tree, pull } = await site(t);
  assert.equal(succeeded(await pull('--path')).stdout, `${tree}\n`);
  assert.equal(succeeded(await pull('--path')).stdout, `${tree}\n`);
});

test('a tree that is there is used again', async (t) => {
  const { name, tree, pull } = await site(t);
  succeeded(await pull());
  const { ino } = statSync(tree);
  // What only its unpacking could tell stays; the rest is what came down the pipe now.
  const kept = JSON.parse(readFileSync(`${tree}.json`, 'utf8'));
  writeFileSync(`${tree}.json`, JSON.stringify({ ...kept, unset: `${tree}.unset.jsonl`, image: 'earlier' }));
  const [document = {}] = jsonLines(succeeded(await pull()).stdout);
  assert.equal(statSync(tree).ino, ino);
  assert.deepEqual([document.unset, document.image], [`${tree}.unset.jsonl`, name]);
  assert.deepEqual([document.rootfs, (document.config as { config: object }).config], [tree, { Cmd: ['/bin/true'] }]);
});

test('a tree that is there is used again by whoever may only read the store', async (t) => {
  const { home, name, tree, pull } = await site(t);
  succeeded(await pull());
  const directories = (await shell('find "$1" -type d', [home])).stdout.trim().split('\n');
  for (const directory of directories) chmodSync(directory, 0o555);
  chmodSync(dirname(home), 0o755);
  const user = process.getuid!() === 0 ? { uid: 65534, gid: 65534 } : {};
  const result = await shell('md-fetch-layer "$1" | md-unpack --path', [name], { env: { MD_HOME: home }, ...user });
  assert.deepEqual([result.status, result.stdout, result.stderr], [0, `${tree}\n`, '']);
  for (const directory of directories) chmodSync(directory, 0o755);
});

test('--force unpacks again what is there', async (t) => {
  const { tree, pull } = await site(t);
  succeeded(await pull());
  writeFileSync(join(tree, 'motd'), 'changed\n');
  succeeded(await pull('--force'));
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'first\n');
});

test('--force does not take a tree as it is when it cannot be replaced', { skip: needs('flock') }, async (t) => {
  const { home, tree, name, pull } = await site(t);
  succeeded(await pull());
  // As a container holds it.
  const pipe = 'md-token "$1" | md-manifest | md-fetch-layer | flock --shared "$2" md-unpack --force';
  const { status, stderr } = await shell(pipe, [name, tree], { env: { MD_HOME: home } });
  assert.equal(status, 75, stderr);
});

test('a tree without its document is unpacked again: whoever made it was killed', async (t) => {
  const { tree, pull } = await site(t);
  succeeded(await pull());
  rmSync(`${tree}.json`);
  writeFileSync(join(tree, 'motd'), 'half\n');
  succeeded(await pull());
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'first\n');
  assert.ok(existsSync(`${tree}.json`));
});

test('it is not exchanged for another tree then, which FUSE and NFS cannot do', {
  skip: needs('strace'),
}, async (t) => {
  const { home, tree, name, pull } = await site(t);
  succeeded(await pull());
  rmSync(`${tree}.json`);
  writeFileSync(join(tree, 'motd'), 'half\n');
  const log = join(home, 'strace');
  const pipe = 'md-token "$1" | md-manifest | md-fetch-layer | strace -f -o "$2" -e trace=renameat2 md-unpack';
  succeeded(await shell(pipe, [name, log], { env: { MD_HOME: home } }));
  const calls = readFileSync(log, 'utf8');
  assert.match(calls, /renameat2/);
  assert.doesNotMatch(calls, /RENAME_EXCHANGE/);
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'first\n');
  assert.deepEqual(
    readdirSync(dirname(tree)).filter((it) => it.includes('md-unpack')),
    [],
  );
});

test('a part of a tree that somebody uses is not removed', { skip: needs('flock') }, async (t) => {
  const { home, tree, name, pull } = await site(t);
  succeeded(await pull());
  rmSync(`${tree}.json`);
  const pipe = 'md-token "$1" | md-manifest | md-fetch-layer | flock --shared "$2" md-unpack';
  const { status, stderr } = await shell(pipe, [name, tree], { env: { MD_HOME: home } });
  assert.equal(status, 75, stderr);
  assert.equal(readFileSync(join(tree, 'motd'), 'utf8'), 'first\n');
});

test('nor is a tree whose document another process has put there just now', (t) => {
  const tree = join(scratch(t), 'tree');
  mkdirSync(tree);
  for (const isWhole of [true, false]) {
    removeUnfinished(tree, () => {
      // From here on none can come.
      const fd = openSync(tree, 'r');
      assert.equal(tryLock(fd, 'shared'), false);
      closeSync(fd);
      return isWhole;
    });
    assert.equal(existsSync(tree), isWhole);
  }
});

test('a document in the store that a crash has cut is written again', async (t) => {
  const { tree, pull } = await site(t);
  succeeded(await pull());
  for (const text of ['', '{"image":']) {
    writeFileSync(`${tree}.json`, text);
    succeeded(await pull());
    assert.equal(JSON.parse(readFileSync(`${tree}.json`, 'utf8')).rootfs, tree);
  }
});

test('a name follows its image, and the old tree stays for who uses it', async (t) => {
  const it = await site(t);
  succeeded(await it.pull());
  await it.put(motd('second\n'));
  succeeded(await it.pull());
  assert.equal(readFileSync(join(it.home, 'rootfs', it.name, 'motd'), 'utf8'), 'second\n');
  assert.equal(readFileSync(join(it.tree, 'motd'), 'utf8'), 'first\n');
});

test('four at once make one tree', async (t) => {
  const { tree, pull } = await site(t);
  for (const result of await Promise.all([pull('--path'), pull('--path'), pull('--path'), pull('--path')])) {
    assert.equal(succeeded(result).stdout, `${tree}\n`);
  }
});

test('a tree that another process has just put there is used when its document follows', async (t) => {
  const { home, tree, name, pull } = await site(t);
  succeeded(await pull('--path'));
  const aside = (path: string) => `${home}/aside${path.slice(tree.length)}`;
  const took = [tree, `${tree}.json`, `${tree}.unset.jsonl`].filter((path) => existsSync(path));
  for (const path of took) renameSync(path, aside(path));
  const env = { ...cleanEnv(), MD_HOME: home };
  const fetched = await shell('md-token "$1" | md-manifest | md-fetch-layer', [name], { env });
  const [document = '', ...layers] = succeeded(fetched).stdout.split(/(?<=\n)/);
  const unpack = spawn(join(binDir, 'md-unpack'), ['--path'], { env, stdio: ['pipe', 'ignore', 'pipe'] });
  killAfterwards(t, unpack);
  let said = '';
  unpack.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = new Promise((resolve) => unpack.on('close', resolve));
  unpack.stdin.write(document);
  await until(() => readdirSync(dirname(tree)).some((it) => it.includes('.md-unpack-')));
  renameSync(aside(tree), tree);
  unpack.stdin.end(layers.join(''));
  await until(() => unpack.exitCode !== null || readdirSync(dirname(tree)).every((it) => !it.includes('.md-unpack-')));
  for (const path of took.slice(1)) renameSync(aside(path), path);
  assert.equal(await ended, 0, said);
});

test('a failure above leaves neither a tree nor a name', async (t) => {
  const it = await site(t);
  await it.put({ ...it.built, layers: [] }, 'broken');
  const wrong = layer([{ name: 'x' }]);
  const lying = image({ layers: [{ ...wrong, diffID: `sha256:${'0'.repeat(64)}` }] });
  await it.put(lying, 'lying');
  const name = it.name.replace('latest', 'lying');
  const result = await it.pull('', name);
  assert.equal(result.status, 65, result.stderr);
  assert.ok(!existsSync(join(it.home, 'rootfs', lying.descriptor.digest.replace(':', '-'))));
  assert.equal(lstatSync(join(it.home, 'rootfs', name), { throwIfNoEntry: false }), undefined);
});

test('an image name in a document that is none makes no link', async (t) => {
  const { home, name } = await site(t);
  const fetched = await shell('md-token "$1" | md-manifest | md-fetch-layer', [name], { env: { MD_HOME: home } });
  const [document = '', ...layers] = succeeded(fetched).stdout.split('\n');
  for (const image of ['../../../evil:1', '/evil:1', 'a//b:1', 'a/./b:1', 'evil', 'a/b']) {
    const stdin = [JSON.stringify({ ...JSON.parse(document), image }), ...layers].join('\n');
    const { status, stderr } = await md('md-unpack', [], { stdin, env: { MD_HOME: home } });
    assert.equal(status, 65, `${image}: ${stderr}`);
    assert.match(stderr, /image: expected a full image name/);
    assert.ok(!existsSync(join(home, 'rootfs', image)), image);
  }
});

test('a name that no link can have is refused before a layer comes', { skip: needs('jq') }, async (t) => {
  const { home, name } = await site(t);
  const script = 'md-token "$1" | md-manifest | jq -c ".image = \\"$2\\"" | md-unpack';
  const long = `registry.test/a/${'n'.repeat(120)}:${'t'.repeat(128)}@sha256:${'0'.repeat(64)}`;
  const { status, stderr } = await shell(script, [name, long], { env: { MD_HOME: home } });
  assert.match(
    stderr,
    /^md-unpack: image \S+: a part of its name is longer than 255 bytes, .*; name DIR to unpack it .*\n$/,
  );
  assert.equal(status, 65);
  assert.equal(existsSync(join(home, 'rootfs')), false);
});

/** A tree and its document belong together at every moment, and what a run that was killed has left is made whole. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { readRootfsDocument } from '../../lib/isolate/settings/document.js';
import { isBelievable } from '../../lib/pipe/interim.js';
import { isLocked, tryLock } from '../../lib/sys/files/lock.js';
import { Stage } from '../../lib/unpack/place/stage.js';
import { lostAttributes } from '../../lib/unpack/tree/filesystem.js';
import { injecting } from '../support/injected-call.js';
import { childrenOf, signal } from '../support/processes.js';
import { until } from '../support/rootfs.js';
import { afterwards, cleanEnv, killAfterwards, md, needs, needsRoot, run } from '../support/run.js';
import { prepare } from '../support/unpacking.js';

const image = (which: string) => [[{ name: 'which', data: which }]];
const user = { uid: 65534, gid: 65534 };
/** No inode of a test. */
const dead = '.rootfs.md-unpack-4194305';

/** Which image a tree is of, and which its document: as a reader finds it, and in DIR.json. */
function pairAt(rootfs: string, digests: Map<string | undefined, string>) {
  const path = `${rootfs}.json`;
  const plain = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')).digest as string) : undefined;
  return {
    tree: readFileSync(join(rootfs, 'which'), 'utf8'),
    read: digests.get(readRootfsDocument(rootfs)?.digest),
    plain: digests.get(plain),
  };
}

for (const [what, byHand] of [
  ['another image', false],
  ['layers without a document', true],
] as const) {
  test(`killed at any moment while ${what} replaces a tree, the tree has its own document`, {
    skip: needs('strace'),
  }, async (t) => {
    const old = prepare(t, image('old'));
    const next = prepare(t, image('new'));
    const { rootfs, directory } = old;
    const digests = new Map<string | undefined, string>([[undefined, 'none']]).set(old.document.digest, 'old');
    if (!byHand) digests.set(next.document.digest, 'new');
    const stdin = byHand ? `${JSON.stringify({ layer: { path: next.layers[0]!.path } })}\n` : next.stdin;
    const seen = new Set<string>();
    for (let call = 1, status = -1; status !== 0; call++) {
      assert.equal((await md('md-unpack', ['--force', rootfs], { stdin: old.stdin })).status, 0);
      const strace = injecting(`renameat2,unlinkat:signal=SIGKILL:when=${call}`);
      ({ status } = await run([...strace, 'md-unpack', '--force', rootfs], { stdin }));
      const { tree, read, plain } = pairAt(rootfs, digests);
      const own = tree === 'new' && byHand ? 'none' : tree;
      assert.equal(read, own, `killed at call ${call}`);
      seen.add(`${tree} with ${plain}`);
      // It is refused, since the tree is there; but it brings order first.
      assert.equal((await md('md-unpack', [rootfs], { stdin: next.stdin })).status, 64);
      assert.deepEqual(pairAt(rootfs, digests), { tree, read: own, plain: own }, `after call ${call}`);
      const files = own === 'none' ? ['layers', 'rootfs'] : ['layers', 'rootfs', 'rootfs.json'];
      assert.deepEqual(readdirSync(directory).sort(), files);
      assert.ok(call < 50, 'it does not end');
    }
    // The moment in between was among them.
    assert.deepEqual([...seen], ['old with old', 'new with old', byHand ? 'new with none' : 'new with new']);
  });
}

test('what a filesystem keeps of owners is not tried with the file that tells whose a growing tree is', (t) => {
  const { rootfs, directory } = prepare(t, []);
  const stage = Stage.begin(rootfs, { force: false });
  afterwards(t, () => stage.discard());
  const names = readdirSync(directory).sort();
  const lock = join(directory, names.find((name) => name.endsWith('.lock'))!);
  const { ctimeNs } = statSync(lock, { bigint: true });
  assert.deepEqual(lostAttributes(stage.fd), []);
  assert.equal(statSync(lock, { bigint: true }).ctimeNs, ctimeNs);
  assert.deepEqual(readdirSync(directory).sort(), names);
});

test('a document is not written through a link that another user has put where it is to be', (t) => {
  const { rootfs, directory, document } = prepare(t, image('x'));
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'untouched');
  for (const ending of ['.json', '.unset.jsonl']) {
    const stage = Stage.begin(rootfs, { force: false });
    const [growing = ''] = readdirSync(directory).filter((name) => /^\.rootfs\.md-unpack-[0-9]+$/.test(name));
    symlinkSync('victim', join(directory, `${growing}${ending}`));
    assert.throws(() => stage.commit(document, new Map()), /\(EEXIST\)/);
    stage.discard();
    assert.equal(readFileSync(victim, 'utf8'), 'untouched');
    assert.deepEqual(readdirSync(directory).sort(), ['layers', 'victim']);
  }
});

test('of what stands beside a tree that is believed which root, oneself, or who owns the directory has made', {
  skip: needsRoot,
}, () => {
  const [owner, stranger] = [1000, 1001];
  process.seteuid!(user.uid);
  try {
    const makers = [0, user.uid, owner, stranger];
    assert.deepEqual(
      makers.filter((maker) => isBelievable(maker, owner)),
      [0, user.uid, owner],
    );
  } finally {
    process.seteuid!(0);
  }
});

test('a document that another user has put beside a tree is not believed', { skip: needsRoot }, async (t) => {
  const { rootfs, directory, stdin, document } = prepare(t, image('x'));
  chmodSync(directory, 0o1777);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const planted = join(directory, `.rootfs.md-unpack-${statSync(rootfs, { bigint: true }).ino}.json`);
  writeFileSync(planted, JSON.stringify({ ...document, rootfs, image: 'evil.example/x:1' }));
  chownSync(planted, user.uid, user.gid);
  assert.equal(readRootfsDocument(rootfs)?.image, document.image);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 64);
  assert.equal(readRootfsDocument(rootfs)?.image, document.image);
  // As after a run that was killed and had put its own document there: what is left is its to complete.
  writeFileSync(planted.replace(/json$/, 'lock'), '');
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 64);
  assert.equal(readRootfsDocument(rootfs)?.image, document.image);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a run in another PID namespace is seen to be at work, and seen to be dead', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, [...image('x'), ...image('y')]);
  const staged = () => readdirSync(directory).find((name) => /^\.rootfs\.md-unpack-[0-9]+$/.test(name)) ?? '';
  const argv = ['--pid', '--fork', '--kill-child', '--mount-proc', 'md-unpack', rootfs];
  const child = spawn('unshare', argv, { env: cleanEnv(), stdio: ['pipe', 'ignore', 'ignore'] });
  killAfterwards(t, child);
  child.stdin.write(stdin.split('\n').slice(0, 2).join('\n').concat('\n'));
  await until(() => existsSync(join(directory, staged(), 'which')), 10);
  const theirs = staged();
  // Refused or not, a run looks at what others have left.
  assert.equal((await md('md-unpack', [rootfs], { stdin: '{"layer":{"path":"/none"}}\n' })).status, 74);
  assert.equal(staged(), theirs);
  assert.equal(readFileSync(join(directory, theirs, 'which'), 'utf8'), 'x');
  child.kill('SIGKILL');
  await once(child, 'close');
  await until(async () => {
    await md('md-unpack', [rootfs], { stdin: '{"layer":{"path":"/none"}}\n' });
    return readdirSync(directory).length === 1;
  }, 100);
});

test("what another user has left is nobody else's, and in nobody's way", { skip: needsRoot }, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('x'));
  chmodSync(directory, 0o1777);
  mkdirSync(join(directory, dead));
  writeFileSync(join(directory, dead, 'file'), '');
  writeFileSync(join(directory, `${dead}.lock`), '', { mode: 0o600 });
  const unlocked = `${dead}0`;
  mkdirSync(join(directory, unlocked));
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin, ...user });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(directory).sort(), [dead, `${dead}.lock`, unlocked, 'layers', 'rootfs', 'rootfs.json']);
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('root does not remove what a stranger has put beside a tree: it could be made to last for ever', {
  skip: needsRoot,
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('x'));
  chmodSync(directory, 0o1777);
  const planted = [dead, `${dead}0.lock`, `${dead}0`, `${dead}1.json`, `${dead}2.spare`];
  for (const name of planted) {
    mkdirSync(join(directory, name));
    chownSync(join(directory, name), user.uid, user.gid);
  }
  // The tree of a run of root's, with an owner of the image's by now.
  mkdirSync(join(directory, `${dead}3`));
  chownSync(join(directory, `${dead}3`), user.uid, user.gid);
  writeFileSync(join(directory, `${dead}3.lock`), '');
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(directory).sort(), [...planted, 'layers', 'rootfs', 'rootfs.json'].sort());
});

test("what cannot be a lock, though it has the name of one, stays, and is in nobody's way", async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('x'));
  mkdirSync(join(directory, `${dead}.lock`));
  symlinkSync('/etc/passwd', join(directory, `${dead}0.lock`));
  // Nothing is made where this one leads.
  symlinkSync('elsewhere', join(directory, `${dead}1.lock`));
  const planted = readdirSync(directory);
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(directory).sort(), [...planted, 'rootfs', 'rootfs.json'].sort());
});

test('all that a run can leave is removed, and what it had not put in its place is not put there', async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('x'));
  for (const ending of ['', '.spare']) {
    mkdirSync(join(directory, `${dead}${ending}`));
    writeFileSync(join(directory, `${dead}${ending}`, 'file'), '');
  }
  for (const ending of ['.lock', '.old', '.json', '.unset.jsonl'])
    writeFileSync(join(directory, `${dead}${ending}`), '{}');
  assert.equal((await md('md-unpack', [rootfs], { stdin: '{"layer":{"path":"/none"}}\n' })).status, 74);
  assert.deepEqual(readdirSync(directory), ['layers']);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  // Not beside another tree either, which has a document of its own.
  writeFileSync(join(directory, `${dead}.json`), '{}');
  const own = readFileSync(`${rootfs}.json`, 'utf8');
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 64);
  assert.equal(readFileSync(`${rootfs}.json`, 'utf8'), own);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('files of a like name that md-unpack has not made stay', async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('x'));
  const name = '.rootfs.md-unpack-notes.txt';
  writeFileSync(join(directory, name), 'mine');
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  assert.equal(readFileSync(join(directory, name), 'utf8'), 'mine');
});

test('another run does not take a tree for a leftover before its name is final: it could empty it later', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const slow = run([...injecting('mkdirat:delay_exit=1500000:when=1'), 'md-unpack', '--force', rootfs], { stdin });
  const drafts = () => readdirSync(directory).filter((name) => /^\.rootfs\.md-unpack-[0-9a-f]{16}$/.test(name));
  await until(() => drafts().length > 0);
  const before = drafts();
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  assert.deepEqual(drafts(), before);
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('where another process takes the name of a tree just now, it gets another one, and nothing else is left', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const taken = injecting('renameat2:error=EEXIST:when=1');
  const { status, stderr } = await run([...taken, 'md-unpack', rootfs], { stdin });
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a name whose lock another process has is not taken: that one may be about to remove what has the name', {
  skip: needs('strace', 'flock'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const slow = run([...injecting('mkdirat:delay_exit=3000000:when=1'), 'md-unpack', rootfs], { stdin });
  const draft = () => readdirSync(directory).find((name) => /^\.rootfs\.md-unpack-[0-9a-f]{16}$/.test(name));
  await until(() => draft() !== undefined);
  const { ino } = statSync(join(directory, draft()!));
  const lock = `.rootfs.md-unpack-${ino}.lock`;
  const other = spawn('flock', ['--nonblock', join(directory, lock), 'sh', '-c', 'echo; exec sleep 60']);
  killAfterwards(t, other);
  await once(other.stdout, 'data');
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(readdirSync(directory).sort(), [lock, 'layers', 'rootfs', 'rootfs.json']);
});

test('of two runs that replace a tree, the second one waits until the first has put the document there, too', {
  skip: needs('strace'),
}, async (t) => {
  const [old, first, second] = [prepare(t, image('old')), prepare(t, image('first')), prepare(t, image('second'))];
  const { rootfs } = old;
  const digests = new Map<string | undefined, string>([[second.document.digest, 'second']]);
  assert.equal((await md('md-unpack', [rootfs], { stdin: old.stdin })).status, 0);
  // The calls before are those that give the growing tree its name, and try whether it can be exchanged.
  const stopping = injecting('renameat2:signal=SIGSTOP:when=4');
  const strace = spawn(stopping[0]!, [...stopping.slice(1), 'md-unpack', '--force', rootfs], { env: cleanEnv() });
  killAfterwards(t, strace);
  strace.stdin.end(first.stdin);
  await until(() => readFileSync(join(rootfs, 'which'), 'utf8') === 'first');
  const waiting = md('md-unpack', ['--force', rootfs], { stdin: second.stdin });
  await new Promise((done) => setTimeout(done, 800));
  const ended = once(strace, 'close');
  for (const pid of childrenOf(strace.pid!)) signal(pid, 'SIGCONT');
  assert.deepEqual(await ended, [0, null]);
  const { status, stderr } = await waiting;
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(pairAt(rootfs, digests), { tree: 'second', read: 'second', plain: 'second' });
});

test('no tree grows in a directory that somebody has put in the place of the new one', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const other = join(directory, 'other');
  mkdirSync(join(other, 'bin'), { recursive: true });
  chmodSync(other, 0o755);
  const stopping = injecting('mkdirat:signal=SIGSTOP:when=1');
  const strace = spawn(stopping[0]!, [...stopping.slice(1), 'md-unpack', rootfs], { env: cleanEnv() });
  killAfterwards(t, strace);
  strace.stdin.end(stdin);
  const isNew = (entry: string) => /^\.rootfs\.md-unpack-[0-9a-f]+$/.test(entry);
  await until(() => readdirSync(directory).some(isNew));
  const name = join(directory, readdirSync(directory).find(isNew)!);
  renameSync(name, join(directory, 'taken'));
  renameSync(other, name);
  const ended = once(strace, 'close');
  const said = text(strace.stderr);
  for (const pid of childrenOf(strace.pid!)) signal(pid, 'SIGCONT');
  assert.deepEqual(await ended, [75, null]);
  assert.match(
    await said,
    /^md-unpack: \.rootfs\.md-unpack-[0-9a-f]+: it was exchanged .*nobody else can rename it\n$/,
  );
  assert.ok(!existsSync(rootfs));
  assert.deepEqual([readdirSync(name), statSync(name).mode & 0o777], [['bin'], 0o755], 'it is left as it was');
});

test('--force replaces also a tree that another run has put there by the time that the new one is whole', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const slow = run([...injecting('renameat2:delay_enter=800000:when=2'), 'md-unpack', '--force', rootfs], { stdin });
  await until(() => readdirSync(directory).some((name) => name.startsWith('.rootfs.md-unpack-')));
  const other = prepare(t, image('other'));
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin: other.stdin })).status, 0);
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('--force does not try without end to replace a tree that a filesystem does not show', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const hidden = injecting('openat:error=ENOENT', 'rootfs');
  const { status, stderr } = await run([...hidden, 'md-unpack', '--force', rootfs], { stdin });
  // strace has a word on the path as well.
  assert.match(stderr, /rootfs: its filesystem says now that it is there, and now that it is not; another machine /);
  assert.equal(status, 75);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('--force does not replace a tree that is put there, and in use, by the time that the new one is whole', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, directory, stdin } = prepare(t, image('it'));
  const inject = injecting('renameat2:delay_enter=800000:when=2');
  const slow = run([...inject, 'md-unpack', '--force', rootfs], { stdin });
  const documents = () => readdirSync(directory).filter((name) => /^\.rootfs\..*\.json$/.test(name));
  await until(() => documents().some((name) => statSync(join(directory, name), { throwIfNoEntry: false })?.size));
  // It has looked at the place by then, or a slow machine lets it do so later.
  await new Promise((done) => setTimeout(done, 200));
  mkdirSync(rootfs);
  writeFileSync(join(rootfs, 'mine'), '');
  const held = openSync(rootfs, constants.O_RDONLY);
  afterwards(t, () => closeSync(held));
  assert.ok(tryLock(held, 'shared'));
  const { status, stderr } = await slow;
  assert.match(stderr, /: a container runs in it; /);
  assert.equal(status, 75);
  assert.deepEqual(readdirSync(rootfs), ['mine']);
});

test('an empty directory that somebody removes while it is looked at is no obstacle', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, stdin } = prepare(t, image('it'));
  mkdirSync(rootfs);
  const slow = run([...injecting('openat:delay_enter=800000:when=1', 'rootfs'), 'md-unpack', rootfs], { stdin });
  await new Promise((done) => setTimeout(done, 400));
  rmdirSync(rootfs);
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
});

test('while one run puts in place what a killed one had not, another one does not replace the tree', {
  skip: needs('strace'),
}, async (t) => {
  const [old, killed, next] = [prepare(t, image('old')), prepare(t, image('killed')), prepare(t, image('next'))];
  const { rootfs } = old;
  const digests = new Map<string | undefined, string>([
    [killed.document.digest, 'killed'],
    [next.document.digest, 'next'],
  ]);
  assert.equal((await md('md-unpack', [rootfs], { stdin: old.stdin })).status, 0);
  const force = ['md-unpack', '--force', rootfs];
  await run([...injecting('renameat2:signal=SIGKILL:when=5'), ...force], { stdin: killed.stdin });
  assert.deepEqual([...readdirSync(rootfs), readFileSync(join(rootfs, 'which'), 'utf8')], ['which', 'killed']);
  // The first renaming is that of the document.
  const slow = run([...injecting('renameat2:delay_enter=2000000:when=1'), 'md-unpack', rootfs], { stdin: old.stdin });
  const tree = openSync(rootfs, constants.O_RDONLY);
  t.after(() => closeSync(tree));
  await until(() => isLocked(tree));
  await run(force, { stdin: next.stdin });
  assert.equal((await slow).status, 64);
  const pair = pairAt(rootfs, digests);
  assert.deepEqual([pair.read, pair.plain], [pair.tree, pair.tree]);
});

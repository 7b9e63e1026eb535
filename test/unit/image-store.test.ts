import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs, {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../lib/base/failure.js';
import type { Descriptor } from '../../lib/base/oci.js';
import type { BlobSink, Source } from '../../lib/base/source.js';
import { beginPulling } from '../../lib/image/store/busy.js';
import { discardFromStore } from '../../lib/image/store/discard.js';
import { storeHome } from '../../lib/image/store/home.js';
import { ownPath, sweepAbandoned } from '../../lib/image/store/own-files.js';
import { Store } from '../../lib/image/store/store.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import { spreadMocks } from '../support/mocks.js';
import { afterwards, killAfterwards, needs, pidNamespace, scratch, setEnv } from '../support/run.js';

const bytes = randomBytes(100_000);
const blob: Descriptor = { mediaType: 'x', digest: digestOf(bytes), size: bytes.length };
const name = blob.digest.replace(':', '-');

/** Sends `content`, from where the sink is; remembers where that was. */
class FakeSource implements Source {
  readonly offsets: number[] = [];

  constructor(
    readonly content: Buffer = bytes,
    readonly breakAt = Number.POSITIVE_INFINITY,
  ) {}

  async manifest(): Promise<never> {
    throw new Error('not here');
  }

  async blob(_blob: unknown, sink: BlobSink): Promise<void> {
    this.offsets.push(sink.offset);
    while (sink.offset < this.content.length) {
      if (sink.offset >= this.breakAt) throw new Failure(69, 'network', 'it broke');
      sink.write(this.content.subarray(sink.offset, sink.offset + 10_000));
    }
  }
}

function newStore(t: TestContext): Store {
  return new Store(join(scratch(t), 'md'));
}

const platform = { os: 'linux', architecture: 'amd64' };
const entry = (image: string, digest = blob.digest) => ({ image, digest, mediaType: 'm', platform });
const index = (store: Store) => JSON.parse(readFileSync(join(store.home, 'oci/index.json'), 'utf8')).manifests;
const partials = (store: Store) => readdirSync(join(store.home, 'partial'));

/** PID namespace, pid and start time of a process that has ended. */
function deadOwner(): string {
  const { pid } = spawnSync('true');
  return `${pidNamespace}.${pid}.1`;
}

test('the store is where MD_HOME says, or XDG_DATA_HOME, or below the home directory', () => {
  assert.equal(storeHome({ MD_HOME: '/x' }), '/x');
  assert.equal(storeHome({ XDG_DATA_HOME: '/data' }), '/data/md');
  assert.match(storeHome({ XDG_DATA_HOME: 'relative' }), /\/\.local\/share\/md$/);
  assert.equal(storeHome({ HOME: '' }), join(userInfo().homedir, '.local/share/md'));
});

test('a new store is an OCI layout that nobody else may write to, whatever the umask', async (t) => {
  const mask = process.umask(0);
  afterwards(t, () => process.umask(mask));
  const store = newStore(t);
  const { home } = store;
  assert.deepEqual(JSON.parse(readFileSync(join(home, 'oci/oci-layout'), 'utf8')), { imageLayoutVersion: '1.0.0' });
  assert.deepEqual(JSON.parse(readFileSync(join(home, 'oci/index.json'), 'utf8')).manifests, []);
  assert.equal(statSync(join(home, 'partial')).mode & 0o777, 0o700, 'what is not verified is for nobody else');
  const sha512 = digestOf('', 'sha512');
  await store.fetch({ mediaType: 'x', digest: sha512, size: 0 }, new FakeSource(Buffer.alloc(0)));
  for (const it of ['.', 'index.json', 'blobs', 'blobs/sha256', 'blobs/sha512', `blobs/${sha512.replace(':', '/')}`])
    assert.equal(statSync(join(home, 'oci', it)).mode & 0o022, 0, it);
});

test('a store that lost what makes it a layout gets it back, and keeps its blobs', (t) => {
  const { home } = newStore(t);
  const layout = new Map(['oci-layout', 'index.json'].map((it) => [it, readFileSync(join(home, 'oci', it), 'utf8')]));
  for (const lost of [['oci-layout'], ['index.json'], ['oci-layout', 'index.json']]) {
    new Store(home).put(digestOf('{}'), Buffer.from('{}'));
    for (const it of lost) rmSync(join(home, 'oci', it));
    assert.deepEqual(new Store(home).read(digestOf('{}')), Buffer.from('{}'));
    for (const [it, text] of layout) assert.equal(readFileSync(join(home, 'oci', it), 'utf8'), text);
  }
  assert.deepEqual(readdirSync(join(home, 'partial')), []);
});

test('a part of the store may be a link', (t) => {
  const { home } = newStore(t);
  const elsewhere = join(scratch(t), 'elsewhere');
  rmSync(join(home, 'oci'), { recursive: true });
  mkdirSync(elsewhere);
  symlinkSync(elsewhere, join(home, 'oci'));
  const store = new Store(home);
  store.put(digestOf('{}'), Buffer.from('{}'));
  assert.deepEqual(readdirSync(elsewhere).sort(), ['blobs', 'index.json', 'oci-layout']);
});

const other = '/dev/shm';

function isOtherFilesystem(): boolean {
  const [there, here] = [other, tmpdir()].map((it) => statSync(it, { throwIfNoEntry: false }));
  return there !== undefined && there.dev !== here!.dev && spawnSync('test', ['-w', other]).status === 0;
}

test('a part of the store may not be a link to another filesystem', {
  skip: isOtherFilesystem() ? false : `needs a filesystem of its own at ${other}, where this user may write`,
}, (t) => {
  const { home } = newStore(t);
  rmSync(join(home, 'oci'), { recursive: true });
  symlinkSync(scratch(t, other), join(home, 'oci'));
  assert.throws(
    () => new Store(home),
    /oci\/oci-layout: it is on another filesystem than the rest of the store, or .*; move all/,
  );
});

test('an index.json that cannot be reached now is not replaced by an empty one', (t) => {
  const { home } = newStore(t);
  const path = join(home, 'oci/index.json');
  rmSync(path);
  // The disk that it leads to may be there again later.
  symlinkSync('not-mounted/index.json', path);
  assert.throws(() => new Store(home).entries(), failure(74, /index\.json: no such file/));
  assert.equal(readlinkSync(path), 'not-mounted/index.json');
});

test('a damaged index.json is told with what helps, and that does help', (t) => {
  const { home } = newStore(t);
  const path = join(home, 'oci/index.json');
  writeFileSync(path, '{"manifests":');
  const because = failure(65, /remove it/);
  assert.throws(() => new Store(home).images('a:1'), because);
  rmSync(path);
  assert.deepEqual(new Store(home).images('a:1'), []);
});

test('what stands in the place of a document and is no file is not read', (t) => {
  const store = newStore(t);
  const digest = digestOf('{}');
  spawnSync('mkfifo', [store.path(digest)]);
  assert.equal(store.read(digest), undefined);
  store.put(digest, Buffer.from('{}'));
  assert.deepEqual(store.read(digest), Buffer.from('{}'));
  const empty = { mediaType: 'x', digest: digestOf(''), size: 0 };
  spawnSync('mkfifo', [store.path(empty.digest)]);
  assert.equal(store.has(empty), false);
});

test('what cannot be put in its place leaves nothing beside it', (t) => {
  const store = newStore(t);
  const digest = digestOf('{}');
  mkdirSync(store.path(digest));
  assert.throws(() => store.put(digest, Buffer.from('{}')), failure(74, /EISDIR|EEXIST/));
  assert.deepEqual(readdirSync(join(store.home, 'partial')), []);
});

test('a blob is fetched once, and is then there', async (t) => {
  const store = newStore(t);
  const source = new FakeSource();
  assert.deepEqual(await store.fetch(blob, source), { path: store.path(blob.digest), found: false });
  assert.deepEqual(await store.fetch(blob, source), { path: store.path(blob.digest), found: true });
  assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
  assert.deepEqual(source.offsets, [0]);
  assert.deepEqual(partials(store), []);
});

test('a blob by sha512 is kept under its algorithm', async (t) => {
  const store = newStore(t);
  const descriptor = { ...blob, digest: digestOf(bytes, 'sha512') };
  await store.fetch(descriptor, new FakeSource());
  assert.ok(existsSync(join(store.home, 'oci/blobs/sha512', descriptor.digest.slice(7))));
});

test('an empty blob is a blob', async (t) => {
  const store = newStore(t);
  await store.fetch({ mediaType: 'x', digest: digestOf(''), size: 0 }, new FakeSource(Buffer.alloc(0)));
  assert.equal(store.read(digestOf(''))?.length, 0);
});

for (const [what, content, size] of [
  ['other bytes', randomBytes(bytes.length), bytes.length],
  ['too few', bytes.subarray(0, 5000), bytes.length],
  ['too many', Buffer.concat([bytes, bytes]), bytes.length],
  ['another size than is promised', bytes, bytes.length + 1],
] as const) {
  test(`a blob of ${what} is refused, and leaves no file`, async (t) => {
    const store = newStore(t);
    const refused = store.fetch({ ...blob, size }, new FakeSource(content));
    await assert.rejects(refused, failure(65));
    assert.ok(!existsSync(store.path(blob.digest)));
    assert.deepEqual(partials(store), []);
  });
}

test('what a broken transfer leaves is continued by the next process', async (t) => {
  const store = newStore(t);
  await assert.rejects(store.fetch(blob, new FakeSource(bytes, 0)));
  assert.deepEqual(partials(store), [], 'nothing has come');
  await assert.rejects(store.fetch(blob, new FakeSource(bytes, 30_000)));
  assert.ok(!existsSync(store.path(blob.digest)));
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [30_000]);
  assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
});

test('the longest part that a dead process left is taken over', async (t) => {
  const store = newStore(t);
  const [one, other] = [deadOwner(), deadOwner()];
  writeFileSync(join(store.home, 'partial', `${name}.${one}`), bytes.subarray(0, 10_000));
  writeFileSync(join(store.home, 'partial', `${name}.${other}`), bytes.subarray(0, 20_000));
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [20_000]);
});

/** Another process that has the beginning of the blob, and does nothing. */
async function holder(t: TestContext, store: Store): Promise<{ child: ChildProcess; part: string }> {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  killAfterwards(t, child);
  const start = readFileSync(`/proc/${child.pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')[19];
  const part = `${name}.${pidNamespace}.${child.pid}.${start}`;
  writeFileSync(join(store.home, 'partial', part), bytes.subarray(0, 10_000));
  // Files of one tick of the kernel's clock are of one age.
  await sleep(20);
  return { child, part };
}

test('who wants what a living process is fetching waits for it, and takes over at once when it dies', async (t) => {
  const store = new Store(join(scratch(t), 'md'), 0);
  const { child, part } = await holder(t, store);
  // However long the registry has made it wait.
  const longAgo = new Date(Date.now() - 61 * 60_000);
  utimesSync(join(store.home, 'partial', part), longAgo, longAgo);
  const source = new FakeSource();
  const fetched = store.fetch(blob, source);
  // Many times the patience.
  await sleep(500);
  assert.deepEqual(source.offsets, []);
  child.kill('SIGKILL');
  assert.equal((await fetched).found, false);
  assert.deepEqual(source.offsets, [10_000]);
  assert.deepEqual(partials(store), []);
});

test('what a living process has brought is not fetched again', async (t) => {
  const store = new Store(join(scratch(t), 'md'), 0);
  const { part } = await holder(t, store);
  // Another one that took up what a third had left goes on, and is not waited for.
  await holder(t, store);
  const source = new FakeSource();
  const fetched = store.fetch(blob, source);
  await sleep(100);
  writeFileSync(join(store.home, 'partial', part), bytes);
  renameSync(join(store.home, 'partial', part), store.path(blob.digest));
  assert.equal((await fetched).found, true);
  assert.deepEqual(source.offsets, []);
});

test('a process that is stopped is not waited for, and its part is left alone', async (t) => {
  const store = new Store(join(scratch(t), 'md'), 0);
  const { child, part } = await holder(t, store);
  child.kill('SIGSTOP');
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [0]);
  assert.deepEqual(partials(store), [part]);
});

test('nor is one that cannot be seen, in another PID namespace', async (t) => {
  const store = new Store(join(scratch(t), 'md'), 0);
  const part = `${name}.1.1.1`;
  writeFileSync(join(store.home, 'partial', part), bytes.subarray(0, 10_000));
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [0]);
  assert.deepEqual(partials(store), [part]);
});

test('one that cannot be seen is waited for as long as its part grows', async (t) => {
  // By a clock of the test's own, which stands still while this process does.
  let now = 0;
  t.mock.method(process, 'uptime', () => now);
  const store = new Store(join(scratch(t), 'md'), 1000);
  const part = join(store.home, 'partial', `${name}.1.1.1`);
  writeFileSync(part, '');
  const source = new FakeSource();
  const fetched = store.fetch(blob, source);
  for (let at = 0; at < 10; at++) {
    // Long enough for a look or two.
    await sleep(100);
    appendFileSync(part, bytes.subarray(at * 10_000, (at + 1) * 10_000));
    now += 0.9;
  }
  assert.deepEqual(source.offsets, []);
  renameSync(part, store.path(blob.digest));
  assert.equal((await fetched).found, true);
});

test('but when it has written nothing for an hour its part is taken over', async (t) => {
  const store = newStore(t);
  const part = join(store.home, 'partial', `${name}.1.1.1`);
  writeFileSync(part, bytes.subarray(0, 10_000));
  const longAgo = new Date(Date.now() - 61 * 60_000);
  utimesSync(part, longAgo, longAgo);
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [10_000]);
});

test('a part that another process has taken away ends a fetch, unless that has brought the blob', async (t) => {
  const store = newStore(t);
  class Robbed extends FakeSource {
    constructor(readonly to: string) {
      super();
    }

    override async blob(request: unknown, sink: BlobSink): Promise<void> {
      await super.blob(request, sink);
      renameSync(join(store.home, 'partial', partials(store)[0]!), this.to);
    }
  }
  await assert.rejects(store.fetch(blob, new Robbed(join(store.home, 'elsewhere'))), /ENOENT/);
  assert.equal(store.has(blob), false);
  await store.fetch(blob, new Robbed(store.path(blob.digest)));
  assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
});

test('a link in the place of a part is not followed', async (t) => {
  const store = newStore(t);
  const outside = join(scratch(t), 'outside');
  symlinkSync(outside, ownPath(join(store.home, 'partial'), blob.digest));
  await assert.rejects(store.fetch(blob, new FakeSource()), /ELOOP/);
  assert.equal(existsSync(outside), false);
});

test('a link in the place of any file of this process is not written through', async (t) => {
  const home = scratch(t);
  const outside = join(scratch(t), 'outside');
  writeFileSync(outside, 'precious');
  mkdirSync(join(home, 'partial'));
  const plant = (name: string) => symlinkSync(outside, ownPath(join(home, 'partial'), name));
  for (const name of ['pulling', 'oci', blob.digest.slice(7), 'index.json']) plant(name);
  await assert.rejects(beginPulling(home), /ELOOP/);
  const store = new Store(home);
  store.put(blob.digest, bytes);
  await store.tag(entry('a:1'));
  assert.equal(readFileSync(outside, 'utf8'), 'precious');
  assert.deepEqual(store.read(blob.digest), bytes);
  rmSync(join(home, 'lock'));
  symlinkSync(join(home, 'new'), join(home, 'lock'));
  await assert.rejects(
    store.forget(() => true),
    /ELOOP/,
  );
  assert.equal(existsSync(join(home, 'new')), false);
});

test('nor is one that is put there as soon as the place is free', (t) => {
  const store = newStore(t);
  const outside = join(scratch(t), 'outside');
  writeFileSync(outside, 'precious');
  const remove = fs.rmSync;
  const mock = t.mock.method(fs, 'rmSync', (path: string, options: fs.RmOptions) => {
    remove(path, options);
    if (mock.mock.callCount() === 0) symlinkSync(outside, path);
  });
  spreadMocks(t);
  assert.throws(() => store.put(blob.digest, bytes), failure(74, /EEXIST/));
  assert.equal(readFileSync(outside, 'utf8'), 'precious');
});

test('a FIFO in the place of a part is not written to', async (t) => {
  const store = newStore(t);
  spawnSync('mkfifo', [join(store.home, 'partial', `${name}.${deadOwner()}`)]);
  await assert.rejects(store.fetch(blob, new FakeSource()), /it is not a regular file/);
});

test('a directory that is exchanged for a link while it is removed has nothing removed where that leads', async (t) => {
  const store = newStore(t);
  const [left, elsewhere] = [join(store.home, 'partial', `oci.${deadOwner()}`), scratch(t)];
  mkdirSync(left);
  const names = Array.from({ length: 2000 }, (_, i) => `file-${String(i).padStart(4, '0')}`);
  for (const directory of [left, elsewhere]) for (const it of names) writeFileSync(join(directory, it), '');
  const script = `const [, left, elsewhere] = process.argv; fs.writeSync(1, 'ready');
    while (fs.existsSync(left + '/file-0000')); fs.renameSync(left, left + '.away'); fs.symlinkSync(elsewhere, left);`;
  const other = spawn(process.execPath, ['-e', script, left, elsewhere], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAfterwards(t, other);
  await once(other.stdout, 'data');
  sweepAbandoned(join(store.home, 'partial'), () => true);
  assert.equal(readdirSync(elsewhere).length, names.length);
});

test('a file that may not be removed keeps no other from being swept', (t) => {
  const store = newStore(t);
  const left = ['oci', 'pulling'].map((it) => join(store.home, 'partial', `${it}.${deadOwner()}`));
  for (const path of left) writeFileSync(path, '');
  const { unlinkSync } = fs;
  let refused: unknown;
  t.mock.method(fs, 'unlinkSync', (path: string) => {
    if (refused !== undefined) return unlinkSync(path);
    refused = path;
    throw Object.assign(new Error('EACCES: permission denied, unlink'), { code: 'EACCES' });
  });
  spreadMocks(t);
  sweepAbandoned(join(store.home, 'partial'), () => true);
  assert.deepEqual(
    left.filter((path) => existsSync(path)),
    [refused],
  );
});

test('a part that was damaged costs a second transfer and no more', async (t) => {
  const store = newStore(t);
  writeFileSync(join(store.home, 'partial', `${name}.${deadOwner()}`), randomBytes(20_000));
  const source = new FakeSource();
  await store.fetch(blob, source);
  assert.deepEqual(source.offsets, [20_000, 0]);
  assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
});

test('a part that is too long, or whole already, is no obstacle', async (t) => {
  for (const left of [Buffer.concat([bytes, bytes]), bytes]) {
    const store = newStore(t);
    writeFileSync(join(store.home, 'partial', `${name}.${deadOwner()}`), left);
    await store.fetch(blob, new FakeSource());
    assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
  }
});

test('a blob of the wrong length in the store is fetched anew', async (t) => {
  const store = newStore(t);
  mkdirSync(join(store.home, 'oci/blobs/sha256'), { recursive: true });
  writeFileSync(store.path(blob.digest), bytes.subarray(1));
  await store.fetch(blob, new FakeSource());
  assert.deepEqual(readFileSync(store.path(blob.digest)), bytes);
});

test('a small blob that was damaged on disk counts as missing, and is replaced', (t) => {
  const store = newStore(t);
  store.put(blob.digest, bytes);
  assert.deepEqual(store.read(blob.digest), bytes);
  writeFileSync(store.path(blob.digest), bytes.toString('latin1').toUpperCase().slice(0, bytes.length));
  assert.equal(store.read(blob.digest), undefined);
  store.put(blob.digest, bytes);
  assert.deepEqual(store.read(blob.digest), bytes);
});

test('what is too large for a document is not read as one', (t) => {
  const store = newStore(t);
  const large = Buffer.alloc((4 << 20) + 1);
  mkdirSync(join(store.path(digestOf(large)), '..'), { recursive: true });
  writeFileSync(store.path(digestOf(large)), large);
  assert.equal(store.read(digestOf(large)), undefined);
});

test('a name is entered once, and moves to the newest image', async (t) => {
  const store = newStore(t);
  store.put(blob.digest, bytes);
  await store.tag(entry('a:1'));
  await store.tag(entry('a:1'));
  await store.tag(entry('b:1'));
  assert.equal(index(store).length, 2);
  const newer = Buffer.from('newer');
  store.put(digestOf(newer), newer);
  await store.tag(entry('a:1', digestOf(newer)));
  const names = index(store).map((it: Descriptor) => [
    it.digest,
    it.annotations?.['org.opencontainers.image.ref.name'],
  ]);
  assert.deepEqual(names, [
    [digestOf(newer), 'a:1'],
    [blob.digest, 'b:1'],
  ]);
});

test('names that are entered at the same time are all there', async (t) => {
  const store = newStore(t);
  store.put(blob.digest, bytes);
  await Promise.all(Array.from({ length: 20 }, (_, i) => store.tag(entry(`a:${i}`))));
  assert.equal(index(store).length, 20);
});

test('what another program entered by a digest that cannot be checked here stays in the index', async (t) => {
  const store = newStore(t);
  const path = join(store.home, 'oci/index.json');
  const foreign = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: 'blake3:0123', size: 3 };
  writeFileSync(path, JSON.stringify({ schemaVersion: 2, manifests: [foreign] }));
  mkdirSync(join(store.home, 'oci/blobs/blake3'));
  writeFileSync(store.path(foreign.digest), '{}\n');
  assert.equal(store.read(foreign.digest), undefined);
  store.put(blob.digest, bytes);
  await store.tag(entry('a:1'));
  assert.deepEqual(
    store.entries().map(({ digest }) => digest),
    [blob.digest, foreign.digest],
  );
});

test('index.json is changed only by who holds the lock of the store, and keeps what others have put into it', {
  skip: needs('flock'),
}, async (t) => {
  const store = newStore(t);
  store.put(blob.digest, bytes);
  const path = join(store.home, 'oci/index.json');
  writeFileSync(path, JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { of: 'another program' } }));
  // Shared: that would not keep out who wants no more than that.
  const holder = spawn('flock', ['--shared', join(store.home, 'lock'), 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  killAfterwards(t, holder);
  await once(holder.stdout, 'data');
  const tagged = store.tag(entry('a:1'));
  await sleep(200);
  assert.deepEqual(index(store), []);
  holder.stdin.end();
  await tagged;
  assert.equal(index(store).length, 1);
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')).annotations, { of: 'another program' });
});

test('a discarded layer takes the images that hold it out of the index', async (t) => {
  const store = newStore(t);
  const layer = Buffer.from('layer');
  const manifest = Buffer.from(JSON.stringify({ layers: [{ digest: digestOf(layer) }] }));
  for (const content of [layer, manifest, bytes]) store.put(digestOf(content), content);
  await store.tag(entry('bad:1', digestOf(manifest)));
  await store.tag(entry('good:1'));
  await store.discard(digestOf(layer), () => true);
  assert.equal(store.read(digestOf(layer)), undefined);
  assert.deepEqual(
    index(store).map((it: Descriptor) => it.digest),
    [blob.digest],
  );
});

test('an image that has a layer of another one, and promises something else of it, costs that one nothing', async (t) => {
  const store = newStore(t);
  setEnv(t, 'MD_HOME', store.home);
  const layer = Buffer.from('layer');
  const digest = digestOf(layer);
  store.put(digest, layer);
  const [good, bad] = ['good:1', 'bad:1'].map((name) => {
    const manifest = Buffer.from(JSON.stringify({ name, layers: [{ digest }] }));
    store.put(digestOf(manifest), manifest);
    return digestOf(manifest);
  }) as [string, string];
  await store.tag(entry('good:1', good));
  await store.tag(entry('bad:1', bad));
  const left = () => [...index(store).map((it: Descriptor) => it.digest), existsSync(store.path(digest))];
  await discardFromStore({ digest, path: store.path(digest) }, () => true, bad);
  assert.deepEqual(left(), [good, true]);
  writeFileSync(store.path(digest), 'damaged');
  await discardFromStore({ digest, path: store.path(digest) }, () => true, bad);
  assert.deepEqual(left(), [false]);
});

test('a layer is discarded by its own path alone', async (t) => {
  const store = newStore(t);
  setEnv(t, 'MD_HOME', store.home);
  const digests = ['one', 'two'].map((text) => digestOf(text)) as [string, string];
  for (const [i, text] of ['one', 'two'].entries()) store.put(digests[i]!, Buffer.from(text));
  const [digest, other] = digests;
  const image = digestOf('a manifest');
  const isThere = () => digests.map((it) => existsSync(store.path(it)));
  await discardFromStore({ digest, path: store.path(other) }, () => true, image);
  assert.deepEqual(isThere(), [true, true]);
  assert.match(
    (await discardFromStore({ digest, path: store.path(digest) }, () => false, image)) ?? '',
    /removed or replaced it/,
  );
  assert.deepEqual(isThere(), [true, true]);
  await discardFromStore({ digest, path: store.path(digest) }, () => true, image);
  assert.deepEqual(isThere(), [false, true]);
});

test('a store that cannot be made is told with its path', (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'file'), '');
  assert.throws(() => new Store(join(directory, 'file/md')), /file\/md/);
  writeFileSync(join(directory, 'partial'), '');
  assert.throws(() => new Store(directory), failure(74, /\/partial: .*EEXIST/));
});

test('so is one where nothing at all can be made, which the kernel tells as if something above it were missing', () => {
  assert.throws(() => new Store('/proc/not/there'), failure(74, /^\/proc\/not\/there\/partial: .*ENOENT/));
});

test('what dead processes left behind is swept once nobody will take it up', async (t) => {
  const store = newStore(t);
  const manifest = Buffer.from('{}');
  const digest = digestOf(manifest);
  store.put(digest, manifest);
  const at = (file: string) => join(store.home, 'partial', file);
  const absent = digestOf('absent').replace(':', '-');
  const [done, recent, old, index, foreign] = [
    `${digest.replace(':', '-')}.${deadOwner()}`,
    `${absent}.${deadOwner()}`,
    `${absent}.${deadOwner()}`,
    `index.json.${deadOwner()}`,
    `${absent}.1.1.1`,
  ];
  for (const file of [done, recent, old, index, foreign]) writeFileSync(at(file), 'x');
  const days = (n: number) => new Date(Date.now() - n * 86_400_000);
  utimesSync(at(recent), days(6), days(6));
  utimesSync(at(old), days(8), days(8));
  await store.tag(entry('a:1', digest));
  assert.deepEqual(partials(store).sort(), [recent, foreign].sort());
  writeFileSync(at(done), 'x');
  await store.tag(entry('a:1', digest));
  assert.deepEqual(partials(store).sort(), [recent, foreign].sort(), 'of an image that has its name already, too');
});

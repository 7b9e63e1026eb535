/**
 * Damaged and random layers for a bounded time (`MD_TEST_SECONDS`, 3 by default; `MD_TEST_SEED` repeats a run): no
 * crash, no hang, nothing outside touched, nothing left over, no descriptor and no memory lost.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Failure } from '../../lib/base/failure.js';
import { defaultLimits } from '../../lib/unpack/tree/limits.js';
import { Canary } from '../support/canary.js';
import { type BuiltLayer, layer, needsZstd, zstd } from '../support/image.js';
import { Random } from '../support/random.js';
import { remove } from '../support/run.js';
import { globalPax, gnuLong, type TarEntry, tarball, tarEntry } from '../support/tar.js';
import { prepare, unpackPrepared } from '../support/unpacking.js';

const seconds = Number(process.env.MD_TEST_SECONDS ?? 3);
const seed = Number(process.env.MD_TEST_SEED ?? 20261123);

const names = [
  'a',
  'b',
  'a/b',
  'a/b/c',
  'c',
  'c/d',
  'd',
  'e/f',
  'g',
  '.',
  '..',
  '../canary',
  '/',
  'a/../b',
  'a/.wh..wh..opq',
  'a/.wh.b',
  'é',
];
const types = ['file', 'directory', 'symlink', 'link', 'char', 'block', 'fifo', 'contiguous', 'S', '\0', 'V', 'Z'];
const keys = [
  'path',
  'linkpath',
  'size',
  'uid',
  'gid',
  'mtime',
  'SCHILY.xattr.user.a',
  'SCHILY.xattr.security.capability',
  'LIBARCHIVE.xattr.user.b',
  'GNU.sparse.map',
  'GNU.sparse.size',
  'GNU.sparse.major',
  'GNU.sparse.minor',
  'GNU.sparse.realsize',
  'GNU.sparse.name',
  'SCHILY.devmajor',
  '',
];
const numbers = [0, 1, 5, 511, 512, 513, 4096, 2 ** 31, 2 ** 32 - 1, 2 ** 33, 2 ** 53 - 1, -1, -512];
const values = [
  '',
  '0',
  '1',
  '-1',
  '5,5',
  '0,1',
  '1.5',
  '1e9',
  '99999999999999999999',
  'x',
  '\n',
  '../canary/file',
  '/',
  'a\0b',
];

function randomEntry(random: Random, out: string): TarEntry | Buffer {
  const name = random.pick(names);
  switch (random.below(40)) {
    case 0:
      return gnuLong(random.pick(['L', 'K']), random.pick([...names, out, 'x'.repeat(5000)]));
    case 1:
      return globalPax(randomPax(random, out));
    case 2:
      return Buffer.alloc(512);
    case 3:
      return tarEntry({ name, type: 'x', data: randomBytes(random, 100) });
    default: {
      const entry: TarEntry = {
        name,
        type: random.chance(4) ? random.pick(types) : random.pick(types.slice(0, 4)),
        mode: random.below(0o10000),
        linkname: random.pick([...names, out, `${out}/file`, '../canary/dir', '']),
      };
      if (random.chance(12)) entry.pax = randomPax(random, out);
      // Behind other types the reader expects no content.
      if (entry.type === 'file' || random.chance(20)) entry.data = randomBytes(random, 1500);
      if (random.chance(25)) entry.size = random.pick(numbers);
      if (random.chance(20)) entry.uid = random.pick(numbers.filter((it) => it >= 0));
      if (random.chance(30))
        entry.patch = (block) => void block.fill(random.below(256), random.below(500), 500 + random.below(12));
      if (random.chance(100)) entry.checksum = random.below(60000);
      return entry;
    }
  }
}

function randomPax(random: Random, out: string): Record<string, string> {
  return Object.fromEntries(random.times(4, () => [random.pick(keys), random.pick([...values, out])]));
}

function randomBytes(random: Random, most: number): Buffer {
  return Buffer.from(random.times(most, () => random.below(256)));
}

/** Bits turned, stretches cut out, doubled and overwritten. */
function damage(random: Random, data: Buffer): Buffer {
  let changed = Buffer.from(data);
  for (let i = 1 + random.below(4); i > 0 && changed.length > 0; i--) {
    const at = random.below(changed.length);
    const length = random.below(600);
    switch (random.below(5)) {
      case 0:
        changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + length)]);
        break;
      case 1:
        changed = Buffer.concat([changed.subarray(0, at + length), changed.subarray(at)]);
        break;
      case 2:
        changed.fill(random.below(256), at, Math.min(at + length, changed.length));
        break;
      case 3:
        changed = changed.subarray(0, at);
        break;
      default:
        changed[at] = changed[at]! ^ (1 << random.below(8));
    }
  }
  return changed;
}

/** An archive whose headers are changed here and there and have right checksums again. */
function damageHeaders(random: Random, archive: Buffer): Buffer {
  const changed = Buffer.from(archive);
  for (let at = 0; at + 512 <= changed.length; at += 512) {
    if (changed.toString('latin1', at + 257, at + 262) !== 'ustar' || !random.chance(3)) continue;
    changed[at + random.below(512)] = random.pick([0, 0x20, 0x2f, 0x2e, 0x30, 0x37, 0x80, 0xff, random.below(256)]);
    changed.fill(' ', at + 148, at + 156);
    const sum = changed.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
  return changed;
}

function randomLayer(random: Random, out: string): BuiltLayer {
  let archive = tarball(random.times(8, () => randomEntry(random, out)));
  if (random.chance(4)) archive = damageHeaders(random, archive);
  if (random.chance(10)) archive = damage(random, archive);
  const built = layer(archive, { compression: 'none' });
  if (random.chance(3)) return built;
  const compressed = !needsZstd && random.chance(8) ? zstd(archive) : gzipSync(archive, { level: 1 });
  return { ...built, bytes: random.chance(8) ? damage(random, compressed) : compressed };
}

const openDescriptors = () => readdirSync('/proc/self/fd').length;

test(`random layers for ${seconds} seconds do no harm`, async (t) => {
  const random = new Random(seed);
  const place = prepare(t, []);
  const canary = new Canary(place.directory);
  const rootfs = join(place.directory, 'rootfs');
  const limits = { ...defaultLimits, bytes: 50_000_000, depth: 64 };
  const outcome = { unpacked: 0, refused: 0 };
  const reasons = new Map<string, number>();
  let descriptors = 0;
  let memory = 0;
  // On a busy machine so few come in this time that none of them may be good.
  const hasBoth = () => outcome.unpacked > 0 && outcome.refused > 0;
  const until = performance.now() + seconds * 1000;
  for (let i = 0; performance.now() < until || (i < 1000 && !hasBoth()); i++) {
    const layers = Array.from({ length: 1 + random.below(3) }, () => randomLayer(random, canary.path));
    const prepared = prepare(t, layers);
    try {
      await unpackPrepared({ ...prepared, rootfs }, { force: true, limits });
      outcome.unpacked += 1;
    } catch (error) {
      assert.ok(error instanceof Failure, error instanceof Error ? error.stack : String(error));
      // 74: sizes that no filesystem has. All else is the fault of the layer.
      assert.ok(error.status === 65 || /EFBIG|EINVAL/.test(error.message), error.message);
      outcome.refused += 1;
      const why = error.why.replace(/^.*?: (?=[^:]*(?:: [^:]*)?$)/, '').slice(0, 60);
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
    }
    remove(prepared.directory);
    const runs = outcome.unpacked + outcome.refused;
    if (runs % 50 === 1) {
      canary.check(place.directory.concat('/layers'));
      assert.deepEqual(
        readdirSync(place.directory).filter((it) => !/^(canary|layers|rootfs(\.json|\.unset\.jsonl)?)$/.test(it)),
        [],
      );
      if (runs === 101) {
        descriptors = openDescriptors();
        memory = process.memoryUsage().rss;
      }
    }
  }
  canary.check(place.directory.concat('/layers'));
  assert.ok(hasBoth(), JSON.stringify(outcome));
  if (descriptors > 0)
    assert.ok(openDescriptors() <= descriptors + 2, `descriptors: ${descriptors}, ${openDescriptors()}`);
  if (memory > 0) assert.ok(process.memoryUsage().rss < memory + 150_000_000, 'memory grows');
  for (const [why, count] of [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 12)) t.diagnostic(`${count} ${why}`);
  t.diagnostic(JSON.stringify(outcome));
});

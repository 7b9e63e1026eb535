/** The reader for archives: PAX, names, sparse files, types, damage. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry } from '../../lib/tar/entry.js';
import { PaxState, parsePax } from '../../lib/tar/pax.js';
import { TarReader } from '../../lib/tar/reader.js';
import { failure } from '../support/failure.js';
import { globalPax, gnuLong, paxBytes, type TarEntry, tarball, tarEntry } from '../support/tar.js';

/** An entry with its content, its holes filled with NULs. */
interface Read {
  entry: Entry;
  content: Buffer | undefined;
}

function readAll(archive: Buffer, piece = archive.length): Read[] {
  const found: Read[] = [];
  const parts: Buffer[] = [];
  const reader = new TarReader({
    entry: (entry) => found.push({ entry, content: undefined }),
    content: (bytes) => parts.push(Buffer.from(bytes)),
    hole: (length) => parts.push(Buffer.alloc(length)),
    end: () => {
      found.at(-1)!.content = Buffer.concat(parts.splice(0));
    },
  });
  // A buffer that is used again for each piece, as a stream may do.
  const window = Buffer.alloc(Math.max(1, piece));
  for (let at = 0; at < archive.length; at += piece) {
    const bytes = archive.copy(window, 0, at, at + piece);
    reader.push(window.subarray(0, bytes));
  }
  reader.finish();
  return found;
}

const entries = (parts: (TarEntry | Buffer)[]): Entry[] => readAll(tarball(parts)).map(({ entry }) => entry);
const first = (parts: (TarEntry | Buffer)[]): Entry => entries(parts)[0]!;

function damaged(archive: Buffer, why: RegExp): void {
  assert.throws(() => readAll(archive), failure(65, why));
}

// PAX

test('a PAX value may hold newlines, NULs and bytes that are no UTF-8', () => {
  const value = Buffer.from('12 path=evil\n\0\xff\n', 'latin1');
  const { xattrs, path } = first([{ name: 'f', xattrs: { 'user.x': value } }]);
  assert.equal(path, 'f');
  assert.deepEqual(xattrs?.get('user.x'), value);
});

test('path, linkpath, size, uid, gid and mtime of a PAX header hold over those of the block', () => {
  const pax = { path: 'long/name', linkpath: 'to', uid: '7', gid: '8', mtime: '5.25' };
  const entry = first([{ name: 'short', type: 'symlink', linkname: 'x', pax }]);
  assert.deepEqual(
    [entry.path, entry.target, entry.uid, entry.gid, entry.mtime],
    ['long/name', 'to', 7, 8, { seconds: 5, nanoseconds: 250_000_000 }],
  );
  const data = Buffer.alloc(600, 'd');
  const [file, next] = readAll(tarball([{ name: 'f', data, size: 0, pax: { size: '600' } }, { name: 'g' }]));
  assert.deepEqual(file?.content, data);
  assert.equal(next?.entry.path, 'g');
});

test('a PAX time before 1970 has nanoseconds that count forward, and device numbers have records of their own', () => {
  const times = ['-5', '-1.5', '-0.25'].map((mtime) => first([{ name: 'f', pax: { mtime } }]).mtime);
  assert.deepEqual(times, [
    { seconds: -5, nanoseconds: 0 },
    { seconds: -2, nanoseconds: 500_000_000 },
    { seconds: -1, nanoseconds: 750_000_000 },
  ]);
  const pax = { 'SCHILY.devmajor': '5', 'SCHILY.devminor': '6' };
  const { major, minor } = first([{ name: 'd', type: 'char', major: 1, minor: 2, pax }]);
  assert.deepEqual([major, minor], [5, 6]);
});

test('an empty PAX value takes the record back', () => {
  const found = entries([globalPax({ uid: '5' }), { name: 'a', pax: { uid: '' }, uid: 3 }, { name: 'b', uid: 3 }]);
  assert.deepEqual([found[0]?.uid, found[1]?.uid], [3, 5]);
});

test('attributes of a global header hold beside those of the file, and give way to those of the same name', () => {
  const found = entries([
    globalPax({ 'SCHILY.xattr.user.a': 'all', 'SCHILY.xattr.user.b': 'all' }),
    { name: 'f', xattrs: { 'user.b': 'own' } },
    { name: 'g' },
    globalPax({ 'SCHILY.xattr.user.a': '' }),
    { name: 'h' },
  ]);
  const shown = found.map(({ xattrs }) => [...(xattrs ?? [])].map(([name, value]) => `${name}=${value}`).join(' '));
  assert.deepEqual(shown, ['user.a=all user.b=own', 'user.a=all user.b=all', 'user.b=all']);
});

test('records that mean nothing here are no burden to the files behind them', () => {
  const many = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`comment.${i}`, 'x']));
  const state = new PaxState();
  state.addGlobal(paxBytes(many));
  assert.equal(state.over(undefined), undefined);
  assert.equal(parsePax(paxBytes(many)).size, 0);
});

test('what holds for all files is worked out once, and is limited over all global headers', () => {
  const xattrs = (from: number, to: number) =>
    globalPax(Object.fromEntries(Array.from({ length: to - from }, (_, i) => [`SCHILY.xattr.user.${from + i}`, 'x'])));
  const [one, two] = entries([xattrs(0, 1000), { name: 'a' }, { name: 'b' }]);
  assert.equal(one?.xattrs?.size, 1000);
  assert.equal(one?.xattrs, two?.xattrs);
  // The same records again are not counted twice.
  entries([...Array.from({ length: 5 }, () => xattrs(0, 1000)), { name: 'a' }]);
  damaged(tarball([xattrs(0, 2000), xattrs(2000, 4000), { name: 'a' }]), /global PAX headers of more than 65536 bytes/);
});

test('a global header cannot make every file a sparse one', () => {
  const map = globalPax({ 'GNU.sparse.map': '0,0', 'GNU.sparse.size': '0' });
  damaged(tarball([map, { name: 'a' }]), /global PAX header makes every file a sparse one/);
});

test('LIBARCHIVE.xattr is decoded: base64, the name percent-encoded', () => {
  const { xattrs } = first([{ name: 'f', pax: { 'LIBARCHIVE.xattr.user.a%3Db': Buffer.from('AP8') } }]);
  assert.deepEqual(xattrs?.get('user.a=b'), Buffer.from([0, 255]));
  const both: [string, string][] = [
    ['SCHILY.xattr.user.a', 'as it is'],
    ['LIBARCHIVE.xattr.user.a', 'AP8'],
  ];
  for (const records of [both, both.toReversed()]) {
    const { xattrs } = first([{ name: 'f', pax: Object.fromEntries(records) }]);
    assert.equal(String(xattrs?.get('user.a')), 'as it is');
  }
});

test('a global header persists, and a local one holds over it for one file', () => {
  const found = entries([
    globalPax({ mtime: '1' }),
    { name: 'a' },
    { name: 'b', pax: { mtime: '2' } },
    { name: 'c' },
    globalPax({ mtime: '' }),
    { name: 'd', mtime: 4 },
  ]);
  assert.deepEqual(
    found.map(({ mtime }) => mtime.seconds),
    [1, 2, 1, 4],
  );
});

test('long names and PAX headers describe the next file, not a header between', () => {
  const long = `${'d/'.repeat(80)}name`;
  const target = `${'t/'.repeat(80)}target`;
  const [link, next] = entries([
    gnuLong('L', long),
    gnuLong('K', target),
    { name: 'cut', type: 'symlink', linkname: 'cut', pax: { mtime: '3' } },
    { name: 'next', type: 'symlink', linkname: 'x' },
  ]);
  assert.deepEqual([link?.path, link?.target, link?.mtime.seconds], [long, target, 3]);
  assert.deepEqual([next?.path, next?.target], ['next', 'x']);
});

test('a PAX size before a long name belongs to the file, not to the long name', () => {
  const pax = tarEntry({ name: 'x', type: 'x', data: paxBytes({ size: '4' }) });
  const [file] = readAll(tarball([pax, gnuLong('L', 'the/name'), { name: 'n', data: 'data', size: 0 }]));
  assert.equal(file?.entry.path, 'the/name');
  assert.equal(file?.content?.toString(), 'data');
});

for (const [name, body] of [
  ['is longer than its header', '99 path=x\n'],
  ['has no newline at its end', '9 path=xx'],
  ['has no length', 'path=x\n'],
  ['has a length of 0', '0 path=x\n'],
  ['has a negative length', '-9 path=x\n'],
  ['has a length that is not decimal', '0xb path=x\n'],
  ['has no equals sign', '7 path\n'],
  ['has none before the next one', '7 path\n8 uid=7\n'],
  ['has no key', '5 =x\n'],
  ['has a NUL in its key', '8 a\0b=x\n'],
  ['has an enormous length', '99999999999999999999 path=x\n'],
] as const) {
  test(`a PAX record that ${name} is damage`, () =>
    damaged(tarball([{ name: 'f', rawPax: Buffer.from(body) }]), /PAX/));
}

for (const [key, value] of [
  ['path', 'a\0b'],
  ['linkpath', 'a\0b'],
  ['size', '-1'],
  ['size', '1e3'],
  ['size', '9007199254740993'],
  ['uid', 'root'],
  ['mtime', 'NaN'],
  ['mtime', '1.2.3'],
] as const) {
  test(`the PAX record ${key}=${JSON.stringify(value)} is damage`, () =>
    damaged(tarball([{ name: 'f', pax: { [key]: value } }]), /PAX|size/));
}

// Names are bytes, pieces are of any size

test('a name that is not UTF-8 keeps its bytes', () => {
  const name = Buffer.from('caf\xe9', 'latin1');
  assert.equal(first([{ name }]).path, 'caf\xe9');
  assert.equal(first([{ name: 'x', pax: { path: name } }]).path, 'caf\xe9');
  assert.equal(first([gnuLong('L', name), { name: 'x' }]).path, 'caf\xe9');
});

test('a checksum of signed bytes is as good, and one of neither kind is damage', () => {
  const name = Buffer.from('caf\xe9', 'latin1');
  const sum = Number.parseInt(tarEntry({ name }).toString('latin1', 148, 154), 8);
  assert.equal(first([{ name, checksum: sum - 256 }]).path, 'caf\xe9');
  for (const wrong of [sum - 255, sum - 512]) damaged(tarball([{ name, checksum: wrong }]), /checksum/);
});

test('of a mode the permissions count, and not the type that some old archives have there as well', () => {
  for (const uid of [0, 0o77777777]) {
    const { type, mode } = first([{ name: 'f', mode: 0o104755, uid }]);
    assert.deepEqual([type, mode], ['file', 0o4755]);
  }
});

test('the highest id is an owner, and the one above is none: chown(2) would leave the owner as it is', () => {
  for (const key of ['uid', 'gid'] as const) {
    assert.equal(first([{ name: 'f', [key]: 2 ** 32 - 2 }])[key], 2 ** 32 - 2);
    damaged(tarball([{ name: 'f', [key]: 2 ** 32 - 1 }]), /the (user|group) id 4294967295 is out of range/);
  }
});

test('names of 100 bytes, and of 155 and 100, have no NUL at their end', () => {
  const name = 'n'.repeat(100);
  assert.equal(first([{ name }]).path, name);
  const prefix = 'p'.repeat(155);
  assert.equal(first([{ name, patch: (block) => block.write(prefix, 345, 'latin1') }]).path, `${prefix}/${name}`);
});

test('only a header of POSIX has the rest of its name where GNU tar has times', () => {
  const gnu = (block: Buffer) => {
    block.write('ustar  \0', 257, 'latin1');
    block.write('14555555555', 345, 'latin1');
  };
  assert.equal(first([{ name: 'it', patch: gnu }]).path, 'it');
});

test('a header of GNU tar has it there as well when there are no times: Go wrote so until 1.8', () => {
  const pathWith = (there: string) =>
    first([{ name: 'it', uid: 3_000_000, patch: (block) => block.write(`ustar  \0${there}`, 257, 'latin1') }]).path;
  const upTo = (at: number) => '\0'.repeat(at - 265);
  assert.equal(pathWith(`${upTo(345)}usr/lib/node`), 'usr/lib/node/it');
  assert.equal(pathWith(`${upTo(345)}1234567/12345`), '1234567/12345/it');
  assert.equal(pathWith(`${upTo(345)}caf\xe9`), 'it');
  assert.equal(pathWith(`${upTo(357)}14555555555`), 'it');
});

test('star has times after the first 131 bytes of it', () => {
  const star = (block: Buffer) => {
    block.write(`${'p'.repeat(131)}14555555555\0`, 345, 'latin1');
    block.write('tar\0', 508, 'latin1');
  };
  assert.equal(first([{ name: 'it', patch: star }]).path, `${'p'.repeat(131)}/it`);
});

test('the same archive in pieces of 1 to 513 bytes gives the same entries', () => {
  const archive = everything();
  const whole = readAll(archive);
  assert.equal(whole.length, 13);
  for (let piece = 1; piece <= 513; piece++) assert.deepEqual(readAll(archive, piece), whole, `pieces of ${piece}`);
});

function everything(): Buffer {
  return tarball([
    { name: 'dir/', type: 'directory' },
    { name: 'empty', data: '' },
    { name: 'small', data: 'x' },
    { name: 'block', data: Buffer.alloc(512, 'b') },
    { name: 'large', data: Buffer.alloc(1500, 'c') },
    globalPax({ comment: 'all' }),
    { name: `${'é'.repeat(100)}/é`, data: 'pax', xattrs: { 'user.x': Buffer.alloc(700, 'v') } },
    gnuLong('L', `${'ü'.repeat(150)}`),
    { name: 'gnu', data: 'gnu' },
    { name: 'link', type: 'symlink', linkname: 'small' },
    { name: 'hard', type: 'link', linkname: 'small' },
    oldSparse(pairsOf('0+512 2000+3'), 4000, Buffer.from('end'.padStart(515, 's'))),
    oldSparse(comb(30, 10), 300, Buffer.alloc(30, 'e')),
    sparse10(pairsOf('5+5 100+1'), 200, Buffer.from('hello!')),
    { name: 'last', data: 'last' },
  ]);
}

// Sparse files and odd types

type Pairs = [offset: number, length: number][];

/** `OFFSET+LENGTH`, separated by spaces. */
function pairsOf(text: string): Pairs {
  return [...text.matchAll(/(\d+)\+(\d+)/g)].map(([, offset, length]) => [Number(offset), Number(length)]);
}

/** So many stretches of one byte. */
function comb(count: number, distance: number): Pairs {
  return Array.from({ length: count }, (_, i) => [i * distance, 1]);
}

/** GNU's old format: four stretches in the header, 21 in each extension block. */
function oldSparse(pairs: Pairs, realSize: number, data: Buffer): Buffer {
  const number = (block: Buffer, at: number, value: number) =>
    block.write(`${value.toString(8).padStart(11, '0')}\0`, at, 'latin1');
  const put = (block: Buffer, at: number, some: Pairs) =>
    some.forEach(([offset, length], i) => {
      number(block, at + i * 24, offset);
      number(block, at + i * 24 + 12, length);
    });
  const header = tarEntry({
    name: 'sparse',
    type: 'S',
    size: data.length,
    patch: (block) => {
      block.write('ustar  \0', 257, 'latin1');
      put(block, 386, pairs.slice(0, 4));
      block[482] = pairs.length > 4 ? 1 : 0;
      number(block, 483, realSize);
    },
  });
  const extensions: Buffer[] = [];
  for (let at = 4; at < pairs.length; at += 21) {
    const block = Buffer.alloc(512);
    put(block, 0, pairs.slice(at, at + 21));
    block[504] = at + 21 < pairs.length ? 1 : 0;
    extensions.push(block);
  }
  return Buffer.concat([header, ...extensions, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

function sparse10(pairs: Pairs, realSize: number, data: Buffer): Buffer {
  const text = [pairs.length, ...pairs.flat()].join('\n');
  const map = Buffer.alloc(Math.ceil((text.length + 1) / 512) * 512);
  map.write(`${text}\n`, 'latin1');
  const pax = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    // GNU tar has both names in the header where the first is too long for the block.
    path: 'GNUSparseFile.1/sparse',
    'GNU.sparse.name': 'sparse',
    'GNU.sparse.realsize': String(realSize),
  };
  return tarEntry({ name: 'GNUSparseFile.1/sparse', data: Buffer.concat([map, data]), pax });
}

function sparse01(pairs: Pairs, realSize: number, data: Buffer): Buffer {
  const pax = {
    'GNU.sparse.numblocks': String(pairs.length),
    'GNU.sparse.map': pairs.flat().join(','),
    'GNU.sparse.name': 'sparse',
    'GNU.sparse.size': String(realSize),
  };
  return tarEntry({ name: 'x', data, pax });
}

function sparse00(pairs: Pairs, realSize: number, data: Buffer): Buffer {
  const records = pairs.map(([offset, length]) =>
    paxBytes({ 'GNU.sparse.offset': String(offset), 'GNU.sparse.numbytes': String(length) }),
  );
  const size = paxBytes({ 'GNU.sparse.size': String(realSize), 'GNU.sparse.numblocks': String(pairs.length) });
  return tarEntry({ name: 'sparse', data, rawPax: Buffer.concat([size, ...records]) });
}

const formats = { 'old GNU': oldSparse, 'PAX 0.0': sparse00, 'PAX 0.1': sparse01, 'PAX 1.0': sparse10 };

for (const [name, make] of Object.entries(formats)) {
  test(`a sparse file in the ${name} format is expanded`, () => {
    const pairs = pairsOf('3+4 7+0 1000+2 2000+0');
    const [file, next] = readAll(tarball([make(pairs, 2000, Buffer.from('datael')), { name: 'next' }]));
    const wanted = Buffer.alloc(2000);
    wanted.write('data', 3);
    wanted.write('el', 1000);
    assert.deepEqual([file?.entry.path, file?.entry.size, file?.entry.type], ['sparse', 2000, 'file']);
    assert.deepEqual(file?.content, wanted);
    assert.equal(next?.entry.path, 'next');
  });

  test(`a sparse file in the ${name} format may be one hole, or have many stretches`, () => {
    const [hole] = readAll(tarball([make(pairsOf('5000+0'), 5000, Buffer.of())]));
    assert.deepEqual(hole?.content, Buffer.alloc(5000));
    const [many] = readAll(tarball([make(comb(100, 8), 800, Buffer.alloc(100, '.'))]));
    assert.equal(many?.content?.toString('latin1'), '.\0\0\0\0\0\0\0'.repeat(100));
  });

  for (const [why, stretches, data] of [
    ['out of order', '10+1 5+1', 'ab'],
    ['overlapping', '0+5 4+1', 'abcdef'],
    ['beyond the end', '18+5', 'abcde'],
    ['longer than the content', '0+5', 'abc'],
    ['shorter than the content', '0+2', 'abc'],
  ] as const) {
    test(`a map of the ${name} format that is ${why} is damage`, () =>
      damaged(tarball([make(pairsOf(stretches), 20, Buffer.from(data))]), /sparse map/));
  }
}

test('a map of format 0.0 without a length to each offset is damage', () => {
  const rawPax = Buffer.concat(
    [{ 'GNU.sparse.size': '100' }, { 'GNU.sparse.offset': '0' }, { 'GNU.sparse.offset': '8' }].map(paxBytes),
  );
  damaged(tarball([{ name: 'f', data: 'abcdefgh', rawPax }]), /an offset without a length/);
});

test('a file of format 0.0 that is one hole, with no record for a stretch, has its size', () => {
  const pax = { 'GNU.sparse.size': '1000', 'GNU.sparse.numblocks': '0' };
  const [{ entry, content } = assert.fail()] = readAll(tarball([{ name: 'f', pax }]));
  assert.deepEqual([entry.size, content], [1000, Buffer.alloc(1000)]);
  damaged(tarball([{ name: 'f', data: 'x', pax }]), /does not fit/);
});

test('format 1.0 may have its size by the key of the older formats', () => {
  const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.size': '12' };
  const map = Buffer.concat([Buffer.from('1\n10\n2\n'), Buffer.alloc(505)]);
  const [{ content } = assert.fail()] = readAll(
    tarball([{ name: 'f', data: Buffer.concat([map, Buffer.from('ab')]), pax }]),
  );
  assert.equal(content?.toString('latin1'), `${'\0'.repeat(10)}ab`);
});

test('a map of format 0.1 that is not as long as it says is damage', () => {
  const pax = { 'GNU.sparse.size': '100', 'GNU.sparse.numblocks': '7', 'GNU.sparse.map': '0,4,10,4' };
  damaged(tarball([{ name: 'f', data: 'abcdefgh', pax }]), /not as long as it says/);
});

test('a map of format 0.1 without the size of its file, or of an odd count of numbers, is damage', () => {
  damaged(tarball([{ name: 'f', data: 'abcd', pax: { 'GNU.sparse.map': '0,4' } }]), /a sparse file has no size/);
  const pax = { 'GNU.sparse.size': '100', 'GNU.sparse.map': '0,4,10' };
  damaged(tarball([{ name: 'f', data: 'abcd', pax }]), /an offset without a length/);
});

for (const [major, minor] of [
  ['2', '0'],
  ['1', '1'],
] as const) {
  test(`a sparse file of the unknown format ${major}.${minor} is damage`, () => {
    const pax = { 'GNU.sparse.major': major, 'GNU.sparse.minor': minor, 'GNU.sparse.realsize': '4' };
    damaged(tarball([{ name: 'f', data: 'abcd', pax }]), /unknown format/);
  });
}

test('an attribute of libarchive with a NUL in its name, or not in base64, is damage', () => {
  damaged(tarball([{ name: 'f', pax: { 'LIBARCHIVE.xattr.user.a%00b': 'eA==' } }]), /holds a NUL/);
  damaged(tarball([{ name: 'f', pax: { 'LIBARCHIVE.xattr.user.a': '!!!' } }]), /not base64/);
});

test('an empty long name or target is none, as Go has it', () => {
  const { path, target } = first([gnuLong('L', ''), gnuLong('K', ''), { name: 'a', type: 'symlink', linkname: 'b' }]);
  assert.deepEqual([path, target], ['a', 'b']);
});

for (const [what, data, why] of [
  ['has no end of a line', Buffer.alloc(2048, '1'), /a sparse map is not a list of numbers/],
  ['goes on behind its file', Buffer.from('3\n0\n1\n'.padEnd(512, '0')), /a sparse map is longer than its file/],
] as const) {
  test(`a map of format 1.0 that ${what} is damage, and nothing more is read`, () => {
    const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '1' };
    damaged(tarball([{ name: 'x', data, pax }]), why);
  });
}

for (const type of ['link', 'symlink', 'directory', 'fifo', 'char', 'block']) {
  test(`a ${type} with a size has no content`, () => {
    const [entry, next] = entries([{ name: 'it', type, linkname: 'x', size: 1000 }, { name: 'next' }]);
    assert.equal(entry?.size, 0);
    assert.equal(next?.path, 'next');
  });
}

test('type flags NUL and 7 are files; NUL with a slash at its end is a directory', () => {
  const nul = (block: Buffer) => void block.fill(0, 156, 157);
  const found = readAll(
    tarball([
      { name: 'nul', data: 'x', patch: nul },
      { name: 'seven', type: '7', data: 'y' },
      { name: 'v7/', patch: nul },
    ]),
  );
  assert.deepEqual(
    found.map(({ entry, content }) => [entry.type, content?.toString()]),
    [
      ['file', 'x'],
      ['file', 'y'],
      ['directory', undefined],
    ],
  );
});

test('a file with a slash at its end and content is damage: readers take it for different things', () =>
  damaged(tarball([{ name: 'dir/', data: 'x' }]), /directory by its name/));

for (const type of ['M', 'D', 'Z', '8']) {
  test(`the type ${type} is damage, not passed over`, () => damaged(tarball([{ name: 'x', type }]), /unknown type/));
}

// Damage

const good = tarball([{ name: 'a', data: 'content' }]);
const endOfContent = 512 + 'content'.length;

test('any byte of a header that changes is damage', () => {
  const header = tarEntry({ name: 'a', data: '' });
  for (let at = 0; at < 512; at++) {
    const changed = Buffer.from(header);
    changed[at] = (changed[at]! + 1) & 0xff;
    // A blank more or less around the checksum means nothing, by POSIX.
    if (at >= 148 && at < 156 && /^[ \0]*$/.test(changed.toString('latin1', 154, 156))) continue;
    if (at === 154 || at === 155) continue;
    damaged(changed, /checksum/);
  }
});

test('a negative size is damage', () => damaged(tarball([{ name: 'a', size: -1 }]), /size|range/));

for (const size of ['12x', '8', '-7', '0x10']) {
  test(`the size ${JSON.stringify(size)} is damage`, () =>
    damaged(
      tarball([{ name: 'a', patch: (block) => void block.fill(0, 124, 136).write(size, 124, 'latin1') }]),
      /size/,
    ));
}

for (const [what, at, end] of [
  ['mode', 100, 108],
  ['user id', 108, 116],
  ['group id', 116, 124],
  ['time', 136, 148],
] as const) {
  test(`a ${what} that is not a number is damage, as it is to Go and Python, and an empty one is 0`, () => {
    const having = (text: string): TarEntry => ({
      name: 'a',
      uid: 1,
      gid: 1,
      patch: (block) => void block.fill(0, at, end).write(text, at, 'latin1'),
    });
    for (const text of ['x', '12x', '8', '-1'])
      damaged(tarball([having(text)]), new RegExp(`a ${what} that is not a number`));
    for (const text of ['', '   ', ' 0 ']) {
      const { mode, uid, gid, mtime } = first([having(text)]);
      assert.ok([mode, uid, gid, mtime.seconds].includes(0));
    }
  });
}

test('a NUL in front of a number, from the field before, is passed over, as GNU tar, Go and libarchive do', () => {
  const { entry, content } = readAll(
    tarball([
      {
        name: 'a',
        data: 'abc',
        uid: 0o123,
        patch: (block) => void [108, 124, 136].map((at) => block.fill(0, at, at + 1)),
      },
    ]),
  )[0]!;
  assert.deepEqual([entry.uid, entry.size, entry.mtime.seconds], [0o123, 3, 1_000_000_000]);
  assert.equal(String(content), 'abc');
});

test('a size beyond what JavaScript holds exactly is damage', () =>
  damaged(tarball([{ name: 'a', size: 2 ** 60 }]), /range|size/));

test('a cut anywhere inside an entry is damage', () => {
  for (let length = 1; length < 1024; length++) {
    if (length !== endOfContent) damaged(good.subarray(0, length), /cut|short/);
  }
});

test('an archive that ends behind the last byte of content, as those of umoci insert, is whole', () => {
  assert.equal(readAll(good.subarray(0, endOfContent)).length, 1);
});

test('an archive that ends behind a file, without zero blocks, is whole', () => {
  assert.equal(readAll(good.subarray(0, 1024)).length, 1);
  assert.equal(readAll(Buffer.of()).length, 0);
});

test('an archive that ends behind an extended header is damage', () =>
  damaged(
    tarball([tarEntry({ name: 'x', type: 'x', data: paxBytes({ path: 'a' }) })], Buffer.of()),
    /extended header/,
  ));

test('two blocks of zeros that are not in a row are not the end', () => {
  const zeros = Buffer.alloc(512);
  const paths = entries([zeros, { name: 'a' }, zeros, { name: 'b' }]).map(({ path }) => path);
  assert.deepEqual(paths, ['a', 'b']);
});

test('what follows the end is dropped', () => {
  const found = readAll(Buffer.concat([good, tarball([{ name: 'evil' }]), Buffer.from('garbage')]));
  assert.deepEqual(
    found.map(({ entry }) => entry.path),
    ['a'],
  );
});

test('an extended header of an enormous size is refused before it is read', () =>
  damaged(tarball([tarEntry({ name: 'x', type: 'x', size: 2 ** 33 })]), /extended header of/));

for (const type of ['x', 'g', 'L', 'K']) {
  test(`an extended header of type ${type} has 1 MiB at most, as Go has it`, () => {
    const record = paxBytes({ comment: 'x'.repeat(2 ** 20 - 17) });
    assert.equal(record.length, 2 ** 20);
    assert.equal(entries([tarEntry({ name: 'x', type, data: record }), { name: 'a' }]).length, 1);
    damaged(tarball([tarEntry({ name: 'x', type, size: 2 ** 20 + 1 })]), /extended header of 1048577 bytes/);
  });
}

test('a sparse map of more stretches than there is memory for is refused, before it is complete', () => {
  const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '0' };
  damaged(tarball([{ name: 'x', data: Buffer.from('500001\n'.padEnd(512, '0\n')), pax }]), /map is too long/);
  const stretch = '00000000000\0'.repeat(2);
  const first = tarEntry({
    name: 'x',
    type: 'gnuSparse',
    patch: (block) => {
      block.write(stretch.repeat(4), 386, 'latin1');
      block.write(`\x01${stretch.slice(0, 12)}`, 482, 'latin1');
    },
  });
  const further = Buffer.from(`${stretch.repeat(21)}\x01`.padEnd(512, '\0'), 'latin1');
  damaged(Buffer.concat([first, ...Array(23_810).fill(further)]), /map is too long/);
});

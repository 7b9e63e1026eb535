/** Mount points that an image tries to lead astray, or has in places that are only unusual. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { placeInside } from '../../lib/isolate/filesystem/places.js';
import { describeRoot, inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { scratch } from '../support/run.js';

const skip = needsContainer;

test('a place is resolved as if the image were the whole world', (t) => {
  const root = scratch(t);
  mkdirSync(join(root, 'etc'));
  mkdirSync(join(root, 'run'));
  writeFileSync(join(root, 'etc/file'), '');
  symlinkSync('../../../run/x', join(root, 'etc/up'));
  symlinkSync('/etc', join(root, 'abs'));
  symlinkSync('/', join(root, 'top'));
  symlinkSync('b', join(root, 'a'));
  symlinkSync('a', join(root, 'b'));
  const cases: [string, string, string | undefined][] = [
    ['etc', 'etc', 'directory'],
    ['etc/file', 'etc/file', 'other'],
    ['etc/new', 'etc/new', undefined],
    ['etc/up', 'run/x', undefined],
    ['abs/file', 'etc/file', 'other'],
    ['abs/../etc/./file', 'etc/file', 'other'],
    ['../../etc', 'etc', 'directory'],
    ['top', '', 'directory'],
    ['top/proc/self', 'proc/self', undefined],
    ['etc/file/below', 'etc/file/below', undefined],
    ['none/a/../b', 'none/b', undefined],
    ['none/a/..', 'none', undefined],
    ['none/../etc', 'etc', 'directory'],
  ];
  for (const [path, at, kind] of cases) {
    const place = placeInside({ lower: root }, path);
    assert.equal(place.path, at, path);
    assert.equal(place.kind, kind, path);
  }
  assert.throws(() => placeInside({ lower: root }, 'a'), /go round in a circle/);
});

test('an image whose /etc/resolv.conf is a link to nothing gets the file where the link leads', { skip }, async (t) => {
  const root = makeRoot(t);
  mkdirSync(join(root, 'etc'), { recursive: true });
  rmSync(join(root, 'etc/resolv.conf'), { force: true });
  symlinkSync('../run/systemd/resolve/stub-resolv.conf', join(root, 'etc/resolv.conf'));
  const seen = await output(root, 'cat /etc/resolv.conf');
  assert.equal(seen, readFileSync('/etc/resolv.conf', 'utf8').trimEnd());
});

test('an image with a directory at /etc/hosts is refused in words', { skip }, async (t) => {
  const root = makeRoot(t);
  rmSync(join(root, 'etc/hosts'), { force: true });
  mkdirSync(join(root, 'etc/hosts'), { recursive: true });
  const { status, stderr } = await inside(root, 'true');
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^md-isolate: \/etc\/hosts of the image: a file is to be mounted there, and it is a directory\n$/,
  );
});

for (const [link, to] of [
  ['data', '/proc'],
  ['data', 'proc/sys'],
  ['data', '/sys'],
  ['data', '/'],
  ['data', '../../..'],
] as const) {
  test(`a volume does not cover what a link of the image leads it to: ${to} (CVE-2019-16884)`, { skip }, async (t) => {
    const root = makeRoot(t);
    const volume = scratch(t);
    symlinkSync(to, join(root, link));
    for (const flags of [
      ['-v', `${volume}:/${link}`],
      ['--tmpfs', `/${link}`],
      ['--mount', `type=tmpfs,target=/${link}`],
    ]) {
      const { status, stderr } = await inside(root, 'true', flags);
      assert.equal(status, 125, flags.join(' '));
      assert.match(stderr, /^md-isolate: the target \/data: .*(cannot be covered|is not a target).*\n$/);
    }
  });
}

test('a volume goes where a harmless link of the image leads, made if it is missing', { skip }, async (t) => {
  const root = makeRoot(t);
  const volume = scratch(t);
  writeFileSync(join(volume, 'file'), 'shared');
  symlinkSync('/srv/deep/place', join(root, 'data'));
  assert.equal(await output(root, 'cat /srv/deep/place/file', ['-v', `${volume}:/data`]), 'shared');
});

test('a directory is not mounted over a file, nor a file over a directory', { skip }, async (t) => {
  const root = makeRoot(t);
  const volume = scratch(t);
  writeFileSync(join(volume, 'file'), 'shared');
  writeFileSync(join(root, 'file'), '');
  mkdirSync(join(root, 'directory'));
  for (const flags of [
    ['-v', `${volume}:/file`],
    ['-v', `${volume}/file:/directory`],
  ]) {
    const { status, stderr } = await inside(root, 'true', flags);
    assert.equal(status, 125);
    assert.match(stderr, /is to be mounted there, and the image has/);
  }
});

test('a document beside the tree that is none is refused by its own name', { skip }, async (t) => {
  const root = makeRoot(t);
  const document = `${root}.json`;
  for (const [content, message] of [
    ['{"image":1}', /root\.json: rootfs: expected a string, got nothing\n$/],
    ['{"rootfs":"/x"}', /root\.json: image: expected a string, got nothing\n$/],
    ['[]', /root\.json: expected an object, got an array\n$/],
    ['{', /root\.json: it is not JSON; md-unpack writes it\n$/],
  ] as const) {
    writeFileSync(document, content);
    const { status, stderr } = await inside(root, 'true');
    assert.equal(status, 125);
    assert.match(stderr, message);
  }
  truncateSync(document, 2 ** 40);
  assert.match((await inside(root, 'true')).stderr, /root\.json: it has 1099511627776 bytes, more than 67108864\n$/);
  rmSync(document);
  execFileSync('mkfifo', [document]);
  const { status, stderr, timedOut } = await inside(root, 'true');
  assert.equal(timedOut, false);
  assert.equal(status, 125);
  assert.match(stderr, /root\.json: it is not a regular file\n$/);
});

test('in a directory like /tmp, a document that a stranger has put beside a tree is refused', { skip }, async (t) => {
  const root = makeRoot(t);
  const stranger = 61_235;
  describeRoot(root, { Entrypoint: ['/bin/echo', 'planted'] });
  chownSync(`${root}.json`, stranger, stranger);
  assert.equal((await inside(root, 'true')).stdout, 'planted sh -c true\n');
  chmodSync(dirname(root), 0o1777);
  const { status, stdout, stderr } = await inside(root, 'true');
  assert.equal(status, 125);
  assert.equal(stdout, '');
  assert.match(stderr, /root\.json: it belongs to user 61235, and the tree does not; .* lets everybody make files: /);
  // As after md-unpack without root, and sudo md-isolate.
  chownSync(root, stranger, stranger);
  assert.equal((await inside(root, 'true')).stdout, 'planted sh -c true\n');
});

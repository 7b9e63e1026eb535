import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DetachKeys, parseDetachKeys } from '../../lib/isolate/stdio/detach-keys.js';
import { rawTermios } from '../../lib/isolate/stdio/outer-terminal.js';
import { failure } from '../support/failure.js';

test("detach keys are read in docker's notation", () => {
  assert.deepEqual([...parseDetachKeys()], [0x10, 0x11]);
  assert.deepEqual([...parseDetachKeys('ctrl-x,ctrl-y')], [0x18, 0x19]);
  assert.deepEqual(
    [...parseDetachKeys('ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,ctrl-z')],
    [0, 27, 28, 29, 30, 31, 26],
  );
  assert.deepEqual([...parseDetachKeys('a,B,DEL')], [0x61, 0x42, 0x7f]);
  assert.deepEqual([...parseDetachKeys('')], []);
});

for (const wrong of ['ctrl-', 'ctrl-1', 'ctrl-P', 'ab', 'ctrl-p,,ctrl-q', '\x01', '\u00e9']) {
  test(`${JSON.stringify(wrong)} names no detach keys`, () => {
    assert.throws(() => parseDetachKeys(wrong), failure(64));
  });
}

/** What the container gets of pieces of typing, up to the detach keys. */
function typed(pieces: string[], of = '\x10\x11'): { forward: string; detached: boolean; waiting: boolean } {
  const keys = new DetachKeys(Buffer.from(of));
  let forward = '';
  let detached = false;
  for (const piece of pieces) {
    const found = keys.feed(Buffer.from(piece));
    forward += found.forward.toString();
    detached ||= found.detached;
  }
  return { forward, detached, waiting: keys.waiting };
}

test('the keys detach, whole or in pieces, and the container does not see them', () => {
  assert.deepEqual(typed(['ls\r\x10\x11']), { forward: 'ls\r', detached: true, waiting: false });
  assert.deepEqual(typed(['ls\r\x10', '\x11']), { forward: 'ls\r', detached: true, waiting: false });
  for (const pieces of [
    ['aXY', 'Z'],
    ['aX', 'YZ'],
    ['aX', 'Y', 'Z'],
  ]) {
    assert.deepEqual(typed(pieces, 'XYZ'), { forward: 'a', detached: true, waiting: false });
  }
});

test('the first of the keys alone is held back, and given out with what follows', () => {
  assert.deepEqual(typed(['a\x10']), { forward: 'a', detached: false, waiting: true });
  assert.deepEqual(typed(['a\x10', 'b']), { forward: 'a\x10b', detached: false, waiting: false });
  assert.deepEqual(typed(['\x10', '\x10', '\x11']), { forward: '\x10', detached: true, waiting: false });
});

test('held keys can be taken out when the rest does not come', () => {
  const keys = new DetachKeys(Buffer.from('\x10\x11'));
  keys.feed(Buffer.from('\x10'));
  assert.equal(keys.release().toString(), '\x10');
  assert.equal(keys.waiting, false);
  assert.equal(keys.feed(Buffer.from('\x11')).forward.toString(), '\x11');
});

test('without detach keys everything goes to the container', () => {
  const keys = new DetachKeys(Buffer.alloc(0));
  assert.equal(keys.feed(Buffer.from('\x10\x11')).forward.toString(), '\x10\x11');
});

test('raw mode hands on every byte: no echo, no signals, no line editing, no change of line ends', () => {
  const all = Buffer.alloc(36, 0xff);
  const raw = rawTermios(all);
  const [input, output, control, local] = [0, 4, 8, 12].map((at) => raw.readUInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  assert.equal(input & 0o2753, 0);
  assert.equal(output & 0o1, 0);
  assert.equal(control & 0o460, 0o60);
  assert.equal(local & 0o100113, 0);
  assert.equal(raw[17 + 6], 1);
  assert.equal(raw[17 + 5], 0);
  assert.notEqual(all, raw);
});

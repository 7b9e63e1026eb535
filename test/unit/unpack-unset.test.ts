import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unsetSummary } from '../../lib/unpack/tree/unset.js';

test('what could not be set is counted, one thing in the singular', () => {
  const device = { uid: 0, gid: 0, mode: 0o600, device: { type: 'char' as const, major: 1, minor: 3 } };
  const attributes = { xattrs: { 'security.capability': 'AQ==' } };
  const say = (...all: object[]) => unsetSummary(new Map(all.map((unset, i) => [String(i), unset])), '/r') ?? '';
  assert.match(say(device, attributes), /: 1 device, 1 set of extended attributes; \/r lists them$/);
  assert.match(say(device, device), /: 2 devices; \/r lists them$/);
});

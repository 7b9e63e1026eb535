import assert from 'node:assert/strict';
import { constants, release } from 'node:os';
import { test } from 'node:test';
import { kernelRelease } from '../../lib/sys/procfs/kernel-release.js';
import { SIGNALS } from '../../lib/sys/syscalls/constants.js';
import * as errno from '../../lib/sys/syscalls/errno.js';

test('errno values and signals are those of this machine', () => {
  for (const [name, number] of Object.entries(errno)) assert.equal(number, Reflect.get(constants.errno, name), name);
  for (const [name, number] of Object.entries(SIGNALS)) {
    assert.equal(number, Reflect.get(constants.signals, name), name);
  }
});

test("the kernel's release is that of uname(2)", () => {
  assert.equal(kernelRelease(), release());
});

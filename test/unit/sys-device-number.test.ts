import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceNumber } from '../../lib/sys/files/device-number.js';

test('the number of a device has 12 bits of major, with 8 of minor before and 12 behind them', () => {
  assert.equal(deviceNumber(8, 1), 0x801);
  assert.equal(deviceNumber(259, 0x12345), 0x12310345);
  assert.equal(deviceNumber(0xfff, 0xfffff), 0xffffffff);
});

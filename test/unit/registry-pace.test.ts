import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type LeastPace, Pace } from '../../lib/registry/http/pace.js';

/**
 * A pace by a clock of the test's own; `wait` lets seconds go by, at the end of which the timer is due if it should be.
 */
function paced(t: TestContext, least: LeastPace) {
  let now = 0;
  let due: (() => void) | undefined;
  t.mock.method(process, 'uptime', () => now / 1000);
  t.mock.method(globalThis, 'setInterval', (check: () => void, ms: number) => {
    assert.equal(ms, least.over * 1000);
    due = check;
    return { unref: () => undefined };
  });
  const slow: number[] = [];
  const pace = new Pace(least, (bytes) => slow.push(bytes));
  const wait = (seconds: number, isDue = true) => {
    now += seconds * 1000;
    if (isDue) due?.();
  };
  return { pace, slow, wait, isTimed: () => due !== undefined };
}

const least = { speed: 100, over: 60 };

test('a body is slow when fewer bytes came in a span of time than must, whatever came before', (t) => {
  const { pace, slow, wait } = paced(t, least);
  pace.came(1_000_000);
  wait(60);
  pace.came(6000);
  wait(60);
  assert.deepEqual(slow, []);
  pace.came(5999);
  wait(60);
  wait(60);
  assert.deepEqual(slow, [5999, 0]);
});

test('time in which nothing is read does not count, though it goes over several spans', (t) => {
  const { pace, slow, wait } = paced(t, least);
  wait(30, false);
  pace.came(3000);
  pace.hold();
  pace.hold();
  wait(30);
  wait(60);
  wait(10, false);
  pace.goOn();
  pace.came(4999);
  wait(50);
  assert.deepEqual(slow, [4999]);
});

test('a process that stood still has not seen what came meanwhile', (t) => {
  const { pace, slow, wait } = paced(t, least);
  wait(600);
  assert.deepEqual(slow, []);
  pace.came(1);
  wait(62);
  assert.deepEqual(slow, [1]);
});

for (const nothing of [
  { speed: 0, over: 60 },
  { speed: 100, over: 0 },
]) {
  test(`${nothing.speed} bytes a second over ${nothing.over} seconds ask for nothing`, (t) => {
    assert.equal(paced(t, nothing).isTimed(), false);
  });
}

test('a span in which nothing is read from end to end wants no byte, though its timer is early', (t) => {
  const { pace, slow, wait } = paced(t, least);
  pace.came(6000);
  pace.hold();
  wait(60);
  for (let span = 0; span < 3; span++) wait(59.9);
  assert.deepEqual(slow, []);
});

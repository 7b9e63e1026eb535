import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { retrying } from '../../lib/registry/http/retry.js';
import { RegistryFailure, type RegistryFailureOptions } from '../../lib/registry/transport/failure.js';
import { spreadMocks } from '../support/mocks.js';

const policy = { retries: 2, leastProgress: 1, insist: true, firstDelay: 1, maxDelay: 2, maxRetryAfter: 1 };

function failure(options: RegistryFailureOptions = {}) {
  return new RegistryFailure(69, 'it', 'fails', { retryable: true, ...options });
}

async function attempts(
  error: (count: number) => Error | undefined,
  progress?: () => number,
  by = policy,
): Promise<number> {
  let count = 0;
  const attempt = async () => {
    count += 1;
    const thrown = error(count);
    if (thrown) throw thrown;
  };
  await retrying(by, attempt, progress).catch(() => {});
  return count;
}

test('what fails in passing is tried again, as often as the policy says', async () => {
  assert.equal(await attempts((count) => (count < 3 ? failure() : undefined)), 3);
  assert.equal(await attempts(() => failure()), 3);
});

test('what fails for good is not tried again', async () => {
  assert.equal(await attempts(() => failure({ retryable: false })), 1);
  assert.equal(await attempts(() => new Error('a fault')), 1);
});

test('progress starts the count again', async () => {
  let at = 0;
  const fails = (count: number) => {
    if (count <= 5) at += 1;
    return failure();
  };
  assert.equal(await attempts(fails, () => at), 7);
});

test('too little of it does not', async () => {
  let at = 0;
  const fails = () => {
    at += 9;
    return failure();
  };
  assert.equal(await attempts(fails, () => at, { ...policy, leastProgress: 10 }), 3);
});

test('a wait that the registry wants and that is too long ends it at once', async () => {
  assert.equal(await attempts(() => failure({ retryAfter: 3600 })), 1);
});

test('each wait is twice the one before, up to a limit, and a random part of it is left out', async (t) => {
  const waits: number[] = [];
  t.mock.method(globalThis, 'setTimeout', (next: () => void, ms: number) => {
    waits.push(ms);
    next();
  });
  const random = t.mock.method(Math, 'random', () => 0);
  const fail = async () => {
    throw failure();
  };
  const slow = { ...policy, retries: 4, firstDelay: 100, maxDelay: 500 };
  await assert.rejects(retrying(slow, fail));
  assert.deepEqual(waits.splice(0), [50, 100, 200, 250]);
  random.mock.mockImplementation(() => 1);
  await assert.rejects(retrying(slow, fail));
  assert.deepEqual(waits, [100, 200, 400, 500]);
});

test('from the second retry in a row on, each is told with its reason', async (t) => {
  const told: string[] = [];
  t.mock.method(fs, 'writeSync', (_fd: number, line: string) => told.push(line));
  spreadMocks(t);
  await attempts((count) => (count < 2 ? failure() : undefined));
  assert.deepEqual(told, []);
  await attempts(() => failure());
  assert.deepEqual(told, ['md: it: fails; retry 2 of 2 in 0.0 s\n']);
});

test('a wait can be made shorter, and never longer', () => {
  assert.equal(failure({ retryAfter: 2 }).waitingAtMost(30).retryAfter, 2);
  assert.equal(failure({ retryAfter: 60 }).waitingAtMost(30).retryAfter, 30);
  assert.equal(failure().waitingAtMost(30).retryAfter, undefined);
});

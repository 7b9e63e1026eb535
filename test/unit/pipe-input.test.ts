import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { maxLineBytes, readLines, UpstreamFailure } from '../../lib/pipe/input.js';
import { failure } from '../support/failure.js';

async function linesOf(...chunks: (string | Buffer)[]): Promise<unknown[]> {
  const out: unknown[] = [];
  for await (const value of readLines(Readable.from(chunks.map((chunk) => Buffer.from(chunk))))) out.push(value);
  return out;
}

test('lines are objects however the bytes are cut up', async () => {
  const text = Buffer.from('{"a":"é"}\n\n{"b":[1]}\n');
  for (let size = 1; size <= text.length; size++) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < text.length; at += size) chunks.push(text.subarray(at, at + size));
    assert.deepEqual(await linesOf(...chunks), [{ a: 'é' }, { b: [1] }]);
  }
});

test('the last line needs no newline; one that is cut off means that the writer was killed', async () => {
  assert.deepEqual(await linesOf('{"a":1}\n{"b":2}'), [{ a: 1 }, { b: 2 }]);
  for (const cut of ['{"b":2', '{"b":"é', '{']) {
    await assert.rejects(linesOf(`{"a":1}\n${cut}`), failure(65, /line 2 of stdin: it is cut off/), cut);
  }
  await assert.rejects(linesOf('{"a":1}\n[2]'), failure(65, /line 2 of stdin: it is not a JSON object/));
});

test('what is not a JSON object is refused with the number of its line', async () => {
  await assert.rejects(linesOf('{}\nnonsense\n'), failure(65, /line 2 of stdin: it is not JSON/));
  await assert.rejects(linesOf('{\n  "image": "a"\n}\n'), failure(65, /line 1 of stdin: .*on one line, as jq -c/));
  await assert.rejects(linesOf('[1]\n'), failure(65, /line 1 of stdin: it is not a JSON object/));
  await assert.rejects(linesOf('null\n'), failure(65, /it is not a JSON object/));
  await assert.rejects(linesOf(Buffer.from([0x22, 0xff, 0x22, 0x0a])), failure(65, /line 1 of stdin: it is not UTF-8/));
  const archive = Buffer.concat([Buffer.from('name\0\n'), Buffer.alloc(512)]);
  await assert.rejects(linesOf(archive), failure(65, /it is not JSON; .*\{"layer":\{"path":"FILE"\}\}/));
});

test('a chunk of empty lines takes no longer than others', async () => {
  // With the square of their number it takes 5 s.
  const began = performance.now();
  assert.deepEqual(await linesOf(Buffer.alloc(64 * 1024, '\n'), '{"a":1}\n'), [{ a: 1 }]);
  const took = performance.now() - began;
  assert.ok(took < 2000, `${took} ms`);
});

test('a line of 10 MB is read, one beyond the limit is refused without being kept', async () => {
  const [value] = (await linesOf(`{"a":"${'x'.repeat(10_000_000)}"}\n`)) as [{ a: string }];
  assert.equal(value.a.length, 10_000_000);
  const endless = Readable.from(
    (function* () {
      for (;;) yield Buffer.alloc(1 << 20, 0x20);
    })(),
  );
  await assert.rejects(
    async () => {
      for await (const _ of readLines(endless));
    },
    failure(65, new RegExp(`longer than ${maxLineBytes} bytes`)),
  );
});

test('an error line ends the reading with the report of the stage that failed', async () => {
  const line = '{"error":{"command":"md-token","code":69,"message":"no route","retryAfter":3}}';
  await assert.rejects(
    linesOf('{"a":1}\n', `${line}\n`, '{"b":2}\n'),
    (error) => error instanceof UpstreamFailure && error.report.code === 69 && error.line === line,
  );
});

test('an error line that is no report is refused by the name of the wrong field', async () => {
  await assert.rejects(linesOf('{"error":{"command":"a","code":0,"message":"m"}}\n'), failure(65, /error\.code/));
  await assert.rejects(linesOf('{"error":{"command":"a","code":256,"message":"m"}}\n'), failure(65, /error\.code/));
  await assert.rejects(linesOf('{"error":{"code":1,"message":"m"}}\n'), failure(65, /error\.command/));
  await assert.rejects(linesOf('{"error":"text"}\n'), failure(65, /^error: expected an object/));
});

test('a document that comes in small pieces takes no more memory than one that comes at once', async () => {
  const input = JSON.stringify(new URL('../../lib/pipe/input.js', import.meta.url));
  const script = `
    import { StdinLines } from ${input};
    process.stdout.write('ready\\n');
    const document = new StdinLines().first();
    let most = 0;
    const timer = setInterval(() => { most = Math.max(most, process.memoryUsage().arrayBuffers); }, 1);
    await document;
    clearInterval(timer);
    process.stdout.write(String(most >> 20));`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const output = child.stdout.setEncoding('utf8');
  await once(output, 'data');
  // The pieces that the pipe joins are fewer reads, so that the test may see too little, but never too much.
  for (const piece of [...'{"a":"'.padEnd(12_000, 'x'), '"}\n']) {
    await new Promise((written) => child.stdin.write(piece, written));
  }
  child.stdin.end();
  const [megabytes] = (await once(output, 'data')) as [string];
  assert.ok(Number(megabytes) < 20, `${megabytes} MB`);
});

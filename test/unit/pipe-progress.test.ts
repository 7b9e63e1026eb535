/** Bars of progress, as they stand on the screen of a terminal. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { jsonLines, root, run } from '../support/run.js';
import { TestTerminal } from '../support/terminal.js';

/** The arguments with which Node runs statements that have `makeProgress` and `withRoom`. */
function moduleOf(statements: string): string[] {
  const script = `
    const { writeSync } = await import('node:fs');
    const { makeProgress } = await import('./pipe/progress.js');
    const { withRoom } = await import('./base/terminal.js');
    ${statements}`.replaceAll("'./", `'${pathToFileURL(join(root, 'dist/lib/'))}`);
  return ['--input-type=module', '-e', script];
}

/** What such statements write to stderr. */
async function written(statements: string): Promise<string> {
  const { status, stderr } = await run([process.execPath, ...moduleOf(statements)]);
  assert.equal(status, 0, stderr);
  return stderr;
}

/** The rows of a screen, as far as the bars write on it: whole lines, and ways up. ESC is `^` here. */
function screenOf(text: string): string[] {
  const rows: string[] = [];
  let at = 0;
  for (const [token, up] of text.matchAll(/\^\[([0-9]+)A|\^\[[KJ]|\n|\r|[^^\r\n]+/g)) {
    if (up) at -= Number(up);
    else if (token === '\n') at += 1;
    else if (token === '^[J') rows.length = at;
    else if (/^[^^\r]/.test(token)) rows[at] = token;
  }
  return rows;
}

test('bars wait for their turn, make room for lines, and stand below what is finished until the end', async () => {
  const text = await written(`
    const progress = makeProgress('bar', 'unpack', { held: true });
    const one = progress.bar('one', 1000);
    writeSync(2, 'of another stage\\n');
    progress.release();
    const two = progress.bar('two', 1e12);
    withRoom(() => writeSync(2, 'a line\\n'));
    writeSync(2, '$');
    one.done('already there');
    writeSync(2, '$');
    two.at(1);
    progress.end();
  `);
  const pieces = text.replaceAll('\x1b', '^').split('$');
  const screens = pieces.map((_, i) => screenOf(pieces.slice(0, i + 1).join('')));
  const above = ['of another stage', 'a line'];
  const bar = (label: string, amounts: string) => `unpack ${label} [${' '.repeat(40)}] ${amounts} `;
  const two = bar('two', '0 B/1.0 TB 0 B/s');
  assert.deepEqual(screens[0], [...above, bar('one', '0 B/1.0 kB 0 B/s'), two]);
  assert.deepEqual(screens[1], [...above, 'unpack one 1.0 kB already there', two]);
  const [last = '', ...others] = screens[2]!.reverse();
  assert.deepEqual(others.reverse(), screens[1]!.slice(0, -1));
  assert.match(last, /\] 1 B\/1\.0 TB [0-9.]+ k?B\/s [0-9]+ min [1-5]?[0-9] s$/);
});

test('there are no more bars than there is room for: the cursor cannot go up to what has scrolled away', async (t) => {
  const script = `
    const progress = makeProgress('bar', 'fetch');
    const bars = ['one', 'two', 'three', 'four'].map((label) => progress.bar(label, 1000));
    for (const bar of bars) bar.done();
    progress.end();
    console.log('ended');`;
  const terminal = new TestTerminal(t, { argv: [process.execPath, ...moduleOf(script)], rows: 3 });
  await terminal.see('ended');
  const ways = [...terminal.screen.replaceAll('\x1b', '^').matchAll(/\^\[([0-9]+)A/g)].map(([, up]) => Number(up));
  assert.equal(Math.max(...ways), 2);
  for (const label of ['one', 'two', 'three', 'four'])
    assert.match(terminal.screen, new RegExp(`fetch ${label} 1\\.0 kB`));
});

test('as JSON there are at most ten lines a second, and the last has all bytes', async () => {
  const text = await written(`
    const bar = makeProgress('json', 'unpack').bar('one', 1000);
    for (let bytes = 0; bytes < 1000; bytes++) bar.at(bytes);
    bar.done();
  `);
  const lines = jsonLines(text);
  assert.ok(lines.length < 100, `${lines.length} lines`);
  assert.deepEqual(lines.at(-1), { progress: { verb: 'unpack', label: 'one', bytes: 1000, total: 1000, done: true } });
});

test('a label, which may be the path of a file, cannot clear the screen', async () => {
  const text = await written(`makeProgress('bar', 'unpack').bar('a\\x1b[2Jb', 1000).done();`);
  assert.ok(text.includes('unpack a\\x1b[2Jb 1.0 kB'), JSON.stringify(text));
});

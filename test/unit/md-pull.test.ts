/** What md-pull knows by itself, since it is a shell script, has to agree with what the commands know. */
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { md, root, run, scratch } from '../support/run.js';

/** md-pull beside stages that write their command line to stderr. */
function recorder(t: TestContext): string {
  const bin = scratch(t);
  copyFileSync(join(root, 'cmd/md-pull'), join(bin, 'md-pull'));
  for (const name of ['md-fetch-layer', 'md-unpack']) {
    writeFileSync(join(bin, name), `#!/bin/sh\ncat >/dev/null\necho ${name} "$@" >&2\n`, { mode: 0o755 });
  }
  return join(bin, 'md-pull');
}

async function stagesOf(command: string, ...words: string[]): Promise<string[]> {
  const { stderr } = await run([command, ...words]);
  return stderr.trim().split('\n').sort();
}

test('md-pull knows every flag of md-fetch-layer, and which of them have a value', async (t) => {
  const command = recorder(t);
  const { stdout } = await md('md-fetch-layer', ['--help']);
  const flags = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)(?: (\S+))?/gm)];
  assert.ok(flags.length > 10);
  for (const [, name, value] of flags) {
    if (['help', 'version', 'trace'].includes(name!)) continue;
    const words = value === undefined ? [`--${name}`] : [`--${name}`, name === 'progress' ? 'none' : 'x'];
    const withValue = value === undefined ? [`--${name}=true`] : [words.join('=')];
    for (const given of [words, withValue]) {
      const stages = await stagesOf(command, ...given, 'demo');
      assert.ok(stages.includes(`md-fetch-layer ${given.join('=')} -- demo`), `${given} ${stages}`);
    }
  }
});

test('md-pull hands each flag to the stages that it is for', async (t) => {
  const command = recorder(t);
  const words = ['-q', '-f', '-j', '2', '--map', '--platform', 'linux/arm64', '-u', 'me', 'demo', 'tree'];
  assert.deepEqual(await stagesOf(command, ...words), [
    'md-fetch-layer --progress=none --jobs=2 --platform=linux/arm64 --username=me -- demo',
    'md-unpack --progress=none -f --map --path -- tree',
  ]);
});

test('md-pull takes letters together, and a value behind its letter, as the stages do', async (t) => {
  const command = recorder(t);
  assert.deepEqual(await stagesOf(command, '-fqj2', '-u=me', '-xj=3', 'demo', 'tree'), [
    'md-fetch-layer --progress=none -x --jobs=2 --username=me --jobs=3 -- demo',
    'md-unpack --progress=none -x -f --path -- tree',
  ]);
  const { status, stderr } = await md('md-pull', ['-fZ', 'demo']);
  assert.deepEqual([status, stderr], [64, 'md-pull: -Z: unknown flag; see --help\n']);
});

test('md-pull forgets no flag over another one that both stages have', async (t) => {
  const command = recorder(t);
  for (const words of [
    ['-q', '-x'],
    ['-x', '-q'],
  ]) {
    const both = words.join(' ').replace('-q', '--progress=none');
    assert.deepEqual(await stagesOf(command, ...words, 'demo'), [
      `md-fetch-layer ${both} -- demo`,
      `md-unpack ${both} --path --`,
    ]);
  }
});

test('md-pull takes no operand for the value of a flag that it does not know', async () => {
  const { status, stderr } = await md('md-pull', ['--nosuch', 'demo']);
  assert.deepEqual([status, stderr], [64, 'md-pull: --nosuch: unknown flag; see --help\n']);
});

test('md-pull says of a flag that it does not know what was probably meant, or does the same', async () => {
  for (const [words, message] of [
    [['--plaform', 'x'], /^md-pull: --plaform: unknown flag; did you mean --platform\?\n$/],
    [['--user', 'me'], /^md-pull: --user: unknown flag; did you mean --username\?\n$/],
    [['--creds', 'me:secret'], /^md-pull: --creds: unknown flag; --username NAME with --password-stdin.*\n$/],
    [['--disable-content-trust'], /^md-pull: --disable-content-trust: unknown flag; leave it out: digests are .*\n$/],
    [['-a'], /^md-pull: -a: unknown flag; .*\n$/],
    [['--tls-verify=false'], /^md-pull: --tls-verify: unknown flag; --plain-http .*\n$/],
    [['--froce'], /^md-pull: --froce: unknown flag; did you mean --force\?\n$/],
    [['--mpa'], /^md-pull: --mpa: unknown flag; did you mean --map\?\n$/],
    [['--trace=tomorrow'], /^md-pull: --trace: it takes no value except true or false; see --help\n$/],
    [['--force=true --map'], /^md-pull: --force: it takes no value except true or false; see --help\n$/],
    [['--force=yes'], /^md-pull: --force: it takes no value except true or false; see --help\n$/],
    ...['-x=true', '-q=1', '-f=false', '-h='].map(
      (word) => [[word], new RegExp(`^md-pull: ${word.slice(0, 2)}: it takes no value; see --help\\n$`)] as const,
    ),
    [['--quiet=true'], /^md-pull: --quiet: it takes no value; see --help\n$/],
    [['--list'], /^md-pull: --list: unknown flag; md-unpack has it\n$/],
    [['--help=true'], /^md-pull: --help=true: it takes no value; see --help\n$/],
  ] as const) {
    const { status, stdout, stderr } = await md('md-pull', [...words, 'demo']);
    assert.deepEqual([status, stdout], [64, '']);
    assert.match(stderr, message);
  }
});

test('md-pull says which flag a value is missing of, and which operand is too many', async () => {
  for (const [words, message] of [
    [['demo', '-u'], '-u: a value is missing'],
    [['demo', '--jobs'], '--jobs: a value is missing'],
    [['demo', 'tree', 'more'], 'unexpected operand more'],
  ] as const) {
    const { status, stderr } = await md('md-pull', [...words]);
    assert.deepEqual([status, stderr], [64, `md-pull: ${message}; see --help\n`]);
  }
});

test('md-pull takes an empty DIR for a mistake, and not for none', async (t) => {
  const command = recorder(t);
  for (const words of [
    ['demo', ''],
    ['', 'tree'],
    ['--', 'demo', ''],
  ]) {
    const { status, stderr } = await run([command, ...words]);
    assert.deepEqual([status, stderr], [64, 'md-pull: an operand is empty; see --help\n'], String(words));
  }
});

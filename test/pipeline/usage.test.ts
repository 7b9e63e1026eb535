/** What every command says of itself, and of a command line or a document that is wrong. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { has, jsonLines, md, needsRoot, root, run, scratch, shell } from '../support/run.js';

const stages = ['md-token', 'md-manifest', 'md-fetch-layer', 'md-unpack'];
const commands = [...stages, 'md-isolate', 'md-prune', 'md-pull', 'md-run'];

for (const command of commands) {
  test(`${command} --help shows usage, flags, examples and exit statuses`, async () => {
    const { status, stdout, stderr } = await md(command, ['--help']);
    assert.equal(status, 0);
    assert.equal(stderr, '');
    for (const part of [`usage: ${command} `, 'Flags:', '--version', 'Examples:', 'Exit statuses:']) {
      assert.ok(stdout.includes(part), part);
    }
    for (const line of stdout.split('\n')) assert.ok(line.length <= 100, line);
    assert.deepEqual(await md(command, ['-h']), { status, stdout, stderr, signal: null, timedOut: false });
  });

  test(`${command} --help that names $MD_HOME says what it is by default`, async () => {
    const { stdout } = await md(command, ['--help']);
    if (!stdout.includes('$MD_HOME')) return;
    assert.ok(stdout.includes('$MD_HOME is $XDG_DATA_HOME/md or ~/.local/share/md unless it is set.'), stdout);
  });

  test(`${command} --version shows its name and the version`, async () => {
    const { status, stdout } = await md(command, ['--version']);
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^${command} [0-9]+\\.[0-9]+\\.[0-9]+\\n$`));
  });

  test(`an unknown flag of ${command} is a usage error of one line`, async () => {
    const { status, stderr } = await md(command, ['--no-such-flag=1', 'x']);
    assert.equal(status, command === 'md-isolate' || command === 'md-run' ? 125 : 64);
    assert.match(stderr, /^md-[a-z-]+: --no-such-flag: unknown flag.*\n$/);
  });
}

test('for a flag that another stage or another tool has, it is said what to do instead', async () => {
  for (const [command, flag, instead] of [
    ['md-token', '--platform', 'md-manifest has it'],
    ['md-token', '-j', 'md-fetch-layer has it'],
    ['md-token', '-v', '-x shows every exchange, and -V is the version'],
    ['md-manifest', '--raw', 'md-manifest IMAGE | jq shows all of it: .manifest, .config'],
    ['md-fetch-layer', '--force', 'md-unpack has it'],
    ['md-fetch-layer', '--retry-times', 'it is called --retries'],
    [
      'md-pull',
      '--src-password',
      '--username NAME with --password-stdin; everybody can see a password on a command line',
    ],
    ['md-unpack', '--platform', 'it is for an earlier stage: md-fetch-layer --help'],
    ['md-unpack', '--image', 'it comes on stdin: md-fetch-layer oci:DIR:TAG | md-unpack DIR'],
    ['md-unpack', '-C', 'DIR is an operand'],
    ['md-prune', '-n', 'it is called --dry-run'],
    ['md-isolate', '--pidfile', 'the shell has the PID of md-isolate: $! behind &; the container is its child'],
  ] as const) {
    const { stderr } = await md(command, [flag, 'x']);
    assert.equal(stderr, `${command}: ${flag}: unknown flag; ${instead}\n`);
  }
});

test('a missing operand is a usage error that names it', async () => {
  for (const [command, operand, expected] of [
    ['md-token', 'IMAGE', 64],
    ['md-pull', 'IMAGE', 64],
    ['md-isolate', 'DIR', 125],
    ['md-run', 'IMAGE', 125],
  ] as const) {
    const { status, stderr } = await md(command, []);
    assert.equal(status, expected, command);
    assert.match(stderr, new RegExp(`^${command}: .*${operand} is missing.*\\n$`));
  }
});

test('a word or a store that is not UTF-8 is refused: Node would make it the name of another file', async (t) => {
  const cwd = scratch(t);
  for (const [script, what] of [
    ['echo \'{"layer":{"path":"/dev/null"}}\' | md-unpack "$byte"', 'command line: "\ufffd"'],
    ['md-token "oci:$byte"', 'command line: "oci:\ufffd"'],
    ['MD_HOME=/$byte md-token --offline a', 'MD_HOME: its value'],
    ['XDG_DATA_HOME=/$byte md-prune', 'XDG_DATA_HOME: its value'],
    ['HOME=/$byte md-token --offline a', 'HOME: its value'],
  ] as const) {
    const { status, stderr } = await shell(`byte=$(printf '\\377') && ${script}`, [], { cwd });
    assert.ok(stderr.includes(`: ${what} is not UTF-8\n`), stderr);
    assert.equal(status, 64);
  }
  // The character that Node takes for such bytes is one that a name may have.
  assert.match((await shell('md-token oci:\ufffd', [], { cwd })).stderr, /\ufffd: it is not there\n$/);
  assert.deepEqual(readdirSync(cwd), []);
});

for (const command of stages.slice(1)) {
  const operands = command === 'md-unpack' ? ['rootfs'] : [];
  const bad: [string, string, RegExp][] = [
    ['an empty stdin', '', /stdin ended before a document came/],
    ['garbage', 'not json\n', /line 1 of stdin: it is not JSON/],
    ['a cut line', '{"image":"a"', /line 1 of stdin: it is cut off/],
    [
      'a line of 10 MB',
      `${JSON.stringify({ image: 'x'.repeat(10_000_000) })}\n`,
      /document on stdin: the field registry is missing; md-token adds it: pipe its output in here/,
    ],
    [
      'a document that is an image and no registry',
      '{"image":"x"}\n',
      /the field registry is missing; md-token adds it/,
    ],
    ['a document of no stage', '{}\n', /the field image is missing; md-token adds it/],
  ];
  for (const [what, stdin, message] of bad) {
    test(`${command} says what is wrong with ${what}, with status 65 and nothing written`, async (t) => {
      const cwd = scratch(t);
      const result = await md(command, operands, { stdin, cwd, env: { MD_HOME: join(cwd, 'home') } });
      assert.equal(result.status, 65, result.stderr);
      assert.match(result.stderr, message);
      assert.equal(result.stderr.trim().split('\n').length, 1);
      assert.equal(jsonLines(result.stdout).at(-1)?.error !== undefined, true);
      const { stdout } = await run(['find', cwd, '-name', 'rootfs*']);
      assert.equal(stdout, '');
    });
  }
}

const needsLimit = needsRoot || (!(has('setpriv') && has('prlimit')) && 'not installed: setpriv, prlimit');

for (const [command, expected] of [
  ['md-pull', 75],
  ['md-run', 125],
] as const) {
  test(`${command} of a user who may have no more processes says so: status ${expected}`, {
    skip: needsLimit,
  }, async () => {
    const script = readFileSync(join(root, 'cmd', command), 'utf8');
    const asUser = ['setpriv', '--reuid=61235', '--regid=61235', '--clear-groups', '--inh-caps=-all'];
    const { status, stderr } = await run([...asUser, 'prlimit', '--nproc=1', 'sh', '-c', script, command, 'alpine']);
    assert.match(stderr, new RegExp(`\n${command}: no more processes may be started: see ulimit -u.*\n$`));
    assert.equal(status, expected);
  });
}

for (const program of ['sh', 'bash', 'ksh', 'mksh']) {
  test(`md-pull and md-run that a signal ends have no other status, in ${program} either`, {
    skip: !has(program) && `not installed: ${program}`,
  }, async (t) => {
    const home = scratch(t);
    // The signal comes from the terminal as a rule: to all processes of the group.
    for (const stage of ['md-isolate', 'md-fetch-layer', 'md-unpack'])
      writeFileSync(join(home, stage), '#!/bin/sh\nkill -TERM 0\n', { mode: 0o755 });
    for (const command of ['md-pull', 'md-run']) {
      writeFileSync(join(home, command), readFileSync(join(root, 'cmd', command)));
      const child = spawn(program, [join(home, command), 'alpine'], {
        detached: true,
        stdio: 'ignore',
        env: { ...process.env, MD_HOME: home },
      });
      const [status, signal] = await once(child, 'exit');
      assert.ok(status === 143 || signal === 'SIGTERM', `${command}: ${status} ${signal}`);
    }
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Flags, flagsHelp, parseFlags } from '../../lib/pipe/flags.js';
import { failure } from '../support/failure.js';

const declared = {
  env: { kind: 'list', alias: 'e', value: 'NAME=VALUE', help: 'set a variable' },
  user: { kind: 'string', alias: 'u', help: 'user' },
  tty: { kind: 'boolean', alias: 't', help: 'terminal' },
  interactive: { kind: 'boolean', alias: 'i', help: 'stdin' },
  jobs: { kind: 'count', alias: 'j', help: 'how many' },
  'no-new-privs': { kind: 'boolean', help: 'no new privileges' },
} as const satisfies Flags;

const parse = (argv: string[], stopAtOperand = false) => parseFlags(declared, argv, stopAtOperand);

test('a value may follow its flag, an equals sign, or its letter directly', () => {
  for (const argv of [['--env', 'A=1'], ['--env=A=1'], ['-e', 'A=1'], ['-eA=1'], ['-e=A=1'], ['-te', 'A=1']]) {
    assert.deepEqual(parse(argv).flags.env, ['A=1'], argv.join(' '));
  }
});

test('a flag that may be given several times keeps every value in order', () => {
  assert.deepEqual(parse(['-e', 'A=1', '--env', 'B=2', '-eC=3']).flags.env, ['A=1', 'B=2', 'C=3']);
});

test('of a flag with one value the last one counts', () => {
  assert.equal(parse(['-u', 'a', '--user=b']).flags.user, 'b');
});

test('values keep every character: leading zeros, dashes, equals signs, emptiness', () => {
  for (const value of ['0123', '1e3', '-x', '--tty', '=', '', 'no-x', '__proto__']) {
    assert.equal(parse(['--user', value]).flags.user, value);
    assert.equal(parse([`--user=${value}`]).flags.user, value);
  }
});

test('letters without values may stand together', () => {
  const { flags } = parse(['-it']);
  assert.equal(flags.interactive && flags.tty, true);
});

test('a letter with an equals sign and nothing behind it has an empty value', () => {
  const { flags, operands } = parse(['-u=', '-e=', 'word'], true);
  assert.deepEqual([flags.user, flags.env, operands], ['', [''], ['word']]);
});

test('a flag without a value may say that it is set, or that it is not after all', () => {
  const set = (...argv: string[]) => {
    const { flags } = parse(argv);
    return [flags.interactive, flags.tty, flags['no-new-privs']];
  };
  assert.deepEqual(set('--tty=true', '--no-new-privs=true'), [false, true, true]);
  assert.deepEqual(set('-it=false', '--no-new-privs=false'), [true, false, false]);
  assert.deepEqual(set('-it', '--no-new-privs', '--tty=false', '--no-new-privs=false'), [true, false, false]);
  assert.deepEqual(set('--tty=false', '-t'), [false, true, false]);
  assert.deepEqual(set('-i=1', '--tty=True', '--no-new-privs=T'), [true, true, true]);
  assert.deepEqual(set('-it', '-i=0', '--tty=False'), [false, false, false]);
  assert.throws(() => set('--tty=Ture'), /--tty: it takes no value except true or false/);
});

test('a flag whose name begins with no- is no negation', () => {
  assert.equal(parse(['--no-new-privs']).flags['no-new-privs'], true);
  assert.equal(parse([]).flags['no-new-privs'], false);
});

test('flags may follow operands, and a lone dash is an operand', () => {
  const { flags, operands } = parse(['a', '-t', '-', 'b']);
  assert.equal(flags.tty, true);
  assert.deepEqual(operands, ['a', '-', 'b']);
});

test('nothing behind two dashes is a flag', () => {
  const { flags, operands } = parse(['-i', '--', '-t', '--']);
  assert.deepEqual([flags.interactive, flags.tty, operands], [true, false, ['-t', '--']]);
});

test('where a command line follows, its own flags are left to it', () => {
  const { flags, operands } = parse(['-u', '0', 'rootfs', 'ls', '-t', '--', '-u', 'x'], true);
  assert.deepEqual([flags.user, flags.tty, operands], ['0', false, ['rootfs', 'ls', '-t', '--', '-u', 'x']]);
});

test('what is wrong on a command line is named and has status 64', () => {
  const cases: [string[], RegExp][] = [
    [['--nope'], /--nope: unknown flag/],
    [['-z'], /-z: unknown flag/],
    [['-tz'], /-z: unknown flag/],
    [['--toString'], /--toString: unknown flag/],
    [['--tty=yes'], /--tty: it takes no value except true or false/],
    [['-it=yes'], /--tty: it takes no value except true or false/],
    [['--user'], /--user: a value is missing/],
    [['-e'], /-e: a value is missing/],
    [['--jobs', '-1'], /--jobs: "-1" is not a whole number/],
    [['--jobs', '1.5'], /--jobs: "1.5" is not a whole number/],
    [['--jobs', '2k'], /--jobs: "2k" is not a whole number; it takes no unit/],
    [['-j', ''], /--jobs: "" is not a whole number/],
    // One more digit, and JavaScript would not hold each number exactly.
    [['--jobs', '1000000000000000'], /--jobs: "1000000000000000" is not a whole number/],
  ];
  for (const [argv, message] of cases) {
    assert.throws(() => parse(argv), failure(64, message), argv.join(' '));
  }
});

test('an unknown flag is answered with what to do in its place, where there is something', () => {
  const hintFor = (flag: string) => ({ publish: 'no need', p: 'no need either' })[flag];
  const message = (word: string) => {
    try {
      parseFlags(declared, [word], false, hintFor);
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  assert.equal(message('--publish=80'), '--publish: unknown flag; no need');
  assert.equal(message('-p'), '-p: unknown flag; no need either');
  assert.equal(message('--other'), '--other: unknown flag; see --help');
});

test('of a flag with a slip or two in it the message says which was meant, if any was', () => {
  const hintFor = (flag: string) => ({ use: 'no need' })[flag];
  for (const [typed, hint] of [
    ['interactiv', 'did you mean --interactive?'],
    ['itneractive', 'did you mean --interactive?'],
    ['no-new-prvs', 'did you mean --no-new-privs?'],
    ['job=2', 'did you mean --jobs?'],
    ['inter', 'did you mean --interactive?'],
    ['in', 'see --help'],
    ['usr', 'did you mean --user?'],
    ['use', 'no need'],
    ['uxx', 'see --help'],
    ['x'.repeat(50), 'see --help'],
  ] as const) {
    const expected = `--${typed.split('=')[0]}: unknown flag; ${hint}`;
    assert.throws(() => parseFlags(declared, [`--${typed}`], false, hintFor), { message: expected });
  }
});

test('the help shows every flag with its letter and its value', () => {
  const help = flagsHelp(declared);
  assert.match(help, /^ {2}-e, --env NAME=VALUE\s+set a variable$/m);
  assert.match(help, /^ {6}--no-new-privs\s+no new privileges$/m);
});

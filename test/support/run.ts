/** Running the built commands, other programs and whole pipes, and what tests ask of the machine. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chmodSync, constants, cpSync, existsSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The checkout. This file is dist/test/support/run.js when it runs. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** Where the built commands are. */
export const binDir = join(root, 'dist/bin');

// Most tests say by a mode whom a file is for; the user's own mask may leave others out.
process.umask(0o022);

export interface RunOptions {
  /** Added to `cleanEnv()`; undefined takes a variable out. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** Written to stdin, which is then closed. Without it stdin is empty. */
  stdin?: string | Buffer;
  /** Milliseconds until SIGKILL, for the whole process group; 60,000 by default. */
  timeout?: number;
  uid?: number;
  gid?: number;
}

export interface Result {
  /** Exit status; 128 + n for a signal. */
  status: number;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** The timeout struck. */
  timedOut: boolean;
}

/**
 * The environment of a command in a test: nothing of the user's that could change what it does (proxies, credentials,
 * other certificates), an empty home, and the built commands first on PATH.
 */
export function cleanEnv(): Record<string, string> {
  const { PATH = '/usr/bin:/bin', TMPDIR } = process.env;
  const path = `${binDir}${delimiter}${PATH}${delimiter}/usr/sbin${delimiter}/sbin`;
  // Without it skopeo looks below /run/containers, and fails where that is root's.
  const runtime = process.getuid!() === 0 ? {} : { XDG_RUNTIME_DIR: emptyHome() };
  return { PATH: path, HOME: emptyHome(), LANG: 'C.UTF-8', ...runtime, ...(TMPDIR === undefined ? {} : { TMPDIR }) };
}

let home: string | undefined;

/** One for all commands that this process runs, whoever they run as; removed at its end. */
function emptyHome(): string {
  if (home === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'md-home-'));
    chmodSync(made, 0o1777);
    process.once('exit', () => remove(made));
    home = made;
  }
  return home;
}

/** Runs a program to its end. `argv[0]` is looked up on PATH, the built commands first. Never rejects for a status. */
export async function run([program = '', ...args]: string[], options: RunOptions = {}): Promise<Result> {
  const { env, stdin = '', timeout = 60_000, ...where } = options;
  // A process group of its own, so that a timeout takes the children along.
  const child = spawn(program, args, { env: { ...cleanEnv(), ...env }, detached: true, stdio: 'pipe', ...where });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
  }, timeout);
  child.stdin.on('error', () => child.stdin.destroy()).end(stdin);
  const exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals]>;
  const [[code, signal], stdout, stderr] = await Promise.all([exit, collect(child.stdout), collect(child.stderr)]);
  clearTimeout(timer);
  return { status: code ?? 128 + osConstants.signals[signal], signal, stdout, stderr, timedOut };
}

/** One of the built commands. */
export async function md(command: string, args: string[], options: RunOptions = {}): Promise<Result> {
  return run([join(binDir, command), ...args], options);
}

/** A script for sh, with `$1`, `$2` and so on. */
export async function shell(script: string, args: string[] = [], options: RunOptions = {}): Promise<Result> {
  return run(['sh', '-c', script, 'sh', ...args], options);
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

type Cleanup = () => unknown;
const cleanups = new WeakMap<TestContext, Cleanup[]>();

/**
 * Runs `cleanup` after the test, whether or not it passed. What was begun last ends first, and where one fails the
 * others run all the same: `t.after` goes the other way and stops there, and then a child of the test lives on.
 */
export function afterwards(t: TestContext, cleanup: Cleanup): void {
  const known = cleanups.get(t);
  if (known) {
    known.push(cleanup);
    return;
  }
  const list = [cleanup];
  cleanups.set(t, list);
  t.after(async () => {
    const errors: unknown[] = [];
    for (const step of list.reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors);
  });
}

/** Sets a variable of this process for the time of the test. */
export function setEnv(t: TestContext, name: string, value: string): void {
  const before = process.env[name];
  afterwards(t, () => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
  process.env[name] = value;
}

/** Kills a child after the test, and waits until it has ended. */
export function killAfterwards(t: TestContext, child: ChildProcess): void {
  afterwards(t, async () => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  });
}

/** A directory of the test's own, removed after it with whatever it holds. */
export function scratch(t: TestContext, parent = tmpdir()): string {
  const path = mkdtempSync(join(parent, 'md-test-'));
  afterwards(t, () => remove(path));
  return path;
}

/** Removes a tree that may hold directories which their owner cannot enter. */
export function remove(path: string): void {
  if (process.getuid?.() !== 0 && existsSync(path)) execFileSync('chmod', ['-R', 'u+rwx', path], { stdio: 'ignore' });
  rmSync(path, { recursive: true, force: true });
}

/** Copies the built commands to where ordinary users can go: the checkout may lie elsewhere. */
export function copyCommands(directory: string): void {
  const koffi = 'node_modules/@koromix';
  cpSync(join(root, koffi), join(directory, koffi), { recursive: true, dereference: true });
  cpSync(join(root, 'dist/bundle'), join(directory, 'bundle'), { recursive: true });
}

/** The number of this process's PID namespace. */
export const pidNamespace: string = /[0-9]+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';

/** JSON lines as objects. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Whether a program is on PATH or in the directories of the administrator. */
export function has(program: string): boolean {
  return (cleanEnv().PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The `skip` of a test that needs programs: false, or the reason. */
export function needs(...programs: string[]): string | false {
  const missing = programs.filter((program) => !has(program));
  return missing.length > 0 && `not installed: ${missing.join(', ')}`;
}

/** The `skip` of a test that needs root. */
export const needsRoot: string | false = process.getuid?.() !== 0 && 'needs root';

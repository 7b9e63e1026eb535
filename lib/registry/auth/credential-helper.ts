/** Programs that keep credentials. Source: the protocol of docker-credential-helpers. */
import type { ChildProcess, ExecFileException } from 'node:child_process';
import { asJson, asObject, asString } from '../../base/check.js';
import { errnoName, errnoText, ignoringFailure } from '../../base/failure.js';
import { warn } from '../../base/trace.js';
import { type Credentials, passwordLogin } from './auth.js';

/** Milliseconds. */
const timeout = 60_000;
/** When a helper has ended its output is there, but a child of it may keep its stdout open. Milliseconds. */
const grace = 100;
const outputLimit = 1024 * 1024;

/**
 * `docker-credential-NAME get`: the server on stdin, JSON on stdout. "Not found" is an answer, other failures are not.
 */
export async function askHelper(name: string, server: string): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    warn(`credential helper ${JSON.stringify(name)}: that is not the name of a program; going on without`);
    return undefined;
  }
  const { error, stdout } = await runHelper(program, server);
  if (error) {
    if (/credentials not found/i.test(stdout)) return undefined;
    warn(`credential helper ${program}: ${whyHelperFailed(error, stdout)}; going on without`);
    return undefined;
  }
  const login = ignoringFailure(() => loginIn(stdout));
  if (!login) warn(`credential helper ${program}: its answer makes no sense; going on without`);
  // Some helpers say "not found" by an empty secret.
  if (!login?.password) return undefined;
  const { username, password } = login;
  return username === '<token>'
    ? { kind: 'refresh', username: '', token: password }
    : passwordLogin(username, password);
}

function loginIn(answer: string): { username: string; password: string } {
  const it = asObject(asJson(answer, 'answer'), 'answer');
  return { username: asString(it.Username, 'Username'), password: asString(it.Secret, 'Secret') };
}

/**
 * Why a helper failed: by the protocol its stdout says so. A JSON object there may hold the secret, and is not shown.
 */
function whyHelperFailed(error: ExecFileException, stdout: string): string {
  if (error.code === 'ENOENT') return 'it is not installed';
  const name = errnoName(error);
  if (name) return errnoText(name);
  if (error.killed) return `it gave no answer in ${timeout / 1000} s`;
  const [line = ''] = stdout.trim().split('\n');
  return line === '' || stdout.includes('{') ? 'it failed' : `it failed: ${line.slice(0, 200)}`;
}

function runHelper(program: string, server: string): Promise<{ error: ExecFileException | null; stdout: string }> {
  // Loaded only now: it takes 7 ms, and few users have a helper.
  const { execFile } = process.getBuiltinModule('node:child_process');
  return new Promise((resolve) => {
    const child = execFile(
      program,
      ['get'],
      // A helper that waits for input may well ignore SIGTERM.
      { timeout, killSignal: 'SIGKILL', maxBuffer: outputLimit },
      (error, stdout) => resolve({ error, stdout }),
    );
    child.once('exit', () => {
      // setImmediate comes after the streams have read what is there.
      setTimeout(() => setImmediate(() => closeOutput(child)), grace).unref();
    });
    // When the helper could not be started, writing fails as well. The error of the start is reported.
    child.stdin?.on('error', () => {});
    // Without a line break, as docker sends it: some helpers would take that for a part of the name.
    child.stdin?.end(server);
  });
}

/** Closes both outputs, so that execFile calls its callback. */
function closeOutput({ stdout, stderr }: ChildProcess): void {
  stdout?.destroy();
  stderr?.destroy();
}

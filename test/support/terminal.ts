/** A terminal as a user has it: a pty whose far end is the test, with a shell in a session of its own on it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, fchownSync, openSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { ReadStream } from 'node:tty';
import { close, ioctl, ioctlMemory } from '../../lib/sys/syscalls/calls.js';
import { TC, TIO } from '../../lib/sys/syscalls/constants.js';
import { afterwards, cleanEnv } from './run.js';

export class TestTerminal {
  /** Everything that has appeared on the screen. */
  screen = '';
  readonly #master: number;
  readonly #stream: ReadStream;
  readonly #shell: ChildProcess;
  #seen = 0;
  #changed: () => void = () => {};

  /** Starts `argv` on the terminal, an interactive shell by default; both belong to `user`, by default the own one. */
  constructor(
    t: TestContext,
    { argv = ['sh', '-i'], rows = 24, columns = 80, env = {}, user = process.getuid!() } = {},
  ) {
    const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
    ioctlMemory(master, TIO.CSPTLCK, Buffer.alloc(4));
    const slave = ioctl(master, TIO.CGPTPEER, constants.O_RDWR | constants.O_NOCTTY | 0o2000000);
    this.#master = master;
    this.resize(rows, columns);
    const gid = user === process.getuid!() ? process.getgid!() : user;
    fchownSync(slave, user, -1);
    this.#shell = spawn('setsid', ['--ctty', '--wait', ...argv], {
      stdio: [slave, slave, slave],
      env: { ...cleanEnv(), PS1: 'shell> ', TERM: 'xterm', ENV: '', ...env },
      uid: user,
      gid,
    });
    closeSync(slave);
    this.#stream = new ReadStream(master);
    this.#stream.setEncoding('latin1');
    this.#stream.on('data', (text: string) => {
      this.screen += text;
      this.#changed();
    });
    this.#stream.on('error', () => this.#stream.destroy());
    afterwards(t, () => this.end());
  }

  /** Hangs up: what still runs on the terminal gets SIGHUP. */
  end(): void {
    this.#stream.destroy();
    this.#shell.kill('SIGKILL');
  }

  type(text: string): void {
    this.#stream.write(text, 'latin1');
  }

  /** Waits until `pattern` appears behind what was waited for before; returns the match. */
  async see(pattern: RegExp | string, timeout = 60_000): Promise<RegExpExecArray> {
    const wanted = typeof pattern === 'string' ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : pattern;
    const until = Date.now() + timeout;
    for (;;) {
      const found = wanted.exec(this.screen.slice(this.#seen));
      if (found) {
        this.#seen += found.index + found[0].length;
        return found;
      }
      const left = until - Date.now();
      if (left <= 0) throw new Error(`${wanted} did not appear in ${JSON.stringify(this.screen.slice(this.#seen))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Types a line, and waits for what the command prints (not for its echo: have the pattern differ from the line). */
  async run(line: string, pattern: RegExp | string): Promise<RegExpExecArray> {
    this.type(`${line}\r`);
    return this.see(pattern);
  }

  resize(rows: number, columns: number): void {
    const size = Buffer.alloc(8);
    size.writeUInt16LE(rows, 0);
    size.writeUInt16LE(columns, 2);
    ioctlMemory(this.#master, TIO.CSWINSZ, size);
  }

  /** `struct termios` as it is now, in hexadecimal. */
  settings(): string {
    const termios = Buffer.alloc(64);
    this.#termios(TC.GETS, termios);
    return termios.toString('hex', 0, 36);
  }

  /** Gives the terminal other settings, as `settings` has them. */
  change(settings: string): void {
    this.#termios(TC.SETS, Buffer.from(settings, 'hex'));
  }

  #termios(request: number, termios: Buffer): void {
    const slave = ioctl(this.#master, TIO.CGPTPEER, constants.O_RDWR | constants.O_NOCTTY | 0o2000000);
    ioctlMemory(slave, request, termios);
    close(slave);
  }
}

/** A terminal whose shell has shown its prompt. */
export async function shellAt(t: TestContext, options?: ConstructorParameters<typeof TestTerminal>[1]) {
  const terminal = new TestTerminal(t, options);
  await terminal.see('shell> ');
  return terminal;
}

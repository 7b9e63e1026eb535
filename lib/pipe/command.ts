/**
 * The frame around every command: flags, `--help`, `--version` and `-x`; and how a failure reaches the user, the next
 * stage and the exit status. Besides `cmd`, only this file prints help and ends the process.
 */
import pkg from '../../package.json' with { type: 'json' };
import { Failure, knownFailure } from '../base/failure.js';
import { Status, statusMeaning } from '../base/status.js';
import { isTerminal } from '../base/terminal.js';
import { enableTrace, nameCommand, warn, warnLine } from '../base/trace.js';
import { cleanUp, endAfterSignalsBy } from './cleanup.js';
import { type Flag, type Flags, type FlagValues, flagsHelp, type HintFor, parseFlags } from './flags.js';
import { UpstreamFailure } from './input.js';
import { ReaderGone, watchReader, writeDocument, writeLine } from './output.js';
import { exactWords } from './utf8.js';

interface Command<F extends Flags = Flags> {
  name: string;
  /** One sentence without a full stop. */
  summary: string;
  /** The operands as usage shows them: `IMAGE`, `DIR [CMD...]`. What is in brackets may be missing. */
  operands: string;
  flags: F;
  /** What to do instead of an unknown flag. */
  hintFor?: HintFor;
  /** Command lines worth copying, each with a word on what it does. */
  examples: [line: string, meaning: string][];
  /** The exit statuses that this command can end with; `statusMeaning` has a phrase for each. */
  statuses: number[];
  /** Further lines of text for `--help`. */
  notes?: string;
  /** The first operand is followed by another command line, so flags end there. */
  stopAtOperand?: boolean;
  /**
   * The exit status for failures of this program itself, when other statuses belong to the command that it runs: 125
   * for `md-isolate`, as in docker. Such a command writes no error document, since stdout belongs to that command, too.
   */
  ownFailure?: number;
  /**
   * Ends the process, after a signal as well; `process.exit` by default, which crashes where a terminal that Node began
   * with has hung up by then.
   */
  end?: (status: number) => never;
}

const commonFlags = {
  trace: { kind: 'boolean', alias: 'x', help: 'show every HTTP exchange and every system call on stderr' },
  help: { kind: 'boolean', alias: 'h', help: 'show this help' },
  version: { kind: 'boolean', alias: 'V', help: 'show the version' },
} as const satisfies Flags;

type Context<F extends Flags> = { flags: FlagValues<F>; operands: string[] };

/** The version in package.json. */
export const version: string = pkg.version;

/**
 * Runs a command to its end: `run` returns the exit status, or nothing for 0. Ends the process.
 * `MD_DEBUG=1` in the environment adds the stack of a failure.
 */
export function main<F extends Flags>(
  command: Command<F>,
  run: (context: Context<F>) => Promise<number | undefined>,
): void {
  nameCommand(command.name);
  keepOwnFilesOpen();
  const end = command.end ?? ((status: number) => process.exit(status));
  endAfterSignalsBy(end);
  // What a listener throws reaches no promise. Node would show a line of the bundle, which is long, and end with 1.
  process.on('uncaughtException', (error) => end(report(command, error)));
  start(command, run).then(end, async (error) => (await quickEnd())(report(command, error)));
}

/** A mask that takes from the owner, as 0777 does, would close to this process the directories that it makes. */
function keepOwnFilesOpen(): void {
  // To ask for the mask without setting it is deprecated.
  process.umask(process.umask(0o077) & 0o077);
}

/**
 * What ends the process without waiting for its threads, as process.exit does: one of them may be reading stdin, or
 * asking a name server that never answers. It is loaded before anything is said, so that nothing comes behind the
 * message.
 */
async function quickEnd(): Promise<(status: number) => never> {
  try {
    return (await import('../sys/process/exit.js')).endProcess;
  } catch {
    // Where no file can be opened, for example. The failure that is to be told matters more.
    return (status) => process.exit(status);
  }
}

async function start<F extends Flags>(
  command: Command<F>,
  run: (context: Context<F>) => Promise<number | undefined>,
): Promise<number> {
  const argv = process.argv.slice(2);
  // Even where -h is another flag, as docker's --hostname, it asks for help when it is alone.
  if (argv.length === 1 && argv[0] === '-h') return print(helpText(command));
  // Only the command of a container may be anything else.
  if (!command.stopAtOperand) exactWords(argv);
  const { flags, operands } = parseFlags(
    { ...command.flags, ...commonFlags },
    argv,
    command.stopAtOperand ?? false,
    command.hintFor,
  );
  if (flags.help) return print(helpText(command));
  if (flags.version) return print(`${command.name} ${version}`);
  checkOperands(command, operands);
  if (flags.trace) enableTrace();
  if (command.ownFailure === undefined) {
    watchReader(async () => (await quickEnd())(report(command, new ReaderGone())));
  }
  return (await run({ flags: flags as FlagValues<F>, operands })) ?? Status.ok;
}

function print(text: string): number {
  writeLine(text);
  return Status.ok;
}

function checkOperands({ name, operands: usage }: Command, given: string[]): void {
  const hint = { hint: `usage: ${name} [FLAGS] ${usage}`.trim() };
  const wanted = usage.split(' ');
  const next = wanted[given.length];
  if (next && !next.startsWith('[')) throw new Failure(Status.usage, 'command line', `${next} is missing`, hint);
  if (given.length > wanted.length && !usage.endsWith('...]')) {
    throw new Failure(Status.usage, 'command line', `unexpected operand ${JSON.stringify(given[wanted.length])}`, hint);
  }
}

/** Tells the user and the next stage what failed, and cleans up. Returns the exit status. */
function report(command: Command, error: unknown): number {
  const status = describeFailure(command, error);
  cleanUp();
  return status;
}

function describeFailure(command: Command, error: unknown): number {
  if (error instanceof ReaderGone) return Status.readerGone;
  if (error instanceof UpstreamFailure) {
    if (command.ownFailure === undefined) send(() => writeLine(error.line));
    return error.report.code;
  }
  const failure = knownFailure(error);
  const message = failure
    ? failure.message
    : `a fault of this program: ${error instanceof Error ? error.message : String(error)}; MD_DEBUG=1 shows where`;
  warn(message);
  if (process.env.MD_DEBUG === '1') showStack(error);
  const own = failure?.status ?? Status.software;
  if (command.ownFailure !== undefined) {
    return own === Status.notFound || own === Status.notExecutable ? own : command.ownFailure;
  }
  send(() => writeDocument({ error: { command: command.name, code: own, message, ...failure?.details } }));
  return own;
}

/**
 * Sends an error line to the next stage. A terminal gets none, since stderr has the message; a reader that has gone
 * needs none.
 */
function send(write: () => void): void {
  if (isTerminal(1)) return;
  try {
    write();
  } catch (error) {
    if (!(error instanceof ReaderGone) && !(error instanceof Failure)) throw error;
  }
}

function showStack(error: unknown): void {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    for (const line of (at.stack ?? '').split('\n')) warnLine(line);
}

function helpText(command: Command): string {
  const { name, summary, operands, flags, examples, statuses, notes } = command;
  const taken = Object.values(flags).some(({ alias }) => alias === 'h');
  const help: Flag = taken ? { kind: 'boolean', help: 'show this help, as -h alone does' } : commonFlags.help;
  const width = Math.max(...examples.map(([line]) => line.length));
  return [
    `usage: ${name} [FLAGS] ${operands}`.trim(),
    `\n${summary}.`,
    ...(notes ? [`\n${notes}`] : []),
    `\nFlags:\n${flagsHelp({ ...flags, ...commonFlags, help })}`,
    `\nExamples:\n${examples.map(([line, meaning]) => `  ${line.padEnd(width)}  # ${meaning}`).join('\n')}`,
    `\nExit statuses:\n${statuses.map((status) => `  ${String(status).padStart(3)}  ${statusMeaning[status]}`).join('\n')}`,
  ].join('\n');
}

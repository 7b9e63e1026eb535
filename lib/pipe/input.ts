/**
 * Reads JSON lines. An upstream that failed says so in an `error` line. One that was killed just ends, and some of its
 * lines are missing: only the reader of these lines can notice that.
 */
import { read } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify, TextDecoder } from 'node:util';
import { errnoName, Failure, failureOf } from '../base/failure.js';
import { Status } from '../base/status.js';
import { isTerminal } from '../base/terminal.js';
import { asErrorReport, type ErrorReport } from './document.js';

/** Ample: manifest and config are at most 4 MiB each, though JSON's escapes may make them longer. */
export const maxLineBytes = 32 * 1024 * 1024;

/** Thrown when the upstream has reported a failure. The line is passed on, and there is no further message. */
export class UpstreamFailure extends Error {
  constructor(
    readonly report: ErrorReport,
    /** The line as it came. */
    readonly line: string,
  ) {
    super(report.message);
    this.name = 'UpstreamFailure';
  }
}

/**
 * The JSON objects of a stream, one a line. Empty lines are skipped.
 * Throws `UpstreamFailure` at an error line, `Failure` (65) at what is not JSON, no UTF-8, cut or too long.
 */
export async function* readLines(input: AsyncIterable<Buffer>, lines = new Lines()): AsyncGenerator<unknown> {
  yield* lines.take();
  try {
    for await (const chunk of input) {
      lines.add(chunk);
      yield* lines.take();
    }
  } catch (error) {
    throw failureOf(error, 'reading stdin');
  }
  lines.end();
  yield* lines.take();
}

/** This process's stdin: the document on its first line, and what follows. */
export class StdinLines {
  private readonly lines = new Lines();

  /**
   * The document. When stdin is empty, the stage above has failed to write one (65). A terminal is wrong usage (64),
   * since nobody types documents.
   */
  async first(): Promise<unknown> {
    if (isTerminal(0)) {
      throw new Failure(Status.usage, 'stdin', 'a document is expected here, and this is a terminal', {
        hint: 'pipe the command before this one in, or see --help',
      });
    }
    for await (const value of readLines(stdinChunks(), this.lines)) return value;
    throw new Failure(Status.data, 'document on stdin', 'stdin ended before a document came', {
      hint: 'the command before this one is missing, was killed, or writes none',
    });
  }

  /** The lines after the first. */
  rest(): AsyncGenerator<unknown> {
    return readLines(process.stdin, this.lines);
  }
}

const readFile = promisify(read);

/** Not by Node's stream, which is slow to load; asynchronous, so that `watchReader` runs. */
async function* stdinChunks(): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(64 * 1024);
  for (let isOver = false; !isOver; ) {
    try {
      const { bytesRead } = await readFile(0, buffer, 0, buffer.length, null);
      isOver = bytesRead === 0;
      // A copy: a few bytes, as from `dd bs=1`, must not keep all of the memory alive until their line ends.
      yield Buffer.from(buffer.subarray(0, bytesRead));
    } catch (error) {
      if (errnoName(error) !== 'EAGAIN') throw error;
      // Another process has made stdin non-blocking. This waits as a blocking read would.
      await sleep(5);
    }
  }
}

/** Assembles lines from chunks that may end anywhere. */
class Lines {
  private readonly decoder = new TextDecoder('utf-8', { fatal: true });
  /** A set and no array, from which each `shift` moves all others: of empty lines a chunk has tens of thousands. */
  private readonly whole = new Set<Buffer>();
  /** The first part of a line whose end has not come yet. */
  private tail: Buffer[] = [];
  private tailBytes = 0;
  private count = 0;

  add(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.whole.add(Buffer.concat([...this.tail, chunk.subarray(start, end)]));
      this.tail = [];
      this.tailBytes = 0;
      start = end + 1;
    }
    if (start === chunk.length) return;
    this.tail.push(chunk.subarray(start));
    this.tailBytes += chunk.length - start;
    if (this.tailBytes <= maxLineBytes) return;
    throw bad(this.count + this.whole.size + 1, `it is longer than ${maxLineBytes} bytes`);
  }

  /** The objects of the complete lines that were not taken yet. */
  *take(): Generator<unknown> {
    for (const bytes of this.whole) {
      this.whole.delete(bytes);
      this.count += 1;
      const value = parseLine(this.decoder, bytes, this.count);
      if (value !== undefined) yield value;
    }
  }

  /**
   * To be called at the end of the input: a last line without a newline can be taken then. Throws `Failure` 65 when it
   * is incomplete; an object that is cut off is never JSON.
   */
  end(): void {
    const bytes = Buffer.concat(this.tail.splice(0));
    if (bytes.length === 0) return;
    if (!isJson(bytes)) throw bad(this.count + 1, 'it is cut off: the command before this one was killed or crashed');
    this.whole.add(bytes);
  }
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}

function parseLine(decoder: TextDecoder, bytes: Buffer, line: number): unknown {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw bad(line, 'it is not UTF-8', noLines);
  }
  if (text.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    if (text.trim() === '{')
      throw bad(line, 'the document goes on below it', 'it has to be on one line, as jq -c writes it');
    throw bad(line, 'it is not JSON', noLines);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(line, 'it is not a JSON object');
  if ('error' in value) throw new UpstreamFailure(asErrorReport(value.error), text);
  return value;
}

/** For somebody who pipes an archive into a stage. */
const noLines =
  'it has to be the output of the command before this one; md-unpack takes an archive as {"layer":{"path":"FILE"}}';

function bad(line: number, why: string, hint?: string): Failure {
  return new Failure(Status.data, `line ${line} of stdin`, why, { hint: line === 1 ? hint : undefined });
}

/**
 * Reading JSON lines. An upstream that failed says so in an `error` line; one that was killed ends without the lines
 * that it owed, which only the reader of those lines can know.
 */
import type { Readable } from 'node:stream';
import { TextDecoder } from 'node:util';
import { asErrorReport, type ErrorReport } from './document.js';
import { Failure, failureOf } from './failure.js';
import { Status } from './status.js';
import { isTerminal } from './terminal.js';

/** Manifest and config are 4 MiB each at most; with the rest of a document and JSON's escapes this is ample. */
export const maxLineBytes = 32 * 1024 * 1024;

/** Thrown when the upstream reports a failure of its own: it is passed on, and nothing more is said about it. */
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
 * The JSON objects of a stream, one a line; empty lines are passed over.
 * Throws `UpstreamFailure` at an error line, `Failure` (65) at what is no JSON, no UTF-8, cut or too long.
 */
export async function* readLines(input: Readable): AsyncGenerator<unknown> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let pending: Buffer[] = [];
  let bytes = 0;
  let line = 0;
  try {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        pending.push(chunk.subarray(start, end));
        start = end + 1;
        line += 1;
        const value = parseLine(decoder, Buffer.concat(pending), line);
        pending = [];
        bytes = 0;
        if (value !== undefined) yield value;
      }
      if (start < chunk.length) {
        pending.push(chunk.subarray(start));
        bytes += chunk.length - start;
      }
      if (bytes > maxLineBytes) throw bad(line + 1, `it is longer than ${maxLineBytes} bytes`);
    }
  } catch (error) {
    throw failureOf(error, 'reading stdin');
  }
  if (pending.length > 0) throw bad(line + 1, 'it is cut off: the command before this one was killed or crashed');
}

/** The lines of this process's stdin; a terminal there is wrong usage, since nobody types documents. */
export function stdinLines(): AsyncGenerator<unknown> {
  if (isTerminal(0)) {
    throw new Failure(Status.usage, 'stdin', 'a document is expected here, and this is a terminal', {
      hint: 'pipe the command before this one in, or see --help',
    });
  }
  return readLines(process.stdin);
}

/** The first line: the document. An empty stdin means that whatever should have written it never did. */
export async function firstLine(lines: AsyncGenerator<unknown>): Promise<unknown> {
  const { value, done } = await lines.next();
  if (!done) return value;
  throw new Failure(Status.data, 'document on stdin', 'stdin ended before a document came', {
    hint: 'the command before this one was killed or is none of these',
  });
}

function parseLine(decoder: TextDecoder, bytes: Buffer, line: number): unknown {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw bad(line, 'it is not UTF-8');
  }
  if (text.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad(line, 'it is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(line, 'it is no JSON object');
  if ('error' in value) throw new UpstreamFailure(asErrorReport(value.error), text);
  return value;
}

function bad(line: number, why: string): Failure {
  return new Failure(Status.data, `line ${line} of stdin`, why);
}

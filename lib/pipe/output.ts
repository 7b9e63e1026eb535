/** Writes whole lines to stdout, in order, and notices when nobody reads them any more. */
import { fstatSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { jsonOf } from '../base/check.js';
import { monotonic } from '../base/clock.js';
import { errnoName, failureOf, replaceControls } from '../base/failure.js';
import { pause } from '../base/pause.js';
import { withRoom } from '../base/terminal.js';

/** Thrown when nobody reads stdout any more. The process ends without a message (status 141). */
export class ReaderGone extends Error {
  constructor() {
    super('the reader of stdout has gone');
    this.name = 'ReaderGone';
  }
}

/** Writes a value as a line of JSON. Returns when the pipe has taken all of it. */
export function writeDocument(value: object): void {
  writeLine(jsonLine(value));
}

/**
 * JSON on one line. JSON.stringify escapes control characters up to U+001F alone; among those above is one that begins
 * an escape sequence (U+009B), and stdout may be a terminal. Whoever parses it finds the same.
 */
export function jsonLine(value: object): string {
  return replaceControls(jsonOf(value), (c) =>
    c
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** Writes a line of text to stdout. */
export function writeLine(text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  withRoom(() => {
    for (let at = 0; at < bytes.length; ) at += writeSome(bytes, at);
  });
}

function writeSome(bytes: Buffer, at: number): number {
  try {
    return writeSync(1, bytes, at);
  } catch (error) {
    const name = errnoName(error);
    if (name === 'EPIPE') throw new ReaderGone();
    if (name !== 'EAGAIN') throw failureOf(error, 'writing to stdout');
    // Another process has made the pipe non-blocking, and it is full. This waits as a blocking write would.
    pause(5);
    return 0;
  }
}

/**
 * Calls `gone` when the pipe on stdout has lost its last reader. It looks twice a second, so that a long download stops
 * soon after the next stage has died: a write would tell, but there is nothing to write yet. The module for system
 * calls is loaded with the first look, and most stages have ended by then.
 */
export function watchReader(gone: () => Promise<never>): void {
  if (!fstatSync(1).isFIFO()) return;
  const timer = setInterval(async () => {
    const { hasReader } = await import('../sys/files/poll.js');
    if (hasReader(1)) return;
    clearInterval(timer);
    await gone();
  }, 500);
  timer.unref();
}

/** A stage that has read nothing after so many milliseconds may be waiting for the end of this one. */
const startMs = 2000;

/**
 * Waits until the next stage of the pipe has begun: what is in the pipe on stdout has been read by then, or has no
 * reader any more.
 */
export async function nextStageBegun(): Promise<void> {
  if (!fstatSync(1).isFIFO()) return;
  const { hasReader, unreadIn } = await import('../sys/files/poll.js');
  const since = monotonic();
  while (unreadIn(1) > 0 && hasReader(1) && monotonic() - since < startMs) {
    await sleep(5);
  }
}

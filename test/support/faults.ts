/** What the embedded registry is told to do wrong, and the sending of bodies that obeys it. */
import { once } from 'node:events';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Content, inMemory } from './content.js';

/**
 * A fault strikes the requests whose line matches `on`. Fields combine: `{ on, status: 206, cutAfter: 10 }`.
 * Of several faults that match, the first one that has not been used up strikes.
 */
export interface Fault {
  /**
   * Matched against `SERVICE METHOD URL`, for example `registry GET /v2/demo/blobs/sha256:…`, `token POST /token` or
   * `cdn GET /blobs/sha256:…?expires=…`.
   */
  on: RegExp;
  /** How many requests it strikes; without it, all. */
  times?: number;
  /** How many matching requests pass first. */
  after?: number;
  /** Milliseconds before the answer begins. */
  delay?: number;
  /** The answer does not begin before this is fulfilled. */
  held?: Promise<unknown>;
  /** Never answers; the connection stays open. */
  silent?: boolean;
  /** Closes the connection without an answer. */
  hangUp?: boolean;
  /** Answers this status; with it, `body` (or an empty one) in place of the content. */
  status?: number;
  /** Headers over the normal ones; undefined removes one. */
  headers?: Record<string, string | string[] | undefined>;
  /** A body in place of the normal one. Range requests are then ignored. */
  body?: Buffer | string | Content;
  /** Closes the connection after so many bytes of the body. */
  cutAfter?: number;
  /** Sends nothing more after so many bytes of the body; the connection stays open. */
  stallAfter?: number;
  /** The rate of the body. */
  bytesPerSecond?: number;
  /** Turns the bits of the byte at this offset of what is sent. */
  corruptAt?: number;
  /** Sends this many zero bytes behind the body, with chunked transfer coding. */
  extraBytes?: number;
  /** How a Range request is answered wrongly: 200 with everything, a 206 that starts or counts wrongly, or 416. */
  range?: 'ignored' | 'wrong-start' | 'wrong-total' | 'refused';
}

/** The faults in force, in the order in which they were added. */
export class FaultPlan {
  private readonly planned: { fault: Fault; seen: number }[] = [];

  add(fault: Fault): void {
    this.planned.push({ fault, seen: 0 });
  }

  clear(): void {
    this.planned.length = 0;
  }

  /** The fault that strikes this request, or undefined; counts the request. */
  strike(line: string): Fault | undefined {
    for (const entry of this.planned) {
      const { on, times = Number.POSITIVE_INFINITY, after = 0 } = entry.fault;
      if (!on.test(line)) continue;
      entry.seen += 1;
      if (entry.seen > after && entry.seen <= after + times) return entry.fault;
    }
    return undefined;
  }
}

export interface Answer {
  status: number;
  headers?: OutgoingHttpHeaders;
  body?: Content;
  /** The content may be asked for in ranges. */
  ranged?: boolean;
}

export function json(status: number, value: object): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: inMemory(JSON.stringify(value)) };
}

/** Sends an answer, the way the fault says. */
export async function send(
  req: IncomingMessage,
  res: ServerResponse,
  normal: Answer,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.delay) await sleep(fault.delay);
  await fault?.held;
  if (fault?.silent) return;
  if (fault?.hangUp) {
    res.destroy();
    return;
  }
  const answer = fault ? altered(normal, fault) : normal;
  const { status, headers, body, start, end } = ranged(req, answer, fault?.range);
  const length = end - start;
  const all: OutgoingHttpHeaders = { ...headers, ...(fault?.extraBytes ? {} : { 'content-length': length }) };
  for (const [name, value] of Object.entries(fault?.headers ?? {})) {
    if (value === undefined) delete all[name.toLowerCase()];
    else all[name.toLowerCase()] = value;
  }
  res.writeHead(status, all);
  if (req.method === 'HEAD' || status === 204 || status === 304) res.end();
  else await sendBody(res, body, start, end, fault ?? {});
}

function altered(normal: Answer, { status, body }: Fault): Answer {
  if (status === undefined && body === undefined) return normal;
  const content = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? inMemory(body ?? '') : body;
  const headers = status === undefined ? normal.headers : { 'content-type': 'text/plain' };
  return { status: status ?? normal.status, body: content, ...(headers ? { headers } : {}) };
}

interface Part {
  status: number;
  headers: OutgoingHttpHeaders;
  body: Content;
  start: number;
  end: number;
}

/** Applies the Range header (RFC 9110, section 14) of the request to the answer. */
function ranged(req: IncomingMessage, answer: Answer, wrong: Fault['range']): Part {
  const body = answer.body ?? inMemory('');
  const { size } = body;
  const headers = { ...answer.headers };
  const whole: Part = { status: answer.status, headers, body, start: 0, end: size };
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(req.headers.range ?? '') ?? [];
  if (!answer.ranged || answer.status !== 200 || (from === '' && to === '') || wrong === 'ignored') return whole;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size : Math.min(size, Number(to) + 1);
  if (start >= size || wrong === 'refused') {
    headers['content-range'] = `bytes */${size}`;
    return { status: 416, headers, body: inMemory(''), start: 0, end: 0 };
  }
  const shown = wrong === 'wrong-start' ? start + 1 : start;
  const total = wrong === 'wrong-total' ? size + 1 : size;
  headers['content-range'] = `bytes ${shown}-${end - 1}/${total}`;
  return { status: 206, headers, body, start, end };
}

async function sendBody(
  res: ServerResponse,
  body: Content,
  start: number,
  end: number,
  fault: Omit<Fault, 'on'>,
): Promise<void> {
  const { cutAfter, stallAfter, bytesPerSecond, corruptAt, extraBytes } = fault;
  const limit = Math.min(cutAfter ?? Number.POSITIVE_INFINITY, stallAfter ?? Number.POSITIVE_INFINITY);
  let sent = 0;
  for await (const piece of slices(body.read(start, end), bytesPerSecond)) {
    const chunk = Buffer.from(piece.subarray(0, Math.max(0, limit - sent)));
    if (corruptAt !== undefined && corruptAt >= sent && corruptAt < sent + chunk.length)
      chunk[corruptAt - sent]! ^= 255;
    sent += chunk.length;
    if (chunk.length > 0 && !res.write(chunk)) await drained(res);
    if (res.destroyed) return;
    if (sent >= limit) break;
    if (bytesPerSecond) await sleep((1000 * chunk.length) / bytesPerSecond);
  }
  if (cutAfter !== undefined && cutAfter <= sent) {
    // Let what was written reach the client before the connection breaks.
    await sleep(20);
    res.destroy();
  } else if (stallAfter === undefined || stallAfter > sent) {
    if (extraBytes) res.write(Buffer.alloc(extraBytes));
    res.end();
  }
}

/** Small pieces where the rate is to be kept, a hundred of them a second. */
async function* slices(chunks: AsyncIterable<Buffer>, rate: number | undefined): AsyncGenerator<Buffer> {
  const step = rate === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(rate / 100));
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += step) yield chunk.subarray(at, Math.min(chunk.length, at + step));
  }
}

async function drained(res: ServerResponse): Promise<void> {
  const abort = new AbortController();
  const options = { signal: abort.signal };
  try {
    await Promise.race([once(res, 'drain', options), once(res, 'close', options)]);
  } finally {
    abort.abort();
  }
}

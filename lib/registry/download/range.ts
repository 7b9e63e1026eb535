/** Requests for a part of a blob. Source: RFC 9110, 14 (Range, Content-Range, 206, 416). */
import type { Incoming } from '../http/message.js';

/** Sends one request for a blob, with further headers. */
export type GetPart = (headers: Record<string, string>) => Promise<Incoming>;

/** Asks for the bytes from `from` up to, not including, `to`. */
export function rangeHeader(from: number, to: number): Record<string, string> {
  return { range: `bytes=${from}-${to - 1}` };
}

/** Whether Content-Range says that the body begins at `from` in a blob of `size` bytes. */
export function isRange(contentRange: string | undefined, from: number, size: number): boolean {
  const [, first, total] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+|\*)$/i.exec(contentRange ?? '') ?? [];
  return Number(first) === from && (total === '*' || Number(total) === size);
}

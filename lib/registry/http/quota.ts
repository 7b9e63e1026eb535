/**
 * Docker Hub's limit on pulls, as its headers tell. Source: Docker's documentation, "Usage and limits",
 * "ratelimit-limit".
 */
import type { Incoming } from './message.js';

interface Quota {
  /** Pulls in a window of time. */
  limit: number;
  remaining: number;
  /** Seconds. */
  window: number | undefined;
}

/** The quota that a response tells of (`ratelimit-limit: 100;w=21600`), or undefined. */
export function quotaOf(response: Pick<Incoming, 'header'>): Quota | undefined {
  const limit = parse(response.header('ratelimit-limit'));
  const remaining = parse(response.header('ratelimit-remaining'));
  if (!limit || !remaining) return undefined;
  return { limit: limit.count, remaining: remaining.count, window: limit.window };
}

function parse(value: string | undefined): { count: number; window: number | undefined } | undefined {
  const [, count, window] = /^([0-9]{1,15})(?:;w=([0-9]{1,15}))?/.exec(value ?? '') ?? [];
  if (count === undefined) return undefined;
  return { count: Number(count), window: window === undefined ? undefined : Number(window) };
}

/** How HTTP is spoken: what the user can set, and what it is otherwise. */
import type { TransportOptions } from '../transport/dispatchers.js';
import type { Incoming } from './message.js';

/** Seconds; 0 waits for ever. */
interface Timeouts {
  /** Until TCP and TLS are up. */
  connect: number;
  /** From the request to the last response header. */
  headers: number;
  /** Without any byte of the body. */
  idle: number;
}

export interface HttpOptions extends TransportOptions {
  timeouts: Timeouts;
  /** Bytes of a body in a second, on average over the idle timeout, below which it has stalled; 0 for no limit. */
  minSpeed: number;
  /** Is told of each response, before anybody reads it. */
  onResponse: ((response: Incoming) => void) | undefined;
}

export const defaultHttpOptions: HttpOptions = {
  timeouts: { connect: 15, headers: 60, idle: 60 },
  // So little that six connections over a telephone line still have more each.
  minSpeed: 100,
  ca: undefined,
  insecure: [],
  guard: undefined,
  onResponse: undefined,
};

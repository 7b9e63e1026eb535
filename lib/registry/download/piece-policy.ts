/** When further connections are tried, and how much they may hold. */
export interface PiecePolicy {
  /** Milliseconds that a download goes on over one connection before more are considered, and between trials. */
  after: number;
  /** The milliseconds that the rest must take at the present rate, so that a trial is worth while. */
  remaining: number;
  /** Milliseconds that the first piece may take: after that the download's own connection reaches its beginning. */
  lead: number;
  /**
   * The longest Retry-After, in seconds, that is waited for. What the registry refuses to several connections, it may
   * well grant to one.
   */
  maxWait: number;
  /** The utilization of the event loop, from 0 to 1, above which this process itself is the slow part. */
  busy: number;
  /** Bytes per millisecond of all downloads above which hashing and the disk are the limit. */
  fast: number;
  /** What part of the first piece's bytes must be a gain, that is, not missing from the other connections. */
  gain: number;
  /** Bytes of a piece. */
  size: number;
  /** How many pieces may be in memory. */
  count: number;
}

export const defaultPiecePolicy: PiecePolicy = {
  after: 500,
  remaining: 4000,
  lead: 1000,
  maxWait: 30,
  busy: 0.5,
  fast: 100_000,
  gain: 0.5,
  size: 5 << 19,
  count: 6,
};

/**
 * The connections that a process has for blobs. Each download has one of its own. Spare ones may help one download at a
 * time, since each takes memory.
 */
export class Connections {
  /** Bytes of blobs that have come over all of them. */
  received = 0;
  /** Whether spare connections are helping a download. */
  private areHelping = false;
  /** How many are in use. */
  taken = 0;
  private refused = false;
  /** The highest rate seen so far, in bytes per millisecond, by the number of connections. */
  private readonly rates: number[] = [];

  /** `limit` is how many there may be. */
  constructor(private readonly limit: number) {}

  /** Takes the connection of a download. There is always one. */
  take(): void {
    this.taken += 1;
  }

  give(): void {
    this.taken -= 1;
  }

  /** Takes a spare connection. False when there is none, or the registry does not want more. */
  takeSpare(): boolean {
    if (this.refused || this.taken >= this.limit) return false;
    this.take();
    return true;
  }

  /** Takes the first spare connection for one download. False when there is none, or another download is helped. */
  beginHelp(): boolean {
    if (this.areHelping || !this.takeSpare()) return false;
    this.areHelping = true;
    return true;
  }

  /** That download is not helped any more. All its spare connections have been given back. */
  endHelp(): void {
    this.areHelping = false;
  }

  /** Whether new downloads need the connections that help another one. */
  get areScarce(): boolean {
    return this.taken > this.limit;
  }

  /** Notes a rate in bytes per millisecond over `taken` connections together. */
  noteRate(taken: number, rate: number): void {
    this.rates[taken] = Math.max(this.rates[taken] ?? 0, rate);
  }

  /**
   * Whether more connections than now have been no faster than `rate`: then the link is the limit, and more do not
   * help.
   */
  areEnough(rate: number): boolean {
    const most = this.rates.slice(this.taken + 1).reduce((a, b) => Math.max(a, b ?? 0), 0);
    return rate > 0.85 * most && rate < 1.2 * most;
  }

  /** No download is helped from now on, since the registry refuses ranges or further connections. */
  refuse(): void {
    this.refused = true;
  }
}

/**
 * The connections that a process has for blobs. Each download has one of its own; those that are left over may help one
 * download at a time, which bounds the memory that this takes.
 */
export class Connections {
  /** Bytes of blobs that have come over all of them. */
  received = 0;
  #taken = 0;
  #helping = false;
  #refused = false;
  /** The most bytes in a millisecond that were seen over so many connections as the index says. */
  readonly #rates: number[] = [];

  /** `limit` is how many there may be. */
  constructor(private readonly limit: number) {}

  /** For a download of its own; whoever asks gets one. */
  take(): void {
    this.#taken += 1;
  }

  give(): void {
    this.#taken -= 1;
  }

  /** One that is left over: false when there is none, or the registry wants no more of them. */
  takeSpare(): boolean {
    if (this.#refused || this.#taken >= this.limit) return false;
    this.take();
    return true;
  }

  /** Whether downloads that began later need what helps another one. */
  get areScarce(): boolean {
    return this.#taken > this.limit;
  }

  /** Whether one download is helped; it is for that one to set. */
  get areHelping(): boolean {
    return this.#helping;
  }

  set areHelping(helping: boolean) {
    this.#helping = helping;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Over `taken` connections came so many bytes in a millisecond. */
  noteRate(taken: number, rate: number): void {
    this.#rates[taken] = Math.max(this.#rates[taken] ?? 0, rate);
  }

  /** Whether more connections than there are now have brought no more than `rate`: then it is the link that limits it. */
  isMost(rate: number): boolean {
    const most = this.#rates.slice(this.#taken + 1).reduce((a, b) => Math.max(a, b ?? 0), 0);
    return rate > 0.85 * most && rate < 1.2 * most;
  }

  /** From now on no download is helped: the registry refuses ranges, or further connections. */
  refuse(): void {
    this.#refused = true;
  }
}

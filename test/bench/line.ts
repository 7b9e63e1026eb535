/** What links are made of: a line that takes time for each byte, and what arrives in its order. */

/** What sends bytes at a rate, one after the other. */
export class Line {
  /** When the last byte that was accepted will have left. */
  private busyUntil = 0;

  constructor(private readonly bitsPerSecond: number) {}

  /** How many bytes wait for those before them. */
  get waiting(): number {
    return (Math.max(0, this.busyUntil - performance.now()) * this.bitsPerSecond) / 8000;
  }

  /** When the last of so many bytes has left. */
  sent(bytes: number): number {
    this.busyUntil = Math.max(performance.now(), this.busyUntil) + (8000 * bytes) / this.bitsPerSecond;
    return this.busyUntil;
  }
}

/** Timers of about the same time may fire in any order; what they do may not change its order. */
export class Queue {
  private readonly waiting: (() => void)[] = [];

  at(time: number, act: () => void): void {
    this.waiting.push(act);
    setTimeout(() => this.waiting.shift()?.(), time - performance.now());
  }
}

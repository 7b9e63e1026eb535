/** Whether a body comes fast enough. One that trickles never stalls by the idle time-out, and never ends. */
import { monotonic } from '../pipe/clock.js';

/** What is asked of a body. */
export interface LeastPace {
  /** Bytes in a second, on average over the time below; 0 asks for nothing. */
  speed: number;
  /** Seconds; 0 asks for nothing. */
  over: number;
}

/** The bytes that must come in each span of time. */
export function leastBytes({ speed, over }: LeastPace): number {
  return speed * over;
}

/** How much longer than asked for a timer may take before it is this process that stood still. */
const standstill = 1.5;

export class Pace {
  readonly #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  /** Milliseconds of this span in which nobody wanted more, and since when nobody does. */
  #held = 0;
  #heldSince: number | undefined;
  #began = monotonic();

  /** `onSlow` is told how many bytes came, each time that they were too few. */
  constructor(
    private readonly least: LeastPace,
    private readonly onSlow: (bytes: number) => void,
  ) {
    if (leastBytes(least) > 0) this.#timer = setInterval(() => this.#check(), least.over * 1000).unref();
  }

  came(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Nothing is read from now on: what does not come meanwhile is not the sender's fault. */
  hold(): void {
    this.#heldSince ??= monotonic();
  }

  goOn(): void {
    if (this.#heldSince !== undefined) this.#held += monotonic() - this.#heldSince;
    this.#heldSince = undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const isHeld = this.#heldSince !== undefined;
    this.goOn();
    const { speed, over } = this.least;
    const [time, wanted, bytes] = [monotonic() - this.#began, speed * (over - this.#held / 1000), this.#bytes];
    this.#began = monotonic();
    this.#bytes = 0;
    this.#held = 0;
    if (isHeld) this.hold();
    // Ctrl-Z, or a machine that slept: what came meanwhile has not been seen yet.
    if (time < over * 1000 * standstill && bytes < wanted) this.onSlow(bytes);
  }
}

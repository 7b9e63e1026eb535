/** Watches whether a body comes fast enough. The idle timeout does not stop one that trickles for ever. */
import { monotonic } from '../../base/clock.js';

/** How fast a body has to come. */
export interface LeastPace {
  /** Bytes per second, on average over `over`; 0 for no limit. */
  speed: number;
  /** Seconds; 0 for no limit. */
  over: number;
}

/** The bytes that must come in each span of time. */
export function leastBytes({ speed, over }: LeastPace): number {
  return speed * over;
}

/** A timer that takes so many times as long as it should means that this process stood still. */
const standstill = 1.5;

export class Pace {
  private readonly timer: NodeJS.Timeout | undefined;
  private bytes = 0;
  /** Milliseconds of this span in which reading was paused, and since when it is paused now. */
  private held = 0;
  private heldSince: number | undefined;
  private began = monotonic();

  /** `onSlow` is called after each span in which too few bytes came, with their number. */
  constructor(
    private readonly least: LeastPace,
    private readonly onSlow: (bytes: number) => void,
  ) {
    if (leastBytes(least) > 0) this.timer = setInterval(() => this.check(), least.over * 1000).unref();
  }

  came(bytes: number): void {
    this.bytes += bytes;
  }

  /** Reading is paused: this time does not count against the sender. */
  hold(now = monotonic()): void {
    this.heldSince ??= now;
  }

  goOn(now = monotonic()): void {
    if (this.heldSince !== undefined) this.held += now - this.heldSince;
    this.heldSince = undefined;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** One look at the clock for all: of a span in which reading was paused throughout, not a moment may be left over. */
  private check(): void {
    const now = monotonic();
    const isHeld = this.heldSince !== undefined;
    this.goOn(now);
    const { speed, over } = this.least;
    const time = now - this.began;
    // A timer may be a little early.
    const wanted = (speed * (Math.min(time, over * 1000) - this.held)) / 1000;
    const bytes = this.bytes;
    this.began = now;
    this.bytes = 0;
    this.held = 0;
    if (isHeld) this.hold(now);
    // After Ctrl-Z, or a sleep of the machine, this span was longer, and what came in it has not been read yet.
    if (time < over * 1000 * standstill && bytes < wanted) this.onSlow(bytes);
  }
}

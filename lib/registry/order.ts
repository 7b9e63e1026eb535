/**
 * The order of downloads that go on at the same time. Layers are unpacked one after the other, so it is better to have the
 * first one soon than all of them late: as many go on as it takes to fill the link, the first ones, and the others are held,
 * which is to say that nobody reads from their connections. How many that is shows by trying: where all bring clearly more,
 * or twice as many, as with CDNs that limit each connection, more is better.
 */

export interface OrderPolicy {
  /** Milliseconds from one look to the next. */
  tick: number;
  /** Looks over which a rate is measured. */
  steady: number;
  /** How far two rates, one after the other, may be apart, so that neither a start nor an end lies between. */
  spread: number;
  /** Rates after which a trial does not wait any longer until two are alike. */
  unlike: number;
  /** Looks that a connection takes to come up to its speed. */
  settle: number;
  /** The part of what the others bring on average that one more has to bring. */
  gain: number;
  /** Milliseconds from a trial that showed no gain to the next one; each time longer by a factor. */
  pause: number;
  patience: number;
  /** The part of the rate at the last trial below which things have changed, and another trial is due. */
  least: number;
  /** Milliseconds before the end of a download at which the next one sets in, so that the link is never idle. */
  lead: number;
  /** Looks after which those that are held are read from for one: servers hang up on who takes nothing for a minute. */
  sip: number;
  /** Bytes below which a download is not worth holding. */
  small: number;
}

export const defaultOrderPolicy: OrderPolicy = {
  tick: 100,
  steady: 2,
  spread: 0.2,
  unlike: 4,
  settle: 2,
  gain: 0.5,
  pause: 1000,
  patience: 2,
  least: 0.6,
  lead: 300,
  sip: 150,
  small: 1 << 20,
};

/** One download's place in the order. */
export class Turn {
  #held: { until: Promise<void>; end: () => void } | undefined;

  /** `remaining`: the bytes that are to come yet. */
  constructor(
    readonly remaining: () => number,
    private readonly leave: (turn: Turn) => void,
  ) {}

  /** Fulfilled when it may go on; undefined when it may now. */
  get wait(): Promise<void> | undefined {
    return this.#held?.until;
  }

  hold(): void {
    if (this.#held) return;
    let end = () => {};
    const until = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#held = { until, end };
  }

  goOn(): void {
    this.#held?.end();
    this.#held = undefined;
  }

  /** It has ended, or failed. */
  end(): void {
    this.goOn();
    this.leave(this);
  }
}

export class Order {
  readonly #policy: OrderPolicy;
  /** Those that have begun and not ended, in their order. */
  #turns: Turn[] = [];
  /** How many of them go on. */
  #width = 1;
  /** What a trial began with: so many brought so many bytes a millisecond. */
  #trial: { width: number; rate: number } | undefined;
  /** How many times as many the next trial is of. */
  #factor = Number.POSITIVE_INFINITY;
  /** The last rate, and how many there were since the last trial. */
  #rate = 0;
  #rates = 0;
  /** The rate at the last trial, when the next one is due, and how long after a vain one. */
  #usual = 0;
  #nextTrial = 0;
  #pause: number;
  /** Since when so many go on, and the bytes that had come then. */
  #mark = { looks: 0, time: 0, received: 0 };
  #looks = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `received`: the bytes that have come of all. */
  constructor(
    private readonly received: () => number,
    policy: Partial<OrderPolicy> = {},
    private readonly clock: () => number = () => performance.now(),
  ) {
    this.#policy = { ...defaultOrderPolicy, ...policy };
    this.#pause = this.#policy.pause;
  }

  /** The place of a download that begins now, behind all others. */
  enter(remaining: () => number): Turn {
    if (this.#turns.length === 0) this.#measure();
    const turn = new Turn(remaining, (it) => this.#leave(it));
    this.#turns.push(turn);
    this.#arrange();
    this.#watch();
    return turn;
  }

  /** Whether any is held. */
  get isHolding(): boolean {
    return this.#turns.some(({ wait }) => wait);
  }

  /** A look at how things are. By itself it comes from time to time. */
  look(): void {
    this.#looks += 1;
    this.#mark.looks += 1;
    if (this.#trial) this.#judge(this.#trial);
    else if (this.isHolding) this.#considerTrial();
    if (this.#looks % this.#policy.sip === 0) for (const turn of this.#turns) turn.goOn();
    else this.#arrange();
  }

  #considerTrial(): void {
    const { steady, spread, unlike, least } = this.#policy;
    if (this.#mark.looks < steady) return;
    const before = this.#rate;
    const rate = this.#measure();
    this.#rates += 1;
    const isSteady = Math.abs(rate - before) <= spread * before || this.#rates >= unlike;
    if (!isSteady || (this.clock() < this.#nextTrial && rate >= this.#usual * least)) return;
    this.#trial = { width: this.#width, rate };
    this.#width *= this.#factor;
  }

  #judge({ width, rate }: { width: number; rate: number }): void {
    const { settle, steady, gain, patience } = this.#policy;
    if (this.#mark.looks === settle) this.#measure(settle);
    if (this.#mark.looks < settle + steady) return;
    this.#trial = undefined;
    this.#rates = 0;
    this.#usual = this.#measure();
    const more = Math.min(this.#width, this.#turns.length) - width;
    if (this.#usual - rate >= (rate / width) * more * gain) {
      this.#factor = Number.POSITIVE_INFINITY;
      return;
    }
    this.#width = width;
    if (this.#factor === 2) {
      this.#nextTrial = this.clock() + this.#pause;
      this.#pause *= patience;
    }
    this.#factor = 2;
  }

  /** The first ones go on, and those that follow when these are about to end. */
  #arrange(): void {
    const { lead, small } = this.#policy;
    let bytes = this.#usual * lead;
    for (const [place, turn] of this.#turns.entries()) {
      const remaining = turn.remaining();
      if (place < this.#width || bytes > 0 || remaining < small) turn.goOn();
      else turn.hold();
      bytes -= remaining;
    }
  }

  #leave(turn: Turn): void {
    this.#turns = this.#turns.filter((it) => it !== turn);
    this.#arrange();
    this.#watch();
  }

  /** Bytes in a millisecond since the mark, which is set anew. */
  #measure(looks = 0): number {
    const { time, received } = this.#mark;
    this.#mark = { looks, time: this.clock(), received: this.received() };
    this.#rate = (this.#mark.received - received) / (this.#mark.time - time);
    return this.#rate;
  }

  #watch(): void {
    if (this.#turns.length < 2) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    } else this.#timer ??= setInterval(() => this.look(), this.#policy.tick).unref();
  }
}

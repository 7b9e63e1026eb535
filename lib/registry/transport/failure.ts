/** What goes wrong with a registry: a failure that knows whether trying again may help, or asking elsewhere. */
import { Failure, type FailureOptions } from '../../base/failure.js';
import { Status } from '../../base/status.js';

export interface RegistryFailureOptions extends FailureOptions {
  /** Whether the same request may succeed when sent again. */
  retryable?: boolean;
  /** No connection came up, or no answer. */
  unreachable?: boolean;
  /** The certificate was issued by an unknown authority. */
  untrusted?: boolean;
  /** What the registry asked for with Retry-After, in seconds. */
  retryAfter?: number | undefined;
}

/** A `Failure` that knows whether trying again may help. */
export class RegistryFailure extends Failure {
  readonly retryable: boolean;
  readonly unreachable: boolean;
  readonly untrusted: boolean;
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    what: string,
    why: string,
    private readonly options: RegistryFailureOptions = {},
  ) {
    super(status, what, why, options);
    this.retryable = options.retryable ?? false;
    this.unreachable = options.unreachable ?? false;
    this.untrusted = options.untrusted ?? false;
    this.retryAfter = options.retryAfter;
  }

  /** The same failure, told about `what`, which is what the user asked for. */
  during(what: string): RegistryFailure {
    // `blob DIGEST of REPOSITORY` says already what `blob DIGEST` does.
    const why = what.startsWith(`${this.what} `) ? this.why : `${this.what}: ${this.why}`;
    return this.changed({ cause: this }, what, why);
  }

  /** The same failure with another hint, perhaps of something else. */
  hinting(hint: string | undefined, what = this.what): RegistryFailure {
    return this.changed({ hint }, what);
  }

  /** The same failure, with at most so many seconds to wait before a retry. */
  waitingAtMost(seconds: number): RegistryFailure {
    if (this.retryAfter === undefined) return this;
    return this.changed({ retryAfter: Math.min(this.retryAfter, seconds), cause: this });
  }

  /** The same failure, which came again with each of so many retries. */
  afterRetries(retries: number): RegistryFailure {
    if (retries === 0) return this;
    const tried = retries === 1 ? 'a retry' : `${retries} retries`;
    return this.changed({ cause: this }, this.what, `${this.why}, and ${tried} did not help`);
  }

  private changed(options: RegistryFailureOptions, what = this.what, why = this.why): RegistryFailure {
    return new RegistryFailure(this.status, what, why, { ...this.options, ...options });
  }

  /**
   * One failure for several places where the same was looked for. It names all of them. The status is that of one which
   * may do better later, if there is such a place, and otherwise that of the last.
   */
  among(failures: RegistryFailure[]): RegistryFailure {
    const others = failures.filter((it) => it !== this).map(({ what, why }) => `${what}: ${why}`);
    const of = (wanted: number) => failures.find(({ status }) => status === wanted);
    const telling = of(Status.tryLater) ?? of(Status.unavailable) ?? failures.at(-1) ?? this;
    const { status, details } = telling;
    return new RegistryFailure(status, this.what, [this.why, ...others].join('; '), { details, cause: telling });
  }
}

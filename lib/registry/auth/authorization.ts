/** The Authorization header for one repository: it is kept, and renewed before it expires and when it is refused. */
import { monotonic } from '../../base/clock.js';
import type { Http } from '../http/http.js';
import { RegistryFailure } from '../transport/failure.js';
import { type AuthTarget, answerChallenges, type Credentials } from './auth.js';
import type { Challenge } from './challenge.js';

/** The part of a token's lifetime after which it is renewed: the rest is for requests that are slow to arrive. */
const renewalPart = 0.9;

type FindCredentials = () => Promise<Credentials | undefined>;

export class Authorization {
  /** How the registry asked for the token that is in use, and when it should be renewed. */
  private renewal: { challenges: Challenge[]; at: number } | undefined;
  private renewing: Promise<void> | undefined;
  /** Whether the header comes from a login, as far as is known: not of one that another process has asked for. */
  isOfLogin = false;

  /** `header` is the one to begin with. `credentials` is called when a challenge needs them. */
  constructor(
    private readonly http: Http,
    private readonly target: AuthTarget,
    public header: string | null,
    private readonly credentials: FindCredentials,
  ) {}

  /** When that fails, the token goes on being used: it is still valid. Only when it is refused must it be renewed. */
  async renewIfDue(): Promise<void> {
    if (!this.renewal || monotonic() < this.renewal.at) return;
    try {
      await this.renew(this.header, this.renewal.challenges);
    } catch (error) {
      if (!(error instanceof RegistryFailure)) throw error;
      this.renewal = undefined;
    }
  }

  /** Renews the header `old`. When several requests are refused at the same time, one renews it for all. */
  async renew(old: string | null, challenges: Challenge[]): Promise<void> {
    if (this.header !== old) return;
    this.renewing ??= this.askFor(challenges).finally(() => {
      this.renewing = undefined;
    });
    await this.renewing;
  }

  /** Asks for a grant, and uses it from now on. */
  async askFor(challenges: Challenge[], credentials: FindCredentials = this.credentials): Promise<void> {
    let isOfLogin = false;
    const { authorization, lifetime } = await answerChallenges(this.http, challenges, this.target, async () => {
      const login = await credentials();
      isOfLogin = login !== undefined;
      return login;
    });
    this.header = authorization;
    this.isOfLogin = isOfLogin;
    this.renewal = lifetime === undefined ? undefined : { challenges, at: monotonic() + lifetime * renewalPart * 1000 };
  }
}

/**
 * The token service of the embedded registry.
 * Source: distribution spec, "Token Authentication" (GET, Basic) and "OAuth2" (POST, refresh tokens).
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Answer, json } from './faults.js';

export interface TokenOptions {
  /** The field that holds the token in an answer to GET; both by default, as Docker Hub has it. */
  tokenField?: 'token' | 'access_token' | 'both';
  /** Seconds that a token is good for; 300 by default. */
  lifetime?: number;
  /** Whether answers say `expires_in`, or what they say there; a client takes 60 seconds for granted otherwise. */
  sayExpiry?: boolean | number;
  /** Repositories that only a user who is logged in may pull. */
  private?: string[];
}

interface Token {
  scopes: Set<string>;
  expires: number;
}

/** Checks `Basic` credentials: the name of the user, null when they are wrong, undefined when there are none. */
export function basicUser(header: string | undefined, users: Record<string, string>): string | null | undefined {
  const [, encoded] = /^Basic (.+)$/i.exec(header ?? '') ?? [];
  if (encoded === undefined) return undefined;
  const [, name = '', password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
  return password !== undefined && Object.hasOwn(users, name) && users[name] === password ? name : null;
}

export class TokenService {
  /** Tokens that are good now. */
  private readonly tokens = new Map<string, Token>();
  /** Refresh tokens and their users, for tests to add. */
  readonly refreshTokens = new Map<string, string>();

  constructor(
    private readonly users: Record<string, string>,
    private readonly options: TokenOptions,
  ) {}

  /** From now on every token that was handed out is refused, as if its time had come. */
  expireAll(): void {
    this.tokens.clear();
  }

  /** Whether this Authorization header permits `action` on `repository`. */
  permits(header: string | undefined, repository: string, action: string): boolean {
    const [, value] = /^Bearer (.+)$/i.exec(header ?? '') ?? [];
    const token = value === undefined ? undefined : this.tokens.get(value);
    return token !== undefined && token.expires > Date.now() && token.scopes.has(`repository:${repository}:${action}`);
  }

  async answer(req: IncomingMessage, url: URL): Promise<Answer> {
    if (req.method === 'POST') return this.post(req);
    const user = basicUser(req.headers.authorization, this.users);
    if (user === null) return json(401, { details: 'incorrect username or password' });
    return this.issue(user, url.searchParams.getAll('scope'), this.options.tokenField ?? 'both');
  }

  private async post(req: IncomingMessage): Promise<Answer> {
    let body = '';
    for await (const chunk of req) body += String(chunk);
    const form = new URLSearchParams(body);
    const user = this.refreshTokens.get(form.get('refresh_token') ?? '');
    if (form.get('grant_type') !== 'refresh_token' || user === undefined) return json(401, { error: 'invalid_grant' });
    return this.issue(user, (form.get('scope') ?? '').split(' '), 'access_token');
  }

  /** Like Docker Hub: a token comes in any case, and grants only what the user may do. */
  private issue(user: string | undefined, asked: string[], field: string): Answer {
    const value = randomBytes(24).toString('base64url');
    const lifetime = this.options.lifetime ?? 300;
    const scopes = new Set(asked.flatMap((scope) => this.granted(user, scope)));
    this.tokens.set(value, { scopes, expires: Date.now() + lifetime * 1000 });
    const body: Record<string, unknown> = {};
    if (field !== 'access_token') body.token = value;
    if (field !== 'token') body.access_token = value;
    const { sayExpiry = true } = this.options;
    if (sayExpiry !== false) {
      body.expires_in = sayExpiry === true ? lifetime : sayExpiry;
      body.issued_at = new Date().toISOString();
    }
    return json(200, body);
  }

  private granted(user: string | undefined, scope: string): string[] {
    const [, repository = '', actions = ''] = /^repository:(.+):([^:]*)$/.exec(scope) ?? [];
    if (user === undefined && this.options.private?.includes(repository)) return [];
    return actions.split(',').map((action) => `repository:${repository}:${action}`);
  }
}

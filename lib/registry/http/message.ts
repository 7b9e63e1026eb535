/** A request and its response, as the rest of this folder sees them. */

export interface Outgoing {
  method: 'GET' | 'POST';
  url: URL;
  /** Names in lower case. */
  headers: Record<string, string>;
  body?: string;
  /** A token in the Authorization header was given for a login. */
  isOfLogin?: boolean;
  /** Parts of the body that must not be shown. */
  secret?: string[];
}

export interface Incoming {
  /** Where the response came from. */
  url: URL;
  status: number;
  /** What of a login went along with the request: a user name and a password, or a token that was given for them. */
  login: 'password' | 'token' | undefined;
  /** The first value of a header, by its name in lower case. */
  header(name: string): string | undefined;
  /** All values of a header. */
  headers(name: string): string[];
  /**
   * Where it redirects to. Bytes that are not ASCII are percent-encoded as they came, as by browsers and Go: the path
   * may be in any encoding.
   */
  readonly location: string | undefined;
  /** Passes on the body as it comes. Exactly one of `stream`, `bytes` and `drop` has to be called, and only once. */
  stream(onChunk: OnChunk): Promise<void>;
  /**
   * The whole body, without the gzip of a proxy. Throws `Failure` 76 when it is longer than `limit` bytes, with the gzip
   * or without, or compressed in another way.
   */
  bytes(limit: number): Promise<Buffer>;
  /** A text that the server sent, with `***` for what it quotes of our credentials or of a signed link. */
  quote(text: string): string;
  /**
   * Gives up the body: reads the rest of a short one, so that the connection can be used again, or hangs up. Never
   * rejects.
   */
  drop(): Promise<void>;
}

/** Takes a piece of a body. No more is read until a promise that it returns is fulfilled; that must not reject. */
export type OnChunk = (chunk: Buffer) => Promise<void> | undefined;

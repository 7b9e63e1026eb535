/** The keys that detach from a container's terminal, in docker's notation. */
import { usage } from '../settings/failures.js';

/** Named in the help text of md-isolate, too. */
const defaultKeys = 'ctrl-p,ctrl-q';

/**
 * The bytes that the keys send: `ctrl-p,ctrl-q` gives 0x10 0x11. A key is one character, or `ctrl-` and one of a to z,
 * `@`, `[`, `\`, `]`, `^`, `_`. Nothing, for no keys at all. Throws `Failure` 64.
 */
export function parseDetachKeys(text = defaultKeys): Buffer {
  if (text === '') return Buffer.alloc(0);
  return Buffer.from(text.split(',').map(keyByte));
}

function keyByte(key: string): number {
  const [, letter] = /^ctrl-([a-z@[\\\]^_])$/.exec(key) ?? [];
  // A terminal sends the low five bits of the letter.
  if (letter !== undefined) return letter.charCodeAt(0) & 0x1f;
  if (key === 'DEL') return 0x7f;
  if (key.length === 1 && key >= ' ' && key <= '~') return key.charCodeAt(0);
  throw usage(
    '--detach-keys',
    `${JSON.stringify(key)} is not a key`,
    'a character, or ctrl- and one of a to z @ [ \\ ] ^ _, with commas between them: ctrl-p,ctrl-q',
  );
}

/**
 * Looks for the detach keys in what is typed. The first ones are held back until it is clear whether the rest follows.
 */
export class DetachKeys {
  private held = 0;

  constructor(private readonly keys: Buffer) {}

  /** Whether something is held back. */
  get waiting(): boolean {
    return this.held > 0;
  }

  /**
   * Takes typed bytes. Returns what is to be passed on, and whether all keys were typed; bytes after those are dropped.
   */
  feed(typed: Buffer): { forward: Buffer; detached: boolean } {
    const bytes = Buffer.concat([this.release(), typed]);
    if (this.keys.length === 0) return { forward: bytes, detached: false };
    const found = bytes.indexOf(this.keys);
    if (found >= 0) return { forward: bytes.subarray(0, found), detached: true };
    this.held = this.beginningAtEnd(bytes);
    return { forward: bytes.subarray(0, bytes.length - this.held), detached: false };
  }

  /** Gives back what was held: the rest of the keys did not come in time. */
  release(): Buffer {
    const held = this.keys.subarray(0, this.held);
    this.held = 0;
    return held;
  }

  private beginningAtEnd(bytes: Buffer): number {
    for (let n = Math.min(this.keys.length - 1, bytes.length); n > 0; n--) {
      if (bytes.subarray(bytes.length - n).equals(this.keys.subarray(0, n))) return n;
    }
    return 0;
  }
}

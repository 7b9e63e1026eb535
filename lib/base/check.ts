/**
 * Checks that turn `unknown` from outside into typed values. Each takes the value and its name as the user would look
 * for it (`manifest.layers[2].digest`), and throws a `Failure` of status 65 that names it.
 */
import { Failure, shorten } from './failure.js';
import { Status } from './status.js';

export type JsonObject = Record<string, unknown>;

export type Check<T> = (value: unknown, name: string) => T;

export function wrong(name: string, expected: string, got: unknown): Failure {
  return new Failure(Status.data, name, `expected ${expected}, got ${describe(got)}`);
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  return shorten(JSON.stringify(value) ?? typeof value, 80);
}

/** The value of a JSON text from a file, of which `name` is the name and `hint` says what to do with it. */
export function asJson(text: Buffer | string, name: string, hint?: string): unknown {
  try {
    return JSON.parse(text.toString());
  } catch (cause) {
    throw new Failure(Status.data, name, 'it is not JSON', { cause, hint });
  }
}

/**
 * A document as JSON. Throws `Failure` 65 where a field that nobody checks, and that is only passed on, is nested
 * deeper than can be written.
 */
export function jsonOf(value: object, indent?: number): string {
  try {
    return JSON.stringify(value, null, indent);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new Failure(Status.data, 'document', 'its objects are nested too deep to be passed on', { cause });
  }
}

export function asObject(value: unknown, name: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value);
  return value as JsonObject;
}

export function asArray(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw wrong(name, 'an array', value);
  return value;
}

export function asString(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.includes('\0')) throw wrong(name, 'a string', value);
  return value;
}

/** Any string at all: a NUL in it does no harm where no system call gets it. */
export function asText(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrong(name, 'a string', value);
  return value;
}

/**
 * Text that may stand in an HTTP header: it has no control characters, which could forge another header.
 * Source: RFC 9110, 5.5.
 */
export function asFieldValue(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw wrong(name, 'a string that may stand in an HTTP header', value);
  }
  return value;
}

/** A whole number from 0 up that JavaScript holds exactly: sizes in bytes, counts, ids. */
export function asSize(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(name, 'a whole number of at least 0', value);
  }
  return value;
}

/**
 * A digest, `sha256:` or `sha512:` and lower-case hex of the right length.
 * Source: image-spec, descriptor.md, "Digests" and "Registered algorithms".
 */
export function asDigest(value: unknown, name: string): string {
  if (typeof value !== 'string' || !isDigest(value)) {
    throw wrong(name, 'a digest (sha256: or sha512: and lower-case hex)', value);
  }
  return value;
}

export function isDigest(text: string): boolean {
  return /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
}

/**
 * Whether a text is a digest of an algorithm that is unknown here, so that nothing can be held against it. Source:
 * image-spec, descriptor.md, "Digests"; of those registered there it is BLAKE3, which Node does not have.
 */
export function isUnknownDigest(text: string): boolean {
  const [, algorithm] = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+$/.exec(text) ?? [];
  return algorithm !== undefined && algorithm !== 'sha256' && algorithm !== 'sha512';
}

/** Applies `check` when the field is there. `null` counts as absent, since Go writes nil slices and maps like that. */
export function optional<T>(value: unknown, name: string, check: Check<T>): T | undefined {
  return value === undefined || value === null ? undefined : check(value, name);
}

/** `check` for a secret, or for an object with secrets: the error does not quote the value. */
export function secret<T>(check: Check<T>): Check<T> {
  return (value, name) => {
    try {
      return check(value, name);
    } catch (error) {
      throw error instanceof Failure ? new Failure(error.status, name, 'its value is not of the right kind') : error;
    }
  };
}

export function arrayOf<T>(check: Check<T>): Check<T[]> {
  return (value, name) => asArray(value, name).map((item, i) => check(item, `${name}[${i}]`));
}

/** Items that are null are left out. */
export function recordOf<T>(check: Check<T>): Check<Record<string, T>> {
  return (value, name) => {
    const items = Object.entries(asObject(value, name)).filter(([, item]) => item !== null);
    return Object.fromEntries(items.map(([key, item]) => [key, check(item, `${name}.${key}`)]));
  };
}

/**
 * Names, link targets and xattr names are bytes, not text. In `lib/tar` and `lib/unpack` they are strings of one
 * character a byte (latin1), since those are cheap to split, compare and keep in maps; at a system call they become
 * bytes again.
 */
export type ByteString = string;

export function toBytes(text: ByteString): Buffer {
  return Buffer.from(text, 'latin1');
}

export function fromBytes(bytes: Buffer, start = 0, end = bytes.length): ByteString {
  return bytes.toString('latin1', start, end);
}

/** A text of this program's own, or of its command line, which is UTF-8. */
export function byteString(text: string): ByteString {
  return fromBytes(Buffer.from(text));
}

/** For people: bytes that are UTF-8 as such, others as `\xe9`. */
export function shown(text: ByteString): string {
  const bytes = toBytes(text);
  const utf8 = bytes.toString('utf8');
  if (Buffer.from(utf8, 'utf8').equals(bytes)) return utf8;
  return text.replace(/[\x80-\xff]/g, (c) => `\\x${c.charCodeAt(0).toString(16)}`);
}

/**
 * A path of an archive as the image specification means it: relative to the root of the tree, without empty, `.` and
 * `..` parts. `..` is worked out on the text and stops at the root. The root itself is the empty string.
 */
export function cleanPath(path: ByteString): ByteString {
  if (!/(?:^|\/)(?:\.{0,2})(?:\/|$)/.test(path)) return path;
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** The directory and the last part of a clean path; `''` is the root. */
export function splitPath(path: ByteString): [dir: ByteString, name: ByteString] {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? ['', path] : [path.slice(0, slash), path.slice(slash + 1)];
}

export function joinPath(dir: ByteString, name: ByteString): ByteString {
  return dir === '' ? name : `${dir}/${name}`;
}

/** A path for a JSON document: as text, and in base64 as well when the text is not all that it is. */
export function namedPath(path: ByteString): { path: string; pathBase64?: string } {
  const text = shown(path);
  const bytes = toBytes(path);
  return Buffer.from(text).equals(bytes) ? { path: text } : { path: text, pathBase64: bytes.toString('base64') };
}

/** Recognizes the compression of data by its first bytes. Sources: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** `head` are the first bytes, four where there are as many. */
export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length < 4) return 'none';
  const magic = head.readUInt32LE(0);
  // A skippable frame may come first.
  return magic === zstdMagic || isSkippable(magic) ? 'zstd' : 'none';
}

/** The magic number of a frame of zstd, and whether one is that of a skippable frame. */
export const zstdMagic = 0xfd2fb528;
export const isSkippable = (magic: number): boolean => (magic & 0xfffffff0) >>> 0 === 0x184d2a50;

/**
 * Formats that docker accepts for layers and the image specification does not, with how their data begins, in
 * hexadecimal. bzip2 has the digits of pi there, or those of its square root when it is empty.
 */
const foreign: Record<string, RegExp> = {
  xz: /^fd377a585a00/,
  bzip2: /^425a683[1-9](?:314159265359|177245385090)/,
};

/** How many bytes it takes to recognize these. */
export const foreignHeadBytes = 10;

/** The name of a format that a layer must not have, for an error message; undefined for any other data. */
export function foreignCompressionOf(head: Buffer): string | undefined {
  const hex = head.toString('hex');
  return Object.keys(foreign).find((name) => foreign[name]!.test(hex));
}

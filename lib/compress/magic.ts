/** What data is compressed with, by its first bytes. Sources: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** `head` are the first bytes, four where there are as many. */
export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length < 4) return 'none';
  const magic = head.readUInt32LE(0);
  // A skippable frame may come first.
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50 ? 'zstd' : 'none';
}

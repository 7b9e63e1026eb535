import type { Stats } from 'node:fs';

/** Whether a file or directory is this user's, and nobody else may write to it. */
export function isOwn({ uid, mode }: Pick<Stats, 'uid' | 'mode'>): boolean {
  return uid === process.geteuid?.() && (mode & 0o022) === 0;
}

/** How many files a process may have open at once: getrlimit(2). */
import { prlimit64 } from '../sys/calls.js';
import { RLIMIT } from '../sys/constants.js';
import { once } from '../sys/once.js';

/** Those of a batch of files (contents.ts), of open directories (rooted.ts), and what else a process has. */
const many = 512;

/** By the soft limit, which Node raises to the hard one at its start. */
export const mayOpenMany = once((): boolean => {
  const limit = Buffer.alloc(16);
  prlimit64(0, RLIMIT.NOFILE, null, limit);
  return Number(limit.readBigUInt64LE()) >= many;
});

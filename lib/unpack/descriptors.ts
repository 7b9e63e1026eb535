/** How many files a process may have open at once. */
import { RLIMIT } from '../sys/constants.js';
import { once } from '../sys/once.js';
import { softLimit } from '../sys/rlimit.js';

/** Those of a batch of files (contents.ts), of open directories (rooted.ts), and what else a process has. */
const many = 512;

/** By the soft limit, which Node raises to the hard one at its start. */
export const mayOpenMany = once((): boolean => softLimit(RLIMIT.NOFILE) >= many);

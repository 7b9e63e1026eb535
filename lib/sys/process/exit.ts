import { exit_group } from '../syscalls/calls.js';

/**
 * Ends the process at once, with all its threads. process.exit would first free what the kernel frees anyway, which
 * takes a millisecond. Nothing is lost by that, since all output of this program is synchronous.
 */
export function endProcess(status: number): never {
  // With such options Node may write a profile or coverage when it ends. One comes from launcher-head.
  const { NODE_OPTIONS, NODE_V8_COVERAGE } = process.env;
  const hasFlags = process.execArgv.some((flag) => !flag.startsWith('--inspect-port='));
  if (hasFlags || NODE_OPTIONS || NODE_V8_COVERAGE) process.exit(status);
  process.emit('exit', status);
  exit_group(status);
  throw new Error('exit_group returned');
}

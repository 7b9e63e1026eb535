import { exit_group } from '../syscalls/calls.js';

/**
 * Ends the process at once, with all its threads. process.exit would first free what the kernel frees anyway, which
 * takes a millisecond. Nothing is lost by that, since all output of this program is synchronous.
 */
export function endProcess(status: number): never {
  // Node may have to write a profile or coverage.
  if (hasNodeOptions() || process.env.NODE_V8_COVERAGE) process.exit(status);
  process.emit('exit', status);
  exit_group(status);
  throw new Error('exit_group returned');
}

/** Whether Node was started with options, besides the one of launcher-head. */
function hasNodeOptions(): boolean {
  return process.execArgv.some((flag) => !flag.startsWith('--inspect-port=')) || Boolean(process.env.NODE_OPTIONS);
}
